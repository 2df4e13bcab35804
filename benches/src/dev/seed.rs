//! Demo users and a room, made through the API as anybody would, and only where they are not there yet.

use serde_json::{Value, json};
use ureq::http::Method;

use crate::rest::Rest;

/// Names and display names.
const USERS: [(&str, &str); 2] = [("ada", "Ada"), ("grace", "Grace")];
/// Of both; the system can be reached from this machine only.
const PASSWORD: &str = "hubbub-demo";
const ROOM: &str = "lobby";

/// What to tell the user, or why it did not work.
pub(super) fn seed(public_url: &str) -> Result<String, String> {
    let anybody = Rest::new(public_url);
    let mut room = None;
    for (name, display_name) in USERS {
        let user = log_in(&anybody, name, display_name)?;
        let room = match &room {
            Some(room) => room,
            None => room.insert(lobby(&user)?),
        };
        user.post(&format!("/rooms/{room}/join"), &json!({}))?;
    }
    let names = USERS.map(|(name, _)| name).join(" and ");
    Ok(format!("log in as {names}, password {PASSWORD}, in the room {ROOM}; or register"))
}

fn log_in(anybody: &Rest, name: &str, display_name: &str) -> Result<Rest, String> {
    let account = json!({"username": name, "password": PASSWORD, "display_name": display_name});
    let answer = anybody.call(Method::POST, "/auth/register", Some(&account))?;
    let account = match answer.status {
        409 => anybody.post("/auth/login", &json!({"username": name, "password": PASSWORD}))?,
        _ => answer.ok().map_err(|error| format!("registering {name}: {error}"))?,
    };
    Ok(anybody.with_token(text(&account, "/token")?))
}

/// The id of the room.
fn lobby(user: &Rest) -> Result<String, String> {
    let found = user.get(&format!("/rooms/public?query={ROOM}"))?;
    let rooms = found.pointer("/items").and_then(Value::as_array);
    let same = |room: &&Value| room.pointer("/name").and_then(Value::as_str) == Some(ROOM);
    if let Some(room) = rooms.and_then(|rooms| rooms.iter().find(same)) {
        return text(room, "/id").map(str::to_owned);
    }
    let made =
        user.post("/rooms", &json!({"name": ROOM, "kind": "public", "topic": "Come in and say hello"}))?;
    let id = text(&made, "/id").or_else(|_| text(&made, "/room/id"))?.to_owned();
    user.post(&format!("/rooms/{id}/messages"), &json!({"body": "Welcome to Hubbub!"}))?;
    Ok(id)
}

fn text<'a>(json: &'a Value, pointer: &str) -> Result<&'a str, String> {
    json.pointer(pointer).and_then(Value::as_str).ok_or_else(|| format!("no {pointer} in {json}"))
}
