//! What is aimed at.

use super::figure::{Figure, short};

/// Differences below this are noise, so growth below it is none.
const FLAT_TIMES: f64 = 1.15;
/// How much more than the bare system calls a delivery may cost.
const OVER_FLOOR_TIMES: f64 = 1.15;
/// The server that has targets.
pub(super) const HUBBUB: &str = "hubbub";

const USER_BYTES: &str = "/user_bytes_per_connection";
const PER_DELIVERY: &str = "/cpu_us_per_delivery";
const OLDER_PAGE: &str = "/older/postgres_cpu_us";
const UNREAD: &str = "/unread/postgres_cpu_us";
/// A tree that is a level deeper, and caches that hold less of it.
const DEEPER_TIMES: f64 = 1.5;
const PER_MESSAGE: &str = "/cpu_us_per_message";

/// One line of the table.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) what: &'static str,
    /// Where it is measured.
    pub(super) case: &'static str,
    pub(super) variant: &'static str,
    pub(super) figure: Figure,
    pub(super) limit: Limit,
}

/// What the gateway's figure has to keep to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Limit {
    /// This much at most.
    AtMost(f64),
    /// This much at least.
    AtLeast(f64),
    /// So many times another figure of the same run at most.
    Times(f64, Versus),
}

/// The other figure of a [`Limit::Times`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Versus {
    pub(super) server: &'static str,
    pub(super) variant: &'static str,
    pub(super) pointer: &'static str,
    /// How it is called.
    pub(super) name: &'static str,
}

/// All of them.
pub(super) fn targets() -> Vec<Target> {
    let delivery = (PER_DELIVERY, "CPU per delivery", "µs");
    let floor = Versus { server: "floor-uring", variant: "", pointer: PER_DELIVERY, name: "floor-uring" };
    // The absolute figures were set on another, quiet machine: what was measured there beside them, and is again in the
    // same run here, makes them comparable.
    let tokio = Versus { server: "tungstenite", name: "tungstenite", ..floor };
    let mut all = vec![
        target("user memory of an idle connection", "idle", (USER_BYTES, "", "B"), Limit::AtMost(480.0)),
        target(
            "kernel memory of a connection (uWebSockets: 8.4–9.8 kB)",
            "idle",
            ("/kernel_bytes_per_connection", "", "B"),
            Limit::AtMost(9_800.0),
        ),
        target(
            "CPU for 1,000 handshakes, token checked and room joined",
            "idle",
            ("/cpu_s_per_1000_handshakes", "", "s"),
            Limit::AtMost(0.045),
        ),
        target(
            "CPU per delivery, one room, light load",
            "light",
            delivery,
            Limit::Times(OVER_FLOOR_TIMES, floor),
        ),
        target("the same, one message at a time", "window-1", delivery, Limit::AtMost(3.8)),
        target("– relative, where that was set", "window-1", delivery, Limit::Times(3.8 / 3.1, floor)),
        target("the same, four messages under way", "window-4", delivery, Limit::AtMost(1.5)),
        target("– relative, where that was set", "window-4", delivery, Limit::Times(1.5 / 1.0, floor)),
        target("the same, many small rooms", "many-rooms", delivery, Limit::AtMost(6.8)),
        target("– relative, where that was set", "many-rooms", delivery, Limit::Times(6.8 / 10.8, tokio)),
        target("the same, many small rooms, saturated", "many-rooms-window", delivery, Limit::AtMost(5.5)),
        target(
            "– relative, where that was set",
            "many-rooms-window",
            delivery,
            Limit::Times(5.5 / 14.5, tokio),
        ),
        target(
            "bus, messages through one core of Redis",
            "bus",
            ("/messages_per_redis_core_s", "", "1/s"),
            Limit::AtLeast(500_000.0),
        ),
        target(
            "publish to delivery across two gateways, p50",
            "latency",
            ("/latency_us/p50", "", "µs"),
            Limit::AtMost(500.0),
        ),
        target("the same, p99", "latency", ("/latency_us/p99", "", "µs"), Limit::AtMost(3_000.0)),
        target(
            "persister, messages into Postgres",
            "persister",
            ("/messages_per_s", "", "1/s"),
            Limit::AtLeast(100_000.0),
        ),
        target(
            "backlog of a minute without the batch writer at 20,000 messages/s gone after",
            "backlog",
            ("/seconds_to_usual", "", "s"),
            Limit::AtMost(60.0),
        ),
        target(
            "REST, 1,000 reads a second, p99",
            "rest",
            ("/latency_us/p99", "", "µs"),
            Limit::AtMost(50_000.0),
        ),
    ];
    all.extend(growth());
    all.extend(history());
    all
}

