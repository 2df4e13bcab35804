//! `hubbub-dev`: what it says, what it writes, and that it leaves nothing.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use hubbub_benches::rest::Rest;
use hubbub_benches::stack::ports::Lease;
use hubbub_benches::stack::{procfs, sibling, spawn, wait};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use ureq::http::Method;

use crate::stack::assert_nobody_lives_in;

/// The first start makes a database cluster.
const READY_MAX: Duration = Duration::from_mins(2);

/// A running `hubbub-dev` with a folder of its own.
struct Dev {
    child: Child,
    folder: TempDir,
    port: Lease,
}

impl Dev {
    fn start(folder: TempDir) -> Self {
        let port = Lease::any().unwrap();
        let mut command = command(folder.path(), &port);
        let output = fs::File::create(folder.path().join("output")).unwrap();
        command.stdin(Stdio::null()).stderr(output.try_clone().unwrap()).stdout(output);
        let dev = Self { child: spawn(command).unwrap(), folder, port };
        wait::until(READY_MAX, || dev.output().contains("hubbub is ready").then_some(()))
            .unwrap_or_else(|| panic!("not ready: {}", dev.output()));
        dev
    }

    fn output(&self) -> String {
        fs::read_to_string(self.folder.path().join("output")).unwrap()
    }

    fn record(&self) -> Option<Value> {
        let text = fs::read_to_string(self.folder.path().join("stack.json")).ok()?;
        Some(serde_json::from_str(&text).unwrap())
    }

    fn url(&self) -> String {
        format!("http://{}", self.port.address())
    }

    fn pid_of(&self, name: &str) -> Option<u32> {
        let record = self.record()?;
        let part = record["parts"].as_array()?.iter().find(|part| part["name"] == name)?;
        part["pid"].as_u64()?.try_into().ok()
    }

    /// Asks it to end, waits, and checks that it left nothing running.
    fn stop(mut self) -> (TempDir, String) {
        procfs::signal(self.child.id(), Signal::TERM);
        let status = self.child.wait().unwrap();
        let output = self.output();
        assert!(status.success(), "{output}");
        assert!(self.record().is_none());
        assert_nobody_lives_in(self.folder.path());
        (self.folder, output)
    }
}

fn command(folder: &Path, port: &Lease) -> Command {
    let mut command = Command::new(sibling("hubbub-dev").unwrap());
    command.env("HUBBUB_DEV_FOLDER", folder).env("HUBBUB_DEV_PORT", port.port().to_string());
    command
}

