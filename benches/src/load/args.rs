//! The command line: one subcommand for each mode.

use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command};
use hubbub_common::config::{split_list, within};
use hubbub_common::entry::new_origin;
use serde::Serialize;

use super::backlog::Backlog;
use super::chaos::Chaos;
use super::fanout::{Fanout, Pace};
use super::history::History;
use super::idle::Idle;
use super::ledger::Seating;
use super::persist::Persist;
use super::plateau::Load;
use super::probe::PROBE_BYTES;
use super::rest::Rest;
use super::rolling::Rolling;
use super::soak::Soak;
use super::storm::Storm;
use super::target::Wanted;
use super::{bus, worker};
use crate::bench;
use crate::stack::RedisShape;

const CONNECTIONS_MAX: usize = 1_000_000;
const ROOMS_MAX: usize = 10_000_000;
const GATEWAYS_MAX: usize = 64;
const PAYLOAD_BYTES_MAX: usize = 4_096;

/// Why there is no report.
pub(super) enum Failed {
    /// An argument is not good.
    Argument(String),
    /// The run itself.
    Run(String),
}

fn value(name: &'static str, default: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name("N").default_value(default).help(help)
}

fn command() -> Command {
    let server =
        Arg::new("server").long("server").default_value("hubbub").help("hubbub, or a peer to compare with");
    let json = Arg::new("json").long("json").num_args(0).help("print JSON instead of a table");
    let redis = Arg::new("redis").long("redis").num_args(0).help("over Redis instead of in memory");
    let gateways = value("gateways", "1", "gateways, a process each; clients are dealt out to them");
    let common =
        |mode: Command| mode.arg(server.clone()).arg(gateways.clone()).arg(redis.clone()).arg(json.clone());
    let steps = "comma list of numbers of connections to each server to measure at, rising";
    let idle = Command::new("idle")
        .about("Opens connections, each joined to one room: memory for each, CPU for a handshake")
        .arg(value("connections", "5000,10000,19000", steps).value_name("LIST"))
        .arg(value("members", "19000", "connections in a room"));
    let fanout = Command::new("fanout")
        .about("Publishes to rooms: CPU for each delivery, latency, and whether all came to all in order")
        .arg(value("connections", "1000", "connections"))
        .arg(value("rooms", "1", "rooms; with more seats than connections, each joins several"))
        .arg(value("members", "1000", "connections in a room"))
        .arg(Arg::new("rate").long("rate").value_name("N").help("messages a second, over all rooms"))
        .arg(
            Arg::new("window")
                .long("window")
                .value_name("N")
                .conflicts_with("rate")
                .help("as fast as goes with so many messages outstanding (default: 1)"),
        )
        .arg(value("payload", "128", "bytes of a body"))
        .arg(value("seconds", "10", "how long to measure"));
    let storm = Command::new("storm")
        .about(
            "Cuts all connections at once: time until all have resumed, CPU, and whether nothing is missing",
        )
        .arg(value("connections", "10000", "connections"))
        .arg(value("rooms", "100", "rooms; each connection is in one"))
        .arg(value("rate", "1000", "messages a second, over all rooms"))
        .arg(value("payload", "128", "bytes of a body"));
    let soak = Command::new("soak")
        .about("Publishes for a long time while clients come and go, and watches the memory")
        .arg(value("connections", "5000", "connections"))
        .arg(value("rooms", "500", "rooms; each connection is in one"))
        .arg(value("rate", "1000", "messages a second, over all rooms"))
        .arg(value("churn", "50", "connections that are cut in each second, and come back"))
        .arg(value("payload", "128", "bytes of a body"))
        .arg(value("seconds", "3600", "how long"))
        .arg(Arg::new("resume-window").long("resume-window").value_name("SECONDS").help(
            "over Redis, with a control plane and this resume window: Redis' memory must not grow either",
        ));
    let chaos = Command::new("chaos")
        .about("Kills and freezes gateways, control planes, Redis and Postgres at random under load: do the books balance?")
        .arg(value("redis", "single", "single, sentinel (three servers) or cluster (six)").value_name("SHAPE"))
        .arg(value("gateways", "3", "gateways, a process each"))
        .arg(value("clients", "60", "clients; each is in half of the rooms"))
        .arg(value("rooms", "6", "rooms"))
        .arg(value("rate", "100", "messages a second, over all clients"))
        .arg(value("seconds", "600", "how long faults go on"))
        .arg(Arg::new("seed").long("seed").value_name("N").help("repeats the choices of an earlier run"))
        .arg(json.clone());
    let persist = Command::new("persist")
        .about("Fills the streams, then lets the batch writer empty them into Postgres: messages a second")
        .arg(value("messages", "1000000", "messages"))
        .arg(value("rooms", "1000", "rooms"))
        .arg(value("payload", "200", "bytes of a body"))
        .arg(json.clone());
    let history = Command::new("history")
        .about("Stores a year of messages, then asks for history and unread counts: what a request costs")
        .arg(value("messages", "1000000", "messages; fewer where making them takes more than ten minutes"))
        .arg(value("rooms", "1000", "rooms"))
        .arg(json.clone());
    let rest = Command::new("rest")
        .about("Reads history and rooms over REST: latency, and CPU for each request")
        .arg(value("rate", "1000", "requests a second"))
        .arg(value("rooms", "50", "rooms with a history of 1,000 messages each"))
        .arg(value("controls", "1", "control planes"))
        .arg(value("seconds", "10", "how long to measure"))
        .arg(json.clone());
    let bus = Command::new("bus")
        .about("The bus alone: messages a second of two gateways through one Redis")
        .arg(value("seconds", "10", "how long to measure"))
        .arg(json.clone());
    Command::new("hubbub-load")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Drives a private server, measures what that costs it, and checks what it does meanwhile.")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(common(idle))
        .subcommand(common(fanout))
        .subcommand(common(storm))
        .subcommand(common(soak))
        .subcommand(chaos)
        .subcommand(rolling_command(json.clone()))
        .subcommand(persist)
        .subcommand(backlog_command(json.clone()))
        .subcommand(history)
        .subcommand(rest)
        .subcommand(bus)
        .subcommand(bench::subcommand())
        .subcommand(Command::new("worker").hide(true))
}

