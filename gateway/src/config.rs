//! The gateway's settings, checked.

use std::time::Duration;

use clap::{Arg, ArgAction, Command};
use hubbub_common::config::{Ack, Shared, seconds, split_list, within};
use hubbub_common::settings::{self as names, SettingError, Settings};
use rustix::process::{Resource, getrlimit};
use rustix::thread::CpuSet;

/// Files that are not connections: listeners, rings, queues, Redis, logs.
const OTHER_FILES: u64 = 200;

/// How a core waits for its sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// The kernel's submission and completion rings.
    IoUring,
    /// For kernels and sandboxes without io_uring.
    Epoll,
}

impl Driver {
    /// The word in settings and `/health`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::IoUring => "io_uring",
            Self::Epoll => "epoll",
        }
    }
}

/// Every setting of the gateway.
#[derive(Debug)]
pub struct Config {
    /// What the control plane is told as well.
    pub shared: Shared,
    /// CPUs, one core each.
    pub cpus: Vec<usize>,
    /// Whether the bus is Redis rather than memory.
    pub redis_bus: bool,
    /// How cores wait.
    pub driver: Driver,
    /// Recent frames kept, bytes.
    pub resume_bytes_max: usize,
    /// How much of a stream one scan for older frames may read, bytes.
    pub resume_scan_bytes_max: usize,
    /// Whether gateways trim the streams, because no control plane keeps history.
    pub trims: bool,
    /// Frames that may wait for one client, bytes.
    pub outbox_bytes_max: usize,
    /// Per user, over all gateways; 0 = no limit.
    pub sends_per_second: u32,
    /// Rooms joined, per connection; 0 = no limit.
    pub joins_per_second: u32,
    /// Open WebSockets.
    pub connections_max: usize,
    /// Of one user on this gateway; 0 = no limit.
    pub connections_per_user_max: u32,
    /// From one address on this gateway; 0 = no limit.
    pub connections_per_address_max: u32,
    /// Whether `connections_max` was found rather than set.
    pub connections_max_found: bool,
    /// Silence after which a client is pinged.
    pub heartbeat: Duration,
    /// Clients sent away each second when the gateway leaves.
    pub drain_per_second: u32,
    /// How long that may take.
    pub drain: Duration,
    /// Silence after which another gateway counts as dead.
    pub gateway_timeout: Duration,
}

/// The flag of a successor.
pub const TAKE_OVER: &str = "take-over";
/// The flag of whoever starts one.
pub const BACKGROUND: &str = "background";
/// The flag of a process in between.
pub const DETACHED: &str = "detached";

/// The command line.
pub fn command() -> Command {
    Command::new("hubbub-gateway")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Holds WebSockets, one pinned thread per core, and forwards their messages through Redis streams.")
        .args(names::args(&names::gateway()))
        .arg(
            Arg::new(TAKE_OVER)
                .long(TAKE_OVER)
                .action(ArgAction::SetTrue)
                .help("go on with the clients of the gateway that listens on the same address, which then ends"),
        )
        .arg(
            Arg::new(BACKGROUND)
                .long(BACKGROUND)
                .action(ArgAction::SetTrue)
                .requires(TAKE_OVER)
                .help("come back when that is done; the new gateway goes on in the background"),
        )
        .arg(Arg::new(DETACHED).long(DETACHED).action(ArgAction::SetTrue).requires(TAKE_OVER).hide(true))
}

impl Config {
    /// Checks every setting.
    pub fn check(settings: &Settings) -> Result<Self, SettingError> {
        let shared = Shared::check(settings, &names::GATEWAY_LISTEN, &names::GATEWAY_ADMIN_LISTEN)?;
        let redis_bus = settings.get(&names::BUS, |value| match value {
            "redis" => Ok(true),
            "memory" => Ok(false),
            _ => Err("expected redis or memory"),
        })?;
        if !redis_bus && shared.keys.is_empty() {
            let problem =
                "must be set with the memory bus: there are no login sessions, only tokens".to_owned();
            return Err(SettingError { name: names::JWT_SECRET.name, problem });
        }
        if !redis_bus && shared.redis.ack != Ack::Stored {
            let problem = "must be stored with the memory bus: it has no replicas".to_owned();
            return Err(SettingError { name: names::ACK.name, problem });
        }
        let allowed = allowed_cpus();
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let found = usize::try_from(files.saturating_sub(OTHER_FILES).clamp(1, 10_000_000)).unwrap_or(1);
        let connections_max = settings.optional(&names::CONNECTIONS_MAX, |value| {
            let asked = within(1..=10_000_000)(value)?;
            if asked <= found {
                Ok(asked)
            } else {
                Err(format!("expected at most {found}: the open-file limit is {files} (raise LimitNOFILE)"))
            }
        })?;
        // The largest event that there can be: a body of which JSON escapes every byte.
        let event_bytes_max = 6 * shared.body_bytes_max as usize + 1_024;
        Ok(Self {
            cpus: settings.optional(&names::CORES, |value| cpus(value, &allowed))?.unwrap_or(allowed),
            redis_bus,
            driver: settings.get(&names::DRIVER, |value| match value {
                "io_uring" => Ok(Driver::IoUring),
                "epoll" => Ok(Driver::Epoll),
                _ => Err("expected io_uring or epoll"),
            })?,
            resume_bytes_max: settings.get(&names::RESUME_BYTES_MAX, within(0..=1 << 40))?,
            resume_scan_bytes_max: settings.get(&names::RESUME_SCAN_BYTES_MAX, within(0..=1 << 30))?,
            trims: settings.get(&names::HISTORY, |value| match value {
                "control" => Ok(false),
                "none" => Ok(true),
                _ => Err("expected control or none"),
            })?,
            outbox_bytes_max: settings.get(&names::OUTBOX_BYTES_MAX, |value| {
                let bytes = within(event_bytes_max..=1 << 30)(value);
                bytes.map_err(|error| format!("{error} (the lower bound follows from HUBBUB_BODY_BYTES_MAX)"))
            })?,
            sends_per_second: settings.get(&names::SENDS_PER_SECOND, within(0..=1_000))?,
            joins_per_second: settings.get(&names::JOINS_PER_SECOND, within(0..=100_000))?,
            connections_max: connections_max.unwrap_or(found),
            connections_per_user_max: settings
                .get(&names::CONNECTIONS_PER_USER_MAX, within(0..=10_000_000))?,
            connections_per_address_max: settings
                .get(&names::CONNECTIONS_PER_ADDRESS_MAX, within(0..=10_000_000))?,
            connections_max_found: connections_max.is_none(),
            heartbeat: settings.get(&names::HEARTBEAT_SECONDS, seconds(1..=3_600))?,
            drain_per_second: settings.get(&names::DRAIN_PER_SECOND, within(1..=1_000_000))?,
            drain: settings.get(&names::DRAIN_SECONDS, seconds(1..=86_400))?,
            gateway_timeout: settings.get(&names::GATEWAY_TIMEOUT_SECONDS, seconds(1..=3_600))?,
            shared,
        })
    }
}

