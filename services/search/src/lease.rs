//! An app's one place at a stream, among all processes of the service: a row that says which
//! connection has it, and until when. A process that is killed loses it by that.

use std::sync::Arc;
use std::time::Duration;

use pillion_chassis::{Clock, DatabaseError};

use crate::Search;
use crate::error::Error;
use crate::live::StreamKind;
use crate::store::{Store, StreamConnection};

/// How long a place is taken after its connection was seen last: three times as long as the pause
/// between two looks at it, and as long as an app has to wait after its process was killed.
const LEASE: Duration = Duration::from_secs(30);

/// A place, which is given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    store: Store,
    clock: Arc<dyn Clock>,
    connection: StreamConnection,
    is_over: bool,
}

impl Lease {
    /// Takes the place, for whoever has that of this process.
    pub(crate) async fn take(
        search: &Search,
        kind: StreamKind,
        client_id: &str,
    ) -> Result<Self, Error> {
        let connection = StreamConnection {
            client_id: client_id.to_owned(),
            kind: kind.as_str(),
            id: search.ids.next()?.cast_signed(),
            process: search.process,
        };
        let Search { store, clock, .. } = search.clone();
        let lease = Self { store, clock, connection, is_over: false };
        let (now, until) = lease.times();
        if lease.store.connect(&lease.connection, now, until).await? {
            Ok(lease)
        } else {
            Err(Error::TooManyConnections)
        }
    }

    /// Says that the connection is still there. It is not to be any more when another has its
    /// place: this process stood still for too long.
    pub(crate) async fn renew(&self) -> Result<bool, DatabaseError> {
        self.store.stay_connected(&self.connection, self.times().1).await
    }

    /// Gives the place back, before the client hears that it is.
    pub(crate) async fn end(&mut self) {
        self.is_over = true;
        disconnect(&self.store, &self.connection).await;
    }

    /// Now, and the end of a lease that begins now.
    fn times(&self) -> (i64, i64) {
        let now = self.clock.now().as_micros();
        (now, now.saturating_add(i64::try_from(LEASE.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Without a runtime the process is ending, and the lease ends by itself.
        if !self.is_over
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let (store, connection) = (self.store.clone(), self.connection.clone());
            runtime.spawn(async move { disconnect(&store, &connection).await });
        }
    }
}

async fn disconnect(store: &Store, connection: &StreamConnection) {
    if let Err(error) = store.disconnect(connection).await {
        let error = &error as &dyn std::error::Error;
        tracing::warn!(
            error,
            client_id = connection.client_id,
            "an app's place at a stream stays taken until its lease ends"
        );
    }
}
