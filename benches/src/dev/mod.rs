//! What the program `hubbub-dev` does: a whole system for somebody who works on Hubbub or tries it, kept running
//! until Ctrl-C.
//!
//! Unlike the stacks of tests it keeps its data (under `target/dev`), restarts parts that die, passes on the
//! caller's `HUBBUB_*` settings, and shows everybody's logs.

mod config;
mod lock;
mod logs;
mod printer;
mod record;
mod seed;
mod supervise;

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use hubbub_common::settings::EXIT_BAD_SETTING;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::stack::Stack;
use config::Config;
use lock::Lock;
use logs::Logs;
use record::Record;
use supervise::Supervisor;

/// How often logs and parts are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// The whole program.
pub fn main() -> ExitCode {
    let config = match Config::from_process() {
        Ok(config) => config,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(EXIT_BAD_SETTING);
        }
    };
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(config: Config) -> Result<(), String> {
    fs::create_dir_all(&config.folder).map_err(|error| format!("{}: {error}", config.folder.display()))?;
    let _lock = Lock::take(&config.folder)?;
    check_port(config.port)?;
    let record = Record::in_folder(&config.folder);
    record.remove();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("the runtime: {error}"))?;
    let ended = runtime.block_on(serve(config, &record));
    record.remove();
    // A start that was interrupted goes on in a thread: leaving it behind is what ends its parts.
    runtime.shutdown_background();
    ended
}

async fn serve(config: Config, record: &Record) -> Result<(), String> {
    let mut stop = Stop::new()?;
    let logs = Arc::new(Logs::new(&config.folder)?);
    for name in &config.ignored {
        logs.say(&format!("{name} is ignored here: each part gets its own"));
    }
    let tell = Arc::clone(&logs);
    let builder = config.builder().report(Arc::new(move |what| tell.say(what)));
    let mut starting = tokio::task::spawn_blocking(move || {
        let stack = builder.start().map_err(|error| error.to_string())?;
        let seeded = seed::seed(stack.public_url());
        Ok::<_, String>((stack, seeded))
    });
    let mut look = tokio::time::interval(LOOK);
    let (stack, seeded) = loop {
        tokio::select! {
            () = stop.asked() => return Ok(()),
            _ = look.tick() => logs.follow(),
            started = &mut starting => break started.map_err(|error| error.to_string())??,
        }
    };
    logs.follow();
    match seeded {
        Ok(hint) => logs.say(&hint),
        Err(error) => logs.say(&format!("no demo users and room: {error}")),
    }
    record.write(&stack)?;
    // This very line is what scripts wait for.
    logs.announce(&format!("hubbub is ready at {}", stack.public_url()));
    let mut supervisor = Supervisor::default();
    loop {
        tokio::select! {
            () = stop.asked() => break,
            _ = look.tick() => {}
        }
        logs.follow();
        if logs.has_hung_up() {
            break;
        }
        if supervisor.look_after(&stack, &logs) {
            record.write(&stack)?;
        }
    }
    stop_all(stack, &logs).await
}

async fn stop_all(stack: Stack, logs: &Logs) -> Result<(), String> {
    logs.say("stopping");
    let mut stopping = tokio::task::spawn_blocking(move || stack.stop());
    let mut look = tokio::time::interval(LOOK);
    let stopped = loop {
        tokio::select! {
            stopped = &mut stopping => break stopped,
            _ = look.tick() => logs.follow(),
        }
    };
    logs.follow();
    stopped.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    logs.say("stopped");
    Ok(())
}

fn check_port(port: u16) -> Result<(), String> {
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    bound.map(drop).map_err(|error| format!("HUBBUB_DEV_PORT: port {port}: {error}: choose another one"))
}

/// SIGINT, SIGTERM, and the terminal being closed.
struct Stop([Signal; 3]);

impl Stop {
    fn new() -> Result<Self, String> {
        let on = |kind| signal(kind).map_err(|error| format!("signals: {error}"));
        Ok(Self([on(SignalKind::interrupt())?, on(SignalKind::terminate())?, on(SignalKind::hangup())?]))
    }

    async fn asked(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
