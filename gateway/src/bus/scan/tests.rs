use hubbub_common::entry::{Record, encode};
use hubbub_common::ids::{MESSAGE_EPOCH_MS, UserId};
use hubbub_common::protocol::MessageKind;
use proptest::prelude::*;

use super::*;

const WINDOW_MS: u64 = 1_000;
const MARGINS: Margins = Margins { entries_ms: 200, nonces_ms: WINDOW_MS };
const START_MS: u64 = MESSAGE_EPOCH_MS + 1_000_000;

fn room(n: u64) -> RoomId {
    RoomId::new(n).unwrap()
}

/// An entry to be.
#[derive(Debug, Clone)]
struct Sent {
    after_ms: u64,
    /// Of each record, its room, and the number of the nonce that it shares with at most one other.
    records: Vec<(u64, Option<usize>)>,
    /// Whether it is appended a second time, a little later.
    repeated: bool,
}

fn sent() -> impl Strategy<Value = Sent> {
    let record = (1u64..4, proptest::option::weighted(0.4, 0usize..40));
    (1u64..150, proptest::collection::vec(record, 1..4), proptest::bool::weighted(0.2))
        .prop_map(|(after_ms, records, repeated)| Sent { after_ms, records, repeated })
}

/// The stream that comes of it.
fn stream(sent: &[Sent]) -> Vec<ReadEntry> {
    let mut uses = [0; 40];
    let (mut ms, mut entries) = (START_MS, Vec::new());
    for (seq, sent) in sent.iter().enumerate() {
        ms += sent.after_ms;
        let records: Vec<Vec<u8>> = sent
            .records
            .iter()
            .enumerate()
            .map(|(index, (of, nonce))| {
                let nonce = nonce.filter(|nonce| {
                    uses[*nonce] += 1;
                    uses[*nonce] <= 2
                });
                Record::Message {
                    room: room(*of),
                    from: UserId::new(7).unwrap(),
                    name: "ada".into(),
                    kind: MessageKind::Text,
                    body: format!("{seq}/{index}").into(),
                    nonce: nonce.map(|nonce| nonce.to_string().into()),
                    reply_to: None,
                }
                .encode()
            })
            .collect();
        let bytes = Bytes::from(encode(9, seq as u64 + 1, &records));
        let mut append = |ms| {
            let id = EntryId { ms, seq: 0 };
            entries.push(ReadEntry { shard: Shard::new(0), id, bytes: bytes.clone() });
        };
        append(ms);
        if sent.repeated {
            ms += 50;
            append(ms);
        }
    }
    entries
}

/// What a reader makes of it: the events, and what it remembers.
fn live(stream: &[ReadEntry], dedupe: &mut Dedupe) -> Vec<(u64, MessageId, Bytes)> {
    let mut events = Vec::new();
    for read in stream {
        let entry = Entry::decode(&read.bytes).unwrap();
        if !dedupe.first_time(entry.origin, entry.seq, read.id.ms) {
            continue;
        }
        for (index, record) in entry.records() {
            let (record, id) = (record.unwrap(), MessageId::pack(read.id, index).unwrap());
            let nonce = record.nonce();
            if nonce.is_none_or(|(user, nonce)| dedupe.check(user, nonce, id) == Verdict::New) {
                events.push((record.room().get(), id, frame(&record, id)));
            }
        }
    }
    events
}

