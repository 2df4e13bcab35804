//! Accounts, login sessions and profiles over REST: the good case, each bad input, each missing right.

use std::collections::BTreeSet;

use hubbub_benches::rest::Rest;
use serde_json::{Value, json};
use ureq::http::Method;

use crate::client::mint;
use crate::rest::{PASSWORD, anybody, broken, call, get, keys, post, stack, text, user};

#[test]
fn accounts() {
    let stack = stack();
    let nobody = anybody(&stack);
    let account = json!({"username": "ada", "password": PASSWORD});
    let made = call(&nobody, &Method::POST, "/auth/register", Some(&account), 201);
    assert_eq!(keys(&made.json), BTreeSet::from(["token", "user"]));
    let user_keys = BTreeSet::from(["created_at", "display_name", "id", "username"]);
    assert_eq!(keys(&made.json["user"]), user_keys);
    let cookie = made.headers["set-cookie"].to_str().unwrap();
    assert!(
        cookie.starts_with("hubbub_session=")
            && cookie.contains("HttpOnly")
            && cookie.contains("SameSite=Lax")
    );

    post(&nobody, "/auth/register", &account, 409);
    post(&nobody, "/auth/register", &json!({"username": "ADA", "password": PASSWORD}), 409);
    assert_eq!(
        broken(&nobody, "/auth/register", &json!({"username": "a", "password": "b"})),
        ["password", "username"]
    );
    let long_name = json!({"username": "bob", "password": PASSWORD, "display_name": "x".repeat(65)});
    assert_eq!(broken(&nobody, "/auth/register", &long_name), ["display_name"]);
    post(&nobody, "/auth/register", &json!({"username": "bob"}), 400);
    post(&nobody, "/auth/register", &json!([]), 400);
    let too_long = json!({"username": "bob", "password": "x".repeat(100_000)});
    let too_long = call(&nobody, &Method::POST, "/auth/register", Some(&too_long), 413);
    assert_eq!(too_long.headers["connection"], "close", "the rest of it is not read");
    let not_json =
        nobody.call_with(Method::POST, "/auth/login", None, &[("content-type", "text/plain")]).unwrap();
    assert_eq!(not_json.status, 415, "{}", not_json.json);

    let in_again = post(&nobody, "/auth/login", &json!({"username": "Ada", "password": PASSWORD}), 200);
    assert_ne!(in_again["token"], made.json["token"]);
    let [wrong, unknown] = ["ada", "eve"].map(|name| {
        let account = json!({"username": name, "password": "wrong password"});
        let mut answer = post(&nobody, "/auth/login", &account, 401);
        assert!(answer["request_id"].take().is_string(), "{answer}");
        answer
    });
    assert_eq!(wrong, unknown);

    let ada = nobody.with_token(text(&in_again["token"]));
    assert_eq!(get(&ada, "/auth/me", 200), made.json["user"]);
    get(&nobody, "/auth/me", 401);
    get(&nobody.with_token("nonsense"), "/auth/me", 401);
    get(&nobody.with_token("a.b.c"), "/auth/me", 401);
    let ticket = post(&ada, "/auth/ticket", &json!({}), 200);
    assert!(ticket["expires_in"].as_u64().unwrap() <= 60);
    assert_eq!(get(&nobody.with_token(text(&ticket["ticket"])), "/auth/me", 200)["username"], "ada");
    post(&nobody, "/auth/ticket", &json!({}), 401);

    post(&ada, "/auth/logout", &json!({}), 204);
    get(&ada, "/auth/me", 401);
    post(&ada, "/auth/logout", &json!({}), 401);
    // The other login session lives on.
    get(&nobody.with_token(text(&made.json["token"])), "/auth/me", 200);
}

