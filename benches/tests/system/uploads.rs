//! Uploads, on a disk and in a bucket: announced, sent, read, refused, removed.

mod bucket;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use hubbub_benches::rest::Rest;
use hubbub_benches::stack::{Builder, Stack, wait};
use serde_json::{Value, json};
use tokio_postgres::NoTls;
use ureq::Agent;
use ureq::http::{HeaderMap, Method, Request};

use crate::rest::text;

/// How long something that follows may take.
const FOLLOWS_MAX: Duration = Duration::from_secs(30);
/// The beginning of a PNG file, and no more.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\nnot really";

fn builder() -> Builder {
    Stack::builder().gateways(0).controls(1).without_haproxy()
}

fn user(stack: &Stack, name: &str) -> Rest {
    let nobody = Rest::new(stack.control(0).url());
    let account = json!({"username": name, "password": "correct horse battery"});
    let made = nobody.post("/auth/register", &account).unwrap();
    nobody.with_token(made["token"].as_str().unwrap())
}

struct Reply {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Reply {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// Any request, redirects as they are.
fn request(method: Method, url: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Reply {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_global(Some(FOLLOWS_MAX));
    let agent: Agent = config.build().into();
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut answer = match body {
        Some(body) => agent.run(request.body(body).unwrap()),
        None => agent.run(request.body(()).unwrap()),
    }
    .unwrap();
    Reply {
        status: answer.status().as_u16(),
        headers: answer.headers().clone(),
        body: answer.body_mut().read_to_vec().unwrap(),
    }
}

/// What an announced upload answers.
struct Announced {
    id: String,
    put_url: String,
    url: String,
    content_type: String,
}

fn announce(rest: &Rest, name: &str, content_type: &str, size: usize) -> Announced {
    let body = json!({"file_name": name, "content_type": content_type, "size": size});
    let made = rest.call(Method::POST, "/uploads", Some(&body)).unwrap();
    assert_eq!(made.status, 201, "{}", made.json);
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{}", made.json)).to_owned();
    let mut keys: Vec<_> = made.json.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["headers", "id", "put_url", "url"]);
    Announced {
        id: text(&made.json["id"]),
        put_url: text(&made.json["put_url"]),
        url: text(&made.json["url"]),
        content_type: text(&made.json["headers"]["content-type"]),
    }
}

impl Announced {
    fn put(&self, bytes: &[u8]) -> Reply {
        request(Method::PUT, &self.put_url, &[("content-type", &self.content_type)], Some(bytes))
    }
}

/// Announced and sent.
fn upload(rest: &Rest, name: &str, content_type: &str, bytes: &[u8]) -> Announced {
    let announced = announce(rest, name, content_type, bytes.len());
    let put = announced.put(bytes);
    assert!((200..300).contains(&put.status), "{}: {}", put.status, String::from_utf8_lossy(&put.body));
    announced
}

/// Asks for an upload, as somebody.
fn get(rest: &Rest, url: &str) -> Reply {
    let bearer = format!("Bearer {}", rest.token().unwrap_or("nobody"));
    request(Method::GET, url, &[("authorization", &bearer)], None)
}

/// Where an upload can be read; a path is on the control plane with this address.
fn link(rest: &Rest, url: &str, control: &str) -> String {
    let redirect = get(rest, url);
    assert_eq!(redirect.status, 307, "{}", String::from_utf8_lossy(&redirect.body));
    assert!(redirect.header("cache-control").starts_with("private, max-age="));
    let location = redirect.header("location");
    if location.starts_with('/') { format!("{control}{location}") } else { location.to_owned() }
}

fn read(rest: &Rest, announced: &Announced, control: &str) -> Reply {
    request(Method::GET, &link(rest, &announced.url, control), &[], None)
}

fn room(rest: &Rest) -> String {
    let room = rest.post("/rooms", &json!({"name": "den", "kind": "private"})).unwrap();
    format!("/rooms/{}", room["id"].as_str().unwrap())
}

fn send(rest: &Rest, room: &str, kind: &str, body: &str) -> (u16, Value) {
    let message = json!({"kind": kind, "body": body});
    let answer = rest.call(Method::POST, &format!("{room}/messages"), Some(&message)).unwrap();
    (answer.status, answer.json)
}

#[test]
fn a_file_goes_in_at_one_instance_and_comes_out_at_another() {
    let stack = builder().controls(2).start().unwrap();
    let (ada, eve) = (user(&stack, "ada"), user(&stack, "eve"));
    let (first, second) = (stack.control(0).url(), stack.control(1).url());
    let cat = announce(&ada, "Käse.png", "Image/PNG; x=y", PNG.len());
    assert_eq!(cat.content_type, "image/png");
    assert_eq!(cat.url, format!("{first}/api/v1/uploads/{}", cat.id));
    assert_eq!(get(&ada, &cat.url).status, 404, "nothing was sent yet");
    let den = room(&ada);
    assert_eq!(send(&ada, &den, "image", &cat.url).0, 422);

    let elsewhere =
        Announced { put_url: cat.put_url.replace(first, second), ..announce(&ada, "a", "image/png", 1) };
    assert_eq!(elsewhere.put(PNG).status, 204);
    assert_eq!(cat.put(PNG).status, 409, "what is there does not change");
    let link = link(&eve, &cat.url, second);
    let whole = request(Method::GET, &link, &[], None);
    assert_eq!((whole.status, whole.body.as_slice()), (200, PNG));
    assert_eq!(whole.header("content-type"), "image/png");
    assert_eq!(whole.header("content-length"), PNG.len().to_string());
    assert_eq!(whole.header("content-disposition"), "inline; filename*=UTF-8''K%C3%A4se.png");
    assert_eq!(whole.header("x-content-type-options"), "nosniff");
    assert!(whole.header("content-security-policy").contains("sandbox"));
    let part = request(Method::GET, &link, &[("range", "bytes=1-3")], None);
    assert_eq!((part.status, part.body.as_slice()), (206, &b"PNG"[..]));
    assert_eq!(part.header("content-range"), format!("bytes 1-3/{}", PNG.len()));
    let head = request(Method::HEAD, &link, &[], None);
    assert_eq!((head.status, head.header("content-length")), (200, PNG.len().to_string().as_str()));
    let unchanged =
        request(Method::GET, &link, &[("if-modified-since", whole.header("last-modified"))], None);
    assert_eq!(unchanged.status, 304);

    assert_eq!(get(&Rest::new(first), &cat.url).status, 401);
    assert_eq!(get(&eve, &format!("{first}/api/v1/uploads/123456789")).status, 404);
    assert_eq!(get(&eve, &format!("{first}/api/v1/uploads/x")).status, 404);

    for body in [cat.url.as_str(), &format!("/api/v1/uploads/{}", cat.id), "https://example.org/dog.png"] {
        assert_eq!(send(&ada, &den, "image", body).0, 201, "{body}");
    }
    let song = upload(&ada, "song.mp3", "audio/mpeg", b"la");
    let text = upload(&ada, "page.txt", "text/plain", b"words");
    for body in [
        &song.url,
        &text.url,
        "/api/v1/uploads/123",
        "http://example.org/dog.png",
        "javascript:alert(1)",
        "dog",
    ] {
        let (status, problem) = send(&ada, &den, "image", body);
        assert_eq!((status, problem["errors"]["body"].is_string()), (422, true), "{body}");
    }
}

#[test]
fn what_is_refused() {
    let stack = builder().env("HUBBUB_UPLOADS_BYTES_MAX", "1000").start().unwrap();
    let ada = user(&stack, "ada");
    let control = stack.control(0).url();
    let good = json!({"file_name": "a.png", "content_type": "image/png", "size": 5});
    for (field, value) in [
        ("file_name", json!("")),
        ("file_name", json!("../../etc/passwd")),
        ("file_name", json!("a\u{0}")),
        ("content_type", json!("png")),
        ("content_type", json!("text/html")),
        ("size", json!(0)),
        ("size", json!(1001)),
    ] {
        let mut bad = good.clone();
        bad[field] = value;
        let answer = ada.call(Method::POST, "/uploads", Some(&bad)).unwrap();
        assert_eq!(
            (answer.status, answer.json["errors"][field].is_string()),
            (422, true),
            "{bad}: {}",
            answer.json
        );
    }
    let status = |rest: &Rest, body: &Value| rest.call(Method::POST, "/uploads", Some(body)).unwrap().status;
    assert_eq!(status(&ada, &json!({"file_name": "a.png"})), 400);
    assert_eq!(status(&ada, &json!({"file_name": "a.png", "content_type": "image/png", "size": -1})), 400);
    assert_eq!(status(&Rest::new(control), &good), 401);

    let five = announce(&ada, "a.png", "image/png", 5);
    let put =
        |url: &str, headers: &[(&str, &str)], body: &[u8]| request(Method::PUT, url, headers, Some(body));
    let png = [("content-type", "image/png")];
    assert_eq!(five.put(b"123456").status, 413);
    assert_eq!(five.put(b"1234").status, 400);
    // Also where the length is told by nothing but the end.
    let chunked = [("content-type", "image/png"), ("transfer-encoding", "chunked")];
    assert_eq!(put(&five.put_url, &chunked, b"123456").status, 413);
    let problem = put(&five.put_url, &[("content-type", "text/html")], b"12345");
    assert_eq!((problem.status, problem.header("content-type")), (422, "application/problem+json"));
    assert_eq!(put(&five.put_url, &[], b"12345").status, 422);

    let last = five.put_url.chars().last().unwrap();
    let forged = format!("{}{}", five.put_url.trim_end_matches(last), if last == 'A' { 'E' } else { 'A' });
    let other = announce(&ada, "b.png", "image/png", 5);
    let later = five.put_url.replace("expires=", "expires=1");
    let unsigned = five.put_url.split('?').next().unwrap().to_owned();
    let get_link = {
        upload(&ada, "c.png", "image/png", b"12345");
        let sent = upload(&ada, "c.png", "image/png", b"12345");
        link(&ada, &sent.url, control)
    };
    for (url, status) in [
        (&forged, 403),
        (&five.put_url.replace(&five.id, &other.id), 403),
        (&later, 403),
        (&format!("{unsigned}?expires=99999999999&signature="), 403),
        (&unsigned, 400),
        (&get_link, 403),
        (&five.put_url.replace(&five.id, "..%2F..%2Fetc%2Fpasswd"), 404),
        (&five.put_url.replace(&five.id, "../../etc/passwd"), 404),
    ] {
        assert_eq!(put(url, &png, b"12345").status, status, "{url}");
    }
    assert_eq!(request(Method::GET, &five.put_url, &[], None).status, 403, "to send is not to read");
    for method in [Method::DELETE, Method::POST] {
        let body = (method == Method::POST).then_some(&b""[..]);
        assert_eq!(request(method, &five.put_url, &[], body).status, 405);
    }
    assert_eq!(five.put(b"12345").status, 204, "after all that, the good one");
    let stored = fs::read(stack.folder().join("uploads").join(&five.id)).unwrap();
    assert_eq!(stored, b"12345");
    assert_eq!(fs::read_dir(stack.folder().join("uploads/unfinished")).unwrap().count(), 0);
}

#[test]
fn a_user_keeps_so_many_bytes() {
    let stack = builder().env("HUBBUB_UPLOADS_BYTES_PER_USER", "100").start().unwrap();
    let (ada, bob) = (user(&stack, "ada"), user(&stack, "bob"));
    let status = |rest: &Rest, size: usize| {
        let body = json!({"file_name": "a.png", "content_type": "image/png", "size": size});
        rest.call(Method::POST, "/uploads", Some(&body)).unwrap()
    };
    assert_eq!(status(&ada, 60).status, 201);
    let refused = status(&ada, 41);
    assert_eq!((refused.status, &refused.json["code"]), (422, &json!("bad_request")));
    assert!(text(&refused.json["errors"]["size"]).contains("40 are left"), "{}", refused.json);
    assert_eq!(status(&ada, 40).status, 201);
    assert_eq!(status(&ada, 1).status, 422);
    // Each has their own, also when many ask at once.
    let taken = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..8).map(|_| scope.spawn(|| status(&bob, 30).status)).collect();
        asked.into_iter().filter_map(|asked| (asked.join().unwrap() == 201).then_some(())).count()
    });
    assert_eq!(taken, 3);
}

