//! Floor 5: the services behind the gateway, their endpoints and connections.

mod balance;
mod body;
mod client;
mod endpoints;
mod fault;
mod kept;
mod lent;
mod limit;
mod origin;
mod pool;
mod progress;
mod slot;
mod spec;
mod target;

pub use balance::Aim;
pub use body::{BodyLimits, BoxError, RequestBody};
pub use client::{
    Client, ConnectError, Connection, Failure, InFlight, ResponseBody, ResponseFault, SendError,
    Terms,
};
pub use endpoints::{Endpoint, Upstream};
pub use fault::BodyFault;
pub use kept::Keeper;
pub use lent::{Lender, Tap};
pub use limit::{LINE_TIMEOUT, Limit};
pub use origin::{Change, Origin, Resolution};
pub use pool::Pool;
pub use progress::{Progress, Waiting};
pub use spec::{
    EndpointKind, EndpointSpec, HealthCheckSpec, KeepaliveSpec, UpstreamLimit, UpstreamSpec,
};
pub use target::Target;
