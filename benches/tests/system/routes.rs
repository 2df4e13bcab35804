//! Every route, as the served document has it: who may use it, and that no nonsense is answered by a bug.
//!
//! The document and the router are made of one list, so a new route is walked by itself; who may not use it has to be
//! written into [`REFUSED`], or the test fails.

use hubbub_benches::rest::{Answer, Rest};
use hubbub_benches::stack::Stack;
use serde_json::{Value, json};
use ureq::http::Method;

use crate::admin::operator;
use crate::rest::{post, text, user};

/// Who is refused, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Refused {
    /// Nobody.
    Nobody,
    /// Who is not logged in.
    Strangers,
    /// Besides, who asks for what is somebody else's.
    Others(u16),
    /// Besides, who is not in the room: a private one, a public one.
    NotInRoom(u16, u16),
    /// Besides, who is no operator.
    NoOperator,
}

use Refused::{NoOperator, Nobody, NotInRoom, Others, Strangers};

/// By operation, with a body that is good.
const REFUSED: [(&str, Refused, &str); 43] = [
    ("api_document", Nobody, ""),
    ("api_page", Nobody, ""),
    ("health", Nobody, ""),
    ("health_of_api", Nobody, ""),
    ("register", Nobody, r#"{"username": "new", "password": "correct horse battery"}"#),
    ("login", Nobody, r#"{"username": "ada", "password": "correct horse battery"}"#),
    ("logout", Strangers, ""),
    ("own_user", Strangers, ""),
    ("change_password", Strangers, r#"{"old": "correct horse", "new": "correct horse too"}"#),
    ("login_sessions", Strangers, ""),
    ("end_login_session", Others(404), ""),
    ("make_ticket", Strangers, ""),
    ("find_users", Strangers, ""),
    ("get_user", Strangers, ""),
    ("update_own_user", Strangers, r#"{"display_name": "Ada"}"#),
    ("own_rooms", Strangers, ""),
    ("make_room", Strangers, r#"{"name": "den", "kind": "private"}"#),
    ("public_rooms", Strangers, ""),
    ("direct_room", Strangers, r#"{"user": "1"}"#),
    ("get_room", NotInRoom(404, 200), ""),
    ("update_room", NotInRoom(404, 403), r#"{"topic": "t"}"#),
    ("delete_room", NotInRoom(404, 403), ""),
    ("join_room", NotInRoom(404, 200), ""),
    ("leave_room", NotInRoom(404, 404), ""),
    ("room_members", NotInRoom(404, 403), ""),
    ("set_member", NotInRoom(404, 403), r#"{"role": "member"}"#),
    ("remove_member", NotInRoom(404, 403), ""),
    ("room_presence", NotInRoom(404, 403), ""),
    ("history", NotInRoom(404, 403), ""),
    ("send_message", NotInRoom(404, 403), r#"{"body": "hello"}"#),
    ("edit_message", NotInRoom(404, 403), r#"{"body": "hello"}"#),
    ("delete_message", NotInRoom(404, 403), ""),
    ("search_messages", NotInRoom(404, 403), ""),
    ("note_read", NotInRoom(404, 403), r#"{"id": "1"}"#),
    ("announce_upload", Strangers, r#"{"file_name": "a.png", "content_type": "image/png", "size": 3}"#),
    ("get_upload", Strangers, ""),
    ("gateways", NoOperator, ""),
    ("control_planes", NoOperator, ""),
    ("drain_gateway", NoOperator, ""),
    ("ban_user", NoOperator, "{}"),
    ("lift_ban", NoOperator, ""),
    ("audit_log", NoOperator, ""),
    // By their signed address alone: who has none is refused, logged in or not.
    ("read_file", Nobody, ""),
];

/// Nor has this one a body that is JSON.
const SEND_FILE: &str = "send_file";

/// An operation of the document.
#[derive(Debug, Clone)]
struct Operation {
    id: String,
    method: Method,
    path: String,
    about: Value,
}

impl Operation {
    fn all(document: &Value) -> Vec<Self> {
        let mut all = Vec::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, about) in item.as_object().unwrap() {
                all.push(Self {
                    id: text(&about["operationId"]).to_owned(),
                    method: method.to_uppercase().parse().unwrap(),
                    path: path.clone(),
                    about: about.clone(),
                });
            }
        }
        all
    }

    fn refused(&self) -> (Refused, Option<Value>) {
        if self.id == SEND_FILE {
            return (Nobody, None);
        }
        let found = REFUSED.iter().find(|(id, ..)| *id == self.id);
        let (_, refused, body) = found.unwrap_or_else(|| panic!("{}: who may not use it?", self.id));
        (*refused, (!body.is_empty()).then(|| serde_json::from_str(body).unwrap()))
    }

    fn is_open(&self) -> bool {
        self.about["security"] == json!([{}])
    }

    /// The path with each parameter filled in, and the queries that are needed.
    fn address(&self, fill: impl Fn(&str) -> String) -> String {
        let mut address = self.path.clone();
        for name in self.parameters("path") {
            address = address.replace(&format!("{{{name}}}"), &fill(&name));
        }
        if self.id == "search_messages" { address + "?q=hello" } else { address }
    }

    fn parameters(&self, place: &str) -> Vec<String> {
        let all = self.about["parameters"].as_array().cloned().unwrap_or_default();
        let of_place = all.iter().filter(|parameter| parameter["in"] == place);
        of_place.map(|parameter| text(&parameter["name"]).to_owned()).collect()
    }

    /// The schema of a JSON body.
    fn body<'a>(&self, document: &'a Value) -> Option<&'a Value> {
        let schema = self.about.pointer("/requestBody/content/application~1json/schema/$ref")?;
        document.pointer(text(schema).trim_start_matches('#'))
    }
}

/// Who is there.
struct Scene {
    stack: Stack,
    document: Value,
    nobody: Rest,
    root: Rest,
    eve: Rest,
    ada_id: String,
    ada_session: String,
    private: String,
    public: String,
    message: String,
}

impl Scene {
    fn new() -> Self {
        let limits = ["HUBBUB_AUTH_PER_MINUTE", "HUBBUB_WRITES_PER_MINUTE"];
        let builder = Stack::builder().gateways(0).controls(1).without_haproxy();
        let stack =
            limits.into_iter().fold(builder, |builder, limit| builder.env(limit, "0")).start().unwrap();
        let ((ada, ada_id), (eve, _)) = (user(&stack, "ada"), user(&stack, "eve"));
        let room = |kind: &str| {
            let made = post(&ada, "/rooms", &json!({"name": "lobby", "kind": kind}), 201);
            text(&made["id"]).to_owned()
        };
        let (private, public) = (room("private"), room("public"));
        let sent = post(&ada, &format!("/rooms/{private}/messages"), &json!({"body": "hello"}), 201);
        let sessions = ada.get("/auth/sessions").unwrap();
        let nobody = Rest::new(stack.control(0).url());
        let root = operator(&stack);
        Self {
            document: nobody.get("/openapi.json").unwrap(),
            ada_session: text(&sessions["items"][0]["id"]).to_owned(),
            message: text(&sent["id"]).to_owned(),
            nobody,
            root,
            eve,
            ada_id,
            private,
            public,
            stack,
        }
    }

    /// A path with ids of things that are there.
    fn address(&self, operation: &Operation, room: &str) -> String {
        operation.address(|name| match name {
            "msg" => self.message.clone(),
            "user" => self.ada_id.clone(),
            "server_id" => "gateway-1".to_owned(),
            _ if operation.path.contains("/sessions/") => self.ada_session.clone(),
            _ if operation.path.contains("/users/") => self.ada_id.clone(),
            _ if operation.path.contains("/uploads/") => "1".to_owned(),
            _ => room.to_owned(),
        })
    }
}

fn call(rest: &Rest, operation: &Operation, address: &str, body: Option<&Value>) -> Answer {
    rest.at_root().call(operation.method.clone(), address, body).unwrap()
}

/// A refusal has to be one, in the form that the document promises.
fn check_problem(operation: &Operation, what: &str, answer: &Answer) {
    let Answer { status, headers, json } = answer;
    assert!((400..500).contains(status), "{} {what}: {status} {json}", operation.id);
    let content_type = headers.get("content-type").and_then(|value| value.to_str().ok());
    assert_eq!(content_type, Some("application/problem+json"), "{} {what}: {status}", operation.id);
    assert_eq!(
        (&json["status"], json["code"].is_string()),
        (&json!(status), true),
        "{} {what}: {json}",
        operation.id
    );
}

#[test]
fn every_route_is_for_whom_it_should_be() {
    let scene = Scene::new();
    let operations = Operation::all(&scene.document);
    for (id, ..) in REFUSED {
        assert!(operations.iter().any(|operation| operation.id == id), "{id} is gone");
    }
    for operation in &operations {
        let (refused, body) = operation.refused();
        assert_eq!(operation.is_open(), refused == Nobody, "{}", operation.id);
        let private = scene.address(operation, &scene.private);
        let check = |rest: &Rest, address: &str, expected: u16| {
            let answer = call(rest, operation, address, body.as_ref());
            assert_eq!(answer.status, expected, "{} {address}: {}", operation.id, answer.json);
            if expected >= 400 {
                check_problem(operation, address, &answer);
            }
        };
        match refused {
            Nobody => {
                let answer = call(&scene.nobody, operation, &private, body.as_ref());
                assert_ne!(answer.status, 401, "{}", operation.id);
                assert_ne!(answer.json["detail"], "no such path", "{}: is not served", operation.id);
                assert_ne!(answer.status, 405, "{}: is not served", operation.id);
                continue;
            }
            Strangers => {}
            Others(status) => check(&scene.eve, &private, status),
            NotInRoom(of_private, of_public) => {
                check(&scene.eve, &private, of_private);
                check(&scene.eve, &scene.address(operation, &scene.public), of_public);
                if operation.id == "join_room" {
                    let public = &scene.public;
                    post(&scene.eve, &format!("/rooms/{public}/leave"), &json!({}), 204);
                }
            }
            NoOperator => check(&scene.eve, &private, 403),
        }
        check(&scene.nobody, &private, 401);
        check(&scene.nobody.with_token("no token"), &private, 401);
        check(&scene.nobody.with_token("no.real.ticket"), &private, 401);
    }
    drop(scene.stack);
}

#[test]
fn nonsense_is_refused_and_is_never_a_bug() {
    let scene = Scene::new();
    let long = "x".repeat(10_000);
    let ids = [
        "0",
        "-1",
        "01",
        "1e3",
        "9223372036854775808",
        "99999999999999999999",
        "x",
        "%00",
        "%F0%9F%98%80",
        "..",
        long.as_str(),
    ];
    let texts =
        ["", "%00", "-1", "9223372036854775808", "x%27%22%3B--", "%F0%9F%98%80", "%80", long.as_str()];
    for operation in &Operation::all(&scene.document) {
        let good = scene.address(operation, &scene.private);
        let (_, body) = operation.refused();
        // What is called may succeed where a text is nothing special; it may not break.
        let check = |what: &str, address: &str, body: Option<&Value>, must_fail: bool| {
            let answer = call(&scene.root, operation, address, body);
            if must_fail || answer.status >= 400 {
                check_problem(operation, what, &answer);
            }
        };
        for place in operation.parameters("path") {
            for id in ids {
                let address =
                    operation.address(|name| if name == place { id.to_owned() } else { "1".to_owned() });
                check(&format!("{place}={id}"), &address, body.as_ref(), true);
            }
        }
        for name in operation.parameters("query") {
            for value in texts {
                let address = format!("{}?{name}={value}", good.split('?').next().unwrap());
                check(&format!("?{name}={value}"), &address, body.as_ref(), false);
            }
        }
        if let Some(schema) = operation.body(&scene.document) {
            nonsense_in(operation, schema, &good, &scene, &check);
        }
    }
    assert_eq!(scene.root.get("/auth/me").unwrap()["username"], "root", "still there and logged in");
}

fn nonsense_in(
    operation: &Operation,
    schema: &Value,
    address: &str,
    scene: &Scene,
    check: &impl Fn(&str, &str, Option<&Value>, bool),
) {
    let (_, good) = operation.refused();
    let good = good.unwrap();
    for other in [json!([]), json!("text"), json!(1), Value::Null] {
        check(&other.to_string(), address, Some(&other), true);
    }
    for required in schema["required"].as_array().into_iter().flatten() {
        let mut body = good.clone();
        body.as_object_mut().unwrap().remove(text(required));
        check(&format!("without {required}"), address, Some(&body), true);
    }
    for (field, shape) in schema["properties"].as_object().unwrap() {
        let with = |value: Value| {
            let mut body = good.clone();
            body[field] = value;
            body
        };
        let is_number = shape["type"] == "integer";
        for wrong in [json!([1]), json!({}), json!(true), if is_number { json!("1") } else { json!(1) }] {
            check(&format!("{field}: {wrong}"), address, Some(&with(wrong.clone())), true);
        }
        for odd in [
            json!("\u{0}"),
            json!("x".repeat(10_000)),
            json!("-1"),
            json!("9223372036854775808"),
            json!(-1),
            json!(1e300),
        ] {
            check(&format!("{field}: odd"), address, Some(&with(odd)), false);
        }
        // A connection of its own: the server leaves what it does not want unread, and closes.
        let apart = Rest::new(scene.stack.control(0).url()).with_token(scene.root.token().unwrap());
        let answer = call(&apart, operation, address, Some(&with(json!("x".repeat(100_000)))));
        check_problem(operation, field, &answer);
    }
    let raw = |content_type: &str, bytes: &[u8]| {
        scene.root.at_root().call_raw(operation.method.clone(), address, content_type, bytes).unwrap()
    };
    let whole = good.to_string();
    for (content_type, bytes, status) in [
        ("application/json", &b"{"[..], 400),
        ("application/json", b"", 400),
        ("application/json", b"\xff\xfe", 400),
        ("text/plain", whole.as_bytes(), 415),
        ("application/x-www-form-urlencoded", b"a=b", 415),
        ("multipart/form-data; boundary=x", b"--x--", 415),
    ] {
        let answer = raw(content_type, bytes);
        check_problem(operation, content_type, &answer);
        assert_eq!(answer.status, status, "{} {content_type} {bytes:?}", operation.id);
    }
}