#[test]
fn a_deleted_room_takes_its_messages_and_files_along() {
    let stack = builder().controls(2).env("HUBBUB_UPLOADS_UNUSED_SECONDS", "10").start().unwrap();
    let ada = user(&stack, "ada");
    let [den, other] = [room(&ada), room(&ada)];
    let image = upload(&ada, "a.png", "image/png", PNG);
    let kept = upload(&ada, "b.png", "image/png", PNG);
    for room in [&den, &other] {
        send(&ada, room, "image", &kept.url);
    }
    send(&ada, &den, "image", &image.url);
    let counts = || {
        let tables = ["messages", "upload_uses", "room_counters"];
        tables.map(|table| count(&stack, &format!("SELECT count(*) FROM {table}")))
    };
    assert!(wait::until(FOLLOWS_MAX, || (counts() == [3, 3, 2]).then_some(())).is_some());
    ada.ask(&Method::DELETE, &den, None).unwrap();
    assert!(wait::until(FOLLOWS_MAX, || (counts() == [1, 1, 1]).then_some(())).is_some());
    age(&stack);
    let gone = || (get(&ada, &image.url).status == 404).then_some(());
    assert!(wait::until(FOLLOWS_MAX, gone).is_some());
    assert!(!stack.folder().join("uploads").join(&image.id).exists());
    assert_eq!(get(&ada, &kept.url).status, 307);
    assert_eq!(ada.get(&format!("{other}/messages")).unwrap()["items"].as_array().unwrap().len(), 1);
}

