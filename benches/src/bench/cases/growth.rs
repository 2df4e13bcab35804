//! How the gateway grows: with connections, processes, rooms, and the size of a room.

use super::super::case::{Case, FLOORS, Section};
use super::super::figure::Figure;
use super::load::{CONNECTIONS_MAX, Drive, Load, MEMBERS, arm, count, idle_arm, many_rooms, plural};
use super::scale::Scale;
use super::{HUBBUB, RATE, latencies, per_delivery, per_message};

/// Deliveries a second while the size of the room grows.
const SIZE_DELIVERIES: usize = 20_000;

pub(super) fn processes(scale: &Scale) -> Case {
    let mut figures: Vec<Figure> = Vec::new();
    for (place, step) in scale.growth_connections.iter().enumerate() {
        let title = format!("one more up to {} a process", count(*step));
        figures.push(Figure::new(format!("/steps/{place}/bytes_per_connection"), title, "B"));
    }
    figures.push(Figure::new("/user_bytes_per_connection", "user memory", "B"));
    figures.push(Figure::new("/kernel_bytes_per_connection", "kernel memory", "B"));
    figures.push(Figure::new("/cpu_s_per_1000_handshakes", "CPU per 1,000 handshakes", "s"));
    let arms = scale.growth_gateways.iter().map(|gateways| {
        let variant = if *gateways == 1 { "1 process".to_owned() } else { format!("{gateways} processes") };
        idle_arm(HUBBUB, &variant, &format!("--gateways {gateways}"), scale.growth_connections)
    });
    Case {
        name: "growth-processes",
        title: "A connection, with more connections and more processes".to_owned(),
        about: "The idle case; the first columns are the bytes of each connection since the step before \
                (in the first step with what the process costs by itself)."
            .to_owned(),
        section: Section::Growth,
        figures,
        arms: arms.collect(),
    }
}

pub(super) fn rooms(scale: &Scale) -> Case {
    let arms = scale
        .growth_rooms
        .iter()
        .map(|rooms| many_rooms(*rooms, Drive::Rate(RATE)).arm(HUBBUB, plural(*rooms, "room"), scale));
    Case {
        name: "growth-rooms",
        title: "A message, with more rooms".to_owned(),
        about: format!(
            "{} messages a second into rooms of {MEMBERS}. Up to {} connections, each in one room or more.",
            count(RATE),
            count(CONNECTIONS_MAX)
        ),
        section: Section::Growth,
        figures: [vec![per_message(), per_delivery()], latencies().to_vec()].concat(),
        arms: arms.collect(),
    }
}

pub(super) fn history(scale: &Scale) -> Case {
    let cost = |of: &str, title: &str| {
        let p50 = Figure::new(format!("/{of}/p50_us"), format!("{title}, p50"), "µs");
        [p50, Figure::new(format!("/{of}/postgres_cpu_us"), "Postgres' CPU", "µs")]
    };
    let figures =
        [cost("newest", "newest page"), cost("older", "older page"), cost("unread", "unread counts")];
    let arms = scale.stored.iter().map(|messages| {
        // Made at about this rate.
        let seconds = messages / 150_000 + 10;
        arm(HUBBUB, plural(*messages, "message"), &format!("history --messages {messages} --json"), seconds)
    });
    Case {
        name: "growth-history",
        title: "A page of history, with more messages stored".to_owned(),
        about:
            "Messages of a year in 1,000 rooms; pages of 50, and a list of 50 rooms with their unread counts."
                .to_owned(),
        section: Section::Growth,
        figures: [figures.concat(), vec![Figure::new("/messages", "stored", "")]].concat(),
        arms: arms.collect(),
    }
}

pub(super) fn room_size(scale: &Scale) -> Case {
    let arms = scale.room_sizes.iter().flat_map(|members| {
        let rate = (SIZE_DELIVERIES / *members).max(1);
        let load = Load { connections: *members, rooms: 1, members: *members, drive: Drive::Rate(rate) };
        let variant = format!("{} members", count(*members));
        [HUBBUB].into_iter().chain(FLOORS).map(move |server| load.arm(server, variant.clone(), scale))
    });
    Case {
        name: "room-size",
        title: "A delivery, with larger rooms".to_owned(),
        about: format!("One room, {} deliveries a second whatever its size.", count(SIZE_DELIVERIES)),
        section: Section::Growth,
        figures: [vec![per_delivery(), per_message()], latencies().to_vec()].concat(),
        arms: arms.collect(),
    }
}
