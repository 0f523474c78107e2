//! What the contract's imports do natively: the same bounds and errors, in memory.

use std::fmt::Write as _;

use super::host;
use crate::metrics::Label;

/// A value of `kv` and when it goes, in microseconds since 1970.
pub(crate) struct Entry {
    value: Vec<u8>,
    until_us: Option<u64>,
}

pub(super) fn series(name: &str, labels: &[Label<'_>]) -> String {
    let mut labels: Vec<_> = labels.iter().map(|label| (label.name, label.value)).collect();
    labels.sort_unstable();
    labels.iter().fold(name.to_owned(), |mut series, (name, value)| {
        // Writing to a string cannot fail.
        let _ = write!(series, ",{name}={value}");
        series
    })
}

pub(crate) mod current {
    use super::host;

    pub(crate) fn field(name: &str) -> Option<Vec<u8>> {
        host(|host| host.fields.as_ref()?.get(name).cloned())
    }
}

pub(crate) mod log {
    use super::host;
    use crate::log::Level;

    pub(crate) fn log(level: Level, message: &str) {
        host(|host| host.logs.push((level, message.to_owned())));
    }
}

pub(crate) mod sink {
    use super::host;
    use crate::sink::SinkError;

    const LINE_BYTES_MAX: usize = 16 << 10;

    pub(crate) fn write(name: &str, line: &[u8]) -> Result<(), SinkError> {
        if line.len() > LINE_BYTES_MAX {
            return Err(SinkError::TooLarge);
        }
        if line.iter().any(|byte| *byte < b' ' && *byte != b'\t') {
            return Err(SinkError::Invalid);
        }
        host(|host| {
            if let Some(error) = host.sink_error {
                return Err(error);
            }
            host.lines.entry(name.to_owned()).or_default().push(line.to_vec());
            Ok(())
        })
    }
}

pub(crate) mod kv {
    use super::{Entry, host};
    use crate::{kv::KvError, testing::Host};

    const VALUE_BYTES_MAX: usize = 64 << 10;
    const TOTAL_BYTES_MAX: usize = 1 << 20;

    pub(crate) fn get(key: &str) -> Result<Option<Vec<u8>>, KvError> {
        with(key, |host| Ok(host.entries.get(key).map(|entry| entry.value.clone())))
    }

    pub(crate) fn set(key: &str, value: &[u8], ttl_ms: Option<u64>) -> Result<(), KvError> {
        with(key, |host| put(host, key, value, ttl_ms))
    }

    pub(crate) fn delete(key: &str) -> Result<bool, KvError> {
        with(key, |host| Ok(host.entries.remove(key).is_some()))
    }

    pub(crate) fn compare_and_swap(
        key: &str,
        expected: Option<&[u8]>,
        value: &[u8],
        ttl_ms: Option<u64>,
    ) -> Result<bool, KvError> {
        with(key, |host| {
            let present = host.entries.get(key).map(|entry| entry.value.as_slice());
            if present != expected {
                return Ok(false);
            }
            put(host, key, value, ttl_ms).map(|()| true)
        })
    }

    fn with<R>(
        key: &str,
        action: impl FnOnce(&mut Host) -> Result<R, KvError>,
    ) -> Result<R, KvError> {
        if key.is_empty() {
            return Err(KvError::TooLarge);
        }
        host(|host| {
            if let Some(error) = &host.kv_error {
                return Err(error.clone());
            }
            let now = host.now_us;
            host.entries.retain(|_, entry| entry.until_us.is_none_or(|until| now < until));
            action(host)
        })
    }

    fn put(host: &mut Host, key: &str, value: &[u8], ttl_ms: Option<u64>) -> Result<(), KvError> {
        if value.len() > VALUE_BYTES_MAX {
            return Err(KvError::TooLarge);
        }
        let others = host.entries.iter().filter(|(name, _)| *name != key);
        let total: usize = others.map(|(name, entry)| name.len() + entry.value.len()).sum();
        if total + key.len() + value.len() > TOTAL_BYTES_MAX {
            return Err(KvError::Full);
        }
        let until_us = ttl_ms.map(|ms| host.now_us.saturating_add(ms.saturating_mul(1_000)));
        host.entries.insert(key.to_owned(), Entry { value: value.to_vec(), until_us });
        Ok(())
    }
}

pub(crate) mod limiter {
    use super::host;
    use crate::limiter::{LimiterError, Verdict};

    pub(crate) fn gcra(key: &str, burst: u32, period_ms: u32) -> Result<Verdict, LimiterError> {
        host(|host| match &host.limiter_error {
            Some(error) => Err(error.clone()),
            None => host.quotas.gcra(host.now_us, key, burst, period_ms),
        })
    }

    pub(crate) fn window(key: &str, limit: u32, window_ms: u32) -> Result<Verdict, LimiterError> {
        host(|host| match &host.limiter_error {
            Some(error) => Err(error.clone()),
            None => host.quotas.window(host.now_us, key, limit, window_ms),
        })
    }
}

pub(crate) mod metrics {
    use super::{host, series};
    use crate::metrics::Label;

    pub(crate) fn counter(name: &str, labels: &[Label<'_>], add: u64) {
        let series = series(name, labels);
        host(|host| *host.counters.entry(series).or_default() += add);
    }

    pub(crate) fn gauge(name: &str, labels: &[Label<'_>], value: f64) {
        let series = series(name, labels);
        host(|host| host.gauges.insert(series, value));
    }

    pub(crate) fn histogram(name: &str, labels: &[Label<'_>], value: f64) {
        let series = series(name, labels);
        host(|host| host.histograms.entry(series).or_default().push(value));
    }
}

pub(crate) mod clock {
    use super::host;

    pub(crate) fn now() -> u64 {
        host(|host| host.now_us)
    }

    pub(crate) fn monotonic() -> u64 {
        host(|host| host.now_us.saturating_sub(crate::testing::START_US).saturating_mul(1_000))
    }
}

pub(crate) mod random {
    use super::host;

    const BYTES_MAX: u32 = 4_096;

    /// The same bytes in every run (`SplitMix64`), so that a test can be repeated.
    pub(crate) fn bytes(len: u32) -> Vec<u8> {
        assert!(len <= BYTES_MAX, "random::bytes({len}): at most {BYTES_MAX}, a host would trap");
        host(|host| {
            let mut bytes = Vec::with_capacity(len as usize);
            while bytes.len() < len as usize {
                host.random_state = host.random_state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut word = host.random_state;
                word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                bytes.extend_from_slice(&(word ^ (word >> 31)).to_le_bytes());
            }
            bytes.truncate(len as usize);
            bytes
        })
    }
}

pub(crate) mod crypto {
    use super::host;
    use crate::crypto::{Algorithm, VerifyError};

    pub(crate) fn verify(
        keyset: &str,
        kid: &str,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), VerifyError> {
        host(|host| {
            host.verifications += 1;
            let keys = host.keys.get(keyset).ok_or(VerifyError::NotGranted)?;
            let key = keys.get(kid).ok_or(VerifyError::UnknownKey)?;
            key.verify(algorithm, message, signature)
        })
    }
}

pub(crate) mod revocations {
    use super::host;

    pub(crate) fn revision() -> u64 {
        host(|host| host.revocations.len() as u64)
    }

    pub(crate) fn is_revoked(ids: &[&str]) -> bool {
        host(|host| {
            host.revocation_checks += 1;
            ids.iter().any(|id| host.revocations.contains(*id))
        })
    }
}