fn target(
    what: &'static str,
    case: &'static str,
    (pointer, title, unit): (&'static str, &'static str, &'static str),
    limit: Limit,
) -> Target {
    Target { what, case, variant: "", figure: Figure::new(pointer, title, unit), limit }
}

/// What there is more of costs no more each.
fn growth() -> [Target; 3] {
    let own = |variant, pointer, name| Versus { server: HUBBUB, variant, pointer, name };
    let steps = ("/steps/2/bytes_per_connection", "bytes", "B");
    let five_to_ten = own("", "/steps/1/bytes_per_connection", "that from 5,000 to 10,000");
    let single = own("1 process", USER_BYTES, "that of one process");
    let fewer = own("1,000 rooms", PER_MESSAGE, "that with 1,000 rooms");
    [
        target(
            "growth: user memory from 10,000 to 19,000 connections",
            "idle",
            steps,
            Limit::Times(FLAT_TIMES, five_to_ten),
        ),
        Target {
            variant: "16 processes",
            ..target(
                "growth: user memory of a connection with 16 processes",
                "growth-processes",
                (USER_BYTES, "", "B"),
                Limit::Times(FLAT_TIMES, single),
            )
        },
        Target {
            variant: "100,000 rooms",
            ..target(
                "growth: CPU per message with 100,000 rooms",
                "growth-rooms",
                (PER_MESSAGE, "", "µs"),
                Limit::Times(FLAT_TIMES, fewer),
            )
        },
    ]
}

/// What is stored for years does not make it slower.
fn history() -> [Target; 2] {
    let page = "growth: Postgres' CPU for a page of history with 100,000,000 messages stored";
    let unread = "growth: Postgres' CPU for unread counts with 100,000,000 messages stored";
    [(OLDER_PAGE, page, DEEPER_TIMES), (UNREAD, unread, FLAT_TIMES)].map(|(pointer, what, times)| Target {
        what,
        case: "growth-history",
        variant: "100,000,000 messages",
        figure: Figure::new(pointer, "", "µs"),
        limit: Limit::Times(
            times,
            Versus { server: HUBBUB, variant: "1,000,000 messages", pointer, name: "that with 1,000,000" },
        ),
    })
}

impl Limit {
    pub(super) fn text(&self, unit: &str) -> String {
        match self {
            Self::AtMost(limit) => format!("≤ {} {unit}", short(*limit)),
            Self::AtLeast(limit) => format!("≥ {} {unit}", short(*limit)),
            Self::Times(times, versus) => format!("≤ {} × {}", short(*times), versus.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::cases;
    use super::*;

    #[test]
    fn every_target_is_of_a_figure_that_a_case_measures() {
        let cases = cases(false);
        for target in &targets() {
            let case = cases.iter().find(|case| case.name == target.case).expect(target.case);
            let arm = |server: &str, variant: &str| {
                case.arms.iter().any(|arm| arm.server == server && arm.variant == variant)
            };
            assert!(arm(HUBBUB, target.variant), "{}", target.what);
            let has = |pointer: &str| {
                case.figures.iter().any(|figure| figure.pointer == pointer) || pointer.starts_with("/steps/")
            };
            assert!(has(&target.figure.pointer), "{}", target.what);
            if let Limit::Times(_, versus) = target.limit {
                assert!(arm(versus.server, versus.variant) && has(versus.pointer), "{}", target.what);
            }
        }
    }
}
