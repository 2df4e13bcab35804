//! The package on a host that knew nothing of Hubbub: what systemd does with the units, under the real hardening, and what
//! installing, upgrading and removing leave behind. `make deb-test` runs this: it takes root and a package.

mod host;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use hubbub_benches::rest::Rest;
use serde_json::json;
use tokio::runtime::Runtime;
use ureq::http::{Method, Request};

use self::host::{CONTROL_UNIT, GATEWAY_UNIT, Host, package};
use crate::client::Person;

const CONTROL: &str = "http://127.0.0.1:7100";

fn runtime() -> Runtime {
    Runtime::new().unwrap()
}

/// What a part of the package's archive holds, as `dpkg-deb` tells it.
fn told(args: &[&str]) -> String {
    let output = Command::new("dpkg-deb").arg(args[0]).arg(package()).args(&args[1..]).output().unwrap();
    assert!(output.status.success(), "dpkg-deb {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What needs no host.
#[test]
#[ignore = "make deb-test"]
fn contents_of_the_package() {
    let listing = told(&["--contents"]);
    let files: BTreeMap<_, _> = listing
        .lines()
        .map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            assert_eq!(fields[1], "0/0", "{line}");
            (fields[5].trim_start_matches('.'), fields[0])
        })
        .collect();
    let expect = |path: &str, mode: &str| assert_eq!(files.get(path), Some(&mode), "{path} in\n{listing}");
    for program in [
        "usr/bin/hubbub-gateway",
        "usr/bin/hubbub-control",
        "usr/lib/hubbub/hubbub-backup",
        "usr/lib/hubbub/hubbub-restore",
    ] {
        expect(&format!("/{program}"), "-rwxr-xr-x");
    }
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../systemd");
    let names = |folder: &str| {
        let entries = fs::read_dir(here.join(folder)).unwrap().map(|entry| entry.unwrap().file_name());
        entries.map(|name| name.into_string().unwrap()).collect::<Vec<_>>()
    };
    for unit in names(".")
        .iter()
        .filter(|name| [".service", ".target", ".timer"].iter().any(|end| name.ends_with(end)))
    {
        expect(&format!("/usr/lib/systemd/system/{unit}"), "-rw-r--r--");
    }
    expect("/usr/lib/systemd/system/hubbub-.service.d/hardening.conf", "-rw-r--r--");
    for file in ["sysusers.d/hubbub", "tmpfiles.d/hubbub", "sysctl.d/70-hubbub"] {
        expect(&format!("/usr/lib/{file}.conf"), "-rw-r--r--");
    }
    for document in [
        "systemd.md",
        "runbook.md",
        "PROTOCOL.md",
        "copyright",
        "haproxy/haproxy.cfg",
        "examples/numa-node.conf",
        "examples/nftables.conf",
        "examples/certbot-haproxy",
    ] {
        expect(&format!("/usr/share/doc/hubbub/{document}"), "-rw-r--r--");
    }
    // Settings are the administrator's, and not everybody's to read.
    let conffiles: BTreeSet<_> = told(&["--info", "conffiles"]).lines().map(str::to_owned).collect();
    let settings: BTreeSet<_> = names("env").iter().map(|name| format!("/etc/hubbub/{name}")).collect();
    assert_eq!(conffiles, settings);
    for file in &settings {
        expect(file, "-rw-r-----");
    }
    let control = told(&["--field"]);
    for needed in ["libc6 (>= ", "init-system-helpers", "systemd (>= 252)"] {
        assert!(control.contains(needed), "{needed} in {control}");
    }
}

