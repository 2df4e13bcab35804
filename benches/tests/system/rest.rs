//! Rooms, members and messages over REST: the good case, each bad input, each missing right. `accounts` has the others.

use std::collections::BTreeSet;
use std::time::Duration;

use hubbub_benches::rest::{Answer, Rest};
use hubbub_benches::stack::{Stack, wait};
use serde_json::{Value, json};
use ureq::http::Method;

/// How long something that follows a request may take.
pub(crate) const FOLLOWS_MAX: Duration = Duration::from_secs(30);
pub(crate) const PASSWORD: &str = "correct horse battery";

pub(crate) fn stack() -> Stack {
    Stack::builder().gateways(0).controls(1).without_haproxy().start().unwrap()
}

pub(crate) fn anybody(stack: &Stack) -> Rest {
    Rest::new(stack.control(0).url())
}

/// A new user: logged in, and their id.
pub(crate) fn user(stack: &Stack, name: &str) -> (Rest, String) {
    let account = json!({"username": name, "password": PASSWORD, "display_name": format!("The {name}")});
    let made = anybody(stack).post("/auth/register", &account).unwrap();
    (anybody(stack).with_token(text(&made["token"])), text(&made["user"]["id"]).to_owned())
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no string: {value}"))
}

pub(crate) fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// Calls, and checks the status; an error has to be a problem with a code.
pub(crate) fn call(rest: &Rest, method: &Method, path: &str, body: Option<&Value>, status: u16) -> Answer {
    let answer = rest.call(method.clone(), path, body).unwrap();
    assert_eq!(answer.status, status, "{method} {path} {body:?}: {}", answer.json);
    if status >= 400 {
        assert_eq!(answer.headers["content-type"], "application/problem+json", "{method} {path}");
        assert_eq!(answer.json["status"], status, "{}", answer.json);
        assert!(answer.json["code"].is_string(), "{}", answer.json);
    }
    answer
}

pub(crate) fn get(rest: &Rest, path: &str, status: u16) -> Value {
    call(rest, &Method::GET, path, None, status).json
}

pub(crate) fn post(rest: &Rest, path: &str, body: &Value, status: u16) -> Value {
    call(rest, &Method::POST, path, Some(body), status).json
}

pub(crate) fn put(rest: &Rest, path: &str, body: &Value, status: u16) -> Value {
    call(rest, &Method::PUT, path, Some(body), status).json
}

/// The fields that a 422 names.
pub(crate) fn broken(rest: &Rest, path: &str, body: &Value) -> Vec<String> {
    let problem = post(rest, path, body, 422);
    problem["errors"].as_object().unwrap().keys().cloned().collect()
}

