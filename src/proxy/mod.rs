//! Floor 8: the walk of a request, from its head to the end of its response.

mod absorb;
mod admission;
mod aim;
mod archive;
mod attempt;
mod breaker;
mod budget;
mod correlation;
mod displaced;
mod examine;
mod exchange;
mod failure;
mod forward;
mod gateway;
mod handle;
mod headers;
mod hop;
mod learn;
mod observe;
mod peer;
mod record;
mod refusal;
mod repeated;
mod reply;
mod resend;
mod retry;
mod switch;
mod worker;

pub(crate) use examine::examine;
pub use gateway::{Gateway, serve};
pub(crate) use headers::client_ip;
pub use peer::Peer;
pub use refusal::raw_refusal;
pub use reply::ReplyBody;
pub use worker::{View, Worker};
