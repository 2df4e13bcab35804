//! How large everything is.

/// See the module.
pub(super) struct Scale {
    /// How long each fan-out is measured.
    pub(super) seconds: usize,
    pub(super) idle_connections: &'static [usize],
    pub(super) nchan_connections: &'static [usize],
    /// Of each process.
    pub(super) growth_connections: &'static [usize],
    pub(super) one_room: usize,
    pub(super) many_rooms: usize,
    pub(super) latency_rooms: usize,
    pub(super) storm: usize,
    pub(super) rolling: usize,
    pub(super) persisted: usize,
    /// How long the batch writer is away, seconds, and messages a second meanwhile.
    pub(super) stop: usize,
    pub(super) backlog_rate: usize,
    pub(super) growth_gateways: &'static [usize],
    pub(super) growth_rooms: &'static [usize],
    pub(super) room_sizes: &'static [usize],
    /// Messages in Postgres.
    pub(super) stored: &'static [usize],
}

/// What the report is made of.
pub(super) const FULL: Scale = Scale {
    seconds: 5,
    idle_connections: &[5_000, 10_000, 19_000],
    nchan_connections: &[5_000, 10_000, 18_000],
    growth_connections: &[1_000, 3_000, 5_000],
    one_room: 1_000,
    many_rooms: 1_000,
    latency_rooms: 100,
    storm: 10_000,
    rolling: 10_000,
    persisted: 1_000_000,
    stop: 60,
    backlog_rate: 20_000,
    growth_gateways: &[1, 4, 16],
    growth_rooms: &[10, 100, 1_000, 10_000, 100_000],
    room_sizes: &[10, 100, 1_000, 5_000],
    stored: &[1_000_000, 100_000_000],
};

/// To see whether everything works; the numbers are for nobody.
pub(super) const QUICK: Scale = Scale {
    seconds: 2,
    idle_connections: &[200, 500, 1_000],
    nchan_connections: &[200, 500, 1_000],
    growth_connections: &[100, 200, 300],
    one_room: 100,
    many_rooms: 50,
    latency_rooms: 50,
    storm: 500,
    rolling: 500,
    persisted: 100_000,
    stop: 3,
    backlog_rate: 2_000,
    growth_gateways: &[1, 2],
    growth_rooms: &[10, 100],
    room_sizes: &[10, 100],
    stored: &[100_000, 400_000],
};
