//! What the behaviour tests stand on: the real binary, scripted upstreams, and a client that
//! sends exactly the bytes it is given.
//!
//! Everything is plain threads and sockets, so that no test shares a bug with the gateway's own
//! HTTP code. Nothing sleeps for a fixed time: tests wait for conditions.

#![allow(dead_code, unused_imports, unreachable_pub)]

mod archive;
mod assertions;
mod client;
mod config;
mod gateway;
mod metrics;
mod name_server;
pub mod replay;
mod upstream;
mod wait;
mod wire;

pub use archive::{Shelf, records, segments};
pub use assertions::{assert_killed, assert_passed, assert_refusal, reason_of};
pub use client::{Client, Response, ask, get, post};
pub use config::{Config, free_address};
pub use gateway::{Exit, Gateway, run_to_exit};
pub use metrics::Metrics;
pub use name_server::{Mood, NameServer};
pub use upstream::{Connection, Request, Upstream, answer};
pub use wait::{Gate, PATIENCE, StopAtEnd, holds_for, now, wait_for};
pub use wire::{End, Head};
