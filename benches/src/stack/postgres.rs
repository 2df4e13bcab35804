//! A private Postgres with a database `hubbub`, made once.
//!
//! It listens on the loopback address only and asks for a password, because its owner `hubbub` may run programs
//! as the user that Postgres runs as.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Stdio};

use super::account::Account;
use super::part::{Kind, Part, Process, tail};
use super::ports::Lease;
use super::programs::postgres_folder;
use super::spawn::Launch;
use super::wait::Probe;
use super::{Folder, StackError};

const DATABASE: &str = "hubbub";
const OWNER: &str = "hubbub";

/// On a free port, with its data in the folder. Not `durable` means that a crash of the machine, though not one of
/// Postgres, may lose data. A `socket` lies in the folder of the part; its path could be too long in a deep one.
pub(super) fn postgres(folder: &Folder, durable: bool, socket: bool) -> Result<Part, StackError> {
    let home = folder.sub("postgres")?;
    let programs = postgres_folder()?;
    let password = folder.secret("database-password")?;
    let mut launch = Launch::new(programs.join("postgres"), &home, folder.log("postgres"));
    // SIGQUIT: Postgres takes its children and its shared memory along.
    launch.death_signal = "QUIT";
    launch.account = Account::for_folder(&home)?;
    let data = home.join("data");
    if !data.join("PG_VERSION").exists() {
        init(&launch, &programs, &data, &password)?;
    }
    let socket = if socket { home.display().to_string() } else { String::new() };
    let launch = launch.args(["-c", &format!("unix_socket_directories={socket}")]);
    serve(launch, "postgres", &data, &password, durable)
}

/// A replica of a running server, which follows it by streaming. Made anew each time.
pub(super) fn replica(folder: &Folder, primary: &Part) -> Result<Part, StackError> {
    let home = folder.sub("replica")?;
    let programs = postgres_folder()?;
    let password = folder.secret("database-password")?;
    let mut launch = Launch::new(programs.join("postgres"), &home, folder.log("replica"));
    launch.death_signal = "QUIT";
    launch.account = Account::for_folder(&home)?;
    let data = home.join("data");
    if data.exists() {
        fs::remove_dir_all(&data).map_err(StackError::io(data.display().to_string()))?;
    }
    let mut copy =
        launch.clone().args(["-R", "-X", "stream", "--checkpoint=fast", "-D", "data", "-d", &primary.url]);
    copy.program = programs.join("pg_basebackup");
    run(&copy, "")?;
    let launch = launch.args(["-c", "unix_socket_directories="]);
    serve(launch, "replica", &data, &password, false)
}

fn serve(
    mut launch: Launch,
    name: &str,
    data: &Path,
    password: &str,
    durable: bool,
) -> Result<Part, StackError> {
    let lease = Lease::any()?;
    let port = format!("port={}", lease.port());
    launch = launch.args(["-D", "data", "-c", &port, "-c", "listen_addresses=127.0.0.1"]);
    if !durable {
        launch =
            launch.args(["-c", "fsync=off", "-c", "full_page_writes=off", "-c", "synchronous_commit=off"]);
    }
    Ok(Part {
        name: name.to_owned(),
        kind: Kind::Postgres,
        url: format!("postgresql://{OWNER}:{password}@{}/{DATABASE}", lease.address()),
        metrics: None,
        probe: Probe::Postgres(data.join("postmaster.pid")),
        launch,
        process: Process::none(),
        leases: vec![lease],
    })
}

/// Makes the cluster under another name first, so that one that was interrupted is never taken for a whole one.
fn init(server: &Launch, programs: &Path, data: &Path, password: &str) -> Result<(), StackError> {
    let unfinished = data.with_file_name("unfinished");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).map_err(StackError::io(unfinished.display().to_string()))?;
    }
    // A file rather than standard input: a pipe made by root can't be opened anew by another user.
    let password_file = data.with_file_name("new-password");
    fs::write(&password_file, format!("{password}\n"))
        .map_err(StackError::io(password_file.display().to_string()))?;
    if let Some(account) = &server.account {
        account.give(&password_file)?;
    }
    let mut initdb = server.clone().args([
        "-D",
        "unfinished",
        "-U",
        OWNER,
        "--pwfile=new-password",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C.UTF-8",
        "--no-instructions",
    ]);
    initdb.program = programs.join("initdb");
    let made = run(&initdb, "");
    fs::remove_file(&password_file).map_err(StackError::io(password_file.display().to_string()))?;
    made?;
    // The single-user mode: no port, no other client.
    let create = server.clone().args(["--single", "-D", "unfinished", "postgres"]);
    run(&create, &format!("CREATE DATABASE {DATABASE};\n"))?;
    fs::rename(&unfinished, data).map_err(StackError::io(data.display().to_string()))
}

fn run(launch: &Launch, input: &str) -> Result<(), StackError> {
    let what = || launch.program.display().to_string();
    let mut child: Child = launch.spawn(Stdio::piped()).map_err(StackError::io(what()))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).map_err(StackError::io(what()))?;
    }
    let status = child.wait().map_err(StackError::io(what()))?;
    if status.success() {
        return Ok(());
    }
    Err(StackError::Part {
        part: what(),
        problem: format!("failed ({status})"),
        log: launch.log.display().to_string(),
        tail: tail(&launch.log),
    })
}