fn rolling_command(json: Arg) -> Command {
    Command::new("rolling")
        .about("Restarts the gateways one after the other behind HAProxy, under load: how long clients are away, and whether nothing is missing")
        .arg(value("gateways", "2", "gateways, a process each"))
        .arg(value("haproxies", "2", "HAProxys; clients are dealt out to them, some 9,900 at most to each with 20,000 open files"))
        .arg(value("connections", "10000", "connections"))
        .arg(value("rooms", "100", "rooms; each connection is in one"))
        .arg(value("rate", "100", "messages a second, over all rooms"))
        .arg(value("payload", "128", "bytes of a body"))
        .arg(value("drain", "2000", "clients that a gateway sends away in a second (HUBBUB_DRAIN_PER_SECOND)"))
        .arg(Arg::new("reload").long("reload").action(ArgAction::SetTrue).help("hand over to new processes instead"))
        .arg(json)
}

fn backlog_command(json: Arg) -> Command {
    Command::new("backlog")
        .about("Stops the batch writer for a while under load: how soon is the backlog gone, and is everything in Postgres once?")
        .arg(value("gateways", "1", "gateways, a process each"))
        .arg(value("rooms", "1000", "rooms, each with one member besides whoever writes"))
        .arg(value("rate", "20000", "messages a second, over all rooms"))
        .arg(value("stop", "60", "how long the batch writer is away, seconds"))
        .arg(value("payload", "200", "bytes of a body"))
        .arg(json)
}

