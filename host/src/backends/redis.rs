//! `kv` and `limiter` in Redis or Valkey: one connection on which commands are pipelined, and a
//! script for each change, so that it is atomic however many hosts share the server.
//!
//! All names of one plugin share a hash tag. Limits are as durable as the server is: one that
//! restarts empty, or fails over to a replica that lags, begins the windows anew.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ErrorKind, RedisError, Script,
    TlsCertificates,
};

use super::{
    Access, Accessed, Condition, Failure, FailureKind, Operation, Quota, Take, Taken, Uses,
    bounded_ttl,
};
use crate::error::HostError;
use crate::kv::cost;
use crate::limiter::{Verdict, Window};
use crate::options::RedisTls;

/// Before every name.
const PREFIX: &str = "pillion:";

/// Plugin and key of a probe's commands; no plugin can have this name.
const PROBE: &str = "!probe";

/// A window that is over when the next probe comes, so that each of them writes.
const PROBE_WINDOW: Window = Window { limit: u32::MAX, length: 1_000_000 };

/// Whether this is a URL that [`Redis::open`] takes. Never repeats it: it may hold a password.
pub(crate) fn check_url(url: &str) -> Result<(), String> {
    let client = Client::open(url).map_err(|error| {
        format!(
            "not the URL of a Redis ({}): write redis://[user:password@]HOST:PORT[/DATABASE], or \
             rediss:// for TLS",
            error.category()
        )
    })?;
    match client.get_connection_info().addr() {
        ConnectionAddr::TcpTls { insecure: true, .. } => {
            Err("TLS without a look at the certificate keeps nobody out: leave #insecure away, \
                 and name the certificate's authority"
                .to_owned())
        }
        _ => Ok(()),
    }
}

#[derive(Debug)]
pub(super) struct Redis {
    client: Client,
    tls: Option<RedisTls>,
    config: AsyncConnectionConfig,
    connection: Mutex<Option<MultiplexedConnection>>,
    gcra: Script,
    window: Script,
    set: Script,
    delete: Script,
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        let kind = match error.kind() {
            _ if error.is_unrecoverable_error() || error.is_io_error() => FailureKind::Gone,
            // What is under this key is not what a script expects; others are.
            _ if error.to_string().contains("WRONGTYPE") => FailureKind::Call,
            ErrorKind::UnexpectedReturnType => FailureKind::Call,
            // The server answers, but does not execute commands: LOADING, READONLY, OOM, NOPERM,
            // MISCONF, MOVED, CLUSTERDOWN and whatever else it will refuse the next one with.
            ErrorKind::Server(_) | ErrorKind::Extension => FailureKind::Refused,
            _ => FailureKind::Gone,
        };
        // With the server's own code, by which operators look it up.
        let reason = match (error.code(), error.detail()) {
            (Some(code), Some(detail)) => format!("{code} {detail}"),
            (Some(code), None) => code.to_owned(),
            (None, _) => error.to_string(),
        };
        let reason = match remedy(&error).or_else(|| advice(&reason)) {
            Some(advice) => format!("{reason}; {advice}"),
            None => reason,
        };
        Self { reason, kind }
    }
}

impl Redis {
    pub(super) fn open(url: &str, tls: &RedisTls) -> Result<Self, HostError> {
        let client = Client::open(url)
            .map_err(|_| HostError::State(check_url(url).err().unwrap_or_default()))?;
        // Whoever calls keeps the time.
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let secured = matches!(client.get_connection_info().addr(), ConnectionAddr::TcpTls { .. });
        Ok(Self {
            client,
            tls: secured.then(|| tls.clone()),
            config,
            connection: Mutex::default(),
            gcra: Script::new(concat!(include_str!("limiter.lua"), include_str!("gcra.lua"))),
            window: Script::new(concat!(include_str!("limiter.lua"), include_str!("window.lua"))),
            set: Script::new(concat!(include_str!("kv.lua"), include_str!("kv_set.lua"))),
            delete: Script::new(concat!(include_str!("kv.lua"), include_str!("kv_delete.lua"))),
        })
    }

    /// The address and the number of the database.
    pub(super) fn place(&self) -> String {
        let info = self.client.get_connection_info();
        format!("{}/{}", info.addr(), info.redis_settings().db())
    }

    /// Whether it is not connected, and TLS is how it would be.
    pub(super) fn begins_with_tls(&self) -> bool {
        self.tls.is_some() && self.connection().is_err()
    }

