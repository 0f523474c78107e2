//! A plugin that misbehaves costs its own call and nothing else: the process lives, the next
//! request is fine, and the operator can see what happened.

#![expect(clippy::print_stdout, reason = "a suite that measures says what it has measured")]

mod at_load;
mod at_run;
mod breaker;
mod command_line;
mod completions;
mod composed;
mod contract;
mod guest;
mod state;
mod versions;