fn log_in(url: &str, name: &str) -> Result<Value, String> {
    Rest::new(url).post("/auth/login", &json!({"username": name, "password": "hubbub-demo"}))
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn from_start_to_stop() {
    let dev = Dev::start(tempfile::tempdir().unwrap());
    assert!(dev.output().lines().any(|line| line == format!("hubbub is ready at {}", dev.url())));
    assert_record(&dev.record().unwrap(), &dev.url());
    assert!(log_in(&dev.url(), "ada").is_ok() && log_in(&dev.url(), "grace").is_ok());

    let second = command(dev.folder.path(), &Lease::any().unwrap()).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(
        stderr(&second).contains("running already") && stderr(&second).lines().count() == 1,
        "{second:?}"
    );

    for name in ["gateway-1", "control-1", "redis"] {
        let old = dev.pid_of(name).unwrap();
        procfs::signal(old, Signal::KILL);
        let new = wait::until(READY_MAX, || dev.pid_of(name).filter(|pid| *pid != old));
        assert!(new.is_some_and(procfs::is_running), "{name}: {}", dev.output());
        assert!(
            dev.output().contains(&format!("{name} has ended (signal: 9 (SIGKILL))")),
            "{}",
            dev.output()
        );
    }
    let back = wait::until(READY_MAX, || log_in(&dev.url(), "ada").ok());
    assert!(back.is_some(), "{}", dev.output());

    // What was said is still there the next time.
    let (folder, _) = dev.stop();
    let dev = Dev::start(folder);
    let ada = log_in(&dev.url(), "ada").unwrap();
    let ada = Rest::new(&dev.url()).with_token(ada["token"].as_str().unwrap());
    let rooms = ada.get("/rooms").unwrap();
    let lobby = rooms["items"].as_array().unwrap().iter().find(|room| room["name"] == "lobby").unwrap();
    let messages = ada.get(&format!("/rooms/{}/messages", lobby["id"].as_str().unwrap())).unwrap();
    assert_eq!(messages["items"].as_array().unwrap().len(), 1, "the welcome, once: {messages}");
    dev.stop();
}

/// Exactly the promised fields.
fn assert_record(record: &Value, url: &str) {
    let keys = |object: &Value| object.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(record), ["database_url", "jwt_secret", "parts", "public_url", "redis_url"]);
    assert_eq!(record["public_url"], url);
    assert!(record["jwt_secret"].as_str().unwrap().len() >= 32);
    assert!(record["redis_url"].as_str().unwrap().starts_with("redis://127.0.0.1:"));
    assert!(record["database_url"].as_str().unwrap().starts_with("postgresql://"));
    let parts = record["parts"].as_array().unwrap();
    let names: Vec<_> = parts.iter().map(|part| part["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["redis", "postgres", "control-1", "gateway-1", "gateway-2", "haproxy"]);
    for part in parts {
        assert_eq!(keys(part), ["kind", "log", "metrics_url", "name", "pid", "url"]);
        let name = part["name"].as_str().unwrap();
        assert!(name.starts_with(part["kind"].as_str().unwrap()), "{part}");
        assert!(procfs::is_running(part["pid"].as_u64().unwrap().try_into().unwrap()), "{part}");
        assert!(Path::new(part["log"].as_str().unwrap()).is_file(), "{part}");
        if let Some(url) = part["metrics_url"].as_str() {
            let metrics = ureq::get(url).call().unwrap().body_mut().read_to_string().unwrap();
            assert!(metrics.contains("# TYPE"), "{part}: {metrics}");
        } else {
            assert!(["redis", "postgres"].contains(&name), "{part}");
        }
    }
}

#[test]
fn killing_it_leaves_no_process() {
    let mut dev = Dev::start(tempfile::tempdir().unwrap());
    assert!(procfs::living_in(dev.folder.path()).len() > 6);
    dev.child.kill().unwrap();
    dev.child.wait().unwrap();
    assert_nobody_lives_in(dev.folder.path());
    // And the next start is none the worse.
    Dev::start(dev.folder).stop();
}

#[test]
fn a_reader_that_does_not_read_holds_up_nothing() {
    let (folder, port) = (tempfile::tempdir().unwrap(), Lease::any().unwrap());
    let mut command = command(folder.path(), &port);
    command.env("HUBBUB_LOG", "debug").stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = spawn(command).unwrap();
    let record = folder.path().join("stack.json");
    assert!(wait::until(READY_MAX, || record.exists().then_some(())).is_some());
    // More lines of log than the pipe and the queue before it hold.
    let rest = Rest::new(&format!("http://{}", port.address()));
    let log = folder.path().join("logs/control-1.log");
    while fs::metadata(&log).unwrap().len() < 512 * 1024 {
        let answer = rest.call(Method::GET, &format!("/users/{}", "9".repeat(500)), None);
        assert!(answer.is_ok_and(|answer| answer.status >= 400));
    }
    procfs::signal(child.id(), Signal::TERM);
    assert!(wait::until(READY_MAX, || child.try_wait().unwrap()).is_some_and(|status| status.success()));
    assert_nobody_lives_in(folder.path());
}

#[test]
fn a_bad_setting_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["HUBBUB_DEV_PORT", "HUBBUB_DEV_GATEWAYS", "HUBBUB_DEV_CONTROLS"] {
        let output = command(folder.path(), &Lease::any().unwrap()).env(name, "many").output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(name) && stderr(&output).lines().count() == 1, "{output:?}");
    }
}

#[test]
fn a_taken_port_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let port = Lease::any().unwrap();
    let _taken = std::net::TcpListener::bind(port.address()).unwrap();
    let output = command(folder.path(), &port).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("HUBBUB_DEV_PORT") && stderr(&output).lines().count() == 1,
        "{output:?}"
    );
}
