//! The words of a database, as logs and people see them.

use std::fmt::{Debug, Display, Formatter, Result};

use sqlx::postgres::PgDatabaseError;

use super::TURN_TIME_MAX;

/// What a database or its client said, in words: of `PostgreSQL` the message and its SQLSTATE. By
/// itself the client adds a line number, which is one of the server's own source code.
pub struct Said(pub(super) sqlx::Error);

impl Said {
    pub(super) fn by_postgres(&self) -> Option<&PgDatabaseError> {
        self.0.as_database_error()?.try_downcast_ref()
    }
}

impl Display for Said {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match (self.by_postgres(), &self.0) {
            (Some(said), _) => write!(f, "{} (SQLSTATE {})", said.message(), said.code()),
            (None, sqlx::Error::PoolTimedOut) => {
                write!(f, "no connection was free or made within {TURN_TIME_MAX:?}")
            }
            (None, other) => Display::fmt(other, f),
        }
    }
}

impl Debug for Said {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "Said({self})")
    }
}

impl std::error::Error for Said {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // That of the server's words is the same, with the line number.
        if self.by_postgres().is_some() { None } else { self.0.source() }
    }
}
