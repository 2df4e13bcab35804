//! Two control planes behind one `HAProxy`: either may die at any moment.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use hubbub_benches::rest::Rest;
use hubbub_benches::stack::{Stack, wait};
use serde_json::{Value, json};
use ureq::http::Method;

use crate::rest::{FOLLOWS_MAX, PASSWORD, text};

/// Times that one of the two is killed, in turn.
const KILLS: usize = 4;
const WRITERS: usize = 4;
/// What each writer sends, at least, between two kills.
const ROUND: usize = 15;

/// What one writer knows to be stored.
#[derive(Default)]
struct Ledger {
    /// Body to message id.
    acked: BTreeMap<String, String>,
    /// Names of rooms.
    rooms: Vec<String>,
    /// Requests that had to be repeated because a server died.
    repeated: usize,
}

/// Asks until there is an answer that is none of a server that is just dying.
fn insist(
    rest: &Rest,
    ledger: &mut Ledger,
    method: &Method,
    path: &str,
    body: Option<&Value>,
) -> (u16, Value) {
    let settled = wait::until(FOLLOWS_MAX, || {
        let answer =
            rest.call(method.clone(), path, body).ok().filter(|answer| ![502, 503].contains(&answer.status));
        if answer.is_none() {
            ledger.repeated += 1;
        }
        answer
    });
    let answer = settled.expect("an answer in time");
    (answer.status, answer.json)
}

fn write(rest: &Rest, room: &str, writer: usize, written: &AtomicUsize, stop: &AtomicBool) -> Ledger {
    let mut ledger = Ledger::default();
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let body = format!("{writer}-{n}");
        let message = json!({"body": body, "nonce": body});
        let path = format!("/rooms/{room}/messages");
        let (status, sent) = insist(rest, &mut ledger, &Method::POST, &path, Some(&message));
        assert_eq!(status, 201, "{sent}");
        ledger.acked.insert(body, text(&sent["id"]).to_owned());
        if n % 5 == 0 {
            // One that was repeated may have been carried out the first time.
            let name = format!("room {writer} {n}");
            let draft = json!({"name": name, "kind": "public"});
            let (status, made) = insist(rest, &mut ledger, &Method::POST, "/rooms", Some(&draft));
            assert!([201, 409].contains(&status), "{made}");
            ledger.rooms.push(name);
        }
        for path in ["/rooms", "/auth/me", &format!("{path}?limit=50")] {
            let (status, answer) = insist(rest, &mut ledger, &Method::GET, path, None);
            assert_eq!(status, 200, "{path}: {answer}");
        }
        written.fetch_add(1, Ordering::Relaxed);
    }
    ledger
}

#[test]
fn either_may_be_killed_under_load() {
    let limit = ("HUBBUB_WRITES_PER_MINUTE", "0");
    let stack = Stack::builder().gateways(1).controls(2).env(limit.0, limit.1).start().unwrap();
    let nobody = Rest::new(stack.public_url());
    let account = json!({"username": "ada", "password": PASSWORD});
    let made = nobody.post("/auth/register", &account).unwrap();
    let ada = nobody.with_token(text(&made["token"]));
    let room = ada.post("/rooms", &json!({"name": "lobby", "kind": "private"})).unwrap();
    let room = text(&room["id"]);

    let (written, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let ledgers: Vec<Ledger> = thread::scope(|scope| {
        let (ada, written, stop) = (&ada, &written, &stop);
        let writers: Vec<_> =
            (0..WRITERS).map(|writer| scope.spawn(move || write(ada, room, writer, written, stop))).collect();
        let some_more = || {
            let until = written.load(Ordering::Relaxed) + ROUND * WRITERS;
            let is_alive = writers.iter().all(|writer| !writer.is_finished());
            let done = wait::until(FOLLOWS_MAX, || {
                (!is_alive || written.load(Ordering::Relaxed) >= until).then_some(())
            });
            assert!(done.is_some(), "the load goes on");
        };
        for kill in 0..KILLS {
            let victim = stack.control(kill % 2);
            some_more();
            victim.kill().unwrap();
            some_more();
            victim.start().unwrap();
        }
        some_more();
        stop.store(true, Ordering::Relaxed);
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });

    // Every message once, with the id that was told; every room once.
    let expected: BTreeMap<_, _> = ledgers.iter().flat_map(|ledger| ledger.acked.clone()).collect();
    let stored = wait::until(FOLLOWS_MAX, || {
        let mut stored = Vec::new();
        loop {
            let after = stored.last().map_or("0".to_owned(), |(_, id): &(String, String)| id.clone());
            let page = ada.get(&format!("/rooms/{room}/messages?limit=200&after={after}")).ok()?;
            let items = page["items"].as_array()?.clone();
            if items.is_empty() {
                break;
            }
            stored.extend(
                items.iter().map(|item| (text(&item["body"]).to_owned(), text(&item["id"]).to_owned())),
            );
        }
        (stored.len() >= expected.len()).then_some(stored)
    });
    let stored = stored.expect("everything to be persisted");
    assert_eq!(stored.len(), expected.len(), "none is doubled");
    assert_eq!(stored.into_iter().collect::<BTreeMap<_, _>>(), expected);
    for name in ledgers.iter().flat_map(|ledger| &ledger.rooms) {
        let found = ada.get(&format!("/rooms/public?query={}", name.replace(' ', "%20"))).unwrap();
        let named = found["items"].as_array().unwrap().iter().filter(|room| room["name"] == name.as_str());
        assert_eq!(named.count(), 1, "{name}");
    }
    let repeated: usize = ledgers.iter().map(|ledger| ledger.repeated).sum();
    assert!(repeated > 0, "no request met a dying server: this proved nothing");
}
