//! The hostile corpus: components that attack their host, as data, with one stated reaction each.
//! A referee tries them on a host; then all of them attack at once beside a healthy plugin.

#![expect(clippy::print_stdout, reason = "who runs it by hand reads what it found")]
#![expect(
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a suite that finds what it did not expect ends there, with the reason"
)]

mod case;
mod corpus;
mod isolation;
mod logs;
mod make;
mod pillion;
mod policies;
mod referee;
mod storm;
mod times;
