//! The bus alone, through one Redis: runs the program that stands in `benches/bus` and hands its report on.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::peers::example;
use crate::stack::spawn;

/// What was measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Report {
    mode: String,
    messages: u64,
    seconds: f64,
    messages_per_s: f64,
    redis_cpu_us_per_message: f64,
    messages_per_redis_core_s: f64,
    gateway_cpu_us_per_message: f64,
    gateways: usize,
    lost: u64,
    doubled: u64,
    out_of_order: u64,
}

/// Runs it for so long.
pub(super) fn run(time: Duration) -> Result<Report, String> {
    let program = example("bus-load").map_err(|error| error.to_string())?;
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "--"]).arg(program).arg(time.as_secs().to_string());
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let output = spawn(command).and_then(std::process::Child::wait_with_output);
    let output = output.map_err(|error| format!("bus-load: {error}"))?;
    if !output.status.success() {
        return Err(format!("bus-load failed ({})", output.status));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("bus-load: {error}"))
}

impl Report {
    /// For people.
    pub(super) fn table(&self) -> String {
        format!(
            "two gateways, one Redis, 200-byte bodies: {:.0} messages/s, each to both\n\
             Redis: {:.2} us of CPU a message, so {:.0} a second for one Redis core; gateways: {:.2} us a message, both together\n",
            self.messages_per_s,
            self.redis_cpu_us_per_message,
            self.messages_per_redis_core_s,
            self.gateway_cpu_us_per_message,
        )
    }
}
