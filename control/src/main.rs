//! `hubbub-control`: the command line.

use std::process::ExitCode;

use clap::ArgMatches;
use hubbub_common::settings::{self, EXIT_BAD_SETTING, Settings, control};
use hubbub_control::config::{self, Config};
use hubbub_control::{Failed, migrate, room, serve, token, user};
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let matches = config::command().get_matches();
    match run(&matches) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            eprintln!("error: {failed}");
            match failed {
                Failed::Setting(_) | Failed::Argument(_) => ExitCode::from(EXIT_BAD_SETTING),
                Failed::Other(_) => ExitCode::FAILURE,
            }
        }
    }
}

fn run(matches: &ArgMatches) -> Result<(), Failed> {
    let Some((command, flags)) = matches.subcommand() else { return Ok(()) };
    let config = |used: &[_]| Config::check(&Settings::from_process_for(used, &control(), flags)?);
    match command {
        "migrate" => bring_up_to_date(&config(&settings::MIGRATE)?),
        "token" => token::print(&config(&settings::TOKEN)?, flags),
        "user" => user::run(config(&settings::USER)?, flags),
        "room" => room::run(config(&settings::USER)?, flags),
        _ => serve::serve(config(&control())?),
    }
}

#[expect(clippy::print_stdout, reason = "what the command tells")]
fn bring_up_to_date(config: &Config) -> Result<(), Failed> {
    serve::wait_for_postgres(config)?;
    let applied = migrate::run(&config.direct_database)
        .map_err(|error| Failed::Other(format!("migrations: {error}")))?;
    for name in &applied {
        println!("applied {name}");
    }
    if applied.is_empty() {
        println!("the schema is up to date");
    }
    Ok(())
}
