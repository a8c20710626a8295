//! Floor 5: the services behind the gateway, their endpoints and connections.

mod spec;

pub use spec::{EndpointSpec, KeepaliveSpec, UpstreamSpec};
