//! All that is measured, in the order in which it is measured and reported.
//!
//! Every case holds still what it does not look at: bodies have one size everywhere, the growth cases keep the rate
//! of messages and the members of a room, the case of room sizes keeps the rate of deliveries.

mod growth;
mod load;
mod scale;

use super::case::{Case, FLOORS, Section};
use super::figure::Figure;
use load::{Drive, HANDSHAKES_PER_SECOND, Load, arm, count, idle_arm, many_rooms};
use scale::Scale;

const HUBBUB: &str = "hubbub";
const PEERS: [&str; 5] = ["nchan", "nats", "socketio", "ws", "tungstenite"];
/// Those that take part in the latency across two of them.
const CLUSTERED: [&str; 2] = [HUBBUB, "socketio"];
/// Messages a second wherever there are many rooms.
const RATE: usize = 2_000;
/// Clients that a gateway sends away in a second.
const ROLLING_PER_SECOND: usize = 2_000;
/// Members of a room of the latency case: the slowest server has to keep up, or its queue is measured.
const LATENCY_MEMBERS: usize = 4;

/// Every case.
pub(super) fn cases(quick: bool) -> Vec<Case> {
    let scale = if quick { scale::QUICK } else { scale::FULL };
    let room = |drive| Load { connections: scale.one_room, rooms: 1, members: scale.one_room, drive };
    let rooms = |drive| many_rooms(scale.many_rooms, drive);
    vec![
        idle(&scale),
        fanout("light", "One room, light load", &room(Drive::Rate(20)), &scale),
        fanout("window-1", "One room, one message at a time", &room(Drive::Window(1)), &scale),
        fanout("window-4", "One room, four messages under way", &room(Drive::Window(4)), &scale),
        fanout("many-rooms", "Many small rooms", &rooms(Drive::Rate(RATE)), &scale),
        fanout("many-rooms-window", "Many small rooms, saturated", &rooms(Drive::Window(100)), &scale),
        latency(&scale),
        bus(&scale),
        storm(&scale),
        rolling(&scale),
        persister(&scale),
        backlog(&scale),
        rest(&scale),
        growth::processes(&scale),
        growth::rooms(&scale),
        growth::room_size(&scale),
        growth::history(&scale),
    ]
}

fn per_delivery() -> Figure {
    Figure::new("/cpu_us_per_delivery", "CPU per delivery", "µs")
}

fn per_message() -> Figure {
    Figure::new("/cpu_us_per_message", "CPU per message", "µs")
}

fn latencies() -> [Figure; 2] {
    [Figure::new("/latency_us/p50", "p50", "µs"), Figure::new("/latency_us/p99", "p99", "µs")]
}

/// Hubbub, the floors and the peers, in that order.
fn all() -> impl Iterator<Item = &'static str> {
    [HUBBUB].into_iter().chain(FLOORS).chain(PEERS)
}

fn fanout(name: &'static str, title: &str, load: &Load, scale: &Scale) -> Case {
    let mut figures = vec![
        per_delivery(),
        Figure::new("/deliveries_per_s", "deliveries/s", ""),
        Figure::new("/deliveries_per_read", "deliveries/read", ""),
        Figure::new("/frame_bytes", "frame", "B"),
    ];
    figures.extend(latencies());
    Case {
        name,
        title: title.to_owned(),
        about: format!("{}, for {} seconds.", load.about(), scale.seconds),
        section: Section::Comparison,
        figures,
        arms: all().map(|server| load.arm(server, "", scale)).collect(),
    }
}

fn idle(scale: &Scale) -> Case {
    let last = scale.idle_connections.last().copied().unwrap_or_default();
    let arm = |server| {
        // A worker of nchan resets whoever comes after about 18,650 subscribers.
        let steps = if server == "nchan" { scale.nchan_connections } else { scale.idle_connections };
        idle_arm(server, "", "", steps)
    };
    Case {
        name: "idle",
        title: "Idle connections".to_owned(),
        about: format!(
            "Up to {} authenticated connections, each joined to one room; what one more of them costs.",
            count(last)
        ),
        section: Section::Comparison,
        figures: vec![
            Figure::new("/user_bytes_per_connection", "user memory", "B"),
            Figure::new("/kernel_bytes_per_connection", "kernel memory", "B"),
            Figure::new("/cpu_s_per_1000_handshakes", "CPU per 1,000 handshakes", "s"),
            Figure::new("/handshakes_per_s", "handshakes/s", ""),
        ],
        arms: [HUBBUB].into_iter().chain(PEERS).map(arm).collect(),
    }
}

