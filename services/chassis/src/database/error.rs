//! Why a database cannot be opened, and why one that runs did not do what it was asked.

use std::io;

use http::StatusCode;
use sqlx::migrate::MigrateError;
use sqlx::postgres::PgDatabaseError;
use sqlx::sqlite::SqliteError;

use super::said::Said;
use crate::problem::Problem;
use crate::tls::{TlsError, advice};

/// Why a database cannot be used; each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file or its folder cannot be read and written.
    #[error(
        "cannot write the database {place}: its folder is missing, read-only or somebody else's; \
         make it writable or choose another with --data"
    )]
    NotWritable {
        /// The file.
        place: String,
        /// What `SQLite` says.
        #[source]
        source: Said,
    },
    /// The disk is full.
    #[error("the disk that holds the database {place} is full; make room and start again")]
    DiskFull {
        /// The file, or the server and database.
        place: String,
    },
    /// The URL says nothing that leads to a database.
    #[error(
        "the database URL is not one of PostgreSQL: {reason}; write \
         postgres://ROLE:PASSWORD@HOST:PORT/DATABASE"
    )]
    Url {
        /// What is wrong with it. Never the URL itself, which holds a password.
        reason: String,
    },
    /// The server is not there, or has too much to do.
    #[error(
        "cannot reach the database {place}: {source}; see that the server runs there and that this \
         machine may connect to it, or correct the address"
    )]
    Unreachable {
        /// The server and database.
        place: String,
        /// What went wrong.
        source: Said,
    },
    /// The server is there, and no TLS with it came about.
    #[error("cannot reach the database {place}: {source}; {advice}")]
    Tls {
        /// The server and database.
        place: String,
        /// What went wrong.
        source: Said,
        /// What to do.
        advice: &'static str,
    },
    /// The server is there and does not let us in.
    #[error("cannot enter the database {place}: {source}; {advice}")]
    Refused {
        /// The server and database.
        place: String,
        /// What it says.
        source: Said,
        /// What to do.
        advice: &'static str,
    },
    /// Something between us and the server shares its sessions, or does not pass on how they are
    /// to be set.
    #[error(
        "the database {place} is behind a connection pooler, such as PgBouncer, that {reason}: \
         connect to PostgreSQL itself; Pillion pools its connections, at most nine for each \
         service and process"
    )]
    Pooler {
        /// The server and database.
        place: String,
        /// What shows it.
        reason: String,
    },
    /// The files for TLS are not there, or not what they should be.
    #[error("cannot connect to the database: {0}")]
    Certificates(TlsError),
    /// Somebody else's tables are in it.
    #[error(
        "{place} is not one of Pillion's databases; move it away, or choose another folder with \
         --data or another database"
    )]
    Foreign {
        /// The file, or the server and database.
        place: String,
    },
    /// The schema is from the future.
    #[error(
        "the database {place} was written by a newer version of Pillion (it has migration \
         {migration}); run that version, or restore a backup from before the update"
    )]
    Newer {
        /// The file, or the server and database.
        place: String,
        /// The number of the migration that this build does not have.
        migration: i64,
    },
    /// The schema is from the past, and nobody said to bring it up to date.
    #[error(
        "the database {place} lacks migration {migration}; run `pillion migrate` with the same \
         configuration"
    )]
    Older {
        /// The file, or the server and database.
        place: String,
        /// The first missing migration.
        migration: i64,
    },
    /// The schema is not the one that this build made.
    #[error(
        "the database {place} belongs to another service, or to a build in which migration \
         {migration} was different; move it away or restore the right one"
    )]
    Different {
        /// The file, or the server and database.
        place: String,
        /// The number of the migration that differs.
        migration: i64,
    },
    /// A setting that the promises rest on did not take hold.
    #[error("the database {place} has {setting} = {found} instead of {expected}")]
    Setting {
        /// The file, or the server and database.
        place: String,
        /// The setting's name.
        setting: &'static str,
        /// Its value.
        found: String,
        /// What it must be.
        expected: &'static str,
    },
    /// Anything else.
    #[error("cannot open the database {place}")]
    Other {
        /// The file, or the server and database.
        place: String,
        /// What it says.
        #[source]
        source: Said,
    },
    /// A migration failed; the schema is as it was before it.
    #[error("cannot bring the database {place} up to date: migration {migration} failed")]
    Migration {
        /// The file, or the server and database.
        place: String,
        /// Its number.
        migration: i64,
        /// What went wrong.
        #[source]
        source: Said,
    },
    /// What the database says of its migrations cannot be.
    #[error("cannot bring the database {place} up to date")]
    Migrations {
        /// The file, or the server and database.
        place: String,
        /// What is wrong.
        #[source]
        source: MigrateError,
    },
}

