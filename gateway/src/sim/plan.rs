//! How worlds differ: sizes, settings, habits and faults, drawn from the seed before anything happens.

use super::client::Habits;
use super::gateway::GatewayPlan;
use super::scene::Scene;

/// The shortest resume window that the settings allow.
const WINDOW_S_MIN: u64 = 10;
/// No world writes so much within a window.
const RESUME_BYTES_AMPLE: u64 = 64 << 20;

/// What a world is like: drawn from its seed. Chances are of a thousand, for each step.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) steps: u64,
    pub(super) gateways: usize,
    pub(super) clients: u64,
    pub(super) users: u64,
    pub(super) rooms: u64,
    pub(super) shards: u16,
    pub(super) window_s: u64,
    pub(super) gateway: GatewayPlan,
    pub(super) habits: Habits,
    pub(super) cuts: u64,
    pub(super) outages: u64,
    pub(super) losses: u64,
    pub(super) refusals: u64,
    pub(super) deaths: u64,
    pub(super) drains: u64,
    pub(super) stalls: u64,
    pub(super) jumps: u64,
    pub(super) lags: u64,
    pub(super) persists: u64,
    pub(super) trims: u64,
    /// A gateway's way to Redis is cut for so long at most.
    pub(super) cut_ms_max: u64,
    pub(super) roles: u64,
    pub(super) logouts: u64,
    /// Whether acknowledgements wait for replicas.
    pub(super) replicated: bool,
    pub(super) fail_overs: u64,
    /// Redis comes back empty.
    pub(super) empties: u64,
}

impl Plan {
    /// Draws one.
    pub(super) fn draw(scene: &Scene) -> Self {
        // Most worlds lack most faults, so that those that they have are seen alone too.
        let maybe = |per_mille_max: u64| if scene.happens(500) { scene.between(1, per_mille_max) } else { 0 };
        let window_s = *scene.one_of(&[WINDOW_S_MIN, 20, 120]);
        let body_bytes_max = *scene.one_of(&[40, 400]);
        let outbox_bytes_min = 6 * 512 + 1_024;
        let outbox_bytes_max = outbox_bytes_min + *scene.one_of(&[0, 4_000, 250_000]);
        let resume_bytes_max = *scene.one_of(&[0, 2_000, 20_000, RESUME_BYTES_AMPLE, RESUME_BYTES_AMPLE]);
        let shards = u16::try_from(scene.between(1, 4)).unwrap();
        // Redis keeps its data in most worlds.
        let (fail_overs, empties) = match scene.below(5) {
            0 => (scene.between(1, 8), 0),
            1 => (0, scene.between(1, 5)),
            _ => (0, 0),
        };
        // In some, streams are trimmed before cut-off gateways have read them.
        let has_gaps = scene.happens(250);
        let window_s = if has_gaps { WINDOW_S_MIN } else { window_s };
        let replicated = scene.happens(if fail_overs > 0 { 600 } else { 100 });
        let or_in_gaps = |usual: u64, in_gaps: u64| if has_gaps { in_gaps } else { usual };
        Self {
            steps: scene.between(or_in_gaps(300, 1_000), 1_500),
            gateways: usize::try_from(scene.between(1, 3)).unwrap(),
            clients: scene.between(2, 10),
            users: scene.between(1, 6),
            rooms: scene.between(1, 6),
            shards,
            window_s,
            gateway: GatewayPlan {
                cores: usize::try_from(scene.between(1, 3)).unwrap(),
                asks_max: *scene.one_of(&[4, 64, 1_024]),
                batches_max: *scene.one_of(&[1, 4, 64]),
                inbox_bytes_max: *scene.one_of(&[1, 1_000, 1 << 20]),
                settings: vec![
                    ("HUBBUB_SHARDS", shards.to_string()),
                    ("HUBBUB_ACK", if replicated { "replicated" } else { "stored" }.to_owned()),
                    ("HUBBUB_RESUME_WINDOW_SECONDS", window_s.to_string()),
                    ("HUBBUB_RESUME_BYTES_MAX", resume_bytes_max.to_string()),
                    ("HUBBUB_OUTBOX_BYTES_MAX", outbox_bytes_max.to_string()),
                    ("HUBBUB_BODY_BYTES_MAX", "512".to_owned()),
                    ("HUBBUB_SENDS_PER_SECOND", scene.one_of(&["0", "20"]).to_string()),
                    ("HUBBUB_RESUME_SCAN_BYTES_MAX", scene.one_of(&["0", "2000", "100000"]).to_string()),
                    ("HUBBUB_CONNECTIONS_PER_USER_MAX", scene.one_of(&["0", "0", "2"]).to_string()),
                    ("HUBBUB_GATEWAY_TIMEOUT_SECONDS", scene.one_of(&["4", "15"]).to_string()),
                    ("HUBBUB_HEARTBEAT_SECONDS", scene.one_of(&["2", "30"]).to_string()),
                ],
            },
            habits: Habits {
                sends: scene.between(10, 200),
                joins: scene.between(5, 60),
                leaves: maybe(20),
                chats: maybe(50),
                changes: maybe(40),
                echoes: maybe(40),
                goes: maybe(20),
                slows: maybe(20),
                burst_max: *scene.one_of(&[1, 3, 20]),
                body_bytes_max,
                // Within the window, also where clocks are wrong.
                repeats_ms: window_s * 1_000 * 2 / 3,
            },
            cuts: or_in_gaps(maybe(20), 10),
            outages: maybe(10),
            losses: maybe(200),
            refusals: maybe(50),
            deaths: maybe(10),
            drains: maybe(5),
            stalls: maybe(30),
            jumps: maybe(10),
            lags: maybe(20),
            persists: or_in_gaps(maybe(100), 200),
            trims: or_in_gaps(maybe(50), 200),
            cut_ms_max: or_in_gaps(*scene.one_of(&[1_000, 8_000, 30_000]), 40_000),
            roles: maybe(30),
            logouts: maybe(10),
            replicated,
            fail_overs,
            empties,
        }
    }
}

impl Plan {
    /// Whether Redis ever loses anything that it had stored.
    pub(super) fn loses_data(&self) -> bool {
        self.fail_overs > 0 || self.empties > 0
    }

    /// Whether a gateway's window holds all events that are young enough.
    pub(super) fn windows_suffice(&self) -> bool {
        self.gateway.settings.contains(&("HUBBUB_RESUME_BYTES_MAX", RESUME_BYTES_AMPLE.to_string()))
    }

    /// Clocks are wrong by less than the window, or it would mean nothing.
    pub(super) fn skew_ms_max(&self) -> u64 {
        if self.jumps > 0 { self.window_s * 1_000 / 8 } else { 0 }
    }

    /// How wrong one is from now on.
    pub(super) fn draw_skew_ms(&self, scene: &Scene) -> i64 {
        let most_ms = self.skew_ms_max();
        i64::try_from(scene.below(2 * most_ms)).unwrap() - i64::try_from(most_ms).unwrap()
    }
}
