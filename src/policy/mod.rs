//! Floor 4: decisions. Synchronous, without I/O, clock or metrics: time is an argument.

pub mod kill;
