//! Who becomes a member of a room hears it wherever they are connected, before they have joined it anywhere.

use hubbub_benches::stack::Stack;
use serde_json::{Value, json};
use tokio::task::block_in_place;
use ureq::http::Method;

use crate::client::{Client, Jar, Person, Proof, mint};

/// Two gateways without a balancer, so that a test says which one it means.
fn stack() -> Stack {
    block_in_place(|| Stack::builder().gateways(2).controls(1).without_haproxy().start().unwrap())
}

/// A connection to each gateway.
async fn everywhere(stack: &Stack, person: &Person) -> [Client; 2] {
    let connect =
        async |gateway: usize| person.connect(stack.gateway(gateway).url(), &mut Jar::default()).await;
    [connect(0).await, connect(1).await]
}

/// Outside the order of the room: nothing comes before or behind it.
async fn hears_of(client: &mut Client, person: &Person, room: &str, role: &str) {
    let told = client.find(|event| event["op"] == "member" && event["room"] == room).await;
    let expected = json!({"op": "member", "room": room, "user": person.id, "state": "joined", "role": role});
    assert_eq!(told, expected);
}

fn is_membership(event: &Value) -> bool {
    event["op"] == "member" && event["id"].is_null()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_is_heard_on_every_gateway() {
    let stack = stack();
    let [ada, bob] =
        block_in_place(|| ["ada", "bob"].map(|name| Person::register(stack.control(0).url(), name)));
    let mut owner = ada.connect(stack.gateway(0).url(), &mut Jar::default()).await;
    let made = json!({"name": "den", "kind": "private"});
    let room = block_in_place(|| ada.rest.post("/rooms", &made).unwrap())["id"].as_str().unwrap().to_owned();
    hears_of(&mut owner, &ada, &room, "owner").await;
    assert!(owner.join(&room, None).await["error"].is_null());
    let mut bobs = everywhere(&stack, &bob).await;
    // A token that names its rooms is a right of its own.
    let token = mint(&stack, bob.id.parse().unwrap(), &json!("*"));
    let mut by_token =
        Client::connect(stack.gateway(0).url(), Proof::Bearer(&token), &mut Jar::default()).await;

    let place = format!("/rooms/{room}/members/{}", bob.id);
    let invite = || {
        let role = json!({"role": "member"});
        block_in_place(|| ada.rest.ask(&Method::PUT, &place, Some(&role)).unwrap());
    };
    invite();
    for client in &mut bobs {
        hears_of(client, &bob, &room, "member").await;
        // By then the gateway knows it, too.
        assert!(client.join(&room, None).await["error"].is_null());
    }
    let welcome = owner.send(&room, "welcome", "1").await;
    for client in &mut bobs {
        assert_eq!(client.expect("message").await["id"], welcome["id"]);
    }

    // Who is in the room hears it from the room, in its order, and from there alone.
    let joined = owner.find(|event| event["op"] == "member").await;
    assert_eq!((&joined["user"], &joined["state"]), (&json!(bob.id), &json!("joined")));
    assert!(joined["id"].is_string(), "{joined}");

    // Removed and invited once more.
    block_in_place(|| ada.rest.ask(&Method::DELETE, &place, Some(&json!({}))).unwrap());
    for client in &mut bobs {
        client.find(|event| event["op"] == "member" && event["state"] == "kicked").await;
    }
    invite();
    for client in &mut bobs {
        hears_of(client, &bob, &room, "member").await;
    }
    for client in [&mut owner, &mut by_token] {
        client.request(json!({"op": "ping"})).await;
        assert!(client.passed(is_membership).is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_direct_room_and_what_one_does_in_another_window_are_heard() {
    let stack = stack();
    let [ada, bob] =
        block_in_place(|| ["ada", "bob"].map(|name| Person::register(stack.control(0).url(), name)));
    let (mut adas, mut bobs) = (everywhere(&stack, &ada).await, everywhere(&stack, &bob).await);
    let post = |person: &Person, path: &str, body: Value| {
        block_in_place(|| person.rest.post(path, &body).unwrap())["id"].as_str().unwrap().to_owned()
    };
    let direct = post(&ada, "/dms", json!({"user": bob.id}));
    for client in &mut bobs {
        hears_of(client, &bob, &direct, "owner").await;
        assert!(client.join(&direct, None).await["error"].is_null());
    }
    let public = post(&ada, "/rooms", json!({"name": "hall", "kind": "public"}));
    for client in &mut adas {
        hears_of(client, &ada, &direct, "owner").await;
        hears_of(client, &ada, &public, "owner").await;
    }
    post(&bob, &format!("/rooms/{public}/join"), json!({}));
    for client in &mut bobs {
        hears_of(client, &bob, &public, "member").await;
    }
    // It was there already: nobody hears anything of it.
    assert_eq!(post(&bob, "/dms", json!({"user": ada.id})), direct);
    let later = post(&ada, "/rooms", json!({"name": "later", "kind": "private"}));
    for client in &mut adas {
        hears_of(client, &ada, &later, "owner").await;
        assert!(client.passed(is_membership).is_none());
    }
}
