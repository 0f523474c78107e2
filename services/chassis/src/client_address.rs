//! The network address of the client that a request comes from, for the services that need it.

use std::convert::Infallible;
use std::net::IpAddr;

use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue};

/// The header in which the gateway forwards the address. Only services can reach another service,
/// and the gateway forwards no header of this name from outside.
pub const CLIENT_ADDRESS: HeaderName = HeaderName::from_static("pillion-client-address");

/// The address of the client, if it is known: as an extension where the client is connected to this
/// process, else as the header that the gateway sent. As an argument of a handler it never fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClientAddress(pub Option<IpAddr>);

impl ClientAddress {
    /// Reads the extension, or the header.
    pub fn of(extensions: &Extensions, headers: &HeaderMap) -> Self {
        if let Some(address) = extensions.get::<Self>() {
            return *address;
        }
        let header = headers.get(&CLIENT_ADDRESS).and_then(|value| value.to_str().ok());
        Self(header.and_then(|text| text.parse().ok()))
    }

    /// The value of the header.
    pub fn to_header(self) -> Option<HeaderValue> {
        HeaderValue::try_from(self.0?.to_string()).ok()
    }
}

impl<S: Sync> FromRequestParts<S> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.extensions, &parts.headers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_survives_the_way_in_a_header_and_an_extension_comes_first() {
        let address = ClientAddress(Some("2001:db8::1".parse().unwrap()));
        let mut headers = HeaderMap::new();
        headers.insert(CLIENT_ADDRESS, address.to_header().unwrap());
        let mut extensions = Extensions::new();
        assert_eq!(ClientAddress::of(&extensions, &headers), address);
        extensions.insert(ClientAddress(Some("192.0.2.1".parse().unwrap())));
        assert_eq!(ClientAddress::of(&extensions, &headers).0, "192.0.2.1".parse().ok());
        headers.insert(CLIENT_ADDRESS, HeaderValue::from_static("nobody"));
        assert_eq!(ClientAddress::of(&Extensions::new(), &headers), ClientAddress::default());
    }
}