#[test]
#[ignore = "make deb-test"]
fn from_an_empty_host_to_a_chat() {
    let host = Host::boot();
    host.install(&package());

    // Nothing runs that has no settings yet, and nobody but its group reads those.
    assert_eq!(host.run("systemctl list-units --no-legend --state=running,failed 'hubbub*'"), "");
    assert_eq!(host.run("stat --format='%a %U %G' /etc/hubbub/*.env | sort -u"), "640 root hubbub");
    assert_eq!(host.run("systemctl is-enabled hubbub.target"), "enabled");
    assert_eq!(
        host.run("systemctl is-enabled hubbub-control hubbub-backup.timer || true"),
        "disabled\ndisabled"
    );

    // A secret that only root can read reaches the programs as a credential; the rest stands in the files.
    fs::write(host.path("etc/hubbub/jwt-secret"), host.servers.jwt_secret()).unwrap();
    host.run("chmod 600 /etc/hubbub/jwt-secret");
    for unit in ["hubbub-gateway@.service", CONTROL_UNIT] {
        host.drop_in(unit, "LoadCredential=HUBBUB_JWT_SECRET:/etc/hubbub/jwt-secret");
    }
    host.set("hubbub", &format!("HUBBUB_REDIS_URL={}", host.servers.redis_url().unwrap()));
    host.set("control", &format!("HUBBUB_DATABASE_URL={}", host.servers.database_url().unwrap()));

    // Once `systemctl` is back, everything answers; nobody waits for anything here.
    host.run("systemctl enable --now hubbub-control hubbub-gateway@0");
    assert_eq!(Host::health(7101)["status"], "healthy");
    assert_eq!(Host::health(7001)["driver"], "io_uring");
    let moment = |unit: &str, property: &str| host.show(unit, property).parse::<u64>().unwrap();
    let migrated = moment("hubbub-migrate.service", "ExecMainExitTimestampMonotonic");
    assert!(migrated > 0 && migrated <= moment(CONTROL_UNIT, "ExecMainStartTimestampMonotonic"));
    assert_eq!(host.show("hubbub-migrate.service", "Result"), "success");

    // A message from a socket to another; one by REST into the history; a file.
    runtime().block_on(async {
        let mut ada = host.client(7, "1").await;
        let mut bob = host.client(8, "1").await;
        let ack = ada.send("1", "hello", "n").await;
        assert_eq!(bob.expect("message").await["id"], ack["id"]);
        host.until("systemctl status tells how many are connected", || {
            host.show(GATEWAY_UNIT, "StatusText").starts_with("2 connections, the bus answers").then_some(())
        });
    });
    let ada = Person::register(CONTROL, "ada");
    let room = ada.rest.post("/rooms", &json!({"name": "a room", "kind": "public"})).unwrap();
    let messages = format!("/rooms/{}/messages", room["id"].as_str().unwrap());
    ada.rest.post(&messages, &json!({"body": "kept"})).unwrap();
    host.until("the message is in the history", || {
        let history = ada.rest.get(&messages).unwrap();
        history["items"].as_array().unwrap().iter().any(|message| message["body"] == "kept").then_some(())
    });
    upload(&ada.rest);
    assert_eq!(host.run("stat --format='%a %U' /var/lib/hubbub/uploads"), "700 hubbub");

    for unit in [GATEWAY_UNIT, CONTROL_UNIT] {
        is_confined(&host, unit);
        // A thread that may not be pinned, or whatever else was refused.
        let journal = host.journal(unit);
        assert!(!journal.contains("WARN") && !journal.contains("ERROR"), "{journal}");
    }
    for unit in host.run("systemctl list-unit-files --no-legend 'hubbub*' | cut -d' ' -f1").lines() {
        let unit = unit.replace('@', "@0");
        assert_eq!(host.run(&format!("systemd-analyze verify --man=no '{unit}' 2>&1")), "");
    }

    // Operators are made on the command line, with the services' settings.
    let settings =
        "-p User=hubbub -p EnvironmentFile=/etc/hubbub/hubbub.env -p EnvironmentFile=/etc/hubbub/control.env";
    host.run(&format!("echo 'correct horse' | systemd-run --pipe --wait {settings} hubbub-control user create root --operator"));
    Rest::new(CONTROL)
        .post("/auth/login", &json!({"username": "root", "password": "correct horse"}))
        .unwrap();

    // A backup, which is nobody's to read but its own user's.
    host.run("systemctl start hubbub-backup.service");
    let files =
        host.run("cd /var/lib/hubbub/backups/*Z && stat --format='%n %a %U' * && stat --format='%a %U' .");
    let backup = "600 hubbub-backup";
    let dumped = files.lines().filter(|line| line.ends_with(backup)).count();
    assert!(dumped == 2 && files.contains("postgres.dump") && files.contains("redis-"), "{files}");
    assert!(files.ends_with("700 hubbub-backup"), "{files}");

    // One name for all of it. The command is back once the target itself is stopped; its services follow it.
    host.run("systemctl stop hubbub.target");
    for unit in [GATEWAY_UNIT, CONTROL_UNIT] {
        host.until_state(unit, "inactive");
        assert_eq!(host.show(unit, "Result"), "success");
    }
    host.run("systemctl start hubbub.target");
    for unit in [GATEWAY_UNIT, CONTROL_UNIT] {
        host.until_state(unit, "active");
    }
}

