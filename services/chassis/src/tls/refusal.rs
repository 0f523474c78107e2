//! Why handshakes fail: counted by reason, logged at a bounded rate, told in plain words.

use std::fmt::Display;
use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustls::{CertificateError, Error, InvalidMessage};
use tokio::time::Instant;

use super::verify::WrongIdentity;

/// A client that tries all the time must not fill the log: one line per side and reason within
/// this.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Which end of the connection we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Server,
    Client,
}

const SIDES: [(Side, &str); 2] = [(Side::Server, "server"), (Side::Client, "client")];

/// Why there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    Plaintext,
    NoCertificate,
    UnknownAuthority,
    WrongIdentity,
    Expired,
    OtherCertificate,
    RefusedByPeer,
    Broken,
    Protocol,
}

/// In the order of the counters.
const REASONS: [(Reason, &str); 9] = [
    (Reason::Plaintext, "plaintext"),
    (Reason::NoCertificate, "no_certificate"),
    (Reason::UnknownAuthority, "unknown_authority"),
    (Reason::WrongIdentity, "wrong_identity"),
    (Reason::Expired, "expired"),
    (Reason::OtherCertificate, "other_certificate"),
    (Reason::RefusedByPeer, "refused_by_peer"),
    (Reason::Broken, "broken"),
    (Reason::Protocol, "protocol"),
];

/// How often handshakes failed, and when it was last told.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    counts: [[AtomicU64; REASONS.len()]; SIDES.len()],
    logged: Mutex<[[Option<Instant>; REASONS.len()]; SIDES.len()]>,
}

impl Refusals {
    /// Counts a failed handshake with `other`, and logs it unless one like it was just logged.
    pub(super) fn note(&self, side: Side, other: &dyn Display, error: &io::Error) {
        let reason = reason(error);
        let place = |which| SIDES.iter().position(|(side, _)| *side == which);
        let (Some(row), Some(column)) =
            (place(side), REASONS.iter().position(|(known, _)| *known == reason))
        else {
            return;
        };
        if let Some(count) = self.counts.get(row).and_then(|counts| counts.get(column)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        if !self.is_due(row, column) {
            return;
        }
        let why = words(reason, error);
        match side {
            // Whoever goes in the middle of it, such as a scan of ports, was not turned away.
            Side::Server if reason == Reason::Broken => {
                tracing::debug!(client = %other, "a connection came to nothing: {why}");
            }
            Side::Server => tracing::warn!(client = %other, "a connection is refused: {why}"),
            Side::Client => tracing::warn!(service = %other, "a service is not called: {why}"),
        }
    }

    fn is_due(&self, row: usize, column: usize) -> bool {
        // No code that holds the lock can panic.
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(last) = logged.get_mut(row).and_then(|reasons| reasons.get_mut(column)) else {
            return false;
        };
        let due = last.is_none_or(|last| last.elapsed() >= LOG_INTERVAL);
        if due {
            *last = Some(Instant::now());
        }
        due
    }

    /// Side, reason, and how often.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        self.counts.iter().zip(SIDES).flat_map(|(counts, (_, side))| {
            (counts.iter().zip(REASONS))
                .map(move |(count, (_, reason))| (side, reason, count.load(Ordering::Relaxed)))
        })
    }
}

/// An error with words that say what is wrong.
pub(super) fn explain(error: &io::Error) -> io::Error {
    let text = words(reason(error), error);
    io::Error::new(error.kind(), text)
}

fn tls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

fn identity(error: &Error) -> Option<&WrongIdentity> {
    match error {
        Error::InvalidCertificate(CertificateError::Other(other)) => other.0.downcast_ref(),
        _ => None,
    }
}

fn reason(error: &io::Error) -> Reason {
    let Some(error) = tls_error(error) else {
        return Reason::Broken;
    };
    if identity(error).is_some() {
        return Reason::WrongIdentity;
    }
    match error {
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => Reason::Plaintext,
        Error::NoCertificatesPresented => Reason::NoCertificate,
        Error::InvalidCertificate(certificate) => match certificate {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                Reason::UnknownAuthority
            }
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Reason::Expired,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Reason::WrongIdentity
            }
            _ => Reason::OtherCertificate,
        },
        Error::AlertReceived(_) => Reason::RefusedByPeer,
        _ => Reason::Protocol,
    }
}

fn words(reason: Reason, error: &io::Error) -> String {
    let identity = tls_error(error).and_then(identity);
    match reason {
        Reason::Plaintext => "the other end speaks something else than TLS; between services \
                              write https:// and a [tls] section for all, or for none"
            .to_owned(),
        Reason::NoCertificate => "the client shows no certificate, so it is no service".to_owned(),
        Reason::UnknownAuthority => {
            "its certificate is of another authority than tls.ca".to_owned()
        }
        Reason::WrongIdentity => match identity {
            Some(wrong) => wrong.to_string(),
            None => format!("its certificate has another DNS name: {error}"),
        },
        Reason::Expired => format!("its certificate is not valid now: {error}"),
        Reason::RefusedByPeer => format!("it refuses our certificate or our TLS: {error}"),
        Reason::Broken if error.kind() == ErrorKind::UnexpectedEof => {
            "it closed the connection during the handshake".to_owned()
        }
        Reason::OtherCertificate | Reason::Broken | Reason::Protocol => error.to_string(),
    }
}
