//! `pillion certs`: an authority and certificates for a fleet of one's own. Who has an authority
//! already, such as cert-manager or SPIRE, needs none of it.

use std::path::Path;

use anyhow::{Context, Result, bail};
use pillion_chassis::{Clock as _, ServiceKeys, SystemClock, SystemRandom};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use time::{Duration, OffsetDateTime};

use crate::cli;
use crate::data::{keep_new_files_private, write_secret};
use crate::output::print;

/// Clocks of a fleet may be apart by less than this.
const BACKDATED: Duration = Duration::minutes(5);
const CA_CERTIFICATE: &str = "ca.pem";
const CA_KEY: &str = "ca.key";

/// Makes what the command says.
pub(crate) fn certs(certs: &cli::Certs) -> Result<()> {
    keep_new_files_private();
    match certs {
        cli::Certs::Init(init) => make_authority(init),
        cli::Certs::Issue(issue) => issue_all(issue),
        cli::Certs::ServiceKey { file } => {
            ServiceKeys::make(file, &SystemRandom)?;
            print(&format!(
                "{}: give every process of the deployment a copy, and name it as \
                 tokens.service_key",
                file.display()
            ))
        }
    }
}

fn make_authority(init: &cli::CertsInit) -> Result<()> {
    let certificate = init.dir.join(CA_CERTIFICATE);
    let key = init.dir.join(CA_KEY);
    for path in [&certificate, &key] {
        if path.exists() {
            bail!(
                "{} is there already, and certificates in use may be of it: move it away, or make \
                 another authority elsewhere with --dir DIR",
                path.display()
            );
        }
    }
    std::fs::create_dir_all(&init.dir)
        .with_context(|| format!("cannot make {}", init.dir.display()))?;
    let pair = KeyPair::generate().context("cannot make a key")?;
    let mut params = parameters(init.days, "Pillion authority")?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let made = params.self_signed(&pair).context("cannot sign the certificate")?;
    write_secret(&key, &pair.serialize_pem())?;
    write_secret(&certificate, &made.pem())?;
    print(&format!(
        "{}: for tls.ca, on every host\n{}: to issue with; keep it away from the hosts",
        certificate.display(),
        key.display()
    ))
}

fn issue_all(issue: &cli::CertsIssue) -> Result<()> {
    let read = |name: &str| {
        let path = issue.dir.join(name);
        std::fs::read_to_string(&path).with_context(|| {
            format!("cannot read {}; `pillion certs init` makes an authority", path.display())
        })
    };
    let pair = KeyPair::from_pem(&read(CA_KEY)?)
        .with_context(|| format!("{} holds no key", issue.dir.join(CA_KEY).display()))?;
    let authority = Issuer::from_ca_cert_pem(&read(CA_CERTIFICATE)?, pair).with_context(|| {
        format!("{} is no certificate of an authority", issue.dir.join(CA_CERTIFICATE).display())
    })?;
    for service in &issue.names {
        let [certificate, key] =
            ["pem", "key"].map(|kind| issue.dir.join(format!("{service}.{kind}")));
        let mut params = parameters(issue.days, service)?;
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        params.subject_alt_names = names(issue, service)?;
        let pair = KeyPair::generate().context("cannot make a key")?;
        let made = params.signed_by(&pair, &authority).context("cannot sign the certificate")?;
        write_secret(&key, &pair.serialize_pem())?;
        write_secret(&certificate, &made.pem())?;
        tell(&certificate, service, issue)?;
    }
    Ok(())
}

fn names(issue: &cli::CertsIssue, service: &str) -> Result<Vec<SanType>> {
    let uri = format!("spiffe://{}/{service}", issue.trust_domain);
    let text = |name: &str| {
        Ia5String::try_from(name.to_owned())
            .with_context(|| format!("`{name}` cannot be in a certificate"))
    };
    let mut names = vec![SanType::URI(text(&uri)?), SanType::DnsName(text(service)?)];
    for name in &issue.dns {
        names.push(SanType::DnsName(text(name)?));
    }
    names.extend(issue.ip.iter().copied().map(SanType::IpAddress));
    Ok(names)
}

fn parameters(days: u32, name: &str) -> Result<CertificateParams> {
    let mut params = CertificateParams::default();
    let now = i64::try_from(SystemClock.now().as_secs())?;
    let now = OffsetDateTime::from_unix_timestamp(now).context("the clock of this machine")?;
    params.not_before = now - BACKDATED;
    params.not_after =
        now.checked_add(Duration::days(days.into())).context("so many days cannot be written")?;
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}

fn tell(certificate: &Path, service: &str, issue: &cli::CertsIssue) -> Result<()> {
    print(&format!(
        "{}: spiffe://{}/{service}, for {} days",
        certificate.display(),
        issue.trust_domain,
        issue.days
    ))
}
