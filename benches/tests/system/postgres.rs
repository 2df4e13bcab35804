//! Postgres as it is run in production: behind a pooler, with a replica, by TLS, full, read-only, away.

use std::fs;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::thread;

use hubbub_benches::stack::{Folder, Stack, sibling, wait};
use postgres::{Client as Database, NoTls};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::client::{Client, Person};
use crate::persister::{FOLLOWS_MAX, health, stored};

fn database(stack: &Stack) -> Database {
    Database::connect(stack.database_url().unwrap(), NoTls).unwrap()
}

fn metric(stack: &Stack, line: &str) -> Option<f64> {
    let text = ureq::get(stack.control(0).metrics_url()?).call().ok()?.body_mut().read_to_string().ok()?;
    text.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok())
}

/// Waits until the health of the control plane is as wanted.
fn until_health(stack: &Stack, wanted: impl Fn(&Value) -> bool) {
    let control = stack.control(0);
    let reached = wait::until(FOLLOWS_MAX, || health(control).filter(|health| wanted(health)));
    assert!(reached.is_some(), "{:?}", health(control));
}

#[test]
fn everything_works_through_a_pooler_that_changes_connections_with_every_transaction() {
    let stack = Stack::builder().gateways(0).controls(2).without_haproxy().pgbouncer();
    let stack =
        stack.env("HUBBUB_WRITES_PER_MINUTE", "0").env("HUBBUB_AUTH_PER_MINUTE", "0").start().unwrap();
    let threads: Vec<_> = (0..8)
        .map(|number| {
            let url = stack.control(number % 2).url().to_owned();
            thread::spawn(move || {
                let person = Person::register(&url, &format!("user{number}"));
                for turn in 0..15 {
                    let name = format!("room {number} {turn}");
                    let room = person.rest.post("/rooms", &json!({"name": name, "kind": "public"})).unwrap();
                    let room = room["id"].as_str().unwrap().to_owned();
                    let sent =
                        person.rest.post(&format!("/rooms/{room}/messages"), &json!({"body": "hello"}));
                    sent.unwrap();
                    for path in ["/rooms", "/rooms/public", "/users?query=us", "/auth/me", "/auth/sessions"] {
                        person.rest.get(path).unwrap();
                    }
                    for path in ["messages", "members", "search?q=hello", "presence"] {
                        person.rest.get(&format!("/rooms/{room}/{path}")).unwrap();
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let all = wait::until(FOLLOWS_MAX, || {
        let row = database(&stack).query_one("SELECT count(*) FROM messages", &[]).ok()?;
        (row.get::<_, i64>(0) == 8 * 15).then_some(())
    });
    assert!(all.is_some(), "everything is persisted");
}

#[tokio::test(flavor = "multi_thread")]
async fn history_comes_from_the_replica_while_that_is_fresh() {
    let builder = Stack::builder().gateways(1).controls(1).without_haproxy().postgres_replica();
    let stack = block_in_place(|| builder.start().unwrap());
    let person = block_in_place(|| Person::register(stack.control(0).url(), "ada"));
    let made = json!({"name": "lobby", "kind": "public"});
    let room =
        block_in_place(|| person.rest.post("/rooms", &made).unwrap())["id"].as_str().unwrap().to_owned();
    let messages = format!("/rooms/{room}/messages");
    let newest = || Some(person.rest.get(&messages).ok()?["items"].as_array()?.last()?["body"].clone());
    let sees = |body: &str| {
        person.rest.post(&messages, &json!({"body": body})).unwrap();
        assert!(wait::until(FOLLOWS_MAX, || (newest()? == body).then_some(())).is_some(), "{body} is seen");
    };
    block_in_place(|| {
        until_health(&stack, |health| health["services"]["replica"] == true);
        sees("by the replica");
        let idle = r#"hubbub_control_database_connections{pool="replica",state="idle"}"#;
        assert!(metric(&stack, idle).unwrap() > 0.0);
        let mut replica = Database::connect(stack.replica().unwrap().url(), NoTls).unwrap();
        replica.batch_execute("SELECT pg_wal_replay_pause()").unwrap();
        // It stays behind for longer than the bound: the primary is read, which alone has this.
        sees("by the primary");
        until_health(&stack, |health| health["services"]["replica"] == false);
        replica.batch_execute("SELECT pg_wal_replay_resume()").unwrap();
        until_health(&stack, |health| health["services"]["replica"] == true);
        // One that is gone is no worse.
        stack.replica().unwrap().crash().unwrap();
        sees("without a replica");
    });
}

/// An authority, and a certificate for `localhost` alone that it signed, with its key; PEM.
fn certificates() -> [String; 3] {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let authority_certificate = authority.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = certificate.signed_by(&key, &issuer).unwrap();
    [authority_certificate.pem(), certificate.pem(), key.serialize_pem()]
}

#[test]
fn tls_is_verified() {
    let servers = Stack::builder().servers_only().start().unwrap();
    let [authority, certificate, key] = certificates();
    let mut database = database(&servers);
    for (file, pem) in [("server.crt", &certificate), ("server.key", &key)] {
        // Postgres writes it itself: the key has to be its own.
        let lines: Vec<&str> = pem.lines().collect();
        let rows = lines.iter().map(|line| format!("('{line}')")).collect::<Vec<_>>().join(",");
        database
            .batch_execute(&format!("COPY (VALUES {rows}) TO PROGRAM 'umask 077; cat > {file}'"))
            .unwrap();
    }
    database.batch_execute("ALTER SYSTEM SET ssl = on").unwrap();
    database.batch_execute("SELECT pg_reload_conf()").unwrap();
    let folder = Folder::temporary().unwrap();
    let (right, wrong) = (folder.path().join("authority.pem"), folder.path().join("another.pem"));
    fs::write(&right, authority).unwrap();
    fs::write(&wrong, &certificates()[0]).unwrap();

    let url = servers.database_url().unwrap();
    let by_name =
        format!("{}?sslmode=verify-full", url.replace(&Ipv4Addr::LOCALHOST.to_string(), "localhost"));
    let by_address = format!("{url}?sslmode=verify-full");
    let migrate = |url: &str, authority: &std::path::Path| {
        let mut command = Command::new(sibling("hubbub-control").unwrap());
        command.arg("migrate").env("HUBBUB_DATABASE_URL", url).env("HUBBUB_DATABASE_CA_FILE", authority);
        let output = command.stdin(Stdio::null()).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for (url, authority) in [(&by_name, &wrong), (&by_address, &right)] {
        let (code, stderr) = migrate(url, authority);
        assert!(code == Some(1) && stderr.contains("certificate"), "{url}: {stderr}");
    }
    assert!(wait::until(FOLLOWS_MAX, || (migrate(&by_name, &right).0 == Some(0)).then_some(())).is_some());

    let builder = Stack::builder().gateways(0).controls(1).without_haproxy().postgres_at(&by_name);
    let builder = builder.redis_at(servers.redis_url().unwrap());
    let stack = builder.env("HUBBUB_DATABASE_CA_FILE", &right).start().unwrap();
    until_health(&stack, |health| health["batchWriterLeader"] == true && health["status"] == "healthy");
    Person::register(stack.control(0).url(), "ada");
    let sql = "SELECT count(*) FILTER (WHERE s.ssl), count(*) FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid)
               WHERE a.application_name LIKE 'hubbub-%'";
    let row = database.query_one(sql, &[]).unwrap();
    let (secure, all): (i64, i64) = (row.get(0), row.get(1));
    assert!(secure == all && all >= 2, "{secure} of {all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_takes_no_writes_shows_in_health_and_loses_nothing() {
    let builder = Stack::builder().gateways(1).controls(1).without_haproxy();
    let stack = block_in_place(|| builder.start().unwrap());
    let mut client = Client::in_room(&stack, 0, 7, "1").await;
    client.send("1", "before", "1").await;
    let set = |value: &str| {
        block_in_place(|| {
            let mut database = database(&stack);
            database.batch_execute("SET default_transaction_read_only = off").unwrap();
            let alter = format!("ALTER SYSTEM SET default_transaction_read_only = {value}");
            database.batch_execute(&alter).unwrap();
            database.batch_execute("SELECT pg_reload_conf()").unwrap();
        });
    };
    set("on");
    client.send("1", "meanwhile", "2").await;
    block_in_place(|| {
        until_health(&stack, |health| {
            health["status"] == "degraded"
                && health["batchWriterProblem"] == "database-read-only"
                && health["streamLag"].as_u64() > Some(0)
        });
        assert_eq!(metric(&stack, r#"hubbub_persister_problem{reason="database-read-only"}"#), Some(1.0));
        assert!(metric(&stack, "hubbub_persister_lag_seconds").is_some());
    });
    set("off");
    block_in_place(|| {
        until_health(&stack, |health| health["status"] == "healthy" && health["streamLag"] == 0);
    });
    let bodies: Vec<String> =
        stored(stack.database_url().unwrap()).await.into_iter().map(|(body, _)| body).collect();
    assert_eq!(bodies, ["before", "meanwhile"]);
}

/// A file system of this size, as long as it lives.
struct SmallDisk(Folder);

impl SmallDisk {
    /// `None` where this process may not mount.
    fn new() -> Option<Self> {
        let disk = Self(Folder::temporary().unwrap());
        disk.mount("size=24m,mode=0777").then_some(disk)
    }

    fn mount(&self, options: &str) -> bool {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(self.0.path());
        mount.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_shows_in_health_and_loses_nothing() {
    let Some(disk) = SmallDisk::new() else {
        println!("not tested: mounting a file system takes more rights than this process has");
        return;
    };
    let builder =
        Stack::builder().gateways(1).controls(1).without_haproxy().env("HUBBUB_SENDS_PER_SECOND", "0");
    let stack = block_in_place(|| builder.start().unwrap());
    let path = disk.0.path().display().to_string();
    block_in_place(|| {
        let mut database = database(&stack);
        // The months are made; the current one moves to the small disk.
        until_health(&stack, |health| health["batchWriterLeader"] == true);
        let months = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'messages'::regclass";
        let made = wait::until(FOLLOWS_MAX, || {
            (database.query_one(months, &[]).ok()?.get::<_, i64>(0) >= 3).then_some(())
        });
        assert!(made.is_some());
        database.batch_execute(&format!("COPY (SELECT 1) TO PROGRAM 'mkdir {path}/space'")).unwrap();
        database.batch_execute(&format!("CREATE TABLESPACE small LOCATION '{path}/space'")).unwrap();
        let month: String = database
            .query_one("SELECT to_char(now() AT TIME ZONE 'UTC', '\"messages_\"YYYY_MM')", &[])
            .unwrap()
            .get(0);
        database.batch_execute(&format!("ALTER TABLE {month} SET TABLESPACE small")).unwrap();
        database
            .batch_execute(&format!(
                "COPY (SELECT 1) TO PROGRAM 'head -c 20000000 /dev/zero > {path}/ballast'"
            ))
            .unwrap();
    });
    let mut client = Client::in_room(&stack, 0, 7, "1").await;
    let mut sent = 0;
    let body = "x".repeat(1_000);
    for _ in 0..100 {
        for _ in 0..100 {
            client.ask(json!({"op": "send", "room": "1", "body": format!("{sent} {body}")})).await;
            sent += 1;
        }
        for _ in 0..100 {
            client.expect("ack").await;
        }
    }
    block_in_place(|| {
        until_health(&stack, |health| {
            health["status"] == "degraded" && health["batchWriterProblem"] == "database-full"
        });
        assert!(disk.mount("remount,size=200m"), "the disk grows");
        until_health(&stack, |health| health["status"] == "healthy" && health["streamLag"] == 0);
    });
    let stored = stored(stack.database_url().unwrap()).await;
    assert_eq!(stored.len(), sent);
    assert!(
        stored.iter().zip(0..).all(|((body, n), at)| body.starts_with(&format!("{at} ")) && *n == at + 1)
    );
}

#[test]
fn a_postgres_that_was_away_is_found_again() {
    let stack = Stack::builder().gateways(0).controls(1).without_haproxy().durable(true).start().unwrap();
    let person = Person::register(stack.control(0).url(), "ada");
    let postgres = stack.postgres().unwrap();
    postgres.crash().unwrap();
    until_health(&stack, |health| health["services"]["database"] == false && health["status"] == "degraded");
    until_health(&stack, |health| health["batchWriterProblem"] == "database");
    postgres.start().unwrap();
    until_health(&stack, |health| health["status"] == "healthy" && health["batchWriterLeader"] == true);
    person.rest.get("/auth/me").unwrap();
}
