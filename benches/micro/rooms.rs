//! Who is in which room.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use hubbub_common::ids::{RoomId, UserId};
use hubbub_gateway::room::Registry;

/// Members of a room.
const SIZES: [u32; 3] = [10, 1_000, 10_000];

/// A room with so many members, in the slots from 0, and a connection more, in the next slot, that is not in it.
fn full_room(members: u32) -> Option<(Registry, RoomId)> {
    let room = RoomId::new(4_711)?;
    let mut registry = Registry::default();
    for slot in 0..=members {
        registry.attach(slot, UserId::new(u64::from(slot) + 1)?);
    }
    for slot in 0..members {
        registry.join(slot, room);
    }
    Some((registry, room))
}

pub(crate) fn join_and_leave(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("join and leave");
    for members in SIZES {
        let Some((mut registry, room)) = full_room(members) else { continue };
        group.bench_function(BenchmarkId::from_parameter(members), |bencher| {
            bencher.iter(|| {
                black_box(registry.join(black_box(members), room));
                black_box(registry.leave(black_box(members), room))
            });
        });
    }
    group.finish();
}

pub(crate) fn members(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("members");
    for members in SIZES {
        let Some((registry, room)) = full_room(members) else { continue };
        group.throughput(Throughput::Elements(u64::from(members)));
        group.bench_function(BenchmarkId::from_parameter(members), |bencher| {
            bencher.iter(|| {
                let slots = registry.members(black_box(room)).iter().map(|member| u64::from(member.slot));
                slots.sum::<u64>()
            });
        });
    }
    group.finish();
}
