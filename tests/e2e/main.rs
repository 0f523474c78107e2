//! The system as its users meet it: `pillion up` as a process, real sockets, the real
//! components.

mod accounts;
mod bad_input;
mod operator;
mod rate_limits;
mod restart;
mod tokens;
mod tweets;