#[test]
fn cookies_need_an_origin_to_change_anything() {
    let stack = stack();
    let (ada, _) = user(&stack, "ada");
    let nobody = anybody(&stack);
    let cookie = format!("other=1; hubbub_session={}", ada.token().unwrap());
    let host = stack.control(0).url();
    let call = |method: Method, path: &str, origin: Option<&str>| {
        let mut headers = vec![("cookie", cookie.as_str())];
        headers.extend(origin.map(|origin| ("origin", origin)));
        let body = (method == Method::POST).then(|| json!({"name": "r", "kind": "private"}));
        nobody.call_with(method, path, body.as_ref(), &headers).unwrap().status
    };
    assert_eq!(call(Method::GET, "/auth/me", None), 200);
    assert_eq!(call(Method::POST, "/rooms", None), 403);
    assert_eq!(call(Method::POST, "/rooms", Some("https://evil.example")), 403);
    assert_eq!(call(Method::POST, "/rooms", Some(host)), 201);
    assert_eq!(call(Method::POST, "/auth/login", Some("https://evil.example")), 403);
}

#[test]
fn logins_are_throttled() {
    let stack = stack();
    user(&stack, "ada");
    let wrong = json!({"username": "ada", "password": "wrong password"});
    let limited = (0..60).find_map(|_| {
        let answer = anybody(&stack).call(Method::POST, "/auth/login", Some(&wrong)).unwrap();
        (answer.status != 401).then_some(answer)
    });
    let limited = limited.expect("a limit");
    assert_eq!((limited.status, &limited.json["code"]), (429, &json!("rate_limited")));
    assert!(limited.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() > 0);
}

#[test]
fn profiles() {
    let stack = stack();
    let ((ada, ada_id), (_, _), (_, _)) = (user(&stack, "ada"), user(&stack, "adam"), user(&stack, "bob"));
    assert_eq!(get(&ada, &format!("/users/{ada_id}"), 200)["display_name"], "The ada");
    for unknown in ["/users/999999", "/users/abc", "/users/-1", "/users/0"] {
        get(&ada, unknown, 404);
    }
    get(&anybody(&stack), &format!("/users/{ada_id}"), 401);
    let names = |path: &str| -> Vec<String> {
        let found = get(&ada, path, 200);
        found["items"].as_array().unwrap().iter().map(|user| text(&user["username"]).to_owned()).collect()
    };
    assert_eq!(names("/users?query=AD"), ["ada", "adam"]);
    assert_eq!(names("/users?query=a%25"), Vec::<String>::new());
    let first = get(&ada, "/users?limit=2", 200);
    assert_eq!(names(&format!("/users?limit=2&cursor={}", text(&first["next"]))), ["bob"]);
    let rename =
        |rest: &Rest, body: Value, status| call(rest, &Method::PATCH, "/users/me", Some(&body), status).json;
    assert_eq!(rename(&ada, json!({"display_name": " Ada L. "}), 200)["display_name"], "Ada L.");
    assert_eq!(rename(&ada, json!({}), 200)["display_name"], "Ada L.");
    assert_eq!(get(&ada, &format!("/users/{ada_id}"), 200)["display_name"], "Ada L.");
    assert!(rename(&ada, json!({"display_name": " "}), 422)["errors"]["display_name"].is_string());
    rename(&ada, json!({"display_name": 1}), 400);
    rename(&anybody(&stack), json!({"display_name": "x"}), 401);
    get(&ada, "/users?limit=0", 422);
    get(&ada, "/users?limit=201", 422);
    get(&ada, "/users?limit=x", 400);
    get(&anybody(&stack), "/users", 401);
}

