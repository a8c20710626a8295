//! Floor 1: the words every other floor uses.

mod clock;
mod quantity;
mod reason;
mod secret;
mod tier;

pub use clock::Clock;
pub use quantity::{ByteRate, ByteSize, QuantityError, Rate, format_duration, parse_duration};
pub use reason::{Reason, RetryAfter, Row};
pub use secret::Secret;
pub use tier::{By, RouteId, Tier};