    /// For one connection, with the certificates that are in the files now.
    fn client(&self) -> Result<Client, Failure> {
        let Some(tls) = &self.tls else {
            return Ok(self.client.clone());
        };
        // Some kilobytes from a disk, on a thread of their own.
        let read = |path: &Path| {
            std::fs::read(path).map_err(|error| Failure {
                reason: format!("cannot read {}: {error}", path.display()),
                kind: FailureKind::Gone,
            })
        };
        let client_tls = match &tls.client {
            Some((certificate, key)) => {
                Some(ClientTlsConfig { client_cert: read(certificate)?, client_key: read(key)? })
            }
            None => None,
        };
        let certificates =
            TlsCertificates { client_tls, root_cert: tls.ca.as_deref().map(read).transpose()? };
        Ok(Client::build_with_tls(self.client.get_connection_info().clone(), certificates)?)
    }

    fn connection(&self) -> Result<MultiplexedConnection, Failure> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        connection.clone().ok_or_else(|| Failure {
            reason: "not connected yet".to_owned(),
            kind: FailureKind::Gone,
        })
    }

    /// Drops the connection, so that the next probe makes a new one.
    pub(super) fn disconnect(&self) {
        *self.connection.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Connects if it is not connected, and has it execute what calls need: one that answers a
    /// PING may refuse everything else.
    pub(super) async fn probe(&self, uses: Uses) -> Result<(), Failure> {
        let mut connection = match self.connection() {
            Ok(connection) => connection,
            Err(_) => self.open_connection().await?,
        };
        if uses.limiter {
            let take = Take {
                plugin: Arc::from(PROBE),
                key: PROBE.to_owned(),
                quota: Quota::Window(PROBE_WINDOW),
                keys_max: 1,
            };
            self.take_on(&mut connection, &take).await?;
        }
        if uses.kv {
            let operation = Operation::Set {
                value: Vec::new(),
                ttl_ms: None,
                bytes_max: usize::MAX >> 12,
                condition: Condition::Anything,
            };
            for operation in [operation, Operation::Get, Operation::Delete] {
                let access = Access { plugin: Arc::from(PROBE), key: PROBE.to_owned(), operation };
                self.access_on(&mut connection, &access).await?;
            }
        }
        *self.connection.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection);
        Ok(())
    }

    /// A new connection, to a server that is no node of a cluster.
    async fn open_connection(&self) -> Result<MultiplexedConnection, Failure> {
        let connecting = self.connect(&self.client()?).await;
        let mut connection = connecting.map_err(|error| {
            let is_closed = self.tls.is_none() && error.is_connection_dropped();
            let mut failure = Failure::from(error);
            if is_closed {
                failure.reason += "; a server that wants TLS is at rediss://";
            }
            failure
        })?;
        refuse_cluster(&mut connection).await?;
        Ok(connection)
    }

    async fn connect(&self, client: &Client) -> Result<MultiplexedConnection, RedisError> {
        let mut connection =
            client.get_multiplexed_async_connection_with_config(&self.config).await?;
        let _pong: String = redis::cmd("PING").query_async(&mut connection).await?;
        Ok(connection)
    }

    pub(super) async fn take(&self, take: &Take) -> Result<Taken, Failure> {
        self.take_on(&mut self.connection()?, take).await
    }

    async fn take_on(
        &self,
        connection: &mut MultiplexedConnection,
        take: &Take,
    ) -> Result<Taken, Failure> {
        let Take { plugin, key, quota, keys_max } = take;
        // A bucket and a window of the same key are two cells.
        let (script, cell) = match quota {
            Quota::Bucket(_) => (&self.gcra, format!("g:{key}")),
            Quota::Window(_) => (&self.window, format!("w:{key}")),
        };
        let mut invocation = script.prepare_invoke();
        invocation
            .key(format!("{PREFIX}{{{plugin}}}:limiter:{cell}"))
            .key(format!("{PREFIX}{{{plugin}}}:limiter"))
            .arg(cell)
            .arg(keys_max);
        match quota {
            Quota::Bucket(bucket) => invocation.arg(bucket.increment).arg(bucket.capacity),
            Quota::Window(window) => invocation.arg(window.limit).arg(window.length / 1_000),
        };
        let answer: Vec<i64> = invocation.invoke_async(connection).await?;
        match *answer {
            [allowed, remaining, reset, retry_after, keys] => Ok(Taken::Judged {
                verdict: Verdict {
                    allowed: allowed == 1,
                    remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
                    reset: nanos(reset),
                    retry_after: nanos(retry_after),
                },
                keys: keys.unsigned_abs(),
            }),
            [-1] => Ok(Taken::Full),
            _ => Err(unexpected(&answer)),
        }
    }

    pub(super) async fn access(&self, access: &Access) -> Result<Accessed, Failure> {
        self.access_on(&mut self.connection()?, access).await
    }

    async fn access_on(
        &self,
        connection: &mut MultiplexedConnection,
        access: &Access,
    ) -> Result<Accessed, Failure> {
        let Access { plugin, key, operation } = access;
        let value_key = format!("{PREFIX}{{{plugin}}}:kv:value:{key}");
        let script = match operation {
            Operation::Get => {
                let value = redis::cmd("GET").arg(value_key).query_async(connection).await?;
                return Ok(Accessed::Value(value));
            }
            Operation::Delete => &self.delete,
            Operation::Set { .. } => &self.set,
        };
        let mut call = script.prepare_invoke();
        call.key(value_key);
        for name in ["costs", "expiries", "bytes"] {
            call.key(format!("{PREFIX}{{{plugin}}}:kv:{name}"));
        }
        call.arg(key);
        if let Operation::Set { value, ttl_ms, bytes_max, condition } = operation {
            let ttl = bounded_ttl(*ttl_ms).map(|ttl_ms| ttl_ms.to_string()).unwrap_or_default();
            call.arg(value).arg(cost(key, value)).arg(bytes_max).arg(ttl);
            match condition {
                Condition::Anything => call.arg("").arg(""),
                Condition::Nothing => call.arg("absent").arg(""),
                Condition::Equal(expected) => call.arg("equal").arg(expected),
            };
        }
        let answer: Vec<i64> = call.invoke_async(connection).await?;
        match *answer {
            [done, bytes] => Ok(Accessed::Changed { done: done == 1, bytes: bytes.unsigned_abs() }),
            [-1] => Ok(Accessed::Full),
            _ => Err(unexpected(&answer)),
        }
    }
}

