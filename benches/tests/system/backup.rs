//! A backup that is taken under load and restored elsewhere has everything that was acknowledged before it began, once,
//! and the system goes on from there. In every shape of Redis, and by Unix sockets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hubbub_benches::stack::{Builder, Folder, Part, RedisShape, Stack, find, wait};
use serde_json::json;
use tokio::task::block_in_place;
use tokio_postgres::NoTls;

use crate::client::Client;
use crate::persister::{FOLLOWS_MAX, health, leads};

/// Several, so that each server of a Cluster has some.
const ROOMS: usize = 6;
/// Messages that are sent before any of them has to be acknowledged.
const TURN: usize = 48;

/// What was sent to each room, in order.
type Bodies = BTreeMap<String, Vec<String>>;

/// Where a backup finds what it saves.
struct Urls {
    database: String,
    redis: String,
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../systemd").join(name)
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn back_up(urls: &Urls, folder: &Path) -> PathBuf {
    let mut command = Command::new(script("hubbub-backup"));
    command.env("HUBBUB_DATABASE_URL", &urls.database).env("HUBBUB_REDIS_URL", &urls.redis);
    command.env("BACKUP_FOLDER", folder).env("BACKUPS_KEPT", "1");
    PathBuf::from(run(&mut command).lines().last().unwrap())
}

fn cli(server: &Part, question: &str) -> String {
    let port = server.url().rsplit(':').next().unwrap();
    let mut command = Command::new(find("redis-cli").unwrap());
    run(command.args(["-p", port]).args(question.split(' ')))
}

/// Servers with data, and the sentinels beside them.
fn servers_and_sentinels(stack: &Stack) -> (Vec<&Part>, Vec<&Part>) {
    stack.redis_servers().iter().partition(|part| part.name().starts_with("redis"))
}

/// Sends until told to stop; gives what was acknowledged before the backup began, and all that was.
async fn load(mut client: Client, begun: Arc<AtomicBool>, over: Arc<AtomicBool>) -> (Bodies, Bodies) {
    let mut turns = 0;
    let mut turns_before = 0;
    while !over.load(Ordering::SeqCst) {
        for n in 0..TURN {
            let (room, body) = ((n % ROOMS + 1).to_string(), format!("{turns} {n}"));
            client.ask(json!({"op": "send", "room": room, "body": body, "nonce": body})).await;
        }
        let mut acked = 0;
        while acked < TURN {
            let event = client.event().await;
            assert_ne!(event["op"], "error", "{event}");
            acked += usize::from(event["op"] == "ack");
        }
        turns += 1;
        if !begun.load(Ordering::SeqCst) {
            turns_before = turns;
        }
    }
    let of = |turns| {
        let mut bodies = Bodies::new();
        for (turn, n) in (0..turns).flat_map(|turn| (0..TURN).map(move |n| (turn, n))) {
            bodies.entry((n % ROOMS + 1).to_string()).or_default().push(format!("{turn} {n}"));
        }
        bodies
    };
    (of(turns_before), of(turns))
}

/// Bodies in the order of their ids, of rooms that number them without a gap.
async fn stored(database_url: &str) -> Bodies {
    let (client, connection) = tokio_postgres::connect(database_url, NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let rows = client.query("SELECT room::text, body, n FROM messages ORDER BY room, id", &[]).await.unwrap();
    drop(client);
    connection.await.unwrap().unwrap();
    let mut bodies = Bodies::new();
    for row in &rows {
        let of_room = bodies.entry(row.get(0)).or_default();
        of_room.push(row.get(1));
        assert_eq!(i64::try_from(of_room.len()), Ok(row.get(2)), "numbered without a gap");
    }
    bodies
}

fn system(shape: RedisShape) -> Builder {
    let builder = Stack::builder().gateways(1).controls(1).without_haproxy().redis_shape(shape);
    // Who asks for all data gets it at once, not after five seconds in which others may come.
    builder.env("HUBBUB_SENDS_PER_SECOND", "0").redis_conf("repl-diskless-sync-delay 0")
}

/// Takes a backup under load. Gives it, and what `load` gives.
async fn taken(stack: &Stack, urls: &Urls, folder: &Path) -> (PathBuf, Bodies, Bodies) {
    let (begun, over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let mut client = Client::in_room(stack, 0, 7, "1").await;
    for room in 2..=ROOMS {
        client.join(&room.to_string(), None).await;
    }
    let load = tokio::spawn(load(client, Arc::clone(&begun), Arc::clone(&over)));
    let backup = block_in_place(|| {
        // Some of it is persisted, some is not.
        let some = wait::until(FOLLOWS_MAX, || leads(stack.control(0)).then_some(()));
        assert!(some.is_some());
        back_up(urls, folder);
        // With nobody who persists, only Redis has the last ones.
        stack.control(0).kill().unwrap();
        begun.store(true, Ordering::SeqCst);
        back_up(urls, folder)
    });
    over.store(true, Ordering::SeqCst);
    let (before, acked) = load.await.unwrap();
    assert!(before.len() == ROOMS && before.values().all(|bodies| !bodies.is_empty()));
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let kept = names.filter(|name| name.to_str().unwrap().starts_with("20")).count();
    assert_eq!(kept, 1, "older ones are removed");
    (backup, before, acked)
}

/// Puts a backup into servers that are running, each with what `files` names for it.
fn restore(backup: &Path, files: &[String], servers: &Stack, database_url: &str) {
    let (redis, sentinels) = servers_and_sentinels(servers);
    for part in sentinels.iter().chain(&redis) {
        part.stop().unwrap();
    }
    let restore = |file: &str, database: &str, redis: &Path| {
        let mut restore = Command::new(script("hubbub-restore"));
        run(restore.env("REDIS_FILE", file).arg(backup).arg(database).arg(redis));
    };
    restore("", database_url, Path::new("-"));
    for (file, primary) in files.iter().zip(&redis) {
        restore(file, "-", &servers.folder().join(primary.name()));
        primary.start().unwrap();
    }
    for primary in &redis[..files.len()] {
        let serves =
            || (files.len() == 1 || cli(primary, "cluster info").contains("cluster_state:ok")).then_some(());
        assert!(wait::until(FOLLOWS_MAX, serves).is_some(), "{} serves", primary.name());
    }
    for part in redis.iter().skip(files.len()).chain(&sentinels) {
        part.start().unwrap();
    }
}

/// What was restored has what it must have, and goes on.
async fn goes_on(servers: &Stack, before: &Bodies, acked: &Bodies) {
    let builder = system(RedisShape::Single);
    let builder = builder.postgres_at(servers.database_url().unwrap()).redis_at(servers.redis_url().unwrap());
    let stack = block_in_place(|| builder.start().unwrap());
    let mut client = Client::in_room(&stack, 0, 7, "1").await;
    client.send("1", "after", "after").await;
    let drained = block_in_place(|| {
        wait::until(FOLLOWS_MAX, || {
            let health = health(stack.control(0))?;
            (health["batchWriterLeader"] == true && health["streamLag"] == 0).then_some(())
        })
    });
    assert!(drained.is_some(), "{:?}", health(stack.control(0)));
    let mut stored = stored(stack.database_url().unwrap()).await;
    assert_eq!(stored.get_mut("1").and_then(Vec::pop).as_deref(), Some("after"));
    for (room, before) in before {
        let (stored, acked) = (&stored[room], &acked[room]);
        assert_eq!(stored[..before.len()], before[..], "nothing is lost");
        assert_eq!(stored[..], acked[..stored.len()], "and nothing is doubled or out of order");
    }
}

/// A name that nobody answers at stands before the ones that do.
fn after_a_dead_one(redis_url: &str) -> String {
    redis_url.replacen("://", "://127.0.0.1:1,", 1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_one_server() {
    let stack = block_in_place(|| system(RedisShape::Single).start().unwrap());
    let urls = Urls {
        database: stack.database_url().unwrap().to_owned(),
        redis: stack.redis_url().unwrap().to_owned(),
    };
    let backups = Folder::temporary().unwrap();
    let (backup, before, acked) = taken(&stack, &urls, backups.path()).await;
    drop(stack);
    let servers = block_in_place(|| Stack::builder().servers_only().start().unwrap());
    let database_url = servers.database_url().unwrap();
    block_in_place(|| restore(&backup, &["redis*.rdb".to_owned()], &servers, database_url));
    goes_on(&servers, &before, &acked).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn by_unix_sockets() {
    let builder = system(RedisShape::Single).redis_conf("unixsocket redis.sock").postgres_socket();
    let stack = block_in_place(|| builder.start().unwrap());
    let redis = format!("unix://{}", stack.folder().join("redis/redis.sock").display());
    let urls = Urls { database: by_socket(&stack), redis };
    let backups = Folder::temporary().unwrap();
    let (backup, before, acked) = taken(&stack, &urls, backups.path()).await;
    drop(stack);
    let builder = Stack::builder().servers_only().postgres_socket();
    let servers = block_in_place(|| builder.start().unwrap());
    block_in_place(|| restore(&backup, &["redis.rdb".to_owned()], &servers, &by_socket(&servers)));
    goes_on(&servers, &before, &acked).await;
}

/// The URL of the private Postgres, with the folder of its socket in place of its address.
fn by_socket(stack: &Stack) -> String {
    let (login, place) = stack.database_url().unwrap().rsplit_once('@').unwrap();
    let (address, database) = place.split_once('/').unwrap();
    let port = address.rsplit(':').next().unwrap();
    format!("{login}@/{database}?host={}&port={port}", stack.folder().join("postgres").display())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_what_sentinels_name() {
    let stack = block_in_place(|| system(RedisShape::Sentinel).start().unwrap());
    // A fail-over, by which the last messages may be lost, is not what is tested.
    for sentinel in servers_and_sentinels(&stack).1 {
        assert_eq!(cli(sentinel, "sentinel set hubbub down-after-milliseconds 600000").trim(), "OK");
    }
    let urls = Urls {
        database: stack.database_url().unwrap().to_owned(),
        redis: after_a_dead_one(stack.redis_url().unwrap()),
    };
    let backups = Folder::temporary().unwrap();
    let (backup, before, acked) = taken(&stack, &urls, backups.path()).await;
    drop(stack);
    let builder = Stack::builder().servers_only().redis_shape(RedisShape::Sentinel);
    let servers = block_in_place(|| builder.start().unwrap());
    let database_url = servers.database_url().unwrap();
    block_in_place(|| restore(&backup, &["redis*.rdb".to_owned()], &servers, database_url));
    goes_on(&servers, &before, &acked).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_cluster() {
    let patient = "cluster-node-timeout 15000";
    let stack = block_in_place(|| system(RedisShape::Cluster).redis_conf(patient).start().unwrap());
    let urls = Urls {
        database: stack.database_url().unwrap().to_owned(),
        redis: after_a_dead_one(stack.redis_url().unwrap()),
    };
    let backups = Folder::temporary().unwrap();
    let (backup, before, acked) = taken(&stack, &urls, backups.path()).await;
    let place = |part: &Part| part.url().trim_start_matches("redis://").replace(':', "-");
    let files: Vec<String> =
        stack.redis_servers()[..3].iter().map(|part| format!("redis-{}.rdb", place(part))).collect();
    drop(stack);
    let builder = Stack::builder().servers_only().redis_shape(RedisShape::Cluster);
    let servers = block_in_place(|| builder.start().unwrap());
    let database_url = servers.database_url().unwrap();
    block_in_place(|| restore(&backup, &files, &servers, database_url));
    goes_on(&servers, &before, &acked).await;
}

/// In place of the programs that the script runs: tells as whom it is asked what, and answers as Sentinel and a Cluster do.
const CLI: &str = r#"#!/bin/sh
echo "${REDISCLI_AUTH-} ${*#--no-auth-warning -e }" >>"$ASKED"
case "$*" in
*'-h dead'*) exit 1 ;;
*SENTINEL*) printf '10.0.0.9\n6380\n' ;;
*NODES*) printf 'a 10.0.0.1:1@11 master - 0 0 1 connected 0-8191\nb ::2:2@12,b myself,master - 0 0 2 connected 8192-16383\n' ;;
esac
"#;
const DUMP: &str = r#"#!/bin/sh
for a; do case $a in --file=*) : >"${a#--file=}" ;; esac; done
"#;

#[test]
fn every_form_of_a_url_of_redis_is_understood() {
    let folder = Folder::temporary().unwrap();
    let programs = folder.path().join("programs");
    std::fs::create_dir(&programs).unwrap();
    for (name, text) in
        [("redis-cli", CLI), ("redis-check-rdb", DUMP), ("pg_dump", DUMP), ("pg_restore", DUMP)]
    {
        std::fs::write(programs.join(name), text).unwrap();
        run(Command::new("chmod").arg("755").arg(programs.join(name)));
    }
    let (asked, backups) = (folder.path().join("asked"), folder.path().join("backups"));
    let sentinel = "SENTINEL get-master-addr-by-name";
    // What is asked first; who the primaries are is asked again at the end.
    for (url, expected) in [
        ("redis://h", vec![" -h h -p 6379 --rdb redis-h-6379.rdb".to_owned()]),
        ("redis://u:p%40@q@h:7/0", vec!["p@@q --user u -h h -p 7 --rdb redis-h-7.rdb".to_owned()]),
        ("rediss://:p@[::1]", vec!["p --tls -h ::1 -p 6379 --rdb redis---1-6379.rdb".to_owned()]),
        ("unix:///r.sock?user=u&pass=%25", vec!["% --user u -s /r.sock --rdb redis.rdb".to_owned()]),
        (
            "rediss+sentinel://u:p@dead,s:5/m/0?sentinel_user=v&sentinel_password=%26",
            vec![
                format!("& --tls --user v -h dead -p 26379 {sentinel} m"),
                format!("& --tls --user v -h s -p 5 {sentinel} m"),
                "p --tls --user u -h 10.0.0.9 -p 6380 --rdb redis-10.0.0.9-6380.rdb".to_owned(),
            ],
        ),
        (
            "redis://u:p@dead:1,redis://u:p@[::2]:4",
            vec![
                "p --user u -h dead -p 1 CLUSTER NODES".to_owned(),
                "p --user u -h ::2 -p 4 CLUSTER NODES".to_owned(),
                "p --user u -h 10.0.0.1 -p 1 --rdb redis-10.0.0.1-1.rdb".to_owned(),
                "p --user u -h ::2 -p 2 --rdb redis---2-2.rdb".to_owned(),
            ],
        ),
        ("redis://one,", vec![" -h one -p 6379 CLUSTER NODES".to_owned()]),
    ] {
        let _ = std::fs::remove_file(&asked);
        let mut command = Command::new("sh");
        command.args(["-c", r#"PATH=$0:$PATH exec "$1""#]).arg(&programs).arg(script("hubbub-backup"));
        command.env("ASKED", &asked).env("BACKUP_REDIS_URL", url);
        run(command.env("BACKUP_FOLDER", &backups).env("BACKUP_DATABASE_URL", "postgresql:///x"));
        let unfinished = format!("{}/", backups.join(".unfinished").display());
        let text = std::fs::read_to_string(&asked).unwrap().replace(&unfinished, "");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..expected.len()], expected, "{url}");
    }
    let bad = Command::new(script("hubbub-backup")).env("BACKUP_REDIS_URL", "http://x").output().unwrap();
    assert!(!bad.status.success() && String::from_utf8_lossy(&bad.stderr).contains("http://"));
}
