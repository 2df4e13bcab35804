//! Redis or Postgres is not there: one clear line and an exit, or patience where that is asked for.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use hubbub_benches::stack::ports::Lease;
use hubbub_benches::stack::{Stack, procfs, sibling, wait};

const SEEN_MAX: Duration = Duration::from_secs(30);

/// Runs one of our programs, which should end by itself.
fn run(program: &str, args: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(sibling(program).unwrap());
    command.args(args).env_remove("REDIS_URL").env_remove("DATABASE_URL").env("HUBBUB_ENV", "development");
    let (public, internal) = (Lease::any().unwrap(), Lease::any().unwrap());
    command.env("HUBBUB_LISTEN", public.address().to_string());
    command.env("HUBBUB_ADMIN_LISTEN", internal.address().to_string());
    command.env("HUBBUB_JWT_SECRET", "not a secret").envs(env.iter().copied()).output().unwrap()
}

/// The one line says what is missing, where it should be, and which setting says so.
fn assert_one_line(output: &Output, server: &str, address: &str, setting: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    for part in [server, address, setting] {
        assert!(stderr.contains(part), "{part} is not in: {stderr}");
    }
}

#[test]
fn without_redis_each_program_says_so_in_one_line() {
    let nowhere = Lease::any().unwrap();
    let url = format!("redis://{}", nowhere.address());
    let programs: [(&str, &[&str]); 2] = [("hubbub-gateway", &[]), ("hubbub-control", &["serve"])];
    // Postgres is there, so that only Redis can be what is missing.
    let stack = Stack::builder().servers_only().start().unwrap();
    let database = stack.database_url().unwrap();
    assert!(run("hubbub-control", &["migrate"], &[("HUBBUB_DATABASE_URL", database)]).status.success());
    for (program, args) in programs {
        let output = run(program, args, &[("HUBBUB_REDIS_URL", &url), ("HUBBUB_DATABASE_URL", database)]);
        assert_one_line(&output, "Redis", &nowhere.address().to_string(), "HUBBUB_REDIS_URL");
    }
}

#[test]
fn without_postgres_control_says_so_in_one_line() {
    let stack = Stack::builder().gateways(0).controls(0).without_haproxy().start().unwrap();
    let nowhere = Lease::any().unwrap();
    let url = format!("postgresql://ada:secret@{}/hubbub", nowhere.address());
    let env = [("HUBBUB_REDIS_URL", stack.redis_url().unwrap()), ("HUBBUB_DATABASE_URL", &url)];
    for args in [["serve"], ["migrate"]] {
        let output = run("hubbub-control", &args, &env);
        assert_one_line(&output, "Postgres", &nowhere.port().to_string(), "HUBBUB_DATABASE_URL");
        assert!(!String::from_utf8_lossy(&output.stderr).contains("secret"));
    }
}

/// Starts a stack on servers of which one is away, and brings that one back once the stack waits for it.
fn comes_up_late(away: &str, gateways: usize, controls: usize, waits: impl Fn(&Path) -> bool) {
    let servers = Stack::builder().servers_only().start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let builder = Stack::builder()
        .folder(folder.path())
        .gateways(gateways)
        .controls(controls)
        .without_haproxy()
        .redis_at(servers.redis_url().unwrap())
        .postgres_at(servers.database_url().unwrap())
        .env("HUBBUB_WAIT_SECONDS", "60");
    let part = servers.parts().find(|part| part.name() == away).unwrap();
    part.stop().unwrap();
    std::thread::scope(|scope| {
        let starting = scope.spawn(|| builder.start());
        assert!(wait::until(SEEN_MAX, || waits(folder.path()).then_some(())).is_some());
        part.start().unwrap();
        starting.join().unwrap().unwrap();
    });
}

fn says_it_waits(log: &Path) -> bool {
    fs::read_to_string(log).is_ok_and(|text| text.contains("waiting"))
}

#[test]
fn a_gateway_waits_for_redis() {
    comes_up_late("redis", 1, 0, |folder| says_it_waits(&folder.join("logs/gateway-1.log")));
}

#[test]
fn control_waits_for_redis() {
    comes_up_late("redis", 0, 1, |folder| says_it_waits(&folder.join("logs/control-1.log")));
}

#[test]
fn migrations_wait_for_postgres() {
    // They log nothing; Postgres takes longer to start than they would to give up.
    comes_up_late("postgres", 0, 1, |folder| !procfs::living_in(folder).is_empty());
}