/// Refuses a node of a Redis Cluster: it would refuse most keys, and the scripts' keys belong to
/// one server.
async fn refuse_cluster(connection: &mut MultiplexedConnection) -> Result<(), Failure> {
    let info: Result<String, RedisError> =
        redis::cmd("INFO").arg("cluster").query_async(connection).await;
    // A user without the right to ask: the commands of a probe show what is wrong.
    let Ok(info) = info else { return Ok(()) };
    if !info.lines().any(|line| line.trim() == "cluster_enabled:1") {
        return Ok(());
    }
    let reason = "is a node of a Redis Cluster, which is not supported: use a Redis or Valkey with                   `cluster-enabled no`, whose one server has the state of all plugins";
    Err(Failure { reason: reason.to_owned(), kind: FailureKind::Unsupported })
}

/// What to do about a command that the server refused with this code.
fn remedy(error: &RedisError) -> Option<&'static str> {
    // Old servers put the code of a script's command into the text of another error.
    const REMEDIES: [(&str, &str); 8] = [
        (
            "NOPERM",
            "its user needs EVAL, EVALSHA, SCRIPT LOAD and what the scripts call, on keys \
             `pillion:*`",
        ),
        ("OOM", "it has no memory left: raise its `maxmemory`, or delete what is not needed"),
        ("READONLY", "it is a replica: name the primary"),
        ("MISCONF", "it cannot write its snapshot: see its log and disk"),
        ("MOVED", "it is a node of a Redis Cluster, which is not supported"),
        ("CLUSTERDOWN", "it is a node of a Redis Cluster, which is not supported"),
        ("LOADING", "it is loading its data set"),
        ("unknown command", "it does not have the commands that are needed: EVAL, EVALSHA, SCRIPT"),
    ];
    if error.is_io_error() {
        return None;
    }
    let (code, text) = (error.code().unwrap_or_default(), error.to_string());
    let matches = |word: &str| code == word || text.contains(word);
    REMEDIES.iter().find(|(word, _)| matches(word)).map(|(_, remedy)| *remedy)
}

/// What to do about a connection that failed in these words, where TLS was why.
fn advice(error: &str) -> Option<&'static str> {
    const ADVICE: [(&[&str], &str); 6] = [
        (
            &["UnknownIssuer", "BadSignature"],
            "its certificate is of another authority than the one that is configured: \
             tls.servers.ca, else tls.ca",
        ),
        (
            &["not valid for name"],
            "connect by a name that its certificate has, or issue it one with this name",
        ),
        (&["certificate expired"], "replace its certificate, or look at the clocks"),
        (&["InvalidContentType"], "it does not speak TLS there: switch it on, or write redis://"),
        (
            &["CertificateRequired"],
            "it wants to see a certificate: tls.servers.certificate and tls.servers.key",
        ),
        (&["UnknownCA"], "it refuses our certificate: its log says why"),
    ];
    let said = |words: &&[&str]| words.iter().any(|word| error.contains(word));
    ADVICE.iter().find(|(words, _)| said(words)).map(|(_, advice)| *advice)
}

fn nanos(number: i64) -> Duration {
    Duration::from_nanos(number.unsigned_abs())
}

fn unexpected(answer: &[i64]) -> Failure {
    Failure { reason: format!("its script answered {answer:?}"), kind: FailureKind::Call }
}
