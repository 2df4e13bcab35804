//! What the figures were taken on, and of which code.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::{Resource, getrlimit};
use rustix::system::uname;
use serde::{Deserialize, Serialize};

/// A machine, as far as it matters to the figures.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Machine {
    /// The model of its processors.
    pub(super) cpu: String,
    pub(super) cpus: usize,
    pub(super) memory_bytes: u64,
    pub(super) kernel: String,
    /// Files that a process may have open; soft and hard, 0 for no limit.
    pub(super) open_files: [u64; 2],
    /// The setting of transparent huge pages.
    pub(super) huge_pages: String,
}

impl Machine {
    /// This one. What can't be read stays empty: no measurement depends on it.
    pub(super) fn this() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let kernel = uname();
        let word = |word: &std::ffi::CStr| word.to_string_lossy().into_owned();
        let (cpu, cpus) = processors(&read("/proc/cpuinfo"));
        let limit = getrlimit(Resource::Nofile);
        Self {
            cpu: if cpu.is_empty() { word(kernel.machine()) } else { cpu },
            cpus,
            memory_bytes: memory_bytes(&read("/proc/meminfo")),
            kernel: format!("{} {}", word(kernel.sysname()), word(kernel.release())),
            open_files: [limit.current, limit.maximum].map(Option::unwrap_or_default),
            huge_pages: chosen(&read("/sys/kernel/mm/transparent_hugepage/enabled")),
        }
    }
}

/// Model and number, from `proc_cpuinfo(5)`.
fn processors(cpuinfo: &str) -> (String, usize) {
    let fields = || cpuinfo.lines().filter_map(|line| line.split_once(':'));
    let model = fields().find(|(field, _)| field.trim() == "model name").map(|(_, value)| value.trim());
    let processors = fields().filter(|(field, _)| field.trim() == "processor").count();
    (model.unwrap_or_default().to_owned(), processors)
}

/// `MemTotal` of `proc_meminfo(5)`.
fn memory_bytes(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kilobytes.unwrap_or_default() * 1024
}

/// The one in brackets.
fn chosen(setting: &str) -> String {
    let inside = setting.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    inside.map(|(word, _)| word.to_owned()).unwrap_or_default()
}

/// The commit of the repository that holds `folder`, and whether there are changes besides it. What the
/// report itself writes there does not count.
pub(super) fn commit(folder: &Path) -> (String, bool) {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(folder).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let changes = git(&["status", "--porcelain", "--", ":/", ":!RESULTS.md", ":!results.json", ":!plots"]);
    let commit = git(&["rev-parse", "--short", "HEAD"]).unwrap_or_default();
    (commit, changes.is_some_and(|changes| !changes.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_writes() {
        let machine = Machine::this();
        assert!(machine.cpus > 0 && machine.memory_bytes > 1 << 20 && !machine.cpu.is_empty(), "{machine:?}");
        assert!(machine.kernel.starts_with("Linux "), "{machine:?}");
        let cpuinfo = "processor\t: 0\nmodel name\t: Some CPU: fast\n\nprocessor\t: 1\nmodel name\t: x\n";
        assert_eq!(processors(cpuinfo), ("Some CPU: fast".to_owned(), 2));
        assert_eq!(memory_bytes("MemTotal:       24 kB\nMemFree: 1 kB\n"), 24 * 1024);
        assert_eq!(chosen("always [madvise] never\n"), "madvise");
        assert_eq!((processors(""), memory_bytes(""), chosen("")), ((String::new(), 0), 0, String::new()));
    }
}
