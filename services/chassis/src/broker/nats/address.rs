//! From the URL of a server to the options of a connection: where it is, who we are, what the server
//! must show. Passwords are taken out of addresses, which the client writes into its log.

use std::fmt::{Display, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use async_nats::{ConnectOptions, Server, ServerAddr};
use percent_encoding::percent_decode_str;

use super::BrokerError;
use crate::tls::{ServerTls, TlsFiles, advice};

/// How to connect.
#[derive(Debug)]
pub struct NatsAddress {
    /// Servers of one cluster.
    pub servers: Vec<ServerAddr>,
    /// For all of them.
    pub options: ConnectOptions,
    /// Why there is no connection.
    pub trouble: NatsTrouble,
}

/// What the last tries to connect came to; clones are the same. Nothing while there is nothing to
/// tell.
#[derive(Debug, Clone, Default)]
pub struct NatsTrouble(Arc<Mutex<Trouble>>);

#[derive(Debug, Default)]
struct Trouble {
    told: String,
    is_refusal: bool,
}

impl NatsTrouble {
    fn note(&self, servers: &[Server]) {
        let failed =
            servers.iter().filter_map(|server| Some((server, server.last_error.as_ref()?)));
        let mut trouble = Trouble::default();
        for (Server { addr, .. }, error) in failed {
            let advice = advice(error).or_else(|| refusal(error));
            trouble.is_refusal |= advice.is_some();
            let advice = advice.map(|advice| format!("; {advice}")).unwrap_or_default();
            let comma = if trouble.told.is_empty() { "" } else { ", " };
            // Writing to a String cannot fail.
            let _ = write!(trouble.told, "{comma}{}:{}: {error}{advice}", addr.host(), addr.port());
        }
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// Whether a server is there and refuses us, or is refused by us: no use in waiting for it.
    pub fn is_refusal(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_refusal
    }
}

/// What to do about a server that does not let us in.
fn refusal(error: &str) -> Option<&'static str> {
    let error = error.to_lowercase();
    (error.contains("authorization") || error.contains("authentication"))
        .then_some("correct the user and the password, or the token, in broker.url")
}

impl Display for NatsTrouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("there is no connection to it")?;
        let trouble = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if trouble.told.is_empty() { Ok(()) } else { write!(f, ": {}", trouble.told) }
    }
}

impl NatsAddress {
    /// Reads `nats://USER:PASSWORD@HOST:PORT`, `nats://TOKEN@HOST:PORT`, or the same with `tls://`;
    /// several servers of a cluster are separated by commas, and one `tls://` among them is for
    /// all.
    pub fn parse(url: &str, tls: &ServerTls) -> Result<Self, BrokerError> {
        let addresses = url.split(',').map(address).collect::<Result<Vec<_>, _>>()?;
        let mut options = ConnectOptions::new();
        let who = addresses.iter().find(|address| address.has_user_pass());
        let same = |one: &ServerAddr, other: &ServerAddr| {
            one.username() == other.username() && one.password() == other.password()
        };
        if let Some(who) = who {
            if addresses.iter().any(|other| other.has_user_pass() && !same(who, other)) {
                let reason = "its URLs name different users: one is for all servers of a cluster";
                return Err(BrokerError::Configuration { reason: reason.to_owned() });
            }
            let text = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
            let user = text(who.username().unwrap_or_default());
            options = match who.password() {
                Some(password) => options.user_and_password(user, text(password)),
                None => options.token(user),
            };
        }
        if addresses.iter().any(ServerAddr::tls_required) {
            tls.check()
                .map_err(|error| BrokerError::Configuration { reason: error.to_string() })?;
            options = options.require_tls(true);
        }
        // For nats://, too: a server may ask for TLS by itself.
        if let Some(ca) = &tls.ca {
            options = options.add_root_certificates(ca.clone());
        }
        if let Some(TlsFiles { certificate, key }) = &tls.client {
            options = options.add_client_certificate(certificate.clone(), key.clone());
        }
        let servers = addresses.into_iter().map(anonymous).collect::<Result<Vec<_>, _>>()?;
        let trouble = NatsTrouble::default();
        let noted = trouble.clone();
        // Asked before every try which server is next: any. It is the one place that is told why
        // the tries before failed.
        options = options.reconnect_to_server_callback(move |servers, _| {
            noted.note(&servers);
            std::future::ready(None)
        });
        Ok(Self { servers, options, trouble })
    }
}

/// The address of one server.
fn address(url: &str) -> Result<ServerAddr, BrokerError> {
    let server: ServerAddr = url.trim().parse().map_err(|error| address_error(&error))?;
    if !matches!(server.scheme(), "nats" | "tls") || server.host().is_empty() {
        return Err(address_error(&"it names no such server"));
    }
    Ok(server)
}

/// Without user and password.
fn anonymous(address: ServerAddr) -> Result<ServerAddr, BrokerError> {
    let mut url = address.into_inner();
    // It has a host, so neither can fail.
    let wiped = url.set_username("").and_then(|()| url.set_password(None));
    wiped.map_err(|()| address_error(&"it names no server"))?;
    ServerAddr::from_url(url).map_err(|error| address_error(&error))
}

/// Never with the URL itself, which may hold a password.
pub(super) fn address_error(error: &dyn Display) -> BrokerError {
    let reason =
        format!("its URL is not nats://HOST:PORT or tls://HOST:PORT, or a list of them: {error}");
    BrokerError::Configuration { reason }
}
