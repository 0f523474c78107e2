//! The hostile corpus: components that attack their host, as data, with one stated reaction each.
//! A referee tries them on a host; then all of them attack at once beside a healthy plugin.

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