fn upload(rest: &Rest) {
    let announced = json!({"file_name": "a.txt", "content_type": "text/plain", "size": 5});
    let announced = rest.post("/uploads", &announced).unwrap();
    let put = Request::builder().method(Method::PUT).uri(announced["put_url"].as_str().unwrap());
    let put = put.header("content-type", "text/plain").body(&b"hello"[..]).unwrap();
    assert!(ureq::run(put).unwrap().status().is_success());
}

/// What the kernel says of a service's process.
fn is_confined(host: &Host, unit: &str) {
    let pid = host.show(unit, "MainPID");
    let status = host.run(&format!("cat /proc/{pid}/status"));
    let field = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.unwrap_or_else(|| panic!("{name} of {status}")).trim().to_owned()
    };
    // 2 is a filter of system calls.
    assert_eq!((field("Seccomp"), field("NoNewPrivs")), ("2".to_owned(), "1".to_owned()), "{unit}");
    for set in ["CapEff", "CapPrm", "CapBnd"] {
        assert_eq!(u64::from_str_radix(&field(set), 16), Ok(0), "{unit}: {set}");
    }
    assert_eq!(host.run(&format!("stat --format=%U /proc/{pid}")), "hubbub");
    let mounts = host.run(&format!("cat /proc/{pid}/mountinfo"));
    let root = mounts.lines().rfind(|line| line.split(' ').nth(4) == Some("/")).unwrap();
    assert!(root.split(' ').nth(5).unwrap().split(',').any(|option| option == "ro"), "{unit}: {root}");
}

#[test]
#[ignore = "make deb-test"]
fn what_dies_or_hangs_is_started_again() {
    let host = Host::with_hubbub();
    for unit in [GATEWAY_UNIT, CONTROL_UNIT] {
        // The watchdog of the tests is in more of a hurry.
        host.drop_in(unit, "WatchdogSec=5");
        host.run(&format!("systemctl start {unit}"));
        let first = host.show(unit, "MainPID");
        host.run(&format!("systemctl kill --kill-whom=main --signal=KILL {unit}"));
        host.until_started_again(unit, &first);
        let second = host.show(unit, "MainPID");
        host.run(&format!("systemctl kill --kill-whom=main --signal=STOP {unit}"));
        host.until_started_again(unit, &second);
        assert!(host.journal(unit).contains("Watchdog timeout"), "{}", host.journal(unit));
    }
    runtime().block_on(async {
        let mut ada = host.client(7, "1").await;
        ada.send("1", "still here", "n").await;
    });
}

