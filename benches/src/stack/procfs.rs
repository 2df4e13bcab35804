//! What `/proc` says about processes.

use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

/// All processes, with the letter of their state and their parent: proc(5), `/proc/pid/stat`.
fn all() -> Vec<(u32, char, u32)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| stat(pid).map(|(state, parent)| (pid, state, parent))).collect()
}

fn stat(pid: u32) -> Option<(char, u32)> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may itself hold spaces and parentheses.
    let mut fields = line.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// Whether there is such a process; one that merely waits to be reaped does not count.
pub fn is_running(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| !matches!(state, 'Z' | 'X'))
}

/// The children of a process and theirs.
pub fn descendants(pid: u32) -> Vec<u32> {
    let processes = all();
    let mut found = Vec::new();
    let mut parents = vec![pid];
    while let Some(parent) = parents.pop() {
        let children = processes.iter().filter(|(.., of)| *of == parent).map(|(child, ..)| *child);
        let children: Vec<_> = children.collect();
        found.extend(&children);
        parents.extend(children);
    }
    found
}

/// Running processes whose working folder is this one or below it. Those of other users are seen by root only.
pub fn living_in(folder: &Path) -> Vec<u32> {
    let lives =
        |pid: u32| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|working| working.starts_with(folder));
    all().into_iter().map(|(pid, ..)| pid).filter(|pid| is_running(*pid) && lives(*pid)).collect()
}

/// Sends a signal; a process that has ended is no error.
pub fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_this_process_and_its_child() {
        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        assert!(is_running(std::process::id()) && is_running(child.id()));
        assert!(descendants(std::process::id()).contains(&child.id()));
        assert!(living_in(&std::env::current_dir().unwrap()).contains(&child.id()));
        child.kill().unwrap();
        // Not yet waited for, it is a zombie.
        assert!(
            super::super::wait::until(std::time::Duration::from_secs(10), || {
                (!is_running(child.id())).then_some(())
            })
            .is_some()
        );
        child.wait().unwrap();
    }
}
