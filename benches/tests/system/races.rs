//! Requests that meet in Postgres: what was true before a lock is looked at again behind it.

use std::thread;

use hubbub_benches::rest::Rest;
use hubbub_benches::stack::{Stack, wait};
use postgres::{Client as Database, NoTls};
use serde_json::json;
use ureq::http::Method;

use crate::rest::{FOLLOWS_MAX, get, post, put, stack, text, user};

struct Cast {
    stack: Stack,
    room: String,
    /// The first owner, an admin and a member.
    ada: Rest,
    bob: Rest,
    bob_id: String,
    eve_id: String,
}

impl Cast {
    fn new() -> Self {
        let stack = stack();
        let ((ada, _), (bob, bob_id), (_, eve_id)) =
            (user(&stack, "ada"), user(&stack, "bob"), user(&stack, "eve"));
        let room = post(&ada, "/rooms", &json!({"name": "den", "kind": "public"}), 201);
        let room = text(&room["id"]).to_owned();
        put(&ada, &format!("/rooms/{room}/members/{bob_id}"), &json!({"role": "admin"}), 200);
        put(&ada, &format!("/rooms/{room}/members/{eve_id}"), &json!({"role": "member"}), 200);
        Self { stack, room, ada, bob, bob_id, eve_id }
    }

    fn database(&self) -> Database {
        Database::connect(self.stack.database_url().unwrap(), NoTls).unwrap()
    }

    /// The status of a request that comes up against a transaction that does this, and commits then.
    fn behind(&self, sql: &str, who: &Rest, method: Method, path: &str) -> u16 {
        let (mut database, mut watching) = (self.database(), self.database());
        let mut transaction = database.transaction().unwrap();
        transaction.batch_execute(sql).unwrap();
        thread::scope(|scope| {
            let path = format!("/rooms/{}{path}", self.room);
            let asked = scope.spawn(move || who.call(method, &path, Some(&json!({}))).unwrap().status);
            let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted";
            let is_held_up = || {
                (watching.query_one(waits, &[]).unwrap().get::<_, i64>(0) > 0 || asked.is_finished())
                    .then_some(())
            };
            wait::until(FOLLOWS_MAX, is_held_up).expect("the request to wait for the lock");
            assert!(!asked.is_finished(), "it waits for nothing");
            transaction.commit().unwrap();
            asked.join().unwrap()
        })
    }

    /// What gives a member another role, and holds the room.
    fn becomes(&self, user: &str, role: &str) -> String {
        let room = &self.room;
        format!(
            "SELECT 1 FROM rooms WHERE id = {room} FOR UPDATE;
             UPDATE room_members SET role = '{role}' WHERE room = {room} AND user_id = {user}"
        )
    }
}

#[test]
fn whoever_is_no_admin_any_more_removes_nobody() {
    let cast = Cast::new();
    let kick = format!("/members/{}", cast.eve_id);
    let demoted = cast.becomes(&cast.bob_id, "member");
    assert_eq!(cast.behind(&demoted, &cast.bob, Method::DELETE, &kick), 403);
    assert_eq!(cast.behind(&cast.becomes(&cast.bob_id, "admin"), &cast.ada, Method::DELETE, &kick), 204);
}

#[test]
fn whoever_is_no_owner_any_more_deletes_nothing() {
    let cast = Cast::new();
    put(&cast.ada, &format!("/rooms/{}/members/{}", cast.room, cast.bob_id), &json!({"role": "owner"}), 200);
    let demoted = cast.becomes(&cast.bob_id, "admin");
    assert_eq!(cast.behind(&demoted, &cast.bob, Method::DELETE, ""), 403);
    get(&cast.ada, &format!("/rooms/{}", cast.room), 200);
}

#[test]
fn the_other_owner_may_have_gone_meanwhile() {
    let cast = Cast::new();
    put(&cast.ada, &format!("/rooms/{}/members/{}", cast.room, cast.bob_id), &json!({"role": "owner"}), 200);
    let gone = cast.becomes(&cast.bob_id, "member");
    assert_eq!(cast.behind(&gone, &cast.ada, Method::POST, "/leave"), 409);
}

#[test]
fn nobody_joins_a_room_that_is_just_deleted() {
    let cast = Cast::new();
    let (late, _) = user(&cast.stack, "late");
    let deleted = format!(
        "DELETE FROM room_members WHERE room = {room}; DELETE FROM rooms WHERE id = {room}",
        room = cast.room
    );
    assert_eq!(cast.behind(&deleted, &late, Method::POST, "/join"), 404);
}