#[test]
#[ignore = "make deb-test"]
fn a_gateway_that_is_reloaded_keeps_its_clients() {
    let host = Host::boot();
    host.install(&package());
    fs::write(host.path("etc/hubbub/jwt-secret"), host.servers.jwt_secret()).unwrap();
    host.drop_in(GATEWAY_UNIT, "WatchdogSec=5\nLoadCredential=HUBBUB_JWT_SECRET:/etc/hubbub/jwt-secret");
    host.set("hubbub", &format!("HUBBUB_REDIS_URL={}", host.servers.redis_url().unwrap()));
    host.run("systemctl start hubbub-gateway@0");
    let first = host.show(GATEWAY_UNIT, "MainPID");
    runtime().block_on(async {
        let mut ada = host.client(7, "1").await;
        ada.send("1", "hello", "1").await;
        // The new process goes by the settings as they stand now.
        host.set("gateway-0", "HUBBUB_BODY_BYTES_MAX=10");
        host.run("systemctl reload hubbub-gateway@0");
        let second = host.show(GATEWAY_UNIT, "MainPID");
        assert_ne!(second, first);
        ada.send("1", "still here", "2").await;
        let refused = ada.request(json!({"op": "send", "room": "1", "body": "longer than that"})).await;
        assert_eq!(refused["code"], "too_large", "{refused}");
        is_confined(&host, GATEWAY_UNIT);

        // One that can't start leaves the old one where it is.
        host.set("gateway-0", "HUBBUB_SHARDS=many");
        assert!(!host.try_run("systemctl reload hubbub-gateway@0").status.success());
        assert_eq!(host.show(GATEWAY_UNIT, "MainPID"), second);
        ada.send("1", "and here", "3").await;
        host.set("gateway-0", "HUBBUB_SHARDS=64");
        host.run("systemctl reload hubbub-gateway@0");
        ada.send("1", "and now", "4").await;
    });
    assert!(!host.journal(GATEWAY_UNIT).contains("not our child"), "{}", host.journal(GATEWAY_UNIT));
    // systemd watches over the one that serves.
    host.until("the old ones have ended", || {
        let processes = host.run(
            "for p in /proc/[0-9]*; do readlink $p/exe | grep -q hubbub-gateway && basename $p; done; true",
        );
        (processes == host.show(GATEWAY_UNIT, "MainPID")).then_some(())
    });
    let last = host.show(GATEWAY_UNIT, "MainPID");
    host.run(&format!("systemctl kill --kill-whom=main --signal=STOP {GATEWAY_UNIT}"));
    host.until_started_again(GATEWAY_UNIT, &last);
    assert!(host.journal(GATEWAY_UNIT).contains("Watchdog timeout"), "{}", host.journal(GATEWAY_UNIT));
    host.run("systemctl stop hubbub-gateway@0");
    assert_eq!(host.show(GATEWAY_UNIT, "Result"), "success", "{}", host.journal(GATEWAY_UNIT));
}

#[test]
#[ignore = "make deb-test"]
fn servers_that_are_away_are_waited_for_and_bad_settings_are_not() {
    let host = Host::with_hubbub();
    // Not even ready while it waits: whatever comes after it waits too.
    host.redis().stop().unwrap();
    host.run("systemctl start --no-block hubbub-gateway@0");
    host.until_state(GATEWAY_UNIT, "activating");
    host.redis().start().unwrap();
    host.until_state(GATEWAY_UNIT, "active");
    assert_eq!(host.show(GATEWAY_UNIT, "NRestarts"), "0");

    // Away for longer than it waits: it is tried again, with the migrations before it.
    host.set("control", "HUBBUB_WAIT_SECONDS=0");
    host.postgres().stop().unwrap();
    host.run("systemctl start --no-block hubbub-control");
    host.until("it is tried again", || {
        let tries = host.show(CONTROL_UNIT, "NRestarts").parse::<u32>().unwrap();
        (tries >= 2).then_some(())
    });
    host.postgres().start().unwrap();
    host.until_state(CONTROL_UNIT, "active");

    host.run("systemctl stop hubbub-gateway@0");
    host.set("gateway-0", "HUBBUB_SHARDS=many");
    assert!(!host.try_run("systemctl start hubbub-gateway@0").status.success());
    assert_eq!(host.show(GATEWAY_UNIT, "ActiveState"), "failed");
    let ended = (host.show(GATEWAY_UNIT, "ExecMainStatus"), host.show(GATEWAY_UNIT, "NRestarts"));
    assert_eq!(ended, ("2".to_owned(), "0".to_owned()));
    assert!(host.journal(GATEWAY_UNIT).contains("HUBBUB_SHARDS"));
}

