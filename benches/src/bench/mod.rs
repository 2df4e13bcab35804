//! What `hubbub-load bench` does: runs the load program again and again, one command for each server of each case,
//! and makes a report of what it says.
//!
//! [`flags`] → [`mod@cases`] → here → [`child`] → [`results`] → [`rows`], [`judge`] → [`report`], [`plot`].
//! Only this module, [`child`] and [`machine`] do anything; the others turn values into values.
//!
//! A number in the report was measured: a command that fails leaves a row that says so. There are no retries and
//! no outliers removed.

mod case;
mod cases;
mod child;
mod figure;
mod flags;
mod judge;
mod machine;
mod plot;
mod progress;
mod report;
mod results;
mod rows;
mod spread;
mod targets;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use hubbub_common::clock::{Monotonic, now_ms};

pub use flags::{options, subcommand};

use case::{Arm, Case, chosen};
use cases::cases;
use child::{Program, Stop};
use figure::number;
use machine::{Machine, commit};
use progress::Progress;
use results::{Head, Outcome, Record, Results, Session};

/// What to measure, and where the results go.
#[derive(Debug, Clone)]
pub struct Options {
    /// How often each command is run.
    pub runs: usize,
    /// Small and short, to see whether everything works.
    pub quick: bool,
    /// Names of cases; empty for all.
    pub only: Vec<String>,
    /// Names of servers; empty for all.
    pub servers: Vec<String>,
    /// The folder of `RESULTS.md`, `results.json` and `plots/`.
    pub out: PathBuf,
    /// Whether nothing is run, and the report written from the results there are.
    pub report_only: bool,
}

/// Measures, and writes the report after each run of all commands. An error when anything failed or was interrupted;
/// a target that was missed is none.
pub fn run(options: Options) -> Result<(), String> {
    let path = std::env::current_exe().map_err(|error| format!("the running program's path: {error}"))?;
    Bench { program: Program { path, leading: Vec::new() }, options }.run()
}

struct Bench {
    program: Program,
    options: Options,
}

impl Bench {
    fn run(&self) -> Result<(), String> {
        let options = &self.options;
        let cases = chosen(cases(options.quick), &options.only, &options.servers)?;
        let before = self.results_before()?;
        if options.report_only {
            self.write(&before)?;
            return conclude(&before);
        }
        if before.sessions.iter().any(|session| session.head.quick != options.quick) {
            let other = if options.quick { "full" } else { "quick" };
            let folder = options.out.display();
            return Err(format!("the results in {folder} are of a {other} run: choose another --out"));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("the runtime: {error}"))?;
        let mut session = Session { head: head(options), records: Vec::new() };
        let mut progress = Progress::new(&cases, options.runs);
        eprintln!("{}; results go to {}", progress.estimate(), options.out.display());
        for run in 1..=options.runs {
            let Some(records) = runtime.block_on(self.round(&cases, run, &mut progress))? else {
                return Err(format!("interrupted; complete runs that were written: {}", run - 1));
            };
            session.records.extend(records);
            self.write(&before.with(session.clone()))?;
        }
        conclude(&Results { sessions: vec![session] })
    }

    /// Every command once: all servers of a case, then the next case. `None` when interrupted.
    async fn round(
        &self,
        cases: &[Case],
        run: usize,
        progress: &mut Progress,
    ) -> Result<Option<Vec<Record>>, String> {
        let mut stop = Stop::new()?;
        let mut records = Vec::new();
        for case in cases {
            for arm in &case.arms {
                let clock = Monotonic::start();
                let outcome = self.program.run(&arm.arguments, arm.expected, stop.asked()).await?;
                let Some(outcome) = outcome else { return Ok(None) };
                progress.step(arm.expected, clock.elapsed());
                eprintln!("{}", progress.line(run, case.name, &arm.label(), &summary(case, &outcome)));
                records.push(record(case, arm, run, clock.elapsed().as_secs_f64(), outcome));
            }
        }
        Ok(Some(records))
    }

    fn results_before(&self) -> Result<Results, String> {
        let path = self.options.out.join("results.json");
        let results = read(&path)?.map_or_else(|| Ok(Results::default()), |text| Results::parse(&text));
        results.map_err(|error| format!("{}: {error}", path.display()))
    }

