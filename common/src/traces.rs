//! Whether and where traces go (OpenTelemetry), and how much of what happens is traced.
//!
//! Off unless `HUBBUB_TRACES_URL` names a collector. What is traced is chosen at its beginning: a share of everything, or,
//! of what a caller began, whatever the caller chose. Spans are handed over by a thread of their own from a bounded
//! queue; a collector that is slow or away costs spans and nothing else.

#[cfg(feature = "traces")]
mod collector;
#[cfg(feature = "traces")]
mod process;

#[cfg(feature = "traces")]
pub use process::{attribute, begun_by, child, close, root, start, tracer};

use crate::config::read_share;
use crate::settings::{self as names, SettingError, Settings};

/// Where traces go.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceSettings {
    /// Of the collector, without the path of what it collects.
    pub url: String,
    /// Of what begins here, from 0 to 1.
    pub ratio: f64,
}

impl TraceSettings {
    /// What the settings say; nothing where nothing is traced.
    pub fn check(settings: &Settings) -> Result<Option<Self>, SettingError> {
        let ratio = settings.get(&names::TRACES_RATIO, read_share)?;
        let url = settings.optional(&names::TRACES_URL, |value| {
            let host = value.strip_prefix("http://").or_else(|| value.strip_prefix("https://"));
            let is_url = host
                .is_some_and(|host| !host.starts_with(['/', ':']) && !host.contains(['?', '#', '@', ' ']));
            if is_url && !value.ends_with("://") {
                Ok(value.trim_end_matches('/').to_owned())
            } else {
                Err("expected the address of a collector such as http://127.0.0.1:4318")
            }
        })?;
        Ok(url.map(|url| Self { url, ratio }))
    }
}