proptest! {
    /// Whatever is trimmed, evicted and lost when, and wherever the scan is cut, a replay is exactly what followed and
    /// is still there, up to the newest that is known; or refused.
    #[test]
    fn a_splice_is_whole_or_refused(
        sent in proptest::collection::vec(sent(), 1..60),
        since_at in 0usize..200,
        asked_room in 1u64..4,
        trimmed_before in 0usize..100,
        trimmed_after in 0usize..100,
        lost in prop_oneof![Just(0), 0usize..5],
        window_bytes in 0usize..20_000,
        to_at in 0usize..100,
        pages in 1usize..100,
        bytes_max in prop_oneof![Just(usize::MAX), 0usize..20_000],
    ) {
        let stream = stream(&sent);
        let mut dedupe = Dedupe::new(WINDOW_MS);
        let events = live(&stream, &mut dedupe);
        let newest = stream.last().unwrap().id;
        let remembered_from_ms = newest.ms - WINDOW_MS;
        let mut window = Window::new(window_bytes);
        for (of, id, frame) in &events {
            window.push(room(*of), *id, frame.clone(), MessageId::ZERO);
        }
        let since = events[since_at % events.len()].1;
        let ask = JoinAsk { room: room(asked_room), since: Some(since) };
        let margin_ms = MARGINS.before(since, remembered_from_ms);
        let from = EntryId { ms: since.ts() - margin_ms, seq: 0 };
        let to = stream[to_at % stream.len()].id;
        let plan = Plan { attempt: 1, margins: MARGINS, from, to };
        // Trimming goes on while the scan does.
        let trimmed_before = trimmed_before.min(stream.len());
        let trimmed_after = trimmed_after.clamp(trimmed_before, stream.len());
        // A fail-over takes the end, which was read.
        let kept = stream.len() - lost.min(stream.len() - trimmed_before);
        let is_there = |entry: &&ReadEntry| from <= entry.id && entry.id <= to;
        let read: Vec<&ReadEntry> = stream[trimmed_before..kept].iter().filter(is_there).collect();
        let cut = read.len().saturating_sub(pages);
        let left = &stream[trimmed_after..];
        let extent = Extent {
            ends: left.first().map(|first| (first.id, newest)),
            last: newest,
            added: stream.len() as u64,
            length: left.len() as u64,
        };
        let reached = reached(&plan, read[cut..].first().map(|entry| entry.id), cut > 0, &extent);
        let mut collector = Collector::new(WINDOW_MS, bytes_max, &[ask]);
        for entry in &read[cut..] {
            collector.take(entry, &dedupe, remembered_from_ms);
        }
        let scanned = collector.finish(&plan, reached);
        let followed: Vec<(MessageId, &Bytes)> = events
            .iter()
            .filter(|(of, id, _)| *of == asked_room && *id > since)
            .map(|(_, id, frame)| (*id, frame))
            .collect();
        prop_assert!(scanned.newest(ask.room) == MessageId::ZERO
            || followed.iter().any(|(id, _)| *id == scanned.newest(ask.room)));
        if let Some(frames) = scanned.splice(&window, ask.room, since) {
            prop_assert_eq!(frames.last(), followed.last().map(|(_, frame)| *frame));
            let is_lost = |id: MessageId| stream[kept..].iter().any(|entry| entry.id == id.entry()) && id.entry() <= to;
            let expected: Vec<Bytes> =
                followed.iter().filter(|(id, _)| !is_lost(*id)).map(|(_, frame)| (*frame).clone()).collect();
            prop_assert_eq!(frames, expected);
        } else if trimmed_after == 0 && cut == 0 && lost == 0 && bytes_max == usize::MAX {
            // Refused only where the window does not go on where the scan ends.
            prop_assert_eq!(window.replay(ask.room, since.max(MessageId::through(to))), None);
        }
    }
}

#[test]
fn a_room_that_was_not_asked_about_is_not_spliced() {
    let ask = |n, since| JoinAsk { room: room(n), since: MessageId::new(since) };
    let collector = Collector::new(WINDOW_MS, 1_000, &[ask(1, 50)]);
    let (from, to) = (EntryId::ZERO, EntryId { ms: START_MS, seq: 0 });
    let plan = Plan { attempt: 1, margins: MARGINS, from, to };
    let scanned = collector.finish(&plan, Reached::Since(0));
    let mut window = Window::new(1_000);
    for n in 1..=3 {
        window.learn_last(room(n), MessageId::ZERO, MessageId::MAX, MessageId::ZERO);
    }
    let since = |n| MessageId::new(n).unwrap();
    assert_eq!(scanned.splice(&window, room(1), since(50)), Some(vec![]));
    assert_eq!(scanned.splice(&window, room(1), since(49)), None);
    assert_eq!(scanned.splice(&window, room(2), since(50)), None);
}

#[test]
fn pages_do_not_overlap() {
    let id = |ms, seq| EntryId { ms, seq };
    assert_eq!(previous(id(5, 3)), id(5, 2));
    assert_eq!(previous(id(5, 0)), id(4, u64::MAX));
    assert_eq!(previous(EntryId::ZERO), id(0, u64::MAX));
}

#[test]
fn what_is_not_read_yet_is_not_scanned() {
    let entry = |ms| EntryId { ms: START_MS + ms, seq: 0 };
    let evicted_to = MessageId::through(entry(0));
    assert_eq!(scan_to(evicted_to, entry(50), entry(20)), entry(20));
    assert_eq!(scan_to(evicted_to, entry(10), entry(20)), entry(10));
    assert_eq!(scan_to(evicted_to, entry(90_000), entry(80_000)), entry(OVERLAP_MS));
}

#[test]
fn the_newest_that_a_scan_met_is_known() {
    let id = |ms| MessageId::pack(EntryId { ms: START_MS + ms, seq: 0 }, 0).unwrap();
    let mut scanned = Scanned::nothing(&[]);
    scanned.rooms.insert(room(1), vec![(id(1), Bytes::new()), (id(7), Bytes::new())]);
    assert_eq!((scanned.newest(room(1)), scanned.newest(room(2))), (id(7), MessageId::ZERO));
}