#[test]
fn links_end() {
    let stack = builder().env("HUBBUB_UPLOADS_LINK_SECONDS", "1").start().unwrap();
    let ada = user(&stack, "ada");
    let late = announce(&ada, "a.png", "image/png", 5);
    // Bytes that are refused for another reason as long as the link is good.
    let ended = wait::until(FOLLOWS_MAX, || (late.put(b"123").status == 403).then_some(()));
    assert!(ended.is_some());
    assert_eq!(late.put(b"12345").status, 403);
    assert_eq!(get(&ada, &late.url).status, 404);
}

#[test]
fn nothing_runs_in_a_browser() {
    let stack = builder().env("HUBBUB_UPLOADS_TYPES", "*/*").start().unwrap();
    let ada = user(&stack, "ada");
    let script = b"<script>alert(1)</script>";
    for content_type in [
        "text/html",
        "image/svg+xml",
        "application/xhtml+xml",
        "text/javascript",
        "text/css",
        "application/pdf",
    ] {
        let page = upload(&ada, "page.html", content_type, script);
        let read = read(&ada, &page, stack.control(0).url());
        assert_eq!((read.status, read.body.as_slice()), (200, &script[..]));
        assert_eq!(read.header("content-type"), "application/octet-stream", "{content_type}");
        assert!(read.header("content-disposition").starts_with("attachment;"), "{content_type}");
        assert_eq!(read.header("x-content-type-options"), "nosniff");
        assert!(read.header("content-security-policy").contains("sandbox"));
    }
}

