//! What the programs log: a flood of the same takes a few lines, and says how large it was; nothing secret, at any level.

use std::fs;

use hubbub_benches::rest::Rest;
use hubbub_benches::stack::{Builder, Part, Stack, wait};
use hubbub_common::keys;
use hubbub_common::shard::Shard;
use serde_json::{Value, json};
use tokio::task::block_in_place;
use ureq::http::Method;

use crate::client::{Client, EVENT_MAX, Jar, Person, Proof};
use crate::metrics::{scrape, sum};

/// Errors of a flood.
const ERRORS: u64 = 1_000;

fn with_json(gateways: usize, controls: usize) -> Builder {
    let builder = Stack::builder().gateways(gateways).controls(controls).without_haproxy();
    builder.env("HUBBUB_LOG_FORMAT", "json")
}

/// The lines of a part's log.
fn lines(part: &Part) -> Vec<Value> {
    let text = fs::read_to_string(part.log()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}

/// All errors with this text are accounted for, by few lines.
fn check_flood(part: &Part, level: &str, text: &str) {
    let lines = lines(part);
    let said = |line: &&Value| line["level"] == level && line["message"] == text;
    let counted = |line: &&Value| {
        let message = line["message"].as_str().unwrap_or_default();
        line["level"] == level && message.ends_with(&format!(" more like this within 10 s: {text}"))
    };
    let written = lines.iter().filter(said).count() as u64;
    let told: Vec<_> = lines.iter().filter(counted).map(|line| line["left_out"].as_u64().unwrap()).collect();
    assert_eq!(written + told.iter().sum::<u64>(), ERRORS, "{written} lines, and {told:?}");
    // However slow the machine is: ten for each window in which some were left out, and perhaps for one at the end.
    assert!(!told.is_empty() && written <= 10 * (told.len() as u64 + 1), "{written} lines, and {told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_entries_that_nobody_can_read_is_a_few_lines() {
    let stack = block_in_place(|| with_json(1, 0).start().unwrap());
    let gateway = stack.gateway(0);
    block_in_place(|| {
        let client = redis::Client::open(stack.redis_url().unwrap()).unwrap();
        let mut nonsense = redis::pipe();
        for _ in 0..ERRORS {
            let add = nonsense.cmd("XADD").arg(keys::bus(Shard::CONTROL)).arg("*");
            add.arg(keys::ENTRY_FIELD).arg("nonsense").ignore();
        }
        nonsense.query::<()>(&mut client.get_connection().unwrap()).unwrap();
        let met = || sum(&scrape(gateway), "hubbub_bus_read_records_total", "verdict=\"unknown\"") == ERRORS;
        wait::until(EVENT_MAX, || met().then_some(())).expect("it should read them all");
        // What is not told yet is told at the end.
        gateway.stop().unwrap();
    });
    check_flood(gateway, "ERROR", "an entry can't be read");
    let lines = lines(gateway);
    let place =
        lines.iter().find(|line| !line["left_out"].is_null()).map(|line| line["at"].as_str().unwrap());
    assert!(place.unwrap().starts_with("hubbub_gateway::bus::reader:"), "{place:?}");
}

#[test]
fn requests_without_postgres_are_a_few_lines() {
    let stack = with_json(0, 1).start().unwrap();
    let control = stack.control(0);
    let ada = Person::register(control.url(), "ada");
    stack.postgres().unwrap().crash().unwrap();
    for _ in 0..ERRORS {
        let answer = ada.rest.call(Method::GET, "/rooms/public?query=x", None).unwrap();
        assert_eq!(answer.status, 503, "{}", answer.json);
    }
    control.stop().unwrap();
    check_flood(control, "WARN", "a request could not be served");
}

#[test]
fn whoever_wants_every_line_gets_it() {
    let stack = with_json(0, 1).env("HUBBUB_LOG_REPEATS_MAX", "0").start().unwrap();
    let control = stack.control(0);
    let ada = Person::register(control.url(), "ada");
    stack.postgres().unwrap().crash().unwrap();
    for _ in 0..100 {
        assert_eq!(ada.rest.call(Method::GET, "/rooms/public?query=x", None).unwrap().status, 503);
    }
    control.stop().unwrap();
    let said = |line: &&Value| line["message"] == "a request could not be served";
    assert_eq!(lines(control).iter().filter(said).count(), 100);
}

/// Passwords, tokens, tickets, secrets of the servers, and what people write.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_secret_is_logged_at_any_level() {
    const BODY: &str = "meet me at the old mill at nine";
    const REDIS_PASSWORD: &str = "the-password-of-redis";
    let builder = with_json(1, 1).env("HUBBUB_LOG", "trace");
    let builder = builder.redis_user("chat", REDIS_PASSWORD, "~* &* +@all");
    let stack = block_in_place(|| builder.start().unwrap());
    let control = stack.control(0).url();
    let ada = block_in_place(|| Person::register(control, "ada"));
    let token = ada.rest.token().unwrap();
    let (room, ticket) = block_in_place(|| {
        let wrong = json!({"username": "ada", "password": "another horse"});
        assert_eq!(Rest::new(control).call(Method::POST, "/auth/login", Some(&wrong)).unwrap().status, 401);
        let room = ada.rest.post("/rooms", &json!({"name": "mill", "kind": "private"})).unwrap();
        let room = room["id"].as_str().unwrap().to_owned();
        let body = json!({"body": BODY, "nonce": "a nonce of ada's"});
        ada.rest.post(&format!("/rooms/{room}/messages"), &body).unwrap();
        ada.rest.get(&format!("/rooms/{room}/messages")).unwrap();
        ada.rest.get(&format!("/rooms/{room}/search?q=mill")).unwrap();
        let ticket = ada.rest.post("/auth/ticket", &json!({})).unwrap();
        (room, ticket["ticket"].as_str().unwrap().to_owned())
    });
    let gateway = stack.gateway(0);
    for proof in [Proof::Ticket(&ticket), Proof::Bearer(token), Proof::Session(token)] {
        let mut client = Client::connect(gateway.url(), proof, &mut Jar::default()).await;
        client.join(&room, Some("1")).await;
        client.send(&room, BODY, "another nonce").await;
        client.close().await;
    }
    let mut jar = Jar::default();
    let refused = Client::try_connect(gateway.url(), Proof::Ticket("no.such.ticket"), &mut jar).await;
    assert_eq!(refused.unwrap_err().status, 401);
    let secrets = [
        (Person::PASSWORD, "a password"),
        ("another horse", "a wrong password"),
        (token, "the token of a login session"),
        (ticket.as_str(), "a ticket"),
        ("no.such.ticket", "a ticket that is none"),
        (stack.jwt_secret(), "HUBBUB_JWT_SECRET"),
        (REDIS_PASSWORD, "Redis' password"),
        (BODY, "a message"),
    ];
    block_in_place(|| {
        for part in [stack.control(0), gateway] {
            part.stop().unwrap();
            let log = fs::read_to_string(part.log()).unwrap();
            assert!(log.contains("\"level\":\"DEBUG\""), "{} logs little", part.name());
            for (secret, what) in secrets {
                let line = log.lines().find(|line| line.contains(secret));
                assert!(line.is_none(), "{} logs {what}: {line:?}", part.name());
            }
        }
    });
}