fn latency(scale: &Scale) -> Case {
    let load = Load {
        connections: scale.latency_rooms * LATENCY_MEMBERS,
        rooms: scale.latency_rooms,
        members: LATENCY_MEMBERS,
        drive: Drive::Rate(RATE),
    };
    let mut figures = latencies().to_vec();
    figures.extend([
        Figure::new("/latency_us/p999", "p99.9", "µs"),
        Figure::new("/latency_us/max", "longest", "µs"),
        per_delivery(),
    ]);
    let arms = CLUSTERED.map(|server| {
        let mut arm = load.arm(server, "", scale);
        arm.arguments.extend(["--gateways", "2", "--redis"].map(str::to_owned));
        arm
    });
    Case {
        name: "latency",
        title: "Latency across two gateways".to_owned(),
        about: format!("From publish to delivery over Redis: {}.", load.about()),
        section: Section::Comparison,
        figures,
        arms: arms.into(),
    }
}

fn bus(scale: &Scale) -> Case {
    Case {
        name: "bus",
        title: "The bus".to_owned(),
        about: "Messages of 200 bytes from two gateways through one Redis, as fast as they go.".to_owned(),
        section: Section::Comparison,
        figures: vec![
            Figure::new("/messages_per_redis_core_s", "messages/s of Redis' CPU", ""),
            Figure::new("/messages_per_s", "messages/s", ""),
            Figure::new("/redis_cpu_us_per_message", "Redis' CPU per message", "µs"),
            Figure::new("/gateway_cpu_us_per_message", "gateways' CPU per message", "µs"),
        ],
        arms: vec![arm(HUBBUB, "", &format!("bus --seconds {} --json", scale.seconds), scale.seconds)],
    }
}

fn persister(scale: &Scale) -> Case {
    let messages = scale.persisted;
    // As slow as it may be without being worth a figure.
    let seconds = messages / 20_000;
    Case {
        name: "persister",
        title: "Into Postgres".to_owned(),
        about: format!(
            "A backlog of {} messages of 200 bytes in 1,000 rooms; `COPY` is the same rows by one connection.",
            count(messages)
        ),
        section: Section::Comparison,
        figures: vec![
            Figure::new("/messages_per_s", "messages/s", ""),
            Figure::new("/control_cpu_us_per_message", "control's CPU per message", "µs"),
            Figure::new("/postgres_cpu_us_per_message", "Postgres' CPU per message", "µs"),
            Figure::new("/copy_rows_per_s", "COPY, rows/s", ""),
            Figure::new("/of_copy", "× COPY", ""),
        ],
        arms: vec![arm(HUBBUB, "", &format!("persist --messages {messages} --json"), seconds)],
    }
}

fn backlog(scale: &Scale) -> Case {
    let (stop, rate) = (scale.stop, scale.backlog_rate);
    Case {
        name: "backlog",
        title: "The batch writer was away".to_owned(),
        about: format!(
            "{} messages of 200 bytes a second in 1,000 rooms, through a gateway; the control plane is stopped for {stop} seconds \
             while they go on. What waits is what was acknowledged and is not in Postgres; it is gone when no more waits than \
             before the stop.",
            count(rate)
        ),
        section: Section::Comparison,
        figures: vec![
            Figure::new("/seconds_to_usual", "backlog gone after", "s"),
            Figure::new("/backlog_messages", "backlog", ""),
            Figure::new("/persisted_per_s", "messages/s meanwhile", ""),
            Figure::new("/usual_messages", "usually wait, at most", ""),
            Figure::new("/afterwards_messages", "wait afterwards, at most", ""),
            Figure::new("/acknowledged_per_s", "acknowledged/s", ""),
            Figure::new("/redis_bytes", "Redis with the backlog", "B"),
            Figure::new("/lost", "lost", ""),
            Figure::new("/doubled", "doubled", ""),
        ],
        arms: vec![arm(HUBBUB, "", &format!("backlog --rate {rate} --stop {stop} --json"), 2 * stop + 30)],
    }
}

fn rest(scale: &Scale) -> Case {
    let mut figures = latencies().to_vec();
    figures.extend([
        Figure::new("/latency_us/p999", "p99.9", "µs"),
        Figure::new("/requests_per_s", "requests/s", ""),
        Figure::new("/errors", "errors", ""),
        Figure::new("/control_cpu_us_per_request", "control's CPU per request", "µs"),
        Figure::new("/postgres_cpu_us_per_request", "Postgres' CPU per request", "µs"),
    ]);
    Case {
        name: "rest",
        title: "Reading over REST".to_owned(),
        about: "1,000 requests a second: newest and older pages of history, rooms; 20 users in 50 rooms of 1,000 messages; \
                16 connections to Postgres at most."
            .to_owned(),
        section: Section::Comparison,
        figures,
        arms: vec![arm(HUBBUB, "", &format!("rest --seconds {} --json", 2 * scale.seconds), 2 * scale.seconds)],
    }
}

