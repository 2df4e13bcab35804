//! WebSocket frames as clients send them.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use hubbub_gateway::ws::{Flow, Inbound};

use crate::{BODY_BYTES, body};

/// Frames that one read of a socket brings.
const FRAMES: usize = 32;
const FRAME_BYTES_MAX: usize = 65_536;
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A masked text frame (RFC 6455, 5.2) with a payload of less than 64 KiB.
fn text_frame(payload: &[u8]) -> Vec<u8> {
    const FIN_TEXT: u8 = 0x81;
    const MASKED: u8 = 0x80;
    const TWO_BYTES_FOLLOW: u8 = 126;
    let mut frame = vec![FIN_TEXT];
    match u8::try_from(payload.len()) {
        Ok(short) if short < TWO_BYTES_FOLLOW => frame.push(MASKED | short),
        _ => {
            frame.push(MASKED | TWO_BYTES_FOLLOW);
            frame.extend(u16::try_from(payload.len()).unwrap_or(u16::MAX).to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

pub(crate) fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode 32 frames");
    for bytes in BODY_BYTES {
        let batch = text_frame(body(bytes).as_bytes()).repeat(FRAMES);
        let mut inbound = Inbound::default();
        group.throughput(Throughput::Elements(FRAMES as u64));
        group.bench_function(BenchmarkId::from_parameter(bytes), |bencher| {
            // Decoding unmasks in place, so every time needs masked bytes.
            let fresh = || batch.clone();
            let feed = |bytes: &mut Vec<u8>| {
                let fed = inbound.feed(bytes, FRAME_BYTES_MAX, |item| {
                    black_box(item);
                    Flow::Continue
                });
                assert!(fed.violation.is_none() && fed.frames == FRAMES as u64);
            };
            bencher.iter_batched_ref(fresh, feed, BatchSize::SmallInput);
        });
    }
    group.finish();
}
