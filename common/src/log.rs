//! Logs on standard output, for journald or a terminal.

use tracing_subscriber::EnvFilter;

/// `HUBBUB_LOG_FORMAT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Parses `HUBBUB_LOG`: a level, or `tracing` directives such as `info,hubbub_gateway=debug`.
pub fn parse_filter(directives: &str) -> Result<EnvFilter, String> {
    directives.parse::<EnvFilter>().map_err(|error| error.to_string())
}

/// Starts logging. Call once.
pub fn init(filter: EnvFilter, format: Format) {
    use std::io::IsTerminal as _;
    let builder = tracing_subscriber::fmt().with_env_filter(filter);
    match format {
        Format::Text => builder.with_ansi(std::io::stdout().is_terminal()).with_target(false).init(),
        Format::Json => builder.json().flatten_event(true).init(),
    }
}
