//! The stack itself: its parts die, stop, pause and come back, and never outlive it.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use hubbub_benches::stack::{Part, Stack, procfs, spawn, wait};

const GONE_MAX: Duration = Duration::from_secs(30);
/// How the helper below tells where its stack lives.
const MARK: &str = "the stack is in ";

fn servers() -> Stack {
    Stack::builder().servers_only().start().unwrap()
}

/// Waits until nothing lives in a folder.
pub(crate) fn assert_nobody_lives_in(folder: &Path) {
    let empty = wait::until(GONE_MAX, || procfs::living_in(folder).is_empty().then_some(()));
    assert!(empty.is_some(), "still there: {:?}", procfs::living_in(folder));
}

#[test]
fn a_dropped_stack_leaves_no_process_and_no_folder() {
    let stack = servers();
    let folder = stack.folder().to_owned();
    assert!(procfs::living_in(&folder).len() > 2, "Redis, Postgres and its children");
    stack.postgres().unwrap().pause().unwrap();
    drop(stack);
    assert_nobody_lives_in(&folder);
    assert!(!folder.exists());
}

#[test]
fn a_panic_leaves_no_process_but_the_logs() {
    let stack = servers();
    let folder = stack.folder().to_owned();
    let panicked = std::thread::spawn(move || {
        let _stack = stack;
        panic!("on purpose");
    });
    assert!(panicked.join().is_err());
    assert_nobody_lives_in(&folder);
    assert!(folder.join("logs/redis.log").exists());
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn parts_come_back_at_the_same_address() {
    let stack = servers();
    for part in stack.parts() {
        let (url, pid) = (part.url().to_owned(), part.pid());
        part.kill().unwrap();
        assert_eq!(part.pid(), None);
        part.start().unwrap();
        assert_ne!(part.pid(), pid);
        part.stop().unwrap();
        part.start().unwrap();
        assert_eq!(part.url(), url);
        assert!(part.start().is_err(), "it is running");
    }
    let folder = stack.folder().to_owned();
    stack.stop().unwrap();
    assert_nobody_lives_in(&folder);
}

#[test]
fn a_paused_part_does_not_answer_and_goes_on_later() {
    fn answers(part: &Part) -> bool {
        let address: SocketAddr = part.url().trim_start_matches("redis://").parse().unwrap();
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        std::io::Write::write_all(&mut &stream, b"PING\r\n").unwrap();
        BufReader::new(stream).read_line(&mut String::new()).is_ok()
    }
    let stack = servers();
    let redis = stack.redis().unwrap();
    assert!(answers(redis));
    redis.pause().unwrap();
    assert!(!answers(redis));
    redis.resume().unwrap();
    assert!(wait::until(GONE_MAX, || answers(redis).then_some(())).is_some());
}

#[test]
fn a_part_that_fails_shows_its_last_words() {
    let error =
        Stack::builder().controls(0).without_haproxy().gateways(1).env("HUBBUB_CORES", "none").start();
    let error = error.unwrap_err().to_string();
    assert!(error.contains("gateway-1") && error.contains("HUBBUB_CORES"), "{error}");
}

#[test]
fn killing_the_parent_leaves_no_process() {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "stack::helper_that_is_killed", "--ignored", "--nocapture"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut parent = spawn(command).unwrap();
    let lines = BufReader::new(parent.stdout.take().unwrap()).lines().map(Result::unwrap);
    let told = |line: String| line.split_once(MARK).map(|(_, folder)| PathBuf::from(folder));
    let folder = { lines }.find_map(told).expect("the helper should start its stack");
    let living = procfs::living_in(&folder);
    assert!(living.len() > 3, "{living:?}");
    parent.kill().unwrap();
    parent.wait().unwrap();
    assert_nobody_lives_in(&folder);
    std::fs::remove_dir_all(folder).unwrap();
}

/// The parent that the test above kills. Its Postgres is paused, the hardest case: a stopped process obeys
/// nothing but SIGKILL, and Postgres' children hear of their parent's death only when they run.
#[test]
#[ignore = "runs inside another test, and for ever"]
fn helper_that_is_killed() {
    let stack = Stack::builder().servers_only().start().unwrap();
    stack.postgres().unwrap().pause().unwrap();
    println!("{MARK}{}", stack.folder().display());
    loop {
        std::thread::park();
    }
}
