//! A backup that is taken under load and restored elsewhere has everything that was acknowledged before it began, once,
//! and the system goes on from there.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hubbub_benches::stack::{Folder, Stack, wait};
use serde_json::json;
use tokio::task::block_in_place;

use crate::client::Client;
use crate::persister::{FOLLOWS_MAX, health, leads, stored};

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../systemd").join(name)
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn back_up(stack: &Stack, folder: &Path) -> PathBuf {
    let mut command = Command::new(script("hubbub-backup"));
    command.env("HUBBUB_DATABASE_URL", stack.database_url().unwrap());
    command.env("HUBBUB_REDIS_URL", stack.redis_url().unwrap());
    command.env("BACKUP_FOLDER", folder).env("BACKUPS_KEPT", "2");
    PathBuf::from(run(&mut command).lines().last().unwrap())
}

/// Sends until told to stop; gives the bodies that were acknowledged.
async fn load(
    mut client: Client,
    begun: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
) -> (Vec<String>, Vec<String>) {
    let (mut before, mut acked) = (Vec::new(), Vec::new());
    for turn in 0.. {
        let bodies: Vec<String> = (0..50).map(|n| format!("{turn} {n}")).collect();
        for body in &bodies {
            client.ask(json!({"op": "send", "room": "1", "body": body, "nonce": body})).await;
        }
        for _ in &bodies {
            client.expect("ack").await;
        }
        acked.extend(bodies);
        if !begun.load(Ordering::SeqCst) {
            before = acked.clone();
        }
        if over.load(Ordering::SeqCst) {
            break;
        }
    }
    (before, acked)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_acknowledged_before_a_backup_is_in_it() {
    let builder =
        Stack::builder().gateways(1).controls(1).without_haproxy().env("HUBBUB_SENDS_PER_SECOND", "0");
    let stack = block_in_place(|| builder.start().unwrap());
    let backups = Folder::temporary().unwrap();
    let (begun, over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let client = Client::in_room(&stack, 0, 7, "1").await;
    let load = tokio::spawn(load(client, Arc::clone(&begun), Arc::clone(&over)));
    let backup = block_in_place(|| {
        // Some of it is persisted, some is not.
        let some = wait::until(FOLLOWS_MAX, || leads(stack.control(0)).then_some(()));
        assert!(some.is_some());
        for _ in 0..2 {
            back_up(&stack, backups.path());
        }
        // With nobody who persists, only Redis has the last ones.
        stack.control(0).kill().unwrap();
        begun.store(true, Ordering::SeqCst);
        back_up(&stack, backups.path())
    });
    over.store(true, Ordering::SeqCst);
    let (before, acked) = load.await.unwrap();
    assert!(!before.is_empty());
    drop(stack);
    let names = std::fs::read_dir(backups.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let kept = names.filter(|name| name.to_str().unwrap().starts_with("20")).count();
    assert_eq!(kept, 2, "older ones are removed");

    let servers = block_in_place(|| Stack::builder().servers_only().start().unwrap());
    block_in_place(|| {
        let redis = servers.redis().unwrap();
        redis.stop().unwrap();
        let mut restore = Command::new(script("hubbub-restore"));
        restore.arg(&backup).arg(servers.database_url().unwrap()).arg(servers.folder().join("redis"));
        run(&mut restore);
        redis.start().unwrap();
    });
    let builder =
        Stack::builder().gateways(1).controls(1).without_haproxy().env("HUBBUB_SENDS_PER_SECOND", "0");
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
    assert!(stored.iter().zip(1..).all(|((_, n), at)| *n == at), "numbered without a gap");
    assert_eq!(stored.pop().unwrap().0, "after");
    let bodies: Vec<String> = stored.into_iter().map(|(body, _)| body).collect();
    assert_eq!(bodies[..before.len()], before, "nothing is lost");
    assert_eq!(bodies, acked[..bodies.len()], "and nothing is doubled or out of order");
}