#[test]
fn sessions_and_passwords() {
    let stack = stack();
    let (ada, _) = user(&stack, "ada");
    let (eve, _) = user(&stack, "eve");
    let account = |password: &str| json!({"username": "ada", "password": password});
    let nobody = anybody(&stack);
    let second = nobody.with_token(text(&post(&nobody, "/auth/login", &account(PASSWORD), 200)["token"]));
    let sessions = get(&second, "/auth/sessions", 200);
    let items = sessions["items"].as_array().unwrap();
    assert_eq!((items.len(), &items[0]["current"], &items[1]["current"]), (2, &json!(false), &json!(true)));
    assert_eq!(keys(&items[0]), BTreeSet::from(["address", "created_at", "current", "id", "user_agent"]));
    let first = format!("/auth/sessions/{}", text(&items[0]["id"]));
    call(&eve, &Method::DELETE, &first, None, 404);
    call(&nobody, &Method::DELETE, &first, None, 401);
    get(&nobody, "/auth/sessions", 401);
    call(&second, &Method::DELETE, &first, None, 204);
    call(&second, &Method::DELETE, &first, None, 404);
    get(&ada, "/auth/me", 401);

    let third = nobody.with_token(text(&post(&nobody, "/auth/login", &account(PASSWORD), 200)["token"]));
    let change = |old: &str, new: &str| json!({"old": old, "new": new});
    assert_eq!(broken(&second, "/auth/password", &change(PASSWORD, "short")), ["new"]);
    assert_eq!(broken(&second, "/auth/password", &change("wrong password", "another horse")), ["old"]);
    post(&nobody, "/auth/password", &change(PASSWORD, "another horse"), 401);
    let ticket = post(&second, "/auth/ticket", &json!({}), 200);
    post(
        &nobody.with_token(text(&ticket["ticket"])),
        "/auth/password",
        &change(PASSWORD, "another horse"),
        403,
    );
    post(&second, "/auth/password", &change(PASSWORD, "another horse"), 204);
    get(&second, "/auth/me", 200);
    get(&third, "/auth/me", 401);
    post(&nobody, "/auth/login", &account(PASSWORD), 401);
    post(&nobody, "/auth/login", &account("another horse"), 200);
}

#[test]
fn a_token_that_names_rooms_is_no_login() {
    let stack = stack();
    let (ada, id) = user(&stack, "ada");
    let room = post(&ada, "/rooms", &json!({"name": "den", "kind": "private"}), 201);
    let room = text(&room["id"]);
    // As another application would sign it, for a user of its own who happens to have the same id.
    let token = mint(&stack, id.parse().unwrap(), &json!(["5"]));
    let other = anybody(&stack).with_token(&token);
    post(&other, "/rooms/5/messages", &json!({"body": "hello"}), 201);
    get(&other, "/rooms/5/messages", 200);
    get(&other, &format!("/rooms/{room}/messages"), 403);
    post(&other, "/auth/ticket", &json!({}), 200);
    for path in ["/auth/me", "/auth/sessions", "/rooms", &format!("/rooms/{room}"), "/users"] {
        get(&other, path, 403);
    }
    post(&other, "/rooms", &json!({"name": "x", "kind": "private"}), 403);
    for (method, path) in [
        (Method::PATCH, "/users/me".to_owned()),
        (Method::DELETE, format!("/rooms/{room}")),
        (Method::DELETE, "/auth/sessions/x".to_owned()),
    ] {
        call(&other, &method, &path, Some(&json!({})), 403);
    }
    assert_eq!(get(&ada, &format!("/rooms/{room}"), 200)["role"], "owner");
}

#[test]
fn a_user_has_so_many_login_sessions() {
    const MAX: usize = 100;
    let stack = stack();
    let (ada, id) = user(&stack, "ada");
    // As if they had logged in again and again, before and after this one.
    let mut redis = redis::Client::open(stack.redis_url().unwrap()).unwrap().get_connection().unwrap();
    for n in 0..MAX {
        let session = json!({"id": format!("id{n}"), "user": id, "name": "ada", "created_at": n});
        redis::cmd("ZADD")
            .arg(format!("sessions:{id}"))
            .arg(n)
            .arg(format!("hash{n}"))
            .exec(&mut redis)
            .unwrap();
        redis::cmd("SET").arg(format!("session:hash{n}")).arg(session.to_string()).exec(&mut redis).unwrap();
    }
    let account = json!({"username": "ada", "password": PASSWORD});
    let again =
        anybody(&stack).with_token(text(&post(&anybody(&stack), "/auth/login", &account, 200)["token"]));
    let sessions = get(&again, "/auth/sessions", 200);
    let sessions = sessions["items"].as_array().unwrap();
    assert_eq!((sessions.len(), &sessions[0]["id"]), (MAX, &json!("id2")), "the oldest have ended");
    get(&ada, "/auth/me", 200);
}
