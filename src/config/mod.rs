//! Floor 6: from files to validated settings. Every error at once, each with its place.

mod settings;

pub use settings::{
    AccessLog, AdminSettings, HeaderEdits, HostRewrite, RespondSpec, RouteSettings, ServerSettings,
    Settings, Target, TelemetrySettings,
};
