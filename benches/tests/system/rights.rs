//! Whose right to a message, a room or a session ends, loses it on open connections too, on every gateway.

use std::collections::BTreeSet;

use hubbub_benches::stack::{Stack, wait};
use hubbub_common::entry::{Record, encode};
use hubbub_common::ids::{RoomId, UserId};
use hubbub_common::protocol::{MemberState, Role};
use postgres::{Client as Database, NoTls};
use serde_json::{Value, json};
use tokio::task::block_in_place;
use ureq::http::Method;

use crate::client::{Client, EVENT_MAX, Jar, Person, Proof, mint};

/// Two gateways without a balancer, so that a test says which one it means.
fn stack() -> Stack {
    block_in_place(|| Stack::builder().gateways(2).controls(1).without_haproxy().start().unwrap())
}

struct Cast {
    stack: Stack,
    room: String,
    /// The owner, a member, and a member who also has a connection to the other gateway.
    ada: Person,
    bob: Person,
    eve: Person,
}

impl Cast {
    fn new() -> Self {
        let stack = stack();
        block_in_place(|| {
            let url = stack.control(0).url();
            let [ada, bob, eve] = ["ada", "bob", "eve"].map(|name| Person::register(url, name));
            let room = ada.rest.post("/rooms", &json!({"name": "r", "kind": "public"})).unwrap();
            let room = room["id"].as_str().unwrap().to_owned();
            for person in [&bob, &eve] {
                person.rest.post(&format!("/rooms/{room}/join"), &json!({})).unwrap();
            }
            Self { stack, room, ada, bob, eve }
        })
    }

    /// Connects to a gateway and joins the room.
    async fn enter(&self, person: &Person, gateway: usize) -> Client {
        let mut client = person.connect(self.stack.gateway(gateway).url(), &mut Jar::default()).await;
        let joined = client.join(&self.room, None).await;
        assert!(joined["error"].is_null(), "{joined}");
        client
    }

    fn ask(&self, person: &Person, method: &Method, path: &str, body: &Value) -> Value {
        let path = format!("/rooms/{}{path}", self.room);
        block_in_place(|| person.rest.ask(method, &path, Some(body)).unwrap())
    }

    fn set_role(&self, of: &Person, role: &str) {
        self.ask(&self.ada, &Method::PUT, &format!("/members/{}", of.id), &json!({"role": role}));
    }

    /// What history says of a message, once it says what is expected.
    fn wait_for_history(&self, id: &Value, fits: impl Fn(&Value) -> bool) {
        let path = format!("/rooms/{}/messages?limit=200", self.room);
        block_in_place(|| {
            let found = wait::until(EVENT_MAX, || {
                let history = self.ada.rest.get(&path).ok()?;
                history["items"]
                    .as_array()?
                    .iter()
                    .find(|message| message["id"] == *id && fits(message))
                    .map(|_| ())
            });
            found.expect("the message as it should be in history");
        });
    }
}

async fn refused(client: &mut Client, operation: Value, code: &str) {
    let answer = client.request(operation.clone()).await;
    assert_eq!((&answer["op"], &answer["code"]), (&json!("error"), &json!(code)), "{operation}: {answer}");
}