fn storm(scale: &Scale) -> Case {
    let (connections, seconds) = (scale.storm, 2 * scale.storm / HANDSHAKES_PER_SECOND);
    Case {
        name: "storm",
        title: "Everybody reconnects".to_owned(),
        about: format!(
            "{} connections are cut at once, come back, and get what they missed.",
            count(connections)
        ),
        section: Section::Comparison,
        figures: vec![
            Figure::new("/seconds_to_resumed", "until all are back", "s"),
            Figure::new("/cpu_s_per_1000", "CPU per 1,000", "s"),
            Figure::new("/replayed", "replayed", ""),
            Figure::new("/lost", "lost", ""),
            Figure::new("/doubled", "doubled", ""),
        ],
        arms: vec![arm(HUBBUB, "", &format!("storm --connections {connections} --json"), seconds)],
    }
}

fn rolling(scale: &Scale) -> Case {
    let connections = scale.rolling;
    // Everybody comes, half of them move once and then all; each gateway needs a moment to be seen again.
    let seconds = 3 * connections / ROLLING_PER_SECOND + 20;
    Case {
        name: "rolling",
        title: "Rolling upgrade".to_owned(),
        about: format!(
            "Two gateways behind two HAProxys are upgraded one after the other, with {} clients in 100 rooms and 100 messages \
             a second: restarted, with {} clients sent away a second; or reloaded, where a new process takes over.",
            count(connections),
            count(ROLLING_PER_SECOND)
        ),
        section: Section::Comparison,
        figures: vec![
            Figure::new("/away_ms/p50", "away, p50", "ms"),
            Figure::new("/away_ms/p99", "p99", "ms"),
            Figure::new("/away_ms/max", "longest", "ms"),
            Figure::new("/late_ms/p99", "p99 without the wait asked for", "ms"),
            Figure::new("/delivery_ms/p99", "delivery, p99", "ms"),
            Figure::new("/delivery_ms/max", "longest", "ms"),
            Figure::new("/rejoins_per_s_max", "back in a second, at most", ""),
            Figure::new("/moves", "moves", ""),
            Figure::new("/refused", "refused", ""),
            Figure::new("/lost", "lost", ""),
            Figure::new("/doubled", "doubled", ""),
        ],
        arms: [("restarted", ""), ("reloaded", "--reload ")]
            .into_iter()
            .map(|(how, flag)| {
                let command =
                    format!("rolling --connections {connections} --drain {ROLLING_PER_SECOND} {flag}--json");
                arm(HUBBUB, how, &command, seconds)
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::case::Arm;
    use super::*;

    fn command(case: &str, arm: usize) -> String {
        let cases = cases(false);
        cases.iter().find(|one| one.name == case).unwrap().arms[arm].arguments.join(" ")
    }

    #[test]
    fn the_commands_are_those_of_the_load_program() {
        assert_eq!(
            command("idle", 1),
            "idle --server nchan --connections 5000,10000,18000 --members 18000 --json"
        );
        assert_eq!(
            command("light", 0),
            "fanout --server hubbub --connections 1000 --rooms 1 --members 1000 --rate 20 --payload 128 \
             --seconds 5 --json"
        );
        assert_eq!(
            command("many-rooms-window", 1),
            "fanout --server floor-uring --connections 10000 --rooms 1000 --members 10 --window 100 --payload \
             128 --seconds 5 --json"
        );
        assert!(command("latency", 1).contains("--server socketio"));
        assert!(command("latency", 1).ends_with("--json --gateways 2 --redis"));
        assert_eq!(
            command("growth-processes", 2).split("--members ").last(),
            Some("5000 --gateways 16 --json")
        );
        assert!(command("growth-rooms", 0).contains("--connections 100 --rooms 10 --members 10 --rate 2000"));
        assert!(command("growth-rooms", 4).contains("--connections 10000 --rooms 100000 --members 10"));
        assert!(
            command("room-size", 5)
                .contains("floor-send --connections 100 --rooms 1 --members 100 --rate 200")
        );
    }

    #[test]
    fn every_row_of_a_case_can_be_told_from_the_others() {
        for quick in [false, true] {
            let mut names: Vec<&str> = Vec::new();
            for case in cases(quick) {
                assert!(!names.contains(&case.name) && !case.figures.is_empty(), "{}", case.name);
                names.push(case.name);
                let mut labels: Vec<String> = case.arms.iter().map(Arm::label).collect();
                labels.sort();
                labels.dedup();
                assert_eq!(labels.len(), case.arms.len(), "{}", case.name);
            }
        }
    }
}
