//! The subcommand `bench`.

use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};
use hubbub_common::config::{split_list, within};

use super::Options;

const RUNS_MAX: usize = 100;

/// The subcommand, to be added to a command line.
pub fn subcommand() -> Command {
    let text = |name: &'static str, value, help| Arg::new(name).long(name).value_name(value).help(help);
    let flag = |name: &'static str, help| Arg::new(name).long(name).num_args(0).help(help);
    Command::new("bench")
        .about("Runs every measurement several times, and writes the report, the raw results and the plots")
        .arg(text("runs", "N", "how many times; 1 with --quick").default_value("3"))
        .arg(flag("quick", "small and short, to see whether everything works; writes to target/bench-quick"))
        .arg(text("only", "CASES", "comma list of cases to run; a wrong name lists them").default_value(""))
        .arg(text("servers", "SERVERS", "comma list of servers to run").default_value(""))
        .arg(text("out", "FOLDER", "where RESULTS.md is; by default benches/ of the repository"))
        .arg(flag("report-only", "run nothing: write the report again from results.json"))
}

/// What the flags of [`subcommand`] say.
pub fn options(flags: &ArgMatches) -> Result<Options, String> {
    let text = |name: &str| flags.get_one::<String>(name).map(String::as_str).unwrap_or_default();
    let list = |name: &str| split_list(text(name)).map(str::to_owned).collect();
    let quick = flags.get_flag("quick");
    let runs = within(1..=RUNS_MAX)(text("runs")).map_err(|problem| format!("--runs: {problem}"))?;
    let runs_by_default = flags.value_source("runs") == Some(ValueSource::DefaultValue);
    let out = flags.get_one::<String>("out").map_or_else(|| folder(quick), PathBuf::from);
    Ok(Options {
        runs: if quick && runs_by_default { 1 } else { runs },
        quick,
        only: list("only"),
        servers: list("servers"),
        out,
        report_only: flags.get_flag("report-only"),
    })
}

fn folder(quick: bool) -> PathBuf {
    let benches = Path::new(env!("CARGO_MANIFEST_DIR"));
    if quick { benches.join("../target/bench-quick") } else { benches.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        options(&subcommand().get_matches_from(line.split_whitespace()))
    }

    #[test]
    fn flags_become_options() {
        let plain = parse("bench").unwrap();
        assert_eq!((plain.runs, plain.quick, plain.only.len()), (3, false, 0));
        assert!(plain.out.ends_with("benches"));
        let quick = parse("bench --quick").unwrap();
        assert!(quick.runs == 1 && quick.out.ends_with("target/bench-quick"));
        let some =
            parse("bench --quick --runs 2 --only light,bus --servers ws --out /x --report-only").unwrap();
        assert_eq!(
            (some.runs, some.only, some.servers),
            (2, vec!["light".into(), "bus".into()], vec!["ws".into()])
        );
        assert!(some.out == Path::new("/x") && some.report_only);
        assert!(parse("bench --runs 0").unwrap_err().starts_with("--runs: "));
    }
}