async fn acked(client: &mut Client, operation: Value) -> Value {
    let answer = client.request(operation.clone()).await;
    assert_eq!(answer["op"], "ack", "{operation}: {answer}");
    answer["id"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_changed_by_whom_they_belong_to() {
    let cast = Cast::new();
    let room = &cast.room;
    let mut ada = cast.enter(&cast.ada, 0).await;
    let mut bob = cast.enter(&cast.bob, 1).await;
    let mut eve = cast.enter(&cast.eve, 1).await;
    let message = bob.send(room, "helo", "1").await["id"].clone();

    // The author edits, everybody sees it, in the order of ids.
    let edit = json!({"op": "edit", "room": room, "id": message, "body": "hello"});
    let edited_id = acked(&mut bob, edit.clone()).await;
    for client in [&mut ada, &mut bob, &mut eve] {
        assert_eq!(client.expect("message").await["body"], "helo");
        let edited = client.expect("edited").await;
        assert_eq!((&edited["id"], &edited["msg"], &edited["body"]), (&edited_id, &message, &json!("hello")));
        assert_eq!((&edited["from"], &edited["room"]), (&json!(cast.bob.id), &json!(room)));
    }
    refused(&mut eve, edit.clone(), "forbidden").await;
    refused(&mut ada, edit, "forbidden").await;
    refused(&mut bob, json!({"op": "edit", "room": room, "id": edited_id, "body": "x"}), "not_found").await;
    refused(
        &mut bob,
        json!({"op": "edit", "room": room, "id": message, "body": "x".repeat(4_097)}),
        "too_large",
    )
    .await;
    refused(&mut bob, json!({"op": "edit", "room": "999", "id": message, "body": "x"}), "not_joined").await;

    // Everybody reacts; what was never said can't be reacted to.
    let react =
        |emoji: &str, on: bool| json!({"op": "react", "room": room, "id": message, "emoji": emoji, "on": on});
    acked(&mut eve, react("👍", true)).await;
    acked(&mut eve, react("👎", true)).await;
    acked(&mut eve, react("👎", false)).await;
    let reacted = ada.expect("reacted").await;
    assert_eq!((&reacted["emoji"], &reacted["on"], &reacted["msg"]), (&json!("👍"), &json!(true), &message));
    refused(
        &mut eve,
        json!({"op": "react", "room": room, "id": "12345", "emoji": "x", "on": true}),
        "not_found",
    )
    .await;
    let eve_id = cast.eve.id.clone();
    cast.wait_for_history(&message, |message| {
        message["body"] == "hello"
            && message["edited_at"].is_u64()
            && message["reactions"] == json!({"👍": [eve_id]})
    });

    // The author deletes, or an admin does.
    refused(&mut eve, json!({"op": "delete", "room": room, "id": message}), "forbidden").await;
    acked(&mut ada, json!({"op": "delete", "room": room, "id": message})).await;
    assert_eq!(bob.expect("deleted").await["msg"], message);
    let own = eve.send(room, "oops", "2").await["id"].clone();
    acked(&mut eve, json!({"op": "delete", "room": room, "id": own})).await;
    for id in [&message, &own] {
        cast.wait_for_history(id, |message| message["deleted"] == true && message["body"] == "");
    }

    // By REST the same holds.
    let own = eve.send(room, "by rest", "3").await["id"].clone();
    let path = format!("/rooms/{room}/messages/{}", own.as_str().unwrap());
    let status = |person: &Person, method: Method, body: Value| {
        block_in_place(|| person.rest.call(method, &path, Some(&body)).unwrap().status)
    };
    assert_eq!(status(&cast.bob, Method::PATCH, json!({"body": "x"})), 403);
    assert_eq!(status(&cast.eve, Method::PATCH, json!({"body": ""})), 422);
    assert_eq!(status(&cast.eve, Method::PATCH, json!({"body": "by REST"})), 200);
    assert_eq!(bob.find(|event| event["op"] == "edited" && event["msg"] == own).await["body"], "by REST");
    assert_eq!(status(&cast.bob, Method::DELETE, json!({})), 403);
    assert_eq!(status(&cast.ada, Method::DELETE, json!({})), 200);
    assert_eq!(bob.find(|event| event["op"] == "deleted" && event["msg"] == own).await["from"], cast.ada.id);
    cast.wait_for_history(&own, |message| message["deleted"] == true);
    assert_eq!(status(&cast.eve, Method::PATCH, json!({"body": "again"})), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn old_messages_are_known_to_the_control_plane() {
    let window = ("HUBBUB_RESUME_WINDOW_SECONDS", "1");
    let stack = block_in_place(|| {
        let builder = Stack::builder().gateways(1).controls(1).without_haproxy();
        builder.env(window.0, window.1).start().unwrap()
    });
    let token = mint(&stack, 7, &json!("*"));
    let mut writer =
        Client::connect(stack.gateway(0).url(), Proof::Bearer(&token), &mut Jar::default()).await;
    writer.join("5", None).await;
    let old = writer.send("5", "old", "1").await["id"].clone();
    let deleted = writer.send("5", "old and deleted", "2").await["id"].clone();
    acked(&mut writer, json!({"op": "delete", "room": "5", "id": deleted})).await;
    let edit = json!({"op": "edit", "room": "5", "id": deleted, "body": "again"});
    refused(&mut writer, edit, "not_found").await;
    // They leave the stream once they are persisted: sooner, and they would be lost.
    block_in_place(|| {
        let mut database = Database::connect(stack.database_url().unwrap(), NoTls).unwrap();
        let persisted = wait::until(EVENT_MAX, || {
            let counted = "SELECT count(*) FROM messages WHERE room = 5 AND deleted";
            (database.query_one(counted, &[]).unwrap().get::<_, i64>(0) == 1).then_some(())
        });
        persisted.expect("the messages to be persisted");
        let client = redis::Client::open(stack.redis_url().unwrap()).unwrap();
        let shard = hubbub_common::shard::Shards::new(64).unwrap().of("5".parse().unwrap());
        let mut trim = redis::cmd("XTRIM");
        trim.arg(hubbub_common::keys::bus(shard)).arg("MAXLEN").arg(0);
        trim.query::<u64>(&mut client.get_connection().unwrap()).unwrap();
    });
    // The gateway's window forgets after a second too; a new one knows nothing.
    let token = mint(&stack, 8, &json!("*"));
    let mut other = Client::connect(stack.gateway(0).url(), Proof::Bearer(&token), &mut Jar::default()).await;
    other.join("5", None).await;
    refused(&mut other, json!({"op": "edit", "room": "5", "id": old, "body": "not mine"}), "forbidden").await;
    acked(&mut writer, json!({"op": "edit", "room": "5", "id": old, "body": "still mine"})).await;
    assert_eq!(other.expect("edited").await["msg"], old);
    refused(&mut writer, json!({"op": "edit", "room": "5", "id": "77", "body": "never was"}), "not_found")
        .await;
    let react = json!({"op": "react", "room": "5", "id": deleted, "emoji": "x", "on": true});
    refused(&mut other, react, "not_found").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_changes_counts_at_once() {
    let cast = Cast::new();
    let room = &cast.room;
    let send = |body: &str| json!({"op": "send", "room": room, "body": body});
    let mut ada = cast.enter(&cast.ada, 0).await;
    let mut here = cast.enter(&cast.eve, 0).await;
    let mut there = cast.enter(&cast.eve, 1).await;
    let mut bob = cast.enter(&cast.bob, 1).await;

    // Who is online, by REST: everybody once, from every gateway.
    let path = format!("/rooms/{room}/presence");
    block_in_place(|| {
        let everybody: BTreeSet<_> =
            [&cast.ada, &cast.bob, &cast.eve].iter().map(|person| json!(person.id).to_string()).collect();
        let seen = wait::until(EVENT_MAX, || {
            let presence = cast.eve.rest.get(&path).unwrap();
            let online = presence["online"].as_array().unwrap().iter().map(ToString::to_string);
            (online.collect::<BTreeSet<_>>() == everybody && presence["count"] == 3).then_some(())
        });
        seen.expect("everybody to be online");
        let stranger = Person::register(cast.stack.control(0).url(), "max");
        assert_eq!(stranger.rest.call(Method::GET, &path, None).unwrap().status, 403);
        assert_eq!(stranger.rest.call(Method::GET, "/rooms/999999/presence", None).unwrap().status, 404);
        let nobody = hubbub_benches::rest::Rest::new(cast.stack.control(0).url());
        assert_eq!(nobody.call(Method::GET, &path, None).unwrap().status, 401);
    });

    // Muted and unmuted, on every connection.
    cast.set_role(&cast.eve, "muted");
    for client in [&mut here, &mut there] {
        let member = client.find(|event| event["op"] == "member" && event["role"] == "muted").await;
        assert_eq!((&member["user"], &member["state"]), (&json!(cast.eve.id), &json!("role")));
        refused(client, send("psst"), "forbidden").await;
    }
    cast.set_role(&cast.eve, "member");
    for client in [&mut here, &mut there] {
        client
            .find(|event| event["op"] == "member" && event["role"] == "member" && event["state"] == "role")
            .await;
        acked(client, send("hello again")).await;
    }

    // Kicked: the last that comes is why, and nothing after it; a join is refused.
    cast.ask(&cast.ada, &Method::DELETE, &format!("/members/{}", cast.eve.id), &json!({}));
    for client in [&mut here, &mut there] {
        client.find(|event| event["op"] == "member" && event["state"] == "kicked").await;
        refused(client, send("still there?"), "not_joined").await;
        assert_eq!(client.join(room, None).await["error"], "forbidden");
    }
    let after = ada.send(room, "she is gone", "after").await;
    assert_eq!(bob.find(|event| event["id"] == after["id"]).await["body"], "she is gone");
    for client in [&mut here, &mut there] {
        // A pong stands behind whatever was on its way.
        client.request(json!({"op": "ping"})).await;
        assert!(client.passed(|event| event["id"] == after["id"]).is_none());
    }

    // Back again, then banned: also REST says that the room is not there.
    cast.set_role(&cast.eve, "member");
    assert!(there.join(room, None).await["error"].is_null());
    acked(&mut there, send("back")).await;
    cast.set_role(&cast.eve, "banned");
    there.find(|event| event["op"] == "member" && event["state"] == "banned").await;
    refused(&mut there, send("banned"), "not_joined").await;
    assert_eq!(there.join(room, None).await["error"], "forbidden");
    let path = format!("/rooms/{room}/join");
    assert_eq!(
        block_in_place(|| cast.eve.rest.call(Method::POST, &path, Some(&json!({}))).unwrap().status),
        404
    );

    // Bob leaves by REST and is out; the room is deleted and everybody is.
    cast.ask(&cast.bob, &Method::POST, "/leave", &json!({}));
    bob.find(|event| event["op"] == "member" && event["state"] == "left").await;
    refused(&mut bob, send("left"), "not_joined").await;
    block_in_place(|| cast.ada.rest.ask(&Method::DELETE, &format!("/rooms/{room}"), None).unwrap());
    assert_eq!(ada.find(|event| event["op"] == "room").await["state"], "deleted");
    refused(&mut ada, send("gone"), "not_joined").await;
    assert_eq!(ada.join(room, None).await["error"], "forbidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_ends_its_connections() {
    let cast = Cast::new();
    let url = cast.stack.control(0).url().to_owned();
    let log_in = || {
        let account = json!({"username": "eve", "password": Person::PASSWORD});
        let logged_in = cast.eve.rest.post("/auth/login", &account).unwrap();
        let rest = hubbub_benches::rest::Rest::new(&url).with_token(logged_in["token"].as_str().unwrap());
        Person { rest, id: cast.eve.id.clone() }
    };
    let [second, third] = block_in_place(|| [log_in(), log_in()]);
    let mut first = [cast.enter(&cast.eve, 0).await, cast.enter(&cast.eve, 1).await];
    let mut seconds = [cast.enter(&second, 0).await, cast.enter(&second, 1).await];
    let mut thirds = [cast.enter(&third, 0).await, cast.enter(&third, 1).await];
    // By cookie too, which is looked up rather than signed.
    let token = second.rest.token().unwrap();
    let cookie = Proof::Session(token);
    let mut by_cookie =
        Client::connect(cast.stack.gateway(1).url(), cookie.clone(), &mut Jar::default()).await;
    let ticket = block_in_place(|| second.rest.post("/auth/ticket", &json!({})).unwrap());

    // The first session revokes the second one, by the id in the list.
    let sessions = block_in_place(|| cast.eve.rest.get("/auth/sessions").unwrap());
    let sessions = sessions["items"].as_array().unwrap().clone();
    assert_eq!(
        (sessions.len(), &sessions[0]["current"], &sessions[1]["current"]),
        (3, &json!(true), &json!(false))
    );
    let id = sessions[1]["id"].as_str().unwrap();
    block_in_place(|| cast.eve.rest.ask(&Method::DELETE, &format!("/auth/sessions/{id}"), None).unwrap());
    for client in seconds.iter_mut().chain([&mut by_cookie]) {
        let bye = client.expect("bye").await;
        assert_eq!(bye["code"], "revoked");
        assert_eq!(client.closed().await, 4001);
    }
    // Neither its token nor a ticket that was made from it gets in any more.
    for gateway in 0..2 {
        let url = cast.stack.gateway(gateway).url();
        let ticket = Proof::Ticket(ticket["ticket"].as_str().unwrap());
        for proof in [cookie.clone(), ticket] {
            let refused = Client::try_connect(url, proof, &mut Jar::default()).await.unwrap_err();
            assert_eq!(refused.status, 401, "{refused:?}");
        }
    }
    // The others go on; a changed password ends all but the one that changed it; logging out ends that one.
    for client in first.iter_mut().chain(&mut thirds) {
        client.request(json!({"op": "ping"})).await;
    }
    let change = json!({"old": Person::PASSWORD, "new": "another horse"});
    block_in_place(|| cast.eve.rest.post("/auth/password", &change).unwrap());
    for client in &mut thirds {
        assert_eq!(client.closed().await, 4001);
    }
    for client in &mut first {
        client.request(json!({"op": "ping"})).await;
    }
    block_in_place(|| cast.eve.rest.post("/auth/logout", &json!({})).unwrap());
    for client in &mut first {
        assert_eq!(client.closed().await, 4001);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nonce_counts_once_by_whichever_way_it_comes() {
    let cast = Cast::new();
    let room = &cast.room;
    let mut bob = cast.enter(&cast.bob, 0).await;
    let mut again = cast.enter(&cast.bob, 1).await;
    let first = bob.send(room, "once", "n").await["id"].clone();
    assert_eq!(again.send(room, "once", "n").await["id"], first);
    let post = |nonce: &str| {
        let message = json!({"body": "once", "nonce": nonce});
        cast.ask(&cast.bob, &Method::POST, "/messages", &message)["id"].clone()
    };
    assert_eq!(post("n"), first);
    let by_rest = post("m");
    assert_eq!(post("m"), by_rest);
    assert_eq!(bob.send(room, "once", "m").await["id"], by_rest);
    // All at once, by every way.
    let message = json!({"op": "send", "room": room, "body": "once", "nonce": "o"});
    let references = (bob.ask(message.clone()).await, again.ask(message).await);
    let third = post("o");
    assert_eq!(bob.find(|event| event["ref"] == references.0).await["id"], third);
    assert_eq!(again.find(|event| event["ref"] == references.1).await["id"], third);
    let last = post("last");
    for client in [&mut bob, &mut again] {
        let mut seen = Vec::new();
        while seen.last() != Some(&last) {
            seen.push(client.expect("message").await["id"].clone());
        }
        assert_eq!(seen, [&first, &by_rest, &third, &last].map(Clone::clone));
    }
}

/// As if an instance had died right behind its transaction, or Redis been away then.
#[tokio::test(flavor = "multi_thread")]
async fn what_one_instance_left_to_tell_is_told_by_another() {
    let cast = Cast::new();
    let mut bob = cast.enter(&cast.bob, 0).await;
    let (room, user): (RoomId, UserId) = (cast.room.parse().unwrap(), cast.bob.id.parse().unwrap());
    let record = Record::Member { room, user, state: MemberState::Banned, role: Some(Role::Banned) };
    let entry = encode(0, 0, &[record.encode()]);
    let waiting = |database: &mut postgres::Client| {
        database.query_one("SELECT count(*) FROM pending_changes", &[]).unwrap().get::<_, i64>(0)
    };
    block_in_place(|| {
        let mut database = Database::connect(cast.stack.database_url().unwrap(), NoTls).unwrap();
        assert_eq!(waiting(&mut database), 0, "all that was done so far is told");
        let (room, user) = (room.as_i64(), user.as_i64());
        let mut transaction = database.transaction().unwrap();
        let ban = "UPDATE room_members SET role = 'banned' WHERE room = $1 AND user_id = $2";
        assert_eq!(transaction.execute(ban, &[&room, &user]).unwrap(), 1);
        let note = "INSERT INTO pending_changes (room, users, entry) VALUES ($1, $2, $3)";
        transaction.execute(note, &[&room, &vec![user], &entry]).unwrap();
        transaction.commit().unwrap();
    });
    // That he joined may be told just now, too.
    let told = bob.find(|event| event["op"] == "member" && event["state"] == "banned").await;
    assert_eq!(told["user"], cast.bob.id, "{told}");
    refused(&mut bob, json!({"op": "send", "room": cast.room, "body": "x"}), "not_joined").await;
    assert_eq!(bob.join(&cast.room, None).await["error"], "forbidden");
    let none_waits = || {
        let mut database = Database::connect(cast.stack.database_url().unwrap(), NoTls).unwrap();
        (waiting(&mut database) == 0).then_some(())
    };
    assert!(block_in_place(|| wait::until(EVENT_MAX, none_waits)).is_some(), "it is told once");
}
