//! Runs one command of the load program, and gives its report.
//!
//! The command leads a process group of its own: Ctrl-C in a terminal reaches this process alone, which ends
//! the command and waits for it. Should this process die, the kernel ends the command.

use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::process::Command;
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};
use tokio::time::timeout;

use super::results::Outcome;

/// How long a command may take to end once it was told to.
const END_MAX: Duration = Duration::from_secs(10);
/// How many times as long as expected a command may take, and how much more; then it hangs.
const EXPECTED_TIMES: u32 = 5;
const EXPECTED_MORE: Duration = Duration::from_mins(2);
/// Characters of the line that says why a command failed.
const LINE_CHARS_MAX: usize = 300;

/// Ctrl-C, or being told to end.
pub(super) struct Stop([Signals; 2]);

impl Stop {
    pub(super) fn new() -> Result<Self, String> {
        let on = |kind| signal(kind).map_err(|error| format!("signals: {error}"));
        Ok(Self([on(SignalKind::interrupt())?, on(SignalKind::terminate())?]))
    }

    pub(super) async fn asked(&mut self) {
        let [interrupt, terminate] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }
}

/// The load program.
#[derive(Debug, Clone)]
pub(super) struct Program {
    pub(super) path: PathBuf,
    /// Arguments before those of the case.
    pub(super) leading: Vec<String>,
}

impl Program {
    /// Runs it to its end. `None` when `stop` came first.
    pub(super) async fn run(
        &self,
        arguments: &[String],
        expected: Duration,
        stop: impl Future<Output = ()>,
    ) -> Result<Option<Outcome>, String> {
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "--"])
            .arg(&self.path)
            .args(&self.leading)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("setpriv: {error}"))?;
        let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let time_max = expected * EXPECTED_TIMES + EXPECTED_MORE;
        let output = child.wait_with_output();
        tokio::pin!(output);
        let ended = tokio::select! {
            output = &mut output => {
                let output = output.map_err(|error| error.to_string())?;
                return Ok(Some(outcome(&output)));
            }
            () = stop => None,
            () = tokio::time::sleep(time_max) => {
                Some(Outcome::Failed(format!("no end within {} seconds", time_max.as_secs())))
            }
        };
        if let Some(pid) = pid {
            // Whether it is still there to be told is seen by waiting for it.
            let _ = kill_process(pid, Signal::TERM);
        }
        // Past this, leaving it behind kills it.
        let _ = timeout(END_MAX, output).await;
        Ok(ended)
    }
}

fn outcome(output: &Output) -> Outcome {
    if !output.status.success() {
        return Outcome::Failed(reason(output));
    }
    match serde_json::from_slice::<Value>(&output.stdout) {
        Ok(report) if report.is_object() => Outcome::Report(report),
        Ok(_) => Outcome::Failed("its report is no object".to_owned()),
        Err(error) => Outcome::Failed(format!("its report is no JSON: {error}")),
    }
}

/// The line that begins with `error:`, or the last one.
fn reason(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty()).rev();
    let line = lines().find_map(|line| line.strip_prefix("error:")).or_else(|| lines().next());
    match line {
        Some(line) => line.trim().chars().take(LINE_CHARS_MAX).collect(),
        None => format!("{}, without a word", output.status),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;

    fn run(script: &str, stop: impl Future<Output = ()>) -> Option<Outcome> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let leading = vec!["-c".to_owned(), script.to_owned(), "script".to_owned()];
        let program = Program { path: "/bin/sh".into(), leading };
        runtime.block_on(program.run(&["idle".to_owned()], Duration::ZERO, stop)).unwrap()
    }

    #[test]
    fn a_report_or_the_reason_why_there_is_none() {
        let run = |script: &str| run(script, std::future::pending()).unwrap();
        let failed = |line: &str| Outcome::Failed(line.to_owned());
        assert_eq!(run(r#"echo "{\"mode\": \"$1\"}""#), Outcome::Report(json!({"mode": "idle"})));
        let long = "echo starting >&2; echo 'error: no nats' >&2; echo its log >&2; exit 1";
        assert_eq!(run(long), failed("no nats"));
        assert_eq!(run("echo '{}'; echo some words >&2; exit 2"), failed("some words"));
        assert_eq!(run("exit 3"), failed("exit status: 3, without a word"));
        assert_eq!(run("echo 7"), failed("its report is no object"));
        assert!(matches!(run("echo connections"), Outcome::Failed(line) if line.contains("no JSON")));
    }

    async fn appears(path: &Path) {
        while !path.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[test]
    fn a_command_that_is_interrupted_may_clean_up() {
        let folder = tempfile::tempdir().unwrap();
        let (started, cleaned) = (folder.path().join("started"), folder.path().join("cleaned"));
        let script = format!(
            "trap 'touch {}; exit' TERM; touch {}; while :; do sleep 0.05; done",
            cleaned.display(),
            started.display()
        );
        assert_eq!(run(&script, appears(&started)), None);
        assert!(cleaned.exists());
    }
}
