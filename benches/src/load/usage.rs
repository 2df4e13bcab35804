//! What a server costs, as the kernel counts it.

use std::fs;

/// What processes hold and have used, and what the whole kernel holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// Heap, stacks and shared memory, without what lies in files.
    pub(super) user_bytes: u64,
    /// Of it, in huge pages: those hide small changes.
    pub(super) huge_bytes: u64,
    /// Slab memory of the whole machine: sockets, files, waiting operations, of both ends where both are here.
    pub(super) kernel_bytes: u64,
    /// CPU of all threads, user and kernel, to the nanosecond.
    pub(super) cpu_ns: u64,
}

impl Usage {
    /// Of processes, now.
    pub(super) fn of(pids: &[u32]) -> Result<Self, String> {
        let mut usage = Self { kernel_bytes: bytes(&read("/proc/meminfo")?, "Slab:")?, ..Self::default() };
        for pid in pids {
            let memory = read(&format!("/proc/{pid}/smaps_rollup"))?;
            usage.user_bytes += bytes(&memory, "Pss_Anon:")? + bytes(&memory, "Pss_Shmem:")?;
            usage.huge_bytes += bytes(&memory, "AnonHugePages:")?;
        }
        Ok(Self { cpu_ns: cpu_ns(pids)?, ..usage })
    }
}

/// CPU of all threads of processes: the first number of `/proc/pid/task/tid/schedstat`.
pub(super) fn cpu_ns(pids: &[u32]) -> Result<u64, String> {
    let mut sum = 0;
    for pid in pids {
        let tasks = format!("/proc/{pid}/task");
        let entries = fs::read_dir(&tasks).map_err(|error| format!("{tasks}: {error}"))?;
        for task in entries.flatten() {
            // A thread may end between being listed and being read.
            let stat = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            sum += stat.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    Ok(sum)
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))
}

fn bytes(memory: &str, name: &str) -> Result<u64, String> {
    let line = memory.lines().find_map(|line| line.strip_prefix(name));
    let kilobytes: Option<u64> = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok());
    kilobytes.map(|kilobytes| kilobytes * 1024).ok_or_else(|| format!("the kernel does not tell {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_writes() {
        let usage = Usage::of(&[std::process::id()]).unwrap();
        assert!(usage.user_bytes > 10_000 && usage.kernel_bytes > 100_000 && usage.cpu_ns > 0);
        assert_eq!(bytes("Rss: 1 kB\nPss_Anon:     12 kB\n", "Pss_Anon:"), Ok(12 * 1024));
        assert!(bytes("", "Pss_Anon:").is_err());
        assert!(cpu_ns(&[u32::MAX]).is_err());
    }
}