impl OpenError {
    /// Whether the same may go well a little later without anybody's doing: the server starts
    /// late, or is busy.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

/// Why a running service's database did not do what it was asked. Nothing was written, but for
/// a commit that ended in [`DatabaseError::Unavailable`]: then nobody knows.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// Too many others are at it.
    #[error("the database is busy")]
    Busy(#[source] Said),
    /// The disk is full.
    #[error("the disk is full")]
    Full(#[source] Said),
    /// The disk does not read or write, or the server is not there.
    #[error("the database cannot be read or written")]
    Unavailable(#[source] Said),
    /// No new ids can be made: the number that tells this process's ids from those of others could
    /// not be renewed in time.
    #[error("the node number for new ids could not be renewed in the database")]
    NoNode,
    /// A text holds the character U+0000, which `PostgreSQL` cannot keep.
    #[error("a text holds the character U+0000, which no database keeps")]
    Nul,
    /// Anything else: our own mistake, or a damaged file.
    #[error("the database failed")]
    Failed(#[source] Said),
    /// A column holds what no column of ours should.
    #[error("the database holds {0}")]
    Corrupt(String),
}

impl DatabaseError {
    /// Whether the same may go well a little later without anybody's doing: what is asked is
    /// not at fault.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Busy(_) | Self::Full(_) | Self::Unavailable(_) | Self::NoNode)
    }

    /// Whether a row like that is there already.
    pub fn is_duplicate(&self) -> bool {
        matches!(self, Self::Failed(Said(error))
            if error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation))
    }
}

/// `SQLite`'s primary result codes that call for an answer of their own.
mod code {
    pub(super) const BUSY: u32 = 5;
    pub(super) const LOCKED: u32 = 6;
    pub(super) const READONLY: u32 = 8;
    pub(super) const IOERR: u32 = 10;
    pub(super) const FULL: u32 = 13;
    pub(super) const CANTOPEN: u32 = 14;
    pub(super) const NOTADB: u32 = 26;
}

/// What kind of failure it is, whichever database says so.
enum Kind {
    Busy,
    Full,
    NotWritable,
    Foreign,
    Unavailable,
    Nul,
    Other,
}

fn kind_of(error: &sqlx::Error) -> Kind {
    let Some(database) = error.as_database_error() else {
        return match error {
            sqlx::Error::PoolTimedOut => Kind::Busy,
            sqlx::Error::PoolClosed
            | sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::WorkerCrashed => Kind::Unavailable,
            _ => Kind::Other,
        };
    };
    let code = database.code().unwrap_or_default();
    if database.try_downcast_ref::<PgDatabaseError>().is_some() {
        return postgres_kind(&code);
    }
    // The primary result code is the lower eight bits.
    match code.parse::<u32>().map(|extended| extended & 0xff) {
        Ok(code::BUSY | code::LOCKED) => Kind::Busy,
        Ok(code::FULL) => Kind::Full,
        Ok(code::CANTOPEN | code::READONLY) => Kind::NotWritable,
        Ok(code::IOERR) => Kind::Unavailable,
        Ok(code::NOTADB) => Kind::Foreign,
        _ => Kind::Other,
    }
}

/// By `PostgreSQL`'s error codes (its manual, appendix A).
fn postgres_kind(code: &str) -> Kind {
    match code {
        "53100" => Kind::Full,
        // Too many connections; a lock or a statement that took too long; others were first.
        "53300" | "53400" | "55P03" | "57014" | "40001" | "40P01" | "25P03" => Kind::Busy,
        "25006" => Kind::NotWritable,
        // U+0000 as it is, and as an escape in JSON.
        "22021" | "22P05" => Kind::Nul,
        // It stops, has crashed, or is not up yet; its disk fails.
        _ if code.starts_with("08") || code.starts_with("57P") || code.starts_with("58") => {
            Kind::Unavailable
        }
        _ => Kind::Other,
    }
}

/// What to do about a server that does not let us in, by its error code.
fn refusal(code: &str) -> Option<&'static str> {
    Some(match code {
        "28P01" | "28000" => {
            "correct the role and the password in its URL, or the server's pg_hba.conf"
        }
        "3D000" => "make the database, or correct its name in the URL",
        "42501" => "make the role the owner of the database, or correct the role in its URL",
        _ => return None,
    })
}

pub(super) fn open_error(place: &str, error: sqlx::Error) -> OpenError {
    let place = place.to_owned();
    let kind = kind_of(&error);
    let is_of_file = (error.as_database_error())
        .is_some_and(|it| it.try_downcast_ref::<SqliteError>().is_some());
    let advised = advice(&error.to_string()).or_else(|| tls_advice(&error));
    let source = Said(error);
    if let Some(advice) = advised {
        return OpenError::Tls { place, source, advice };
    }
    if let Some(advice) = source.by_postgres().and_then(|said| refusal(said.code())) {
        return OpenError::Refused { place, source, advice };
    }
    if let Some(reason) = pooler(&source) {
        return OpenError::Pooler { place, reason };
    }
    match kind {
        Kind::NotWritable => OpenError::NotWritable { place, source },
        Kind::Full => OpenError::DiskFull { place },
        Kind::Foreign => OpenError::Foreign { place },
        Kind::Unavailable | Kind::Busy if !is_of_file => OpenError::Unreachable { place, source },
        Kind::Unavailable | Kind::Busy | Kind::Nul | Kind::Other => {
            OpenError::Other { place, source }
        }
    }
}

/// What a pooler does that makes it say this; a server says nothing of the kind.
fn pooler(said: &Said) -> Option<String> {
    let error = said.by_postgres()?;
    if error.message().contains("unsupported startup parameter") {
        return Some(format!("refuses the settings of a session ({})", error.message()));
    }
    // A prepared statement that is there already, or gone: each session has its own.
    matches!(error.code(), "42P05" | "26000")
        .then(|| format!("shares sessions between connections ({})", error.message()))
}

/// For what went wrong with TLS in words that are not known.
fn tls_advice(error: &sqlx::Error) -> Option<&'static str> {
    let is_of_tls = match error {
        sqlx::Error::Tls(_) => true,
        // What a server that speaks something else, or a wrong version, comes to.
        sqlx::Error::Io(error) => error.kind() == io::ErrorKind::InvalidData,
        _ => false,
    };
    is_of_tls.then_some("look at the server's settings for TLS, and into its log")
}

