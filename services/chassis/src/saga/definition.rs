//! How a saga is declared: its steps in their order, in one readable place.

use std::time::Duration;

/// A step before the pivot that has not come to its end by then is taken back.
const STEP_TIME_MAX: Duration = Duration::from_secs(30);

/// A transaction over several services: steps up to the pivot, each of which can be taken back,
/// and steps after it, each of which is tried until it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Saga {
    /// Its name among all sagas: `register_account`.
    pub name: &'static str,
    /// What it does, in this order.
    pub steps: &'static [Step],
}

/// A step of a [`Saga`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    pub(super) service: &'static str,
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) shows: &'static [&'static str],
    pub(super) former_name: Option<&'static str>,
    pub(super) time_max: Duration,
}

/// What a step is to its saga.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Compensated,
    Plain,
    Wait { due_field: &'static str, on_timer: OnTimer },
    Pivot,
    Retried,
}

/// What the end of a wait means when nobody ended it before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnTimer {
    /// The saga goes on.
    Proceed,
    /// The saga is taken back.
    Compensate,
}

impl Step {
    const fn new(service: &'static str, name: &'static str, kind: Kind) -> Self {
        Self { service, name, kind, shows: &[], former_name: None, time_max: STEP_TIME_MAX }
    }

    /// A step before the pivot that its service can take back.
    pub const fn compensated(service: &'static str, name: &'static str) -> Self {
        Self::new(service, name, Kind::Compensated)
    }

    /// A step before the pivot that leaves nothing to take back.
    pub const fn plain(service: &'static str, name: &'static str) -> Self {
        Self::new(service, name, Kind::Plain)
    }

    /// Waits for a signal, at most until the moment that the data has in `due_field`, in
    /// microseconds since 1970.
    pub const fn wait(name: &'static str, due_field: &'static str, on_timer: OnTimer) -> Self {
        Self::new("", name, Kind::Wait { due_field, on_timer })
    }

    /// The step that decides: it is refused, or there is no way back.
    pub const fn pivot(service: &'static str, name: &'static str) -> Self {
        Self::new(service, name, Kind::Pivot)
    }

    /// A step after the pivot: tried until it is done.
    pub const fn retried(service: &'static str, name: &'static str) -> Self {
        Self::new(service, name, Kind::Retried)
    }

    /// Members of the data that stand in the query of the call, where the plugins of the service
    /// can see them: `?username=ann`.
    #[must_use]
    pub const fn shows(self, fields: &'static [&'static str]) -> Self {
        Self { shows: fields, ..self }
    }

    /// The step had this name in builds whose sagas may still be on their way: it is the same step.
    #[must_use]
    pub const fn formerly(self, name: &'static str) -> Self {
        Self { former_name: Some(name), ..self }
    }

    /// How long the step may take with all its tries, when it stands before the pivot.
    #[must_use]
    pub const fn within(self, time_max: Duration) -> Self {
        Self { time_max, ..self }
    }

    /// `users.activate`; a wait has its own name only.
    pub(super) fn full_name(&self) -> String {
        self.full(self.name)
    }

    fn full(&self, name: &str) -> String {
        if self.service.is_empty() { name.to_owned() } else { format!("{}.{name}", self.service) }
    }

    /// Whether it has this full name, or had it.
    pub(super) fn is_called(&self, full_name: &str) -> bool {
        let mut names = std::iter::once(self.name).chain(self.former_name);
        names.any(|name| self.full(name) == full_name)
    }
}

impl Kind {
    /// What a participant is told.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Compensated => "compensated",
            Self::Plain => "plain",
            Self::Wait { .. } => "wait",
            Self::Pivot => "pivot",
            Self::Retried => "retried",
        }
    }
}

impl Saga {
    /// The index of the pivot; without one, behind the last step: everything can be taken back.
    pub(super) fn pivot(&self) -> usize {
        let is_pivot = |step: &Step| step.kind == Kind::Pivot;
        self.steps.iter().position(is_pivot).unwrap_or(self.steps.len())
    }

    /// The index of the step of this full name. It tells where a saga stands; a number would tell
    /// something else once a step was put in before.
    pub(super) fn index_of(&self, full_name: &str) -> Option<usize> {
        self.steps.iter().position(|step| step.is_called(full_name))
    }

    /// What is wrong with the declaration, if something is.
    pub fn flaw(&self) -> Option<&'static str> {
        let pivot = self.pivot();
        if self.steps.is_empty() {
            return Some("it has no steps");
        }
        for (index, step) in self.steps.iter().enumerate() {
            let is_named_before = |other: &Step| other.is_called(&step.full_name());
            if self.steps.iter().take(index).any(is_named_before) {
                return Some("two of its steps have the same name");
            }
            let is_behind = index > pivot;
            match step.kind {
                Kind::Pivot if is_behind => return Some("it has two pivots"),
                Kind::Compensated | Kind::Plain | Kind::Wait { .. } if is_behind => {
                    return Some("a step after its pivot is not a retried one");
                }
                Kind::Retried if !is_behind => {
                    return Some("a retried step stands before its pivot");
                }
                _ => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_stand_where_they_belong() {
        const A: Step = Step::compensated("a", "x");
        const B: Step = Step::pivot("b", "x");
        const C: Step = Step::retried("c", "x");
        const D: Step = Step::pivot("b", "y");
        let flaw = |steps: &'static [Step]| Saga { name: "s", steps }.flaw();
        assert_eq!(flaw(&[A, B, C]), None);
        assert_eq!(flaw(&[A]), None);
        assert_eq!(flaw(&[]), Some("it has no steps"));
        assert_eq!(flaw(&[A, A]), Some("two of its steps have the same name"));
        assert_eq!(flaw(&[A, C]), Some("a retried step stands before its pivot"));
        assert_eq!(flaw(&[B, A]), Some("a step after its pivot is not a retried one"));
        assert_eq!(flaw(&[B, D]), Some("it has two pivots"));
        assert_eq!(Saga { name: "s", steps: &[A, B, C] }.pivot(), 1);
        assert_eq!(Saga { name: "s", steps: &[A] }.pivot(), 1);
        assert_eq!((A.full_name(), B.kind.word()), ("a.x".to_owned(), "pivot"));
    }
}