    /// The whole report.
    fn write(&self, results: &Results) -> Result<(), String> {
        let out = &self.options.out;
        let plots = out.join("plots");
        fs::create_dir_all(&plots).map_err(|error| format!("{}: {error}", plots.display()))?;
        let put = |path: PathBuf, text: &str| {
            fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
        };
        put(out.join("results.json"), &results.to_json()?)?;
        let charts = plot::charts(results);
        for chart in &charts {
            put(plots.join(chart.file), &plot::draw(chart)?)?;
        }
        let report = out.join("RESULTS.md");
        let existing = read(&report)?;
        let cases = cases(results.sessions.iter().any(|session| session.head.quick));
        put(report, &report::document(existing.as_deref(), &cases, results, &charts))
    }
}

fn record(case: &Case, arm: &Arm, run: usize, seconds: f64, outcome: Outcome) -> Record {
    Record {
        case: case.name.to_owned(),
        server: arm.server.to_owned(),
        variant: arm.variant.clone(),
        run,
        arguments: arm.arguments.join(" "),
        seconds,
        outcome,
    }
}

/// The first figure of a case, for the line of progress.
fn summary(case: &Case, outcome: &Outcome) -> String {
    match outcome {
        Outcome::Failed(line) => format!("failed: {line}"),
        Outcome::Report(report) => {
            let first = case.figures.first().and_then(|figure| Some((figure, figure.of(report)?)));
            first.map_or_else(
                || "no figure".to_owned(),
                |(figure, value)| format!("{} {} {}", figure.title, number(value), figure.unit),
            )
        }
    }
}

fn head(options: &Options) -> Head {
    let (commit, dirty) = commit(Path::new(env!("CARGO_MANIFEST_DIR")));
    let arguments = std::env::args().enumerate().map(|(place, argument)| {
        // The folder that the program was started from says nothing.
        let name = Path::new(&argument).file_name().filter(|_| place == 0);
        name.map_or(argument.clone(), |name| name.to_string_lossy().into_owned())
    });
    Head {
        started_ms: now_ms(),
        command: arguments.collect::<Vec<_>>().join(" "),
        commit,
        dirty,
        build: if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned(),
        quick: options.quick,
        machine: Machine::this(),
    }
}

fn read(path: &Path) -> Result<Option<String>, String> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

/// Shows the targets; an error when a command failed.
#[expect(clippy::print_stdout, reason = "what the program tells")]
fn conclude(results: &Results) -> Result<(), String> {
    // The last column is too wide for a terminal.
    println!("\n{}", report::target_table(results).plain(5));
    let failed = results.records().filter(|record| record.report().is_none()).count();
    match (failed, results.records().count()) {
        (0, _) => Ok(()),
        (failed, all) => Err(format!("{failed} of {all} commands failed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stands in for the load program: says what it was asked, and knows no ws.
    const SCRIPT: &str = r#"
        case "$*" in
        *"--server ws "*) echo "error: node is missing" >&2; exit 1;;
        *) echo "{\"cpu_us_per_delivery\": 4.5, \"asked\": \"$*\"}";;
        esac"#;

    #[test]
    fn commands_become_a_report_that_can_be_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            runs: 2,
            quick: true,
            only: vec!["light".to_owned()],
            servers: vec!["hubbub".to_owned(), "ws".to_owned()],
            out: folder.path().to_owned(),
            report_only: false,
        };
        let leading = vec!["-c".to_owned(), SCRIPT.to_owned(), "load".to_owned()];
        let program = Program { path: "/bin/sh".into(), leading };
        let ended = Bench { program: program.clone(), options: options.clone() }.run();
        assert_eq!(ended, Err("2 of 4 commands failed".to_owned()));
        let file = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        let results = Results::parse(&file("results.json")).unwrap();
        let order: Vec<(usize, &str)> =
            results.records().map(|record| (record.run, record.server.as_str())).collect();
        assert_eq!(order, [(1, "hubbub"), (1, "ws"), (2, "hubbub"), (2, "ws")]);
        let report = file("RESULTS.md");
        assert!(report.contains("| hubbub | 4.50 |"), "{report}");
        assert!(report.contains("| ws | failed: node is missing |"), "{report}");
        fs::remove_file(folder.path().join("RESULTS.md")).unwrap();
        let full = Options { quick: false, ..options.clone() };
        let mixed = Bench { program: program.clone(), options: full }.run();
        assert!(mixed.unwrap_err().contains("are of a quick run"));
        let again = Bench { program, options: Options { report_only: true, ..options } }.run();
        assert!(again.is_err(), "what failed has still failed");
        assert_eq!(file("RESULTS.md"), report);
    }
}
