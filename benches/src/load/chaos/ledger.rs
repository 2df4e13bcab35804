//! The books: what was promised against what history holds and what clients saw.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::client::{Seen, Sent, name};
use crate::rest::Rest;
use crate::stack::wait;

/// Faults that are told one by one.
const TOLD_MAX: usize = 20;

/// A message in history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) id: u64,
    pub(super) nonce: String,
}

/// What balances; the rest fails the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Balance {
    pub(super) acked: u64,
    pub(super) persisted: u64,
    /// Delivered, never acknowledged, and lost with a Redis whose replica had not got them.
    pub(super) phantoms: u64,
}

/// The messages of every room once there are as many as were acknowledged.
pub(super) fn history_of(
    rest: &Rest,
    rooms: usize,
    acked: usize,
    time: Duration,
) -> Result<Vec<Vec<Message>>, String> {
    let mut problem = String::new();
    let mut found = 0;
    let history = wait::until(time, || {
        let history: Result<Vec<_>, String> = (0..rooms).map(|room| room_history(rest, room)).collect();
        match history {
            Ok(history) => {
                found = history.iter().map(Vec::len).sum();
                (found >= acked).then_some(history)
            }
            Err(error) => {
                problem = error;
                None
            }
        }
    });
    history.ok_or_else(|| format!("history holds {found} messages, {acked} were acknowledged; {problem}"))
}

fn room_history(rest: &Rest, room: usize) -> Result<Vec<Message>, String> {
    let mut messages: Vec<Message> = Vec::new();
    loop {
        let after = messages.last().map_or(0, |message| message.id);
        let page = rest.get(&format!("/rooms/{}/messages?after={after}&limit=200", name(room)))?;
        let items = page.get("items").and_then(Value::as_array).ok_or("history without items")?;
        if items.is_empty() {
            return Ok(messages);
        }
        for item in items {
            let text = |field: &str| item.get(field).and_then(Value::as_str).unwrap_or_default();
            let id = text("id").parse().map_err(|_| format!("history holds {item}"))?;
            messages.push(Message { id, nonce: text("nonce").to_owned() });
        }
    }
}

/// Closes the books; the error lists what does not balance.
pub(super) fn balance(
    history: &[Vec<Message>],
    sent: &[&Sent],
    seen: &[(&str, &Seen)],
    wrong: &[&String],
) -> Result<Balance, String> {
    let mut faults: Vec<String> = wrong.iter().map(|text| (*text).clone()).collect();
    let mut by_nonce: BTreeMap<&str, u64> = BTreeMap::new();
    for message in history.iter().flatten() {
        if let Some(first) = by_nonce.insert(&message.nonce, message.id) {
            faults.push(format!("nonce {} stands twice: {first} and {}", message.nonce, message.id));
        }
    }
    for sent in sent {
        let persisted = by_nonce.get(sent.nonce.as_str()).copied();
        if persisted != sent.id {
            faults.push(format!(
                "nonce {} was acknowledged as {:?} and persisted as {persisted:?}",
                sent.nonce, sent.id
            ));
        }
    }
    let mut phantoms = BTreeSet::new();
    for (client, seen) in seen {
        let Some(messages) = history.get(seen.room) else { continue };
        let Some(begun) = seen.begun else {
            faults.push(format!("{client} never came into room {}", name(seen.room)));
            continue;
        };
        let there: BTreeSet<u64> = messages.iter().map(|message| message.id).collect();
        let got: BTreeSet<u64> = seen.ids.iter().copied().collect();
        phantoms.extend(got.difference(&there).copied());
        let excused = |id: u64| seen.gaps.iter().any(|(after, last)| (*after + 1..=*last).contains(&id));
        for id in there.range(begun + 1..) {
            if !got.contains(id) && !excused(*id) {
                faults.push(format!("{client} did not see message {id} of room {}", name(seen.room)));
            }
        }
    }
    if faults.is_empty() {
        let acked = sent.iter().filter(|sent| sent.id.is_some()).count() as u64;
        return Ok(Balance { acked, persisted: by_nonce.len() as u64, phantoms: phantoms.len() as u64 });
    }
    let count = faults.len();
    faults.truncate(TOLD_MAX);
    Err(format!("{count} faults, such as:\n{}", faults.join("\n")))
}