/// A file beside a database that cannot be made or locked.
pub(crate) fn file_error(place: &str, error: io::Error) -> OpenError {
    OpenError::NotWritable { place: place.to_owned(), source: Said(error.into()) }
}

pub(crate) fn migration_error(place: &str, error: MigrateError) -> OpenError {
    let named = || place.to_owned();
    match error {
        MigrateError::VersionMissing(migration) => OpenError::Newer { place: named(), migration },
        MigrateError::VersionMismatch(migration) => {
            OpenError::Different { place: named(), migration }
        }
        MigrateError::ExecuteMigration(source, migration)
            if matches!(kind_of(&source), Kind::Other | Kind::Busy) =>
        {
            OpenError::Migration { place: named(), migration, source: Said(source) }
        }
        MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _) => {
            open_error(place, source)
        }
        source => OpenError::Migrations { place: named(), source },
    }
}

impl From<sqlx::Error> for DatabaseError {
    fn from(error: sqlx::Error) -> Self {
        let kind = kind_of(&error);
        let said = Said(error);
        match kind {
            Kind::Busy => Self::Busy(said),
            Kind::Full => Self::Full(said),
            Kind::Unavailable | Kind::NotWritable => Self::Unavailable(said),
            Kind::Nul => Self::Nul,
            Kind::Foreign | Kind::Other => Self::Failed(said),
        }
    }
}

impl From<DatabaseError> for Problem {
    fn from(error: DatabaseError) -> Self {
        /// A turn comes soon.
        const BUSY_RETRY_AFTER_S: u32 = 1;
        /// A server that restarts needs some seconds.
        const UNAVAILABLE_RETRY_AFTER_S: u32 = 5;
        /// Somebody has to make room first.
        const FULL_RETRY_AFTER_S: u32 = 30;
        match &error {
            DatabaseError::Busy(_) => {
                let detail = "The database is busy and nothing was changed; try again.";
                Self::unavailable(detail, BUSY_RETRY_AFTER_S)
            }
            DatabaseError::Full(_) => {
                let detail = "The disk is full and nothing was changed; try again later.";
                Self::unavailable(detail, FULL_RETRY_AFTER_S)
            }
            DatabaseError::Unavailable(_) => {
                let detail = "The database cannot be used now. If this was a write, read first \
                              whether it was done before you try again.";
                Self::unavailable(detail, UNAVAILABLE_RETRY_AFTER_S)
            }
            DatabaseError::NoNode => {
                let detail = "New ids cannot be made now and nothing was changed; try again.";
                Self::unavailable(detail, UNAVAILABLE_RETRY_AFTER_S)
            }
            DatabaseError::Nul => {
                let detail = "The request holds the character U+0000, which no text may hold; \
                              nothing was changed.";
                return Self::plain(StatusCode::BAD_REQUEST, detail);
            }
            DatabaseError::Failed(_) | DatabaseError::Corrupt(_) => return Self::internal(&error),
        }
        .caused_by(&error)
    }
}
