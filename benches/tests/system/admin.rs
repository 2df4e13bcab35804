//! What operators see and do, over REST and from the command line; what nobody else may.

use std::io::Write as _;
use std::process::{Command, Stdio};

use hubbub_benches::rest::Rest;
use hubbub_benches::stack::{Stack, sibling, wait};
use serde_json::{Value, json};
use tokio::task::block_in_place;
use tokio::time::timeout;
use ureq::http::Method;

use crate::client::{Client, EVENT_MAX, Jar, Person, Proof, mint};
use crate::rest::{FOLLOWS_MAX, call, get, post, text};

/// What `hubbub-control user` answers, given a line on standard input. It is told what it needs, and nonsense besides.
fn user_command(stack: &Stack, args: &[&str], input: &str) -> Result<String, String> {
    let env = [
        ("HUBBUB_REDIS_URL", stack.redis_url().unwrap()),
        ("HUBBUB_DATABASE_URL", stack.database_url().unwrap()),
        ("HUBBUB_JWT_SECRET", "short"),
        ("HUBBUB_UPLOADS_URL", "nowhere"),
    ];
    let args: Vec<_> = ["user"].iter().chain(args).copied().collect();
    run_control(&env, &args, input)
}

fn run_control(env: &[(&str, &str)], args: &[&str], input: &str) -> Result<String, String> {
    let mut command = Command::new(sibling("hubbub-control").unwrap());
    command.args(args).env_clear().envs(env.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap().trim_end().to_owned();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

fn log_in(stack: &Stack, username: &str, password: &str, status: u16) -> Value {
    let account = json!({"username": username, "password": password});
    post(&Rest::new(stack.control(0).url()), "/auth/login", &account, status)
}

pub(crate) fn operator(stack: &Stack) -> Rest {
    user_command(stack, &["create", "root", "--operator"], "operator's password\n").unwrap();
    let logged_in = log_in(stack, "root", "operator's password", 200);
    Rest::new(stack.control(0).url()).with_token(text(&logged_in["token"]))
}

#[test]
fn accounts_from_the_command_line() {
    let stack = Stack::builder().gateways(0).controls(1).without_haproxy().start().unwrap();
    let id =
        user_command(&stack, &["create", "Ada", "--display-name", "Ada L."], "first password\n").unwrap();
    let session = log_in(&stack, "ada", "first password", 200);
    assert_eq!((&session["user"]["id"], &session["user"]["display_name"]), (&json!(id), &json!("Ada L.")));
    let ada = Rest::new(stack.control(0).url()).with_token(text(&session["token"]));
    get(&ada, "/admin/audit", 403);
    user_command(&stack, &["make-operator", "ada"], "").unwrap();
    get(&ada, "/admin/audit", 200);
    assert_eq!(user_command(&stack, &["list"], "").unwrap(), format!("{id}\tada\tAda L.\toperator"));
    user_command(&stack, &["remove-operator", "ada"], "").unwrap();
    get(&ada, "/admin/audit", 403);
    user_command(&stack, &["set-password", "ada"], "second password\n").unwrap();
    get(&ada, "/auth/me", 401);
    log_in(&stack, "ada", "first password", 401);
    log_in(&stack, "ada", "second password", 200);

    let refused = |args: &[&str], input: &str, says: &str| {
        let problem = user_command(&stack, args, input).unwrap_err();
        assert!(problem.contains(says), "{args:?}: {problem}");
    };
    refused(&["create", "ada"], "first password\n", "taken");
    refused(&["create", "bob"], "short\n", "password: expected 8");
    refused(&["create", "b"], "first password\n", "username: expected 3");
    refused(&["set-password", "eve"], "first password\n", "no such user");
    refused(&["make-operator", "eve"], "", "no such user");
    // A password on the command line would be seen by everybody on the machine.
    refused(&["create", "bob", "--password", "first password"], "", "unexpected argument");
}

#[test]
fn a_command_needs_the_settings_that_it_uses() {
    let stack = Stack::builder().gateways(0).controls(1).without_haproxy().start().unwrap();
    let database = ("HUBBUB_DATABASE_URL", stack.database_url().unwrap());
    let (redis, nowhere) = (("HUBBUB_REDIS_URL", "nonsense"), ("HUBBUB_DATABASE_URL", "nonsense"));
    let (secret, short) = (("HUBBUB_JWT_SECRET", stack.jwt_secret()), ("HUBBUB_JWT_SECRET", "short"));
    assert_eq!(run_control(&[database, redis, short], &["migrate"], "").unwrap(), "the schema is up to date");
    assert!(run_control(&[nowhere], &["migrate"], "").unwrap_err().contains("HUBBUB_DATABASE_URL"));
    let token = ["token", "--user", "7"];
    assert_eq!(run_control(&[nowhere, redis, secret], &token, "").unwrap().split('.').count(), 3);
    assert!(run_control(&[short], &token, "").unwrap_err().contains("HUBBUB_JWT_SECRET"));
    assert!(run_control(&[], &token, "").unwrap_err().contains("HUBBUB_JWT_SECRET"));
    assert!(run_control(&[database, redis], &["user", "list"], "").unwrap_err().contains("HUBBUB_REDIS_URL"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_sign_for_a_banned_user_is_good_for_nothing() {
    let builder = Stack::builder().gateways(2).controls(2).without_haproxy();
    let stack = block_in_place(|| builder.start().unwrap());
    let (root, eve) = block_in_place(|| (operator(&stack), Person::register(stack.control(0).url(), "eve")));
    let token = mint(&stack, eve.id.parse().unwrap(), &json!("*"));
    let other = mint(&stack, 4_711, &json!("*"));
    let connect = async |gateway: usize, token: &str| {
        Client::try_connect(stack.gateway(gateway).url(), Proof::Bearer(token), &mut Jar::default()).await
    };
    let mut clients = Vec::new();
    for gateway in 0..2 {
        let mut client = connect(gateway, &token).await.unwrap();
        client.join("5", None).await;
        clients.push(client);
        // Also one that is in no room.
        clients.push(connect(gateway, &token).await.unwrap());
    }
    let mut bystander = connect(0, &other).await.unwrap();
    let ban = format!("/admin/users/{}/ban", eve.id);
    block_in_place(|| post(&root, &ban, &json!({}), 204));
    for client in &mut clients {
        assert_eq!(client.expect("bye").await["code"], "revoked");
        assert_eq!(client.closed().await, 4001);
    }
    for gateway in 0..2 {
        assert_eq!(connect(gateway, &token).await.unwrap_err().status, 401);
    }
    block_in_place(|| {
        for control in stack.controls() {
            let by_token = |token| Rest::new(control.url()).with_token(token);
            get(&by_token(&token), "/rooms/5/messages", 401);
            get(&by_token(&other), "/rooms/5/messages", 200);
        }
        // One that begins later knows it too.
        stack.gateway(1).kill().unwrap();
        stack.gateway(1).start().unwrap();
    });
    let refused = async {
        loop {
            match connect(1, &token).await {
                Err(refused) => return refused.status,
                // It has not been told yet, and closes as soon as it is.
                Ok(mut early) => assert_eq!(early.closed().await, 4001),
            }
        }
    };
    assert_eq!(timeout(EVENT_MAX, refused).await.unwrap(), 401);
    bystander.request(json!({"op": "ping"})).await;
    block_in_place(|| call(&root, &Method::DELETE, &ban, None, 204));
    let let_in = async {
        loop {
            if let Ok(client) = connect(0, &token).await {
                return client;
            }
        }
    };
    timeout(EVENT_MAX, let_in).await.unwrap().join("5", None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_banned_user_is_out_and_stays_out() {
    let stack =
        block_in_place(|| Stack::builder().gateways(2).controls(1).without_haproxy().start().unwrap());
    let (root, eve, ada) = block_in_place(|| {
        let url = stack.control(0).url();
        (operator(&stack), Person::register(url, "eve"), Person::register(url, "ada"))
    });
    let mut here = eve.connect(stack.gateway(0).url(), &mut Jar::default()).await;
    let mut there = eve.connect(stack.gateway(1).url(), &mut Jar::default()).await;
    let ban = format!("/admin/users/{}/ban", eve.id);
    let ticket = block_in_place(|| {
        let ticket = eve.rest.post("/auth/ticket", &json!({})).unwrap();
        let ticket = text(&ticket["ticket"]).to_owned();
        // A ticket opens REST too, and another ticket made from it lives no longer than its session.
        let by_ticket = Rest::new(stack.control(0).url()).with_token(&ticket);
        let second = by_ticket.post("/auth/ticket", &json!({})).unwrap();
        post(&ada.rest, &ban, &json!({}), 403);
        post(&Rest::new(stack.control(0).url()), &ban, &json!({}), 401);
        post(&root, "/admin/users/999999/ban", &json!({}), 404);
        assert!(post(&root, &ban, &json!({"reason": "a\nb"}), 422)["errors"]["reason"].is_string());
        let own = get(&root, "/auth/me", 200)["id"].clone();
        post(&root, &format!("/admin/users/{}/ban", text(&own)), &json!({}), 409);
        post(&root, &ban, &json!({"reason": "spam"}), 204);
        for token in [ticket.as_str(), text(&second["ticket"]), eve.rest.token().unwrap()] {
            get(&Rest::new(stack.control(0).url()).with_token(token), "/auth/me", 401);
        }
        log_in(&stack, "eve", Person::PASSWORD, 403);
        log_in(&stack, "eve", "wrong password", 401);
        ticket
    });
    for client in [&mut here, &mut there] {
        assert_eq!(client.closed().await, 4001);
    }
    let proof = Proof::Ticket(&ticket);
    let refused = Client::try_connect(stack.gateway(1).url(), proof, &mut Jar::default()).await.unwrap_err();
    assert_eq!(refused.status, 401, "{refused:?}");
    block_in_place(|| {
        get(&ada.rest, "/auth/me", 200);
        call(&ada.rest, &Method::DELETE, &ban, None, 403);
        call(&root, &Method::DELETE, &ban, None, 204);
        call(&root, &Method::DELETE, &ban, None, 404);
        log_in(&stack, "eve", Person::PASSWORD, 200);
        // Everything about it is in the log, newest first.
        let log = get(&root, "/admin/audit?limit=200", 200);
        let of_root = get(&root, "/auth/me", 200)["id"].clone();
        let banned: Vec<_> =
            log["items"].as_array().unwrap().iter().filter(|line| line["actor"] == of_root).collect();
        assert_eq!(
            (&banned[0]["action"], &banned[1]["action"]),
            (&json!("user ban lifted"), &json!("user banned"))
        );
        assert_eq!(banned[1]["detail"], format!("user {}: spam", eve.id));
    });
}

#[test]
fn who_did_what_from_where() {
    let stack = Stack::builder().gateways(0).controls(1).without_haproxy().start().unwrap();
    let root = operator(&stack);
    let (ada, bob) = {
        let url = stack.control(0).url();
        (Person::register(url, "ada"), Person::register(url, "bob"))
    };
    let room = post(&ada.rest, "/rooms", &json!({"name": "r", "kind": "private"}), 201);
    let member = format!("/rooms/{}/members/{}", text(&room["id"]), bob.id);
    let forwarded = [("x-forwarded-for", "192.0.2.7"), ("x-request-id", "audit-1")];
    let role = json!({"role": "banned"});
    let answer = ada.rest.call_with(Method::PUT, &member, Some(&role), &forwarded).unwrap();
    assert_eq!((answer.status, &answer.headers["x-request-id"].to_str().unwrap()), (200, &"audit-1"));
    log_in(&stack, "bob", "wrong password", 401);
    log_in(&stack, "nobody", "wrong password", 401);
    post(&bob.rest, "/auth/password", &json!({"old": Person::PASSWORD, "new": "another password"}), 204);
    post(&bob.rest, "/auth/logout", &json!({}), 204);

    let role = get(&root, "/admin/audit?action=role", 200)["items"][0].clone();
    assert_eq!(
        (&role["actor"], &role["address"], &role["request"]),
        (&json!(ada.id), &json!("192.0.2.7"), &json!("audit-1"))
    );
    assert_eq!(role["detail"], format!("room {}, user {}: banned", text(&room["id"]), bob.id));
    let lines = |path: &str| get(&root, path, 200)["items"].as_array().unwrap().clone();
    let of_bob = lines(&format!("/admin/audit?actor={}", bob.id));
    let actions: Vec<_> = of_bob.iter().map(|line| text(&line["action"])).collect();
    assert_eq!(actions, ["logout", "password changed", "login failed", "register"]);
    assert!(of_bob.iter().all(|line| line["address"] == "127.0.0.1" && line["request"] != ""), "{of_bob:?}");
    assert_eq!(lines("/admin/audit?action=login%20failed")[0]["actor"], Value::Null);
    let made = &lines("/admin/audit?action=operator%20made")[0];
    assert_eq!((&made["actor"], &made["address"]), (&Value::Null, &json!("command line")));

    let first = get(&root, "/admin/audit?limit=3", 200);
    let second = lines(&format!("/admin/audit?limit=3&cursor={}", text(&first["next"])));
    let ids = first["items"].as_array().unwrap().iter().chain(&second);
    let ids: Vec<u64> = ids.map(|line| text(&line["id"]).parse().unwrap()).collect();
    assert!(ids.len() == 6 && ids.is_sorted_by(|one, next| one > next), "{ids:?}");
    for bad in ["actor=x", "limit=x", "cursor=x"] {
        get(&root, &format!("/admin/audit?{bad}"), 400);
    }
    get(&root, "/admin/audit?limit=201", 422);
    get(&ada.rest, "/admin/audit", 403);
    get(&Rest::new(stack.control(0).url()), "/admin/audit", 401);
    // Whoever holds a ticket for some rooms is nobody's operator, whatever user it names.
    let id = get(&root, "/auth/me", 200)["id"].clone();
    let minted = mint(&stack, text(&id).parse().unwrap(), &json!("*"));
    get(&Rest::new(stack.control(0).url()).with_token(&minted), "/admin/audit", 403);

    // The log takes nothing back, not even from our own role.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let url = stack.database_url().unwrap();
        let (database, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        for sql in ["UPDATE audit_log SET detail = ''", "DELETE FROM audit_log", "TRUNCATE audit_log"] {
            let error = database.batch_execute(sql).await.unwrap_err();
            let text = error.as_db_error().unwrap().message().to_owned();
            assert_eq!(text, "the audit log is only ever added to", "{sql}");
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_drains_one_gateway() {
    let stack =
        block_in_place(|| Stack::builder().gateways(2).controls(1).without_haproxy().start().unwrap());
    let (root, ada) = block_in_place(|| (operator(&stack), Person::register(stack.control(0).url(), "ada")));
    let mut leaving = ada.connect(stack.gateway(0).url(), &mut Jar::default()).await;
    let mut staying = ada.connect(stack.gateway(1).url(), &mut Jar::default()).await;
    let gateway = |fits: fn(&Value) -> bool| {
        wait::until(FOLLOWS_MAX, || {
            let list = get(&root, "/admin/gateways", 200);
            let names: Vec<_> =
                list["items"].as_array().unwrap().iter().map(|one| &one["server_id"]).collect();
            assert_eq!(names, ["gateway-1", "gateway-2"]);
            fits(&list["items"]).then_some(list["items"].clone())
        })
        .expect("the list of gateways")
    };
    let drain = "/admin/gateways/gateway-1/drain";
    block_in_place(|| {
        let list = gateway(|list| list[0]["connections"] == 1 && list[1]["connections"] == 1);
        assert_eq!((&list[0]["draining"], &list[0]["version"]), (&json!(false), &json!("0.1.0")));
        assert!(stack.gateway(0).url().ends_with(text(&list[0]["address"])), "{list}");
        assert!(list[0]["uptime"].is_u64() && list[0]["seen_at"].is_u64() && list[0]["run"].is_string());
        get(&ada.rest, "/admin/gateways", 403);
        get(&Rest::new(stack.control(0).url()), "/admin/gateways", 401);
        post(&ada.rest, drain, &json!({}), 403);
        post(&Rest::new(stack.control(0).url()), drain, &json!({}), 401);
        post(&root, "/admin/gateways/gateway-9/drain", &json!({}), 404);
        post(&root, drain, &json!({}), 204);
    });
    let bye = leaving.expect("bye").await;
    assert_eq!(bye["code"], "drain");
    assert_eq!(leaving.closed().await, 1012);
    staying.request(json!({"op": "ping"})).await;
    let token = mint(&stack, 7, &json!("*"));
    let url = stack.gateway(0).url();
    let refused = Client::try_connect(url, Proof::Bearer(&token), &mut Jar::default()).await.unwrap_err();
    assert_eq!(refused.status, 503, "{refused:?}");
    block_in_place(|| {
        gateway(|list| {
            list[0]["draining"] == true && list[0]["connections"] == 0 && list[1]["draining"] == false
        });
        // The next run under this name has nothing to do with it.
        stack.gateway(0).stop().unwrap();
        stack.gateway(0).start().unwrap();
        let back = wait::until(EVENT_MAX, || {
            let list = get(&root, "/admin/gateways", 200);
            let runs = list["items"].as_array().unwrap().clone();
            runs.iter().any(|one| one["server_id"] == "gateway-1" && one["draining"] == false).then_some(())
        });
        back.expect("the gateway to be back");
    });
    Client::connect(url, Proof::Bearer(&token), &mut Jar::default()).await.close().await;
}

/// Presence is noted anew, under another name, where Redis has lost it; the gateway is the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_redis_forgot_is_drained_all_the_same() {
    let stack =
        block_in_place(|| Stack::builder().gateways(1).controls(1).without_haproxy().start().unwrap());
    let (root, ada) = block_in_place(|| (operator(&stack), Person::register(stack.control(0).url(), "ada")));
    let mut client = ada.connect(stack.gateway(0).url(), &mut Jar::default()).await;
    block_in_place(|| {
        let listed = || {
            let list = get(&root, "/admin/gateways", 200);
            list["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|one| text(&one["run"]).to_owned())
                .collect::<Vec<_>>()
        };
        let run = wait::until(FOLLOWS_MAX, || listed().pop()).expect("the gateway");
        let mut redis = redis::Client::open(stack.redis_url().unwrap()).unwrap().get_connection().unwrap();
        let mut noted = || -> Vec<String> {
            redis::cmd("ZRANGE").arg("gateways").arg(0).arg(-1).query(&mut redis).unwrap()
        };
        let before = noted();
        assert_eq!(before.len(), 1);
        let mut forgetful =
            redis::Client::open(stack.redis_url().unwrap()).unwrap().get_connection().unwrap();
        redis::cmd("DEL").arg("gateways").exec(&mut forgetful).unwrap();
        let anew = wait::until(EVENT_MAX, || Some(noted()).filter(|now| now.len() == 1 && *now != before));
        anew.expect("another name");
        wait::until(EVENT_MAX, || (listed() == [run.as_str()]).then_some(())).expect("the same process");
        post(&root, "/admin/gateways/gateway-1/drain", &json!({}), 204);
    });
    assert_eq!(client.expect("bye").await["code"], "drain");
}
