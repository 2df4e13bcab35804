//! Starting processes that can't outlive this one.
//!
//! Every child asks the kernel for a signal when its parent ends, by setpriv(1) `--pdeathsig`
//! (`PR_SET_PDEATHSIG`), so that even SIGKILL for this process ends them. The kernel counts the parent's
//! *thread*, so one thread that lives as long as the process starts all children. What can't be caught: this
//! process being killed in the millisecond between the child's fork and its request.
//!
//! Each child leads a process group of its own: Ctrl-C in a terminal reaches the parent alone, which then ends
//! the parts in their order.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{Sender, channel};

use super::account::Account;

/// Variables under which other programs may have left settings that are not meant for our parts.
const FOREIGN_VARIABLES: [&str; 6] = [
    "REDIS_URL",
    "DATABASE_URL",
    "DIRECT_URL",
    "JWT_SECRET",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_TRACES_SAMPLER_ARG",
];

/// A process to start, as often as needed.
#[derive(Debug, Clone)]
pub struct Launch {
    /// What to run.
    pub program: PathBuf,
    /// With which arguments.
    pub args: Vec<OsString>,
    /// Variables besides those of this process (of which `HUBBUB_*` and `PG*` are not passed on).
    pub env: Vec<(OsString, OsString)>,
    /// Working folder.
    pub folder: PathBuf,
    /// Where standard output and error go, appended.
    pub log: PathBuf,
    /// The name of the signal that it gets when this process ends.
    pub death_signal: &'static str,
    /// As whom, where not as the caller.
    pub(super) account: Option<Account>,
}

impl Launch {
    /// A program that is killed when this process ends.
    pub fn new(program: impl Into<PathBuf>, folder: impl Into<PathBuf>, log: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            folder: folder.into(),
            log: log.into(),
            death_signal: "KILL",
            account: None,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Adds variables; a later one wins over an earlier one of the same name.
    #[must_use]
    pub fn env(mut self, env: impl IntoIterator<Item = (impl Into<OsString>, impl Into<OsString>)>) -> Self {
        self.env.extend(env.into_iter().map(|(name, value)| (name.into(), value.into())));
        self
    }

    /// The process, with this as its standard input.
    pub(super) fn spawn(&self, stdin: Stdio) -> io::Result<Child> {
        let log = OpenOptions::new().append(true).create(true).open(&self.log)?;
        let mut command = Command::new("setpriv");
        if let Some(account) = &self.account {
            command.args(account.setpriv_args());
        }
        command.arg("--pdeathsig").arg(self.death_signal).arg("--").arg(&self.program).args(&self.args);
        let foreign = |name: &str| {
            name.starts_with("HUBBUB_") || name.starts_with("PG") || FOREIGN_VARIABLES.contains(&name)
        };
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(foreign) {
                command.env_remove(name);
            }
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.current_dir(&self.folder).process_group(0);
        command.stdin(stdin).stderr(log.try_clone()?).stdout(log);
        spawn(command)
    }

    /// Empties the log.
    pub(super) fn truncate_log(&self) -> io::Result<()> {
        File::create(&self.log).map(drop)
    }
}

type Job = (Command, Sender<io::Result<Child>>);

static SPAWNER: LazyLock<Sender<Job>> = LazyLock::new(|| {
    let (jobs, inbox) = channel::<Job>();
    std::thread::spawn(move || {
        for (mut command, answer) in inbox {
            // Nobody waits for the answer any more: the child is dropped, and ends with this process.
            let _ = answer.send(command.spawn());
        }
    });
    jobs
});

/// Spawns on the thread that lives as long as this process.
pub fn spawn(command: Command) -> io::Result<Child> {
    let gone = || io::Error::other("the thread that starts processes is gone");
    let (answer, answered) = channel();
    SPAWNER.send((command, answer)).map_err(|_| gone())?;
    answered.recv().map_err(|_| gone())?
}
