//! Which statements something takes: `sql` tells of each as it runs.

use std::fmt::Debug;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::instrument::WithSubscriber as _;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Dispatch, Event, Metadata, Subscriber};

/// Where statements are told of.
const TARGET: &str = "pillion_chassis::sql";

/// Listeners that hear nothing. While there is but one, `tracing` goes by the thread that comes by
/// a statement first: when that is another test's, which listens to nothing, nobody is told.
static MORE_THAN_ONE: LazyLock<[Dispatch; 2]> =
    LazyLock::new(|| [(); 2].map(|()| Dispatch::new(Listener(Arc::default()))));

/// What something gives, and the statements that it ran on its way.
pub async fn statements<T>(of: impl Future<Output = T>) -> (T, Vec<String>) {
    LazyLock::force(&MORE_THAN_ONE);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let result = of.with_subscriber(Listener(seen.clone())).await;
    let statements = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
    (result, statements)
}

/// Keeps the statements.
struct Listener(Arc<Mutex<Vec<String>>>);

impl Subscriber for Listener {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        // Others listen at the same time, on other threads.
        if metadata.target() == TARGET { Interest::sometimes() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == TARGET
    }

    fn event(&self, event: &Event<'_>) {
        struct Sql<'s>(&'s mut Vec<String>);

        impl Visit for Sql<'_> {
            fn record_str(&mut self, field: &Field, value: &str) {
                if field.name() == "sql" {
                    self.0.push(value.to_owned());
                }
            }

            fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
        }

        event.record(&mut Sql(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner)));
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
