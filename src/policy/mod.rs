//! Floor 4: decisions. Synchronous, without I/O, clock or metrics: time is an argument.
//!
//! `now` is monotonic time since a moment that stays the same while the process runs, above zero
//! (`vocab::Clock::uptime`); the kill switches go by the wall clock. Workers may disagree about
//! it a little, and give it out of order: each module says what that costs.

pub mod adaptive;
pub mod auto_kill;
pub mod balance;
pub mod breaker;
pub mod budget;
pub mod clause;
pub mod client_retries;
pub mod concurrency;
pub mod ending;
pub mod endpoint;
pub mod health;
pub mod history;
pub mod kill;
pub mod outcome;
pub mod outlier;
pub mod pace;
mod random;
pub mod rate;
pub mod retry;
pub mod rules;
pub mod share;
pub mod shed;
pub mod split;
pub mod trace;

#[cfg(test)]
mod samples;
