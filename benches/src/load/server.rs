//! What the server costs, as the kernel counts it.

use std::fs;

use rustix::param::clock_ticks_per_second;

/// What a process holds and has used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Usage {
    /// Anonymous memory: heap and stacks, without what lies in files.
    pub(super) anonymous_bytes: u64,
    /// Of it, in huge pages: those hide small changes.
    pub(super) huge_bytes: u64,
    /// CPU of all threads, user and kernel.
    pub(super) cpu_s: f64,
}

impl Usage {
    /// Of a process, now.
    pub(super) fn of(pid: u32) -> Result<Self, String> {
        let read = |file: &str| {
            let path = format!("/proc/{pid}/{file}");
            fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))
        };
        let (memory, stat) = (read("smaps_rollup")?, read("stat")?);
        Ok(Self {
            anonymous_bytes: kilobytes(&memory, "Anonymous:")? * 1024,
            huge_bytes: kilobytes(&memory, "AnonHugePages:")? * 1024,
            cpu_s: cpu_s(&stat).ok_or("/proc/pid/stat has another form")?,
        })
    }
}

fn kilobytes(memory: &str, name: &str) -> Result<u64, String> {
    let line = memory.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok());
    number.ok_or_else(|| format!("smaps_rollup has no {name}"))
}

/// Fields 14 and 15 of proc(5), counted after the name in parentheses, which may hold anything.
fn cpu_s(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    let (user, system): (u32, u32) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    let per_second = u32::try_from(clock_ticks_per_second()).ok()?;
    Some(f64::from(user + system) / f64::from(per_second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_writes() {
        let usage = Usage::of(std::process::id()).unwrap();
        assert!(usage.anonymous_bytes > 10_000 && usage.cpu_s >= 0.0);
        assert_eq!(kilobytes("Rss: 1 kB\nAnonymous:     12 kB\n", "Anonymous:"), Ok(12));
        assert!(kilobytes("", "Anonymous:").is_err());
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 0 0 20";
        let per_second = f64::from(u32::try_from(clock_ticks_per_second()).unwrap());
        assert_eq!(cpu_s(stat), Some(200.0 / per_second));
    }
}
