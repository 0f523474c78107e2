//! The gateway before peers that are made up, and before the real services.

mod calls;
mod contract;
mod fake;
mod forwarding;
mod hidden;
mod names;
mod real;
mod streams;

use pillion_chassis::testing::{Reply as Answer, send};
