//! Why a query is refused, and where.

/// What is wrong with a query, with what would be right, and the place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} (at position {position})")]
pub(crate) struct QueryError {
    /// Counted in characters (Unicode code points) from 1.
    pub(crate) position: usize,
    /// A sentence without its full stop.
    pub(crate) message: String,
}

impl QueryError {
    /// An error at the character with this index, counted from 0.
    pub(crate) fn at(index: usize, message: impl Into<String>) -> Self {
        Self { position: index + 1, message: message.into() }
    }
}
