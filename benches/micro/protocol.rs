//! JSON in both directions.

use std::borrow::Cow;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion};
use hubbub_common::ids::{EntryId, MESSAGE_EPOCH_MS, MessageId, RoomId, UserId};
use hubbub_common::protocol::{Command, Event, MessageKind};
use hubbub_gateway::ws::encode::text_frame;

use crate::{BODY_BYTES, body};

pub(crate) fn parse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse");
    let mut one = |name: String, text: &str| {
        assert!(Command::parse(text).is_ok(), "{text}");
        group.bench_function(name, |bencher| bencher.iter(|| Command::parse(black_box(text))));
    };
    for bytes in BODY_BYTES {
        let body = body(bytes);
        let text = format!(r#"{{"op":"send","ref":17,"room":"4711","body":"{body}","nonce":"a1b2c3d4"}}"#);
        one(format!("send/{bytes}"), &text);
    }
    one("join".to_owned(), r#"{"op":"join","ref":1,"rooms":[{"room":"4711","since":"274877906944"}]}"#);
    one("ping".to_owned(), r#"{"op":"ping"}"#);
    group.finish();
}

pub(crate) fn encode(criterion: &mut Criterion) {
    let entry = EntryId { ms: MESSAGE_EPOCH_MS + 50_000_000_000, seq: 3 };
    let (Some(room), Some(from), Some(id)) =
        (RoomId::new(4_711), UserId::new(1_234_567), MessageId::pack(entry, 9))
    else {
        return;
    };
    let mut group = criterion.benchmark_group("encode a message");
    for bytes in BODY_BYTES {
        let event = Event::Message {
            room,
            id,
            ts: id.ts(),
            from,
            name: Cow::Borrowed("ada"),
            kind: MessageKind::Text,
            body: Cow::Owned(body(bytes)),
            nonce: Some(Cow::Borrowed("a1b2c3d4")),
            reply_to: None,
        };
        group.bench_function(BenchmarkId::from_parameter(bytes), |bencher| {
            bencher.iter(|| text_frame(|out| black_box(&event).write_json(out)));
        });
    }
    group.finish();
}
