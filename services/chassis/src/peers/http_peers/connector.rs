//! Opens connections to peers: TLS where it is asked for, with the service that was meant.

use std::collections::HashMap;
use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::{Authority, Scheme};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tower::Service;

use crate::tls::{Stream, Tls};

/// How certificates come into it.
#[derive(Debug, Clone)]
pub(super) struct Secure {
    pub(super) tls: Tls,
    /// Who is to be at each address.
    pub(super) services: Arc<HashMap<Authority, String>>,
    pub(super) handshake_timeout: Duration,
}

/// Opens connections, all of them with TLS or none.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    tcp: HttpConnector,
    secure: Option<Secure>,
}

impl Connector {
    pub(super) fn new(mut tcp: HttpConnector, secure: Option<Secure>) -> Self {
        tcp.enforce_http(secure.is_none());
        Self { tcp, secure }
    }

    /// What addresses begin with.
    pub(super) fn scheme(&self) -> Scheme {
        if self.secure.is_some() { Scheme::HTTPS } else { Scheme::HTTP }
    }
}

type BoxError = Box<dyn Error + Send + Sync>;
type Connecting = Pin<Box<dyn Future<Output = Result<TokioIo<Stream>, BoxError>> + Send>>;

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = BoxError;
    type Future = Connecting;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Connecting {
        let secure = self.secure.clone();
        let authority = uri.authority().cloned();
        let connecting = self.tcp.call(uri);
        Box::pin(async move {
            let stream = connecting.await?.into_inner();
            let Some(Secure { tls, services, handshake_timeout }) = secure else {
                return Ok(TokioIo::new(Stream::Plain(stream)));
            };
            let service = authority.and_then(|authority| services.get(&authority));
            let service = service.ok_or("nobody said who is at this address")?;
            Ok(TokioIo::new(tls.connect(service, stream, handshake_timeout).await?))
        })
    }
}