/// Reads the command line and does what it says.
pub(super) fn run() -> Result<(), Failed> {
    let matches = command().get_matches();
    match matches.subcommand() {
        Some(("idle", flags)) => {
            let report = idle(flags)?.run().map_err(Failed::Run)?;
            print(flags, &report, &report.table());
        }
        Some(("fanout", flags)) => {
            let report = fanout(flags)?.run().map_err(Failed::Run)?;
            print(flags, &report, &report.table());
        }
        Some(("storm", flags)) => {
            let report = storm(flags)?.run().map_err(Failed::Run)?;
            print(flags, &report, &report.table());
        }
        Some(("soak", flags)) => {
            let report = soak(flags)?.run().map_err(Failed::Run)?;
            print(flags, &report, &report.table());
        }
        Some(("chaos", flags)) => {
            let report = chaos(flags)?.run().map_err(Failed::Run)?;
            print(flags, &report, &report.table());
        }
        Some(("rolling", flags)) => {
            let report = rolling(flags)?.run().map_err(Failed::Run)?;
            print(flags, &report, &report.table());
        }
        Some(("persist", flags)) => {
            let report = persist(flags)?.run().map_err(Failed::Run)?;
            print(flags, &report, &report.table());
        }
        Some(("backlog", flags)) => {
            let report = backlog(flags)?.run().map_err(Failed::Run)?;
            print(flags, &report, &report.table());
        }
        Some(("history", flags)) => {
            let report = history(flags)?.run().map_err(Failed::Run)?;
            print(flags, &report, &report.table());
        }
        Some(("rest", flags)) => {
            let report = rest(flags)?.run().map_err(Failed::Run)?;
            print(flags, &report, &report.table());
        }
        Some(("bus", flags)) => {
            let report = bus::run(seconds(flags)?).map_err(Failed::Run)?;
            print(flags, &report, &report.table());
        }
        Some(("bench", flags)) => bench::options(flags).and_then(bench::run).map_err(Failed::Run)?,
        Some(("worker", _)) => worker::main().map_err(Failed::Run)?,
        _ => {}
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "what the program tells")]
fn print(flags: &ArgMatches, report: &impl Serialize, table: &str) {
    if flags.get_flag("json") {
        println!("{}", serde_json::to_string(report).unwrap_or_default());
    } else {
        print!("{table}");
    }
}

fn idle(flags: &ArgMatches) -> Result<Idle, Failed> {
    let steps: Result<Vec<usize>, String> =
        split_list(text(flags, "connections")).map(|step| within(1..=CONNECTIONS_MAX)(step)).collect();
    let steps = steps.map_err(|problem| bad("connections", &problem))?;
    if !steps.is_sorted_by(|one, next| one < next) || steps.len() < 2 {
        return Err(bad("connections", "expected at least two numbers, rising"));
    }
    Ok(Idle { target: target(flags)?, steps, members: count(flags, "members", CONNECTIONS_MAX)? })
}

fn fanout(flags: &ArgMatches) -> Result<Fanout, Failed> {
    let pace = match (flags.get_one::<String>("rate"), flags.get_one::<String>("window")) {
        (Some(_), _) => Pace::Rate(number(flags, "rate")?),
        (None, Some(window)) => {
            Pace::Window(within(1..=1_000_000)(window).map_err(|problem| bad("window", &problem))?)
        }
        (None, None) => Pace::Window(1),
    };
    Ok(Fanout {
        target: target(flags)?,
        seating: seating(flags)?,
        pace,
        payload_bytes: payload_bytes(flags)?,
        time: seconds(flags)?,
    })
}

fn storm(flags: &ArgMatches) -> Result<Storm, Failed> {
    Ok(Storm {
        target: target(flags)?,
        seating: one_room_each(flags)?,
        rate: number(flags, "rate")?,
        payload_bytes: payload_bytes(flags)?,
    })
}

fn soak(flags: &ArgMatches) -> Result<Soak, Failed> {
    let (mut target, time) = (target(flags)?, seconds(flags)?);
    if flags.contains_id("resume-window") {
        let window = Duration::from_secs(count(flags, "resume-window", 3_600)? as u64);
        let time_min = Load::time_min(window);
        if target.server != "hubbub" || time < time_min {
            let problem = format!("expected --server hubbub and --seconds {} at least", time_min.as_secs());
            return Err(bad("resume-window", &problem));
        }
        (target.redis, target.persisted) = (true, Some(window));
    }
    Ok(Soak {
        target,
        seating: one_room_each(flags)?,
        rate: number(flags, "rate")?,
        churn: if text(flags, "churn") == "0" { 0.0 } else { number(flags, "churn")? },
        payload_bytes: payload_bytes(flags)?,
        time,
    })
}

fn chaos(flags: &ArgMatches) -> Result<Chaos, Failed> {
    let seed = match flags.get_one::<String>("seed") {
        Some(seed) => seed.parse().map_err(|_| bad("seed", "expected a number"))?,
        None => new_origin(),
    };
    let redis = match text(flags, "redis") {
        "single" => RedisShape::Single,
        "sentinel" => RedisShape::Sentinel,
        "cluster" => RedisShape::Cluster,
        _ => return Err(bad("redis", "expected single, sentinel or cluster")),
    };
    Ok(Chaos {
        redis,
        gateways: count(flags, "gateways", GATEWAYS_MAX)?,
        clients: count(flags, "clients", 1_000)?,
        rooms: count(flags, "rooms", 1_000)?,
        rate: number(flags, "rate")?,
        time: seconds(flags)?,
        seed,
    })
}

