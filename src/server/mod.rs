//! Floor 9: sockets, connections and workers.

mod conn;
mod drain;
mod guard;
mod io;
mod linger;
mod listen;
mod shard;

pub use drain::{Ending, Signals, drain};
pub use listen::{BindError, Listeners, bind, bind_plain};
pub use shard::{Server, start};
