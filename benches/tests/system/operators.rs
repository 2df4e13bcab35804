//! What operators see of a system while it runs.

use std::collections::BTreeSet;

use hubbub_benches::rest::Rest;
use hubbub_benches::stack::{Stack, wait};
use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::admin::operator;
use crate::client::{Client, EVENT_MAX};
use crate::rest::{get, text};

/// A list, once it is as expected.
fn once(root: &Rest, path: &str, fits: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let mut last = Value::Null;
    let found = wait::until(EVENT_MAX, || {
        last = get(root, path, 200);
        let items = last["items"].as_array().unwrap();
        fits(items).then(|| items.clone())
    });
    found.unwrap_or_else(|| panic!("{path}: {last}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_tell_what_they_do() {
    let stack =
        block_in_place(|| Stack::builder().gateways(2).controls(1).without_haproxy().start().unwrap());
    let root = block_in_place(|| operator(&stack));
    let mut writer = Client::in_room(&stack, 0, 7, "5").await;
    let mut reader = Client::in_room(&stack, 1, 8, "5").await;
    for nonce in 0..10 {
        let id = writer.send("5", "hello", &nonce.to_string()).await["id"].clone();
        assert_eq!(reader.expect("message").await["id"], id);
    }
    block_in_place(|| {
        let is_counted = |one: &Value, published: u64| {
            let counts = &one["counts"];
            // Presence is delivered, too.
            one["connections"] == 1
                && counts["published"] == published
                && counts["delivered"].as_u64() >= Some(10)
                && counts["handshakes"] == 1
                && counts["evicted"] == 0
        };
        let list = once(&root, "/admin/gateways", |list| {
            list.len() == 2 && is_counted(&list[0], 10) && is_counted(&list[1], 0)
        });
        for one in &list {
            let cores: Vec<u64> =
                one["cores"].as_array().unwrap().iter().map(|core| core.as_u64().unwrap()).collect();
            assert_eq!(cores.iter().sum::<u64>(), 1, "{one}");
            assert!(one["lag_ms"].is_u64(), "{one}");
        }
        // Told anew all the time.
        let seen_at =
            |list: &[Value]| list.iter().map(|one| one["seen_at"].as_u64().unwrap()).collect::<Vec<_>>();
        let before = seen_at(&list);
        once(&root, "/admin/gateways", |list| {
            seen_at(list).iter().zip(&before).all(|(now, before)| now > before)
        });
    });
}

#[test]
fn control_planes_tell_who_leads() {
    let builder = Stack::builder().gateways(0).controls(2).without_haproxy();
    let stack = builder.env("HUBBUB_GATEWAY_TIMEOUT_SECONDS", "3").start().unwrap();
    let root = operator(&stack);
    let leaders = |list: &[Value]| list.iter().filter(|one| one["leader"] == true).count();
    let list = once(&root, "/admin/controls", |list| list.len() == 2 && leaders(list) == 1);
    let names: BTreeSet<_> = list.iter().map(|one| text(&one["server_id"])).collect();
    assert_eq!(names, BTreeSet::from([stack.control(0).name(), stack.control(1).name()]));
    for one in &list {
        assert!(one["uptime"].is_u64() && one["seen_at"].is_u64() && one["stream_lag"].is_u64(), "{one}");
        assert_eq!((&one["problem"], &one["version"]), (&Value::Null, &json!("0.1.0")));
    }
    // One that ends goes at once, one that is killed when it was silent for long enough. The operator asks the first.
    for end in [hubbub_benches::stack::Part::stop, hubbub_benches::stack::Part::kill] {
        end(stack.control(1)).unwrap();
        let left = once(&root, "/admin/controls", |list| list.len() == 1 && leaders(list) == 1);
        assert_eq!(text(&left[0]["server_id"]), stack.control(0).name());
        stack.control(1).start().unwrap();
        once(&root, "/admin/controls", |list| list.len() == 2);
    }
}