fn rolling(flags: &ArgMatches) -> Result<Rolling, Failed> {
    let gateways = count(flags, "gateways", GATEWAYS_MAX)?;
    if gateways < 2 {
        return Err(bad("gateways", "expected at least 2: clients need somewhere to go"));
    }
    Ok(Rolling {
        gateways,
        haproxies: count(flags, "haproxies", 100)?,
        seating: one_room_each(flags)?,
        rate: number(flags, "rate")?,
        payload_bytes: payload_bytes(flags)?,
        drain_per_second: count(flags, "drain", 1_000_000)?,
        reload: flags.get_flag("reload"),
    })
}

fn persist(flags: &ArgMatches) -> Result<Persist, Failed> {
    Ok(Persist {
        messages: count(flags, "messages", 1_000_000_000)?,
        rooms: count(flags, "rooms", ROOMS_MAX)?,
        payload_bytes: payload_bytes(flags)?,
    })
}

fn backlog(flags: &ArgMatches) -> Result<Backlog, Failed> {
    Ok(Backlog {
        gateways: count(flags, "gateways", GATEWAYS_MAX)?,
        rooms: count(flags, "rooms", worker::CONNECTIONS_MAX)?,
        rate: number(flags, "rate")?,
        payload_bytes: payload_bytes(flags)?,
        stop: count(flags, "stop", 3_600).map(|seconds| Duration::from_secs(seconds as u64))?,
    })
}

fn history(flags: &ArgMatches) -> Result<History, Failed> {
    Ok(History {
        messages: count(flags, "messages", 1_000_000_000)? as u64,
        rooms: count(flags, "rooms", ROOMS_MAX)? as u64,
    })
}

fn rest(flags: &ArgMatches) -> Result<Rest, Failed> {
    Ok(Rest {
        rate: number(flags, "rate")?,
        rooms: count(flags, "rooms", 10_000)?,
        controls: count(flags, "controls", 8)?,
        time: seconds(flags)?,
    })
}

fn one_room_each(flags: &ArgMatches) -> Result<Seating, Failed> {
    let connections = count(flags, "connections", worker::CONNECTIONS_MAX)?;
    let rooms = count(flags, "rooms", connections)?;
    Seating::new(connections, rooms, connections / rooms).map_err(|problem| bad("rooms", &problem))
}

fn payload_bytes(flags: &ArgMatches) -> Result<usize, Failed> {
    within(PROBE_BYTES..=PAYLOAD_BYTES_MAX)(text(flags, "payload"))
        .map_err(|problem| bad("payload", &problem))
}

/// Above zero.
fn number(flags: &ArgMatches, name: &str) -> Result<f64, Failed> {
    let number = text(flags, name).parse().ok().filter(|number: &f64| *number > 0.0 && *number < 1e9);
    number.ok_or_else(|| bad(name, "expected a number above 0"))
}

fn target(flags: &ArgMatches) -> Result<Wanted, Failed> {
    Ok(Wanted {
        server: text(flags, "server").to_owned(),
        gateways: count(flags, "gateways", GATEWAYS_MAX)?,
        redis: flags.get_flag("redis"),
        persisted: None,
    })
}

fn seating(flags: &ArgMatches) -> Result<Seating, Failed> {
    let connections = count(flags, "connections", worker::CONNECTIONS_MAX)?;
    let (rooms, members) = (count(flags, "rooms", ROOMS_MAX)?, count(flags, "members", CONNECTIONS_MAX)?);
    Seating::new(connections, rooms, members).map_err(|problem| bad("members", &problem))
}

fn seconds(flags: &ArgMatches) -> Result<Duration, Failed> {
    within(1..=1_000_000)(text(flags, "seconds"))
        .map(Duration::from_secs)
        .map_err(|problem| bad("seconds", &problem))
}

fn text<'a>(flags: &'a ArgMatches, name: &str) -> &'a str {
    flags.get_one::<String>(name).map(String::as_str).unwrap_or_default()
}

fn count(flags: &ArgMatches, name: &str, most: usize) -> Result<usize, Failed> {
    within(1..=most)(text(flags, name)).map_err(|problem| bad(name, &problem))
}

fn bad(name: &str, problem: &str) -> Failed {
    Failed::Argument(format!("--{name}: {problem}"))
}
