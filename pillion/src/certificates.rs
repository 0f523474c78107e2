//! The certificates of this process: towards the other services, and towards clients.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use pillion_chassis::tls::{Identities, LOOK_INTERVAL, Tls, TlsFiles};
use pillion_chassis::{SystemClock, Worker};

use crate::config::{Loaded, SERVICES};
use crate::process::Part;

/// The certificates that the configuration names, as far as this process needs them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Certificates {
    /// Of this service, towards the others.
    mutual: Option<Tls>,
    /// Towards clients.
    public: Option<Tls>,
    /// What the service's own listener shows.
    listener: Option<Tls>,
}

impl Certificates {
    /// Reads them; what could not work is told here.
    pub(crate) fn open(loaded: &Loaded, part: Part) -> Result<Self> {
        // Alone in a process, services do not meet anybody.
        let own = part.one();
        let mutual = own.and_then(|own| mutual(loaded, own)).transpose()?;
        let public = public(loaded)?.filter(|_| part.faces_clients());
        let listener = if part.faces_clients() { public.clone() } else { mutual.clone() };
        Ok(Self { mutual, public, listener })
    }

    /// For the listener of the service, when it is to be TLS.
    pub(crate) fn listener(&self) -> Option<Tls> {
        self.listener.clone()
    }

    /// For calls to the other services, when they are to be TLS.
    pub(crate) fn peers(&self) -> Option<&Tls> {
        self.mutual.as_ref()
    }

    /// Reads the files now; whether there was something new in them.
    pub(crate) async fn reload(&self) -> Result<bool> {
        let mut is_new = false;
        for (section, tls) in [("tls", &self.mutual), ("server.tls", &self.public)] {
            if let Some(tls) = tls {
                let read = tls.reload().await;
                is_new |= read.with_context(|| format!("[{section}]: the certificate"))?;
            }
        }
        Ok(is_new)
    }

    /// What looks at the files again and again.
    pub(crate) fn workers(&self) -> Vec<Worker> {
        let all = self.mutual.iter().chain(&self.public);
        all.map(|tls| tls.follow(Arc::new(SystemClock), LOOK_INTERVAL)).collect()
    }

    /// Expiry and refusals, in Prometheus' text form; nothing without certificates.
    pub(crate) fn metrics(&self) -> String {
        const HEADS: [(&str, &str, &str); 3] = [
            (
                "pillion_tls_certificate_expiry_seconds",
                "gauge",
                "When a certificate expires, in seconds since 1970.",
            ),
            (
                "pillion_tls_reload_failures_total",
                "counter",
                "Changed certificate files that could not be used.",
            ),
            (
                "pillion_tls_refused_total",
                "counter",
                "Connections that came to nothing in their TLS handshake.",
            ),
        ];
        let named = [("services", &self.mutual), ("clients", &self.public)];
        let lines: String =
            named.iter().filter_map(|(of, tls)| Some(tls.as_ref()?.metrics(of))).collect();
        if lines.is_empty() {
            return lines;
        }
        // The text form wants the lines of one metric together.
        let mut text = String::new();
        for (name, kind, help) in HEADS {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for line in lines.lines().filter(|line| line.starts_with(name)) {
                text += line;
                text.push('\n');
            }
        }
        text
    }
}

fn mutual(loaded: &Loaded, own: &str) -> Option<Result<Tls>> {
    let tls = &loaded.config.tls;
    let (Some(ca), Some(certificate), Some(key)) = (&tls.ca, &tls.certificate, &tls.key) else {
        return None;
    };
    let path = |path: &PathBuf| loaded.tls_file(path, Some(own));
    let files = TlsFiles { certificate: path(certificate)?, key: path(key)? };
    let identities = Identities {
        ca: path(ca)?,
        trust_domain: tls.trust_domain.clone(),
        own: own.to_owned(),
        services: SERVICES.map(str::to_owned).to_vec(),
    };
    Some(Tls::mutual(files, identities).with_context(|| {
        format!(
            "{}: [tls]: the certificate of {own} cannot be used (`pillion certs issue {own}` makes \
             one)",
            loaded.name
        )
    }))
}

/// What clients are shown, where something is configured.
pub(crate) fn public(loaded: &Loaded) -> Result<Option<Tls>> {
    let tls = &loaded.config.server.tls;
    let (Some(certificate), Some(key)) = (&tls.certificate, &tls.key) else {
        return Ok(None);
    };
    let files = TlsFiles { certificate: loaded.base.join(certificate), key: loaded.base.join(key) };
    let opened = Tls::public(files);
    let context = || format!("{}: [server.tls]: the certificate cannot be used", loaded.name);
    opened.with_context(context).map(Some)
}