#[test]
fn rooms_and_members() {
    let stack = stack();
    let ((ada, _), (bob, bob_id), (eve, eve_id)) =
        (user(&stack, "ada"), user(&stack, "bob"), user(&stack, "eve"));
    let lobby = post(&ada, "/rooms", &json!({"name": "lobby", "kind": "public", "topic": "all"}), 201);
    let room_keys = BTreeSet::from(["id", "kind", "last", "members", "name", "role", "topic", "unread"]);
    assert_eq!(keys(&lobby), room_keys);
    assert_eq!(
        (&lobby["role"], &lobby["members"], &lobby["last"]),
        (&json!("owner"), &json!(1), &json!("0"))
    );
    let secret = post(&ada, "/rooms", &json!({"name": "lobby", "kind": "private"}), 201);
    post(&ada, "/rooms", &json!({"name": "Lobby", "kind": "public"}), 409);
    assert_eq!(broken(&ada, "/rooms", &json!({"name": " ", "kind": "public"})), ["name"]);
    assert_eq!(broken(&ada, "/rooms", &json!({"name": "x", "kind": "direct"})), ["kind"]);
    assert_eq!(
        broken(&ada, "/rooms", &json!({"name": "x", "kind": "public", "topic": "x".repeat(257)})),
        ["topic"]
    );
    post(&ada, "/rooms", &json!({"name": "x", "kind": "other"}), 400);
    post(&anybody(&stack), "/rooms", &json!({"name": "x", "kind": "public"}), 401);

    let (lobby, secret) =
        (format!("/rooms/{}", text(&lobby["id"])), format!("/rooms/{}", text(&secret["id"])));
    assert_eq!(get(&bob, &lobby, 200)["role"], Value::Null);
    get(&bob, &secret, 404);
    get(&bob, "/rooms/999999", 404);
    get(&bob, "/rooms/x", 404);
    get(&anybody(&stack), &lobby, 401);
    let public = get(&bob, "/rooms/public?query=lob", 200);
    assert_eq!((public["items"].as_array().unwrap().len(), &public["next"]), (1, &Value::Null));
    assert_eq!(get(&bob, "/rooms/public?query=x", 200)["items"], json!([]));
    get(&bob, "/rooms/public?cursor=x", 400);
    get(&anybody(&stack), "/rooms/public", 401);

    get(&bob, &format!("{lobby}/members"), 403);
    assert_eq!(post(&bob, &format!("{lobby}/join"), &json!({}), 200)["role"], "member");
    assert_eq!(post(&bob, &format!("{lobby}/join"), &json!({}), 200)["members"], 2);
    post(&bob, &format!("{secret}/join"), &json!({}), 404);
    post(&anybody(&stack), &format!("{lobby}/join"), &json!({}), 401);
    let members = get(&bob, &format!("{lobby}/members"), 200);
    let roles: Vec<_> = members["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (&one["user"]["username"], &one["role"]))
        .collect();
    assert_eq!(roles, [(&json!("ada"), &json!("owner")), (&json!("bob"), &json!("member"))]);
    assert_eq!(get(&ada, "/rooms", 200)["items"].as_array().unwrap().len(), 2);
    let mine = get(&ada, "/rooms?limit=1", 200);
    let rest = get(&ada, &format!("/rooms?limit=1&cursor={}", text(&mine["next"])), 200);
    assert_ne!(mine["items"][0]["id"], rest["items"][0]["id"]);
    get(&anybody(&stack), "/rooms", 401);

    post(&bob, &format!("{lobby}/leave"), &json!({}), 204);
    post(&bob, &format!("{lobby}/leave"), &json!({}), 404);
    post(&ada, &format!("{lobby}/leave"), &json!({}), 409);
    assert_eq!(get(&bob, "/rooms", 200)["items"], json!([]));

    let direct = post(&ada, "/dms", &json!({"user": bob_id}), 201);
    assert_eq!((&direct["kind"], &direct["name"]), (&json!("direct"), &json!("The bob")));
    let same = post(&bob, "/dms", &json!({"user": text(&get(&ada, "/auth/me", 200)["id"])}), 200);
    assert_eq!((&same["id"], &same["name"]), (&direct["id"], &json!("The ada")));
    get(&eve, &format!("/rooms/{}", text(&direct["id"])), 404);
    post(&bob, &format!("/rooms/{}/leave", text(&direct["id"])), &json!({}), 403);
    assert_eq!(broken(&eve, "/dms", &json!({"user": eve_id})), ["user"]);
    post(&eve, "/dms", &json!({"user": "999999"}), 404);
    post(&eve, "/dms", &json!({"user": 1}), 400);
    post(&anybody(&stack), "/dms", &json!({"user": bob_id}), 401);
}

#[test]
fn what_admins_may() {
    let stack = stack();
    let ((ada, ada_id), (bob, bob_id), (eve, eve_id)) =
        (user(&stack, "ada"), user(&stack, "bob"), user(&stack, "eve"));
    let room = post(&ada, "/rooms", &json!({"name": "den", "kind": "private"}), 201);
    let room = format!("/rooms/{}", text(&room["id"]));
    let member = |id: &str| format!("{room}/members/{id}");
    let role = |role: &str| json!({"role": role});

    // An owner invites into a private room, and makes an admin.
    get(&bob, &room, 404);
    put(&bob, &member(&bob_id), &role("member"), 404);
    let invited = put(&ada, &member(&bob_id), &role("member"), 200);
    assert_eq!((&invited["user"]["id"], &invited["role"]), (&json!(bob_id), &json!("member")));
    put(&bob, &member(&eve_id), &role("member"), 403);
    put(&ada, &member(&bob_id), &role("admin"), 200);
    put(&bob, &member(&eve_id), &role("member"), 200);
    assert_eq!(get(&eve, &room, 200)["members"], 3);
    // An admin makes neither admins nor owners, and unmakes none.
    put(&bob, &member(&eve_id), &role("admin"), 403);
    put(&bob, &member(&ada_id), &role("muted"), 403);
    call(&bob, &Method::DELETE, &member(&ada_id), None, 403);
    // The last owner stays one.
    put(&ada, &member(&ada_id), &role("member"), 409);
    call(&ada, &Method::DELETE, &member(&ada_id), None, 409);
    // Muted, banned, back, kicked.
    put(&bob, &member(&eve_id), &role("muted"), 200);
    post(&eve, &format!("{room}/messages"), &json!({"body": "x"}), 403);
    put(&bob, &member(&eve_id), &role("banned"), 200);
    get(&eve, &room, 404);
    assert_eq!(get(&ada, &room, 200)["members"], 2, "who is banned is no member");
    put(&bob, &member(&eve_id), &role("muted"), 200);
    assert_eq!(get(&ada, &room, 200)["members"], 3);
    put(&bob, &member(&eve_id), &role("banned"), 200);
    call(&bob, &Method::DELETE, &member(&eve_id), None, 204);
    call(&bob, &Method::DELETE, &member(&eve_id), None, 404);
    assert_eq!(get(&ada, &room, 200)["members"], 2);
    put(&bob, &member(&eve_id), &role("banned"), 200);
    assert_eq!(get(&ada, &room, 200)["members"], 2);
    call(&bob, &Method::DELETE, &member(&eve_id), None, 204);
    put(&bob, &member(&eve_id), &role("member"), 200);
    call(&bob, &Method::DELETE, &member(&eve_id), None, 204);
    get(&eve, &room, 404);
    put(&ada, &member("999999"), &role("member"), 404);
    put(&ada, &member(&eve_id), &role("king"), 400);
    put(&anybody(&stack), &member(&eve_id), &role("member"), 401);
    call(&anybody(&stack), &Method::DELETE, &member(&eve_id), None, 401);

    // Name and topic.
    let patch =
        |rest: &Rest, body: Value, status| call(rest, &Method::PATCH, &room, Some(&body), status).json;
    let changed = patch(&bob, json!({"name": "new den", "topic": "t"}), 200);
    assert_eq!((&changed["name"], &changed["topic"]), (&json!("new den"), &json!("t")));
    assert_eq!(patch(&bob, json!({"topic": ""}), 200)["name"], "new den");
    assert!(patch(&ada, json!({"name": " "}), 422)["errors"]["name"].is_string());
    patch(&ada, json!({"name": 1}), 400);
    patch(&eve, json!({"name": "x"}), 404);
    patch(&anybody(&stack), json!({"name": "x"}), 401);
    let public = post(&ada, "/rooms", &json!({"name": "one", "kind": "public"}), 201);
    let public = format!("/rooms/{}", text(&public["id"]));
    post(&ada, "/rooms", &json!({"name": "two", "kind": "public"}), 201);
    call(&ada, &Method::PATCH, &public, Some(&json!({"name": "Two"})), 409);
    post(&eve, &format!("{public}/join"), &json!({}), 200);
    call(&eve, &Method::PATCH, &public, Some(&json!({"name": "mine"})), 403);

    // Deleting is an owner's.
    call(&bob, &Method::DELETE, &room, None, 403);
    call(&anybody(&stack), &Method::DELETE, &room, None, 401);
    call(&ada, &Method::DELETE, &room, None, 204);
    call(&ada, &Method::DELETE, &room, None, 404);
    get(&ada, &room, 404);
    get(&ada, &format!("{room}/messages"), 404);

    // The two of a direct room stay as they are.
    let direct = post(&ada, "/dms", &json!({"user": bob_id}), 201);
    let direct = format!("/rooms/{}", text(&direct["id"]));
    put(&ada, &format!("{direct}/members/{bob_id}"), &role("muted"), 403);
    call(&ada, &Method::DELETE, &format!("{direct}/members/{bob_id}"), None, 403);
    call(&ada, &Method::PATCH, &direct, Some(&json!({"name": "x"})), 403);
}

#[test]
fn messages_and_read_positions() {
    let stack = stack();
    let ((ada, ada_id), (bob, _), (eve, _)) = (user(&stack, "ada"), user(&stack, "bob"), user(&stack, "eve"));
    let room = post(&ada, "/rooms", &json!({"name": "lobby", "kind": "public"}), 201);
    let room = format!("/rooms/{}", text(&room["id"]));
    post(&bob, &format!("{room}/join"), &json!({}), 200);
    let messages = format!("{room}/messages");
    let sent: Vec<Value> =
        (0..5).map(|n| post(&ada, &messages, &json!({"body": format!("m{n}")}), 201)).collect();
    assert_eq!(keys(&sent[0]), BTreeSet::from(["id", "ts"]));
    let id = |n: usize| text(&sent[n]["id"]);
    let once = post(&ada, &messages, &json!({"body": "once", "nonce": "n", "reply_to": id(0)}), 201);
    assert_eq!(post(&ada, &messages, &json!({"body": "once", "nonce": "n"}), 201), once);

    for (body, field) in [
        (json!({"body": ""}), "body"),
        (json!({"body": "x".repeat(4_097)}), "body"),
        (json!({"body": "a\u{0}b"}), "body"),
        (json!({"body": "x", "nonce": ""}), "nonce"),
        (json!({"body": "x", "nonce": "n".repeat(65)}), "nonce"),
        (json!({"body": "x", "kind": "system"}), "kind"),
    ] {
        assert_eq!(broken(&ada, &messages, &body), [field], "{body}");
    }
    post(&ada, &messages, &json!({"body": 1}), 400);
    post(&ada, &messages, &json!({"body": "x", "reply_to": 5}), 400);
    post(&eve, &messages, &json!({"body": "x"}), 403);
    post(&eve, "/rooms/999999/messages", &json!({"body": "x"}), 404);
    post(&anybody(&stack), &messages, &json!({"body": "x"}), 401);

    let persisted = wait::until(FOLLOWS_MAX, || {
        let items = get(&bob, &messages, 200)["items"].clone();
        (items.as_array()?.len() == 6).then_some(items)
    });
    let items = persisted.expect("six messages");
    let bodies = |items: &Value| -> Vec<String> {
        items.as_array().unwrap().iter().map(|one| text(&one["body"]).to_owned()).collect()
    };
    assert_eq!(bodies(&items), ["m0", "m1", "m2", "m3", "m4", "once"]);
    let expected = BTreeSet::from([
        "body",
        "deleted",
        "edited_at",
        "from",
        "id",
        "kind",
        "name",
        "nonce",
        "reactions",
        "reply_to",
        "room",
        "ts",
    ]);
    assert_eq!(keys(&items[5]), expected);
    assert_eq!((&items[5]["reply_to"], &items[5]["from"]), (&json!(id(0)), &json!(ada_id)));
    assert_eq!((&items[5]["id"], &items[5]["ts"]), (&once["id"], &once["ts"]));
    let page = |query: String| bodies(&get(&bob, &format!("{messages}?{query}"), 200)["items"]);
    assert_eq!(page("limit=2".into()), ["m4", "once"]);
    assert_eq!(page(format!("before={}&limit=2", id(3))), ["m1", "m2"]);
    assert_eq!(page(format!("after={}&limit=2", id(3))), ["m4", "once"]);
    assert_eq!(page(format!("after={}&before={}", id(0), id(3))), ["m1", "m2"]);
    assert_eq!(page(format!("after={}", text(&once["id"]))), Vec::<String>::new());
    get(&bob, &format!("{messages}?limit=0"), 422);
    get(&bob, &format!("{messages}?before=x"), 400);
    get(&eve, &messages, 403);
    get(&anybody(&stack), &messages, 401);

    let unread = |rest: &Rest| get(rest, "/rooms", 200)["items"][0]["unread"].as_i64().unwrap();
    assert_eq!((unread(&ada), unread(&bob)), (0, 6));
    put(&bob, &format!("{room}/read"), &json!({"id": id(3)}), 204);
    assert!(wait::until(FOLLOWS_MAX, || (unread(&bob) == 2).then_some(())).is_some());
    // An older position does not take anything back.
    put(&bob, &format!("{room}/read"), &json!({"id": id(0)}), 204);
    put(&bob, &format!("{room}/read"), &json!({"id": once["id"]}), 204);
    assert!(wait::until(FOLLOWS_MAX, || (unread(&bob) == 0).then_some(())).is_some());
    assert_eq!(get(&bob, "/rooms", 200)["items"][0]["last"], items[5]["id"]);
    put(&bob, &format!("{room}/read"), &json!({"id": 5}), 400);
    put(&eve, &format!("{room}/read"), &json!({"id": id(3)}), 403);
    put(&anybody(&stack), &format!("{room}/read"), &json!({"id": id(3)}), 401);
}

#[test]
fn search() {
    let stack = stack();
    let ((ada, _), (eve, _)) = (user(&stack, "ada"), user(&stack, "eve"));
    let room = post(&ada, "/rooms", &json!({"name": "lobby", "kind": "public"}), 201);
    let room = format!("/rooms/{}", text(&room["id"]));
    let bodies = [
        "The quick brown fox",
        "quick, quick!",
        "Ein schneller Fuchs",
        "быстрая лиса",
        "brown quick",
        "quick gone",
    ];
    let ids: Vec<Value> = bodies
        .iter()
        .map(|body| post(&ada, &format!("{room}/messages"), &json!({"body": body}), 201)["id"].clone())
        .collect();
    call(&ada, &Method::DELETE, &format!("{room}/messages/{}", text(&ids[5])), None, 200);
    let edit = json!({"body": "Ein langsamer Fuchs"});
    call(&ada, &Method::PATCH, &format!("{room}/messages/{}", text(&ids[2])), Some(&edit), 200);
    let find = |query: &str| -> Vec<String> {
        let found = get(&ada, &format!("{room}/search?{query}"), 200);
        found["items"].as_array().unwrap().iter().map(|message| text(&message["body"]).to_owned()).collect()
    };
    // The newest first; what is deleted is not found, what is edited by its new words.
    let newest_first = ["brown quick", "quick, quick!", "The quick brown fox"];
    assert!(wait::until(FOLLOWS_MAX, || (find("q=QUICK") == newest_first).then_some(())).is_some());
    assert!(wait::until(FOLLOWS_MAX, || (find("q=langsamer").len() == 1).then_some(())).is_some());
    assert_eq!(find("q=schneller"), Vec::<String>::new());
    assert_eq!(find("q=%D0%BB%D0%B8%D1%81%D0%B0"), ["быстрая лиса"]);
    assert_eq!(find("q=%22quick%20brown%22"), ["The quick brown fox"]);
    assert_eq!(find("q=quick%20-fox"), ["brown quick", "quick, quick!"]);
    assert_eq!(find("q=%27%22%3A*%26%7C!()"), Vec::<String>::new());
    let page = get(&ada, &format!("{room}/search?q=quick&limit=2"), 200);
    assert_eq!(find(&format!("q=quick&limit=2&cursor={}", text(&page["next"]))), ["The quick brown fox"]);
    get(&ada, &format!("{room}/search?q="), 422);
    get(&ada, &format!("{room}/search?q={}", "x".repeat(257)), 422);
    get(&ada, &format!("{room}/search"), 400);
    get(&eve, &format!("{room}/search?q=quick"), 403);
    get(&ada, "/rooms/999999/search?q=quick", 404);
    get(&anybody(&stack), &format!("{room}/search?q=quick"), 401);
}

#[test]
fn what_is_not_there_says_so() {
    let stack = stack();
    let (ada, _) = user(&stack, "ada");
    get(&ada, "/nowhere", 404);
    call(&ada, &Method::DELETE, "/auth/login", None, 405);
    let url = stack.control(0).url();
    let raw = |path: &str| {
        ureq::get(format!("{url}{path}")).config().http_status_as_error(false).build().call().unwrap()
    };
    for path in ["/health", "/api/health"] {
        let mut answer = raw(path);
        let health: Value = serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap();
        let expected = [
            "batchWriterLeader",
            "serverId",
            "services",
            "status",
            "streamLag",
            "timestamp",
            "uptime",
            "version",
        ];
        assert_eq!(keys(&health), BTreeSet::from(expected));
        assert_eq!((answer.status().as_u16(), &health["status"]), (200, &json!("healthy")));
    }
    assert_eq!(raw("/metrics").status(), 404, "metrics are on the internal port only");
    let page = raw("/");
    assert_eq!(
        (page.status().as_u16(), page.headers()["content-type"].to_str().unwrap()),
        (200, "text/html; charset=utf-8")
    );
    let policy = page.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("script-src 'self'") && !policy.contains("unsafe"));
    assert_eq!(raw("/../Cargo.toml").status(), 404);
}
