//! What the program `hubbub-load` does: drives a gateway from outside and measures what that costs the server.
//!
//! It counts the server's CPU and memory, not wall time, and checks while it measures: a figure taken while
//! something went wrong is no figure. One mode so far, `idle`.

mod client;
mod idle;
mod server;

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command};
use hubbub_common::config::{split_list, within};

use crate::stack::{Stack, StackError};

/// Connections of one process: the open-file limit of the smallest machine that this is run on, with room.
const CONNECTIONS_MAX: usize = 1_000_000;

fn command() -> Command {
    let list = "comma list of numbers of connections to measure at, rising";
    let idle = Command::new("idle")
        .about("Opens connections, each joined to one room, and measures the gateway's memory for each")
        .arg(
            Arg::new("connections")
                .long("connections")
                .value_name("LIST")
                .default_value("5000,10000,19000")
                .help(list),
        )
        .arg(
            Arg::new("members")
                .long("members")
                .value_name("N")
                .default_value("100")
                .help("connections in a room"),
        )
        .arg(Arg::new("json").long("json").num_args(0).help("print JSON instead of a table"));
    Command::new("hubbub-load")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Drives a private gateway with the memory bus and measures what that costs it.")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(idle)
}

/// The whole program.
pub fn main() -> ExitCode {
    let matches = command().get_matches();
    let outcome = match matches.subcommand() {
        Some(("idle", flags)) => idle(flags),
        _ => Ok(()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed::Argument(problem)) => {
            eprintln!("error: {problem}");
            ExitCode::from(2)
        }
        Err(Failed::Run(problem)) => {
            eprintln!("error: {problem}");
            ExitCode::FAILURE
        }
    }
}

enum Failed {
    Argument(String),
    Run(String),
}

impl From<StackError> for Failed {
    fn from(error: StackError) -> Self {
        Self::Run(error.to_string())
    }
}

fn idle(flags: &ArgMatches) -> Result<(), Failed> {
    let text = |name: &str| flags.get_one::<String>(name).map(String::as_str).unwrap_or_default();
    let bad = |name: &str, problem: String| Failed::Argument(format!("--{name}: {problem}"));
    let steps: Result<Vec<usize>, String> =
        split_list(text("connections")).map(|step| within(1..=CONNECTIONS_MAX)(step)).collect();
    let steps = steps.map_err(|problem| bad("connections", problem))?;
    if !steps.is_sorted_by(|one, next| one < next) || steps.len() < 2 {
        return Err(bad("connections", "expected at least two numbers, rising".to_owned()));
    }
    let members = within(1..=CONNECTIONS_MAX)(text("members")).map_err(|problem| bad("members", problem))?;
    let connections_max = steps.last().copied().unwrap_or_default();
    // A core takes its share of connections only, and the kernel does not share them out evenly.
    let stack = Stack::builder()
        .without_redis()
        .without_haproxy()
        .gateways(1)
        .env("HUBBUB_HEARTBEAT_SECONDS", "3600")
        .start()?;
    let gateway = stack.gateway(0);
    let address: Option<SocketAddr> =
        gateway.url().strip_prefix("http://").and_then(|place| place.parse().ok());
    let (Some(address), Some(pid)) = (address, gateway.pid()) else {
        return Err(Failed::Run("the gateway ended".to_owned()));
    };
    let run = idle::Idle { address, pid, jwt_secret: stack.jwt_secret(), steps: &steps, members };
    let report = run.run().map_err(|problem| {
        Failed::Run(format!("at most {connections_max} connections: {problem}\n{}", gateway.log_tail()))
    })?;
    report.print(flags.get_flag("json"));
    Ok(())
}