#[test]
#[ignore = "make deb-test"]
fn a_gateway_that_is_stopped_has_the_time_that_its_drain_takes() {
    const CLIENTS: u64 = 4;
    let host = Host::with_hubbub();
    for line in ["HUBBUB_DRAIN_PER_SECOND=1", "HUBBUB_DRAIN_SECONDS=60"] {
        host.set("gateway-0", line);
    }
    // Far too short, were the gateway not to ask for more. One core, by the example, sends one client away each second.
    let pinned = include_str!("../../../../systemd/examples/numa-node.conf").replace("0-15", "0");
    host.drop_in(GATEWAY_UNIT, &format!("TimeoutStopSec=1\n{pinned}"));
    host.run("systemctl start hubbub-gateway@0");
    assert!(host.journal(GATEWAY_UNIT).contains("cores=1 "), "{}", host.journal(GATEWAY_UNIT));
    runtime().block_on(async {
        let mut clients = Vec::new();
        for user in 1..=CLIENTS {
            clients.push(host.client(user, "1").await);
        }
        host.run("systemctl stop --no-block hubbub-gateway@0");
        for client in &mut clients {
            assert_eq!(client.find(|event| event["op"] == "bye").await["code"], "drain");
            assert_eq!(client.closed().await, 1012);
        }
    });
    host.until_state(GATEWAY_UNIT, "inactive");
    assert_eq!(host.show(GATEWAY_UNIT, "Result"), "success", "{}", host.journal(GATEWAY_UNIT));
}

/// The same package with a higher version, and another default in a settings file.
fn next_version(host: &Host) -> PathBuf {
    let folder = host.servers.folder().join("next");
    let run = |command: &mut Command| assert!(command.status().unwrap().success(), "{command:?}");
    run(Command::new("dpkg-deb").arg("--raw-extract").arg(package()).arg(&folder));
    let edit = |file: &str, edit: &dyn Fn(&str) -> String| {
        let path = folder.join(file);
        fs::write(&path, edit(&fs::read_to_string(&path).unwrap())).unwrap();
    };
    edit("DEBIAN/control", &|text| {
        text.lines()
            .map(
                |line| {
                    if line.starts_with("Version:") { "Version: 99-1\n".into() } else { format!("{line}\n") }
                },
            )
            .collect()
    });
    edit("etc/hubbub/gateway.env", &|text| format!("{text}\n# of version 99\n"));
    let next = host.servers.folder().join("next.deb");
    run(Command::new("dpkg-deb")
        .args(["--build", "-Znone"])
        .arg(&folder)
        .arg(&next)
        .stdout(std::process::Stdio::null()));
    next
}

#[test]
#[ignore = "make deb-test"]
fn upgraded_removed_and_purged() {
    let host = Host::with_hubbub();
    host.run("systemctl enable --now hubbub-control hubbub-gateway@0");
    let pids = |units: [&str; 2]| units.map(|unit| host.show(unit, "MainPID"));
    let [control, gateway] = pids([CONTROL_UNIT, GATEWAY_UNIT]);
    let migrated = host.show("hubbub-migrate.service", "InvocationID");

    // The control plane runs the new version, on the new schema; a gateway is for its administrator to restart, because
    // that sends clients away.
    host.install(&next_version(&host));
    host.until_started_again(CONTROL_UNIT, &control);
    assert_ne!(host.show("hubbub-migrate.service", "InvocationID"), migrated);
    assert_eq!(host.show(GATEWAY_UNIT, "MainPID"), gateway);
    let settings = host.run("cat /etc/hubbub/hubbub.env /etc/hubbub/gateway.env");
    assert!(settings.contains("\nHUBBUB_JWT_SECRET=") && settings.contains("# of version 99"), "{settings}");
    host.run("systemctl restart hubbub-gateway@0");
    assert_ne!(host.show(GATEWAY_UNIT, "MainPID"), gateway);
    upload(&Person::register(CONTROL, "ada").rest);

    // Removed: nothing runs or is left to run; what the administrator wrote stays.
    host.run("dpkg --remove hubbub");
    assert_eq!(host.run("systemctl list-units --no-legend --state=running,failed 'hubbub*'"), "");
    assert!(host.run("cat /etc/hubbub/hubbub.env").contains("HUBBUB_JWT_SECRET="));

    // Installed again, it goes on as it was.
    host.install(&package());
    host.run("systemctl start hubbub.target");
    for unit in [GATEWAY_UNIT, CONTROL_UNIT] {
        host.until_state(unit, "active");
    }

    // Purged: gone, but for what people gave it to keep.
    host.run("dpkg --purge hubbub");
    assert_eq!(
        host.run(
            "find / -xdev -name '*hubbub*' -not -path '/var/log/*' -not -path '/proc/*' -not -path '/root/*'"
        ),
        "/var/lib/hubbub"
    );
    assert_ne!(host.run("find /var/lib/hubbub/uploads -type f"), "");
}
