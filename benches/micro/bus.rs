//! From messages to entries of a stream, and back.

use std::borrow::Cow;
use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use hubbub_common::entry::{Entry, Record, encode};
use hubbub_common::ids::{RoomId, UserId};
use hubbub_common::limits::PACK_RECORDS_MAX;
use hubbub_common::protocol::MessageKind;
use hubbub_gateway::bus::packer::Packer;

use crate::body;

const BODY_BYTES: usize = 128;
/// Records in an entry: alone, as under load, and as many as fit.
const RECORDS: [usize; 3] = [1, 50, PACK_RECORDS_MAX];

fn message() -> Option<Record<'static>> {
    Some(Record::Message {
        room: RoomId::new(4_711)?,
        from: UserId::new(1_234_567)?,
        name: Cow::Borrowed("ada"),
        kind: MessageKind::Text,
        body: Cow::Owned(body(BODY_BYTES)),
        nonce: Some(Cow::Borrowed("a1b2c3d4")),
        reply_to: None,
    })
}

/// Gathering records while an entry is in flight, and taking the next one.
pub(crate) fn pack(criterion: &mut Criterion) {
    let Some(message) = message() else { return };
    let mut group = criterion.benchmark_group("pack");
    for records in RECORDS {
        let fresh = || (Packer::default(), vec![message.encode(); records]);
        group.throughput(Throughput::Elements(records as u64));
        group.bench_function(BenchmarkId::from_parameter(records), |bencher| {
            bencher.iter_batched(
                fresh,
                |(mut packer, records)| {
                    for record in records {
                        assert!(packer.push(record, None).is_ok());
                    }
                    // Given back, so that dropping them is not counted.
                    (packer.next_pack(), packer)
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

/// The bytes of an entry, with its records, in both directions.
pub(crate) fn entries(criterion: &mut Criterion) {
    let Some(message) = message() else { return };
    let mut group = criterion.benchmark_group("entry");
    for records in RECORDS {
        group.throughput(Throughput::Elements(records as u64));
        group.bench_function(BenchmarkId::new("encode", records), |bencher| {
            bencher.iter(|| {
                let encoded: Vec<Vec<u8>> = (0..records).map(|_| black_box(&message).encode()).collect();
                encode(1, 2, &encoded)
            });
        });
        let bytes = encode(1, 2, &vec![message.encode(); records]);
        group.bench_function(BenchmarkId::new("decode", records), |bencher| {
            bencher.iter(|| {
                let entry = Entry::decode(black_box(&bytes));
                let known = entry.map(|entry| entry.records().filter(|(_, record)| record.is_some()).count());
                assert_eq!(known, Ok(records));
            });
        });
    }
    group.finish();
}
