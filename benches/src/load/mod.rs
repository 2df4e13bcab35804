//! What the program `hubbub-load` does: drives a server from outside and measures what that costs the server.
//!
//! It counts the server's CPU and memory, not wall time, and checks while it measures: a figure taken while
//! something went wrong is no figure, and the run fails.
//!
//! [`wire`], [`dialect`], [`probe`] and [`ledger`] are pure; [`fleet`] holds the sockets; each mode is a file.

mod args;
mod backlog;
mod bus;
mod chaos;
mod dialect;
mod fanout;
mod fleet;
mod history;
mod idle;
mod ledger;
mod persist;
mod plateau;
mod probe;
mod progress;
mod rest;
mod resume;
mod rolling;
mod soak;
mod storm;
mod streams;
mod target;
mod usage;
mod wire;
mod worker;

use std::process::ExitCode;

use args::Failed;

/// The whole program.
pub fn main() -> ExitCode {
    match args::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed::Argument(problem)) => {
            eprintln!("error: {problem}");
            ExitCode::from(2)
        }
        Err(Failed::Run(problem)) => {
            eprintln!("error: {}", problem.trim_end());
            ExitCode::FAILURE
        }
    }
}