/// Makes everything that was announced so far old.
fn age(stack: &Stack) {
    in_database(stack, async |client| {
        client.execute("UPDATE uploads SET created_at = 0", &[]).await.unwrap()
    });
}

fn count(stack: &Stack, sql: &str) -> i64 {
    in_database(stack, async |client| client.query_one(sql, &[]).await.unwrap().get(0))
}

fn in_database<T>(stack: &Stack, act: impl AsyncFnOnce(&tokio_postgres::Client) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (client, connection) =
            tokio_postgres::connect(stack.database_url().unwrap(), NoTls).await.unwrap();
        let connection = tokio::spawn(connection);
        let outcome = act(&client).await;
        drop(client);
        connection.await.unwrap().unwrap();
        outcome
    })
}

/// What no message names goes, on a stack whose instances look every second.
fn check_unused(stack: &Stack, file_of: impl Fn(&str) -> PathBuf) {
    let ada = user(stack, "ada");
    let den = room(&ada);
    let is_gone = |upload: &Announced| {
        wait::until(FOLLOWS_MAX, || (get(&ada, &upload.url).status == 404).then_some(())).is_some()
            && !file_of(&upload.id).exists()
    };
    let make = || upload(&ada, "a.png", "image/png", PNG);
    let (image, text, edited, unused) = (make(), make(), make(), make());
    let never_sent = announce(&ada, "b.png", "image/png", 5);
    let (_, image_message) = send(&ada, &den, "image", &image.url);
    send(&ada, &den, "text", &format!("[img]{}", text.url));
    let (_, edited_message) = send(&ada, &den, "text", "wait for it");
    let path = |message: &Value| format!("{den}/messages/{}", message["id"].as_str().unwrap());
    let body = json!({"body": format!("look: {}", edited.url)});
    ada.ask(&Method::PATCH, &path(&edited_message), Some(&body)).unwrap();
    let persisted = wait::until(FOLLOWS_MAX, || {
        let items = ada.get(&format!("{den}/messages")).unwrap()["items"].clone();
        let is_edited = items.as_array()?.last()?["edited_at"].is_i64();
        (items.as_array()?.len() == 3 && is_edited).then_some(())
    });
    assert!(persisted.is_some());

    age(stack);
    assert!(is_gone(&unused) && is_gone(&never_sent));
    for named in [&image, &text, &edited] {
        assert_eq!(get(&ada, &named.url).status, 307);
        assert!(file_of(&named.id).exists());
    }
    ada.ask(&Method::DELETE, &path(&image_message), None).unwrap();
    ada.ask(&Method::PATCH, &path(&edited_message), Some(&json!({"body": "gone"}))).unwrap();
    assert!(is_gone(&image) && is_gone(&edited));
    assert_eq!(get(&ada, &text.url).status, 307);
}

#[test]
fn what_no_message_names_is_removed_from_the_disk() {
    let stack = builder().controls(2).env("HUBBUB_UPLOADS_UNUSED_SECONDS", "10").start().unwrap();
    check_unused(&stack, |id| stack.folder().join("uploads").join(id));
}