fn allowed_cpus() -> Vec<usize> {
    match rustix::thread::sched_getaffinity(None) {
        Ok(set) => (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect(),
        Err(_) => vec![0],
    }
}

/// Parses a list such as `0-3,8`.
fn cpus(list: &str, allowed: &[usize]) -> Result<Vec<usize>, String> {
    let malformed = || "expected a list of CPUs such as 0-3,8".to_owned();
    let mut cpus = Vec::new();
    for part in split_list(list) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.trim().parse::<usize>().map_err(|_| malformed());
        let range = number(first)?..=number(last)?;
        if range.is_empty() || *range.end() >= CpuSet::MAX_CPU {
            return Err(malformed());
        }
        cpus.extend(range);
    }
    cpus.sort_unstable();
    cpus.dedup();
    match cpus.iter().find(|cpu| !allowed.contains(cpu)) {
        Some(cpu) => Err(format!("CPU {cpu} is not among those that this process may use")),
        None if cpus.is_empty() => Err(malformed()),
        None => Ok(cpus),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(values: &[(&str, &str)]) -> Result<Config, SettingError> {
        let variable = |asked: &str| {
            values.iter().find(|(name, _)| *name == asked).map(|(_, value)| Ok((*value).to_owned()))
        };
        Config::check(&Settings::from_sources(&names::gateway(), |_| None, variable)?)
    }

    #[test]
    fn the_defaults_are_good() {
        let config = check(&[]).unwrap();
        assert!(config.redis_bus && !config.cpus.is_empty() && config.connections_max_found);
    }

    #[test]
    fn each_bad_value_names_its_variable() {
        let bad = [
            ("HUBBUB_CORES", "x"),
            ("HUBBUB_CORES", "3-1"),
            ("HUBBUB_CORES", "1000"),
            ("HUBBUB_BUS", "kafka"),
            ("HUBBUB_DRIVER", "kqueue"),
            ("HUBBUB_RESUME_BYTES_MAX", "1G"),
            ("HUBBUB_RESUME_SCAN_BYTES_MAX", "-1"),
            ("HUBBUB_HISTORY", "all"),
            ("HUBBUB_OUTBOX_BYTES_MAX", "1"),
            ("HUBBUB_SENDS_PER_SECOND", "-1"),
            ("HUBBUB_JOINS_PER_SECOND", "many"),
            ("HUBBUB_CONNECTIONS_MAX", "0"),
            ("HUBBUB_CONNECTIONS_MAX", "10000001"),
            ("HUBBUB_CONNECTIONS_PER_USER_MAX", "-1"),
            ("HUBBUB_CONNECTIONS_PER_ADDRESS_MAX", "x"),
            ("HUBBUB_HEARTBEAT_SECONDS", "0"),
            ("HUBBUB_GATEWAY_TIMEOUT_SECONDS", "0"),
        ];
        for (name, value) in bad {
            assert_eq!(check(&[(name, value)]).unwrap_err().name, name, "{value}");
        }
        assert_eq!(check(&[("HUBBUB_BUS", "memory")]).unwrap_err().name, "HUBBUB_JWT_SECRET");
        let secret = ("HUBBUB_JWT_SECRET", "a secret of at least thirty-two bytes");
        let replicated = [("HUBBUB_BUS", "memory"), secret, ("HUBBUB_ACK", "replicated")];
        assert_eq!(check(&replicated).unwrap_err().name, "HUBBUB_ACK");
    }

    #[test]
    fn lists_of_cpus() {
        let allowed: Vec<_> = (0..10).collect();
        assert_eq!(cpus("0-2, 8,1", &allowed), Ok(vec![0, 1, 2, 8]));
        for bad in ["", ",", "a", "1-", "-1", "2-1", "11", "99999999"] {
            assert!(cpus(bad, &allowed).is_err(), "{bad}");
        }
    }
}
