//! Floor 4: decisions. Synchronous, without I/O, clock or metrics: time is an argument.

pub mod clause;
pub mod ending;
pub mod kill;
pub mod pace;
pub mod rules;
pub mod share;
pub mod trace;

#[cfg(test)]
mod samples;
