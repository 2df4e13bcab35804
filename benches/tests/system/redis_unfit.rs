//! A Redis that does not fit is refused at start, in one line that says what to do.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output};

use hubbub_benches::stack::ports::Lease;
use hubbub_benches::stack::{RedisShape, Stack, sibling};

use crate::redis_shapes::RIGHTS;

fn redis(builder: impl FnOnce(hubbub_benches::stack::Builder) -> hubbub_benches::stack::Builder) -> Stack {
    builder(Stack::builder().gateways(0).controls(0).without_haproxy()).start().unwrap()
}

/// Runs a gateway, which should end by itself.
fn gateway(env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(sibling("hubbub-gateway").unwrap());
    let (public, internal) = (Lease::any().unwrap(), Lease::any().unwrap());
    command.env_remove("REDIS_URL").env("HUBBUB_ENV", "development");
    command.env("HUBBUB_LISTEN", public.address().to_string());
    command.env("HUBBUB_ADMIN_LISTEN", internal.address().to_string());
    // It waits for servers that are away, but not for what no waiting makes better.
    command.env("HUBBUB_LOG", "error").env("HUBBUB_WAIT_SECONDS", "5");
    command.envs(env.iter().copied()).output().unwrap()
}

fn assert_refused(env: &[(&str, &str)], code: i32, words: &[&str]) {
    let output = gateway(env);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    for word in words {
        assert!(stderr.contains(word), "{word} is not in: {stderr}");
    }
    assert!(!stderr.contains("s3cret"), "{stderr}");
}

#[test]
fn one_that_would_evict_messages() {
    let stack = redis(|builder| builder.redis_conf("maxmemory-policy allkeys-lru"));
    let url = stack.redis_url().unwrap();
    assert_refused(&[("HUBBUB_REDIS_URL", url)], 1, &["Redis at", "allkeys-lru", "noeviction"]);
}

#[test]
fn a_user_without_password_or_rights() {
    let rights = format!("{RIGHTS} -xadd");
    let stack = redis(|builder| builder.redis_user("hubbub", "s3cret", &rights));
    let url = stack.redis_url().unwrap().to_owned();
    assert_refused(&[("HUBBUB_REDIS_URL", &url)], 2, &["HUBBUB_REDIS_URL", "XADD"]);
    let wrong = url.replace("s3cret", "guess");
    assert_refused(&[("HUBBUB_REDIS_URL", &wrong)], 2, &["HUBBUB_REDIS_URL", "password"]);
    let nobody = url.replace("hubbub:s3cret@", "");
    assert_refused(&[("HUBBUB_REDIS_URL", &nobody)], 2, &["HUBBUB_REDIS_URL", "password"]);
}

#[test]
fn a_certificate_that_nobody_vouches_for() {
    let [stack, other] = [(), ()].map(|()| redis(|builder| builder.redis_shape(RedisShape::Tls)));
    let url = stack.redis_url().unwrap();
    let of_other = other.folder().join("tls/redis-authority.pem");
    let folder = tempfile::tempdir().unwrap();
    let garbled = folder.path().join("garbled.pem");
    std::fs::write(&garbled, "-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----\n").unwrap();
    let name = "HUBBUB_REDIS_CA_FILE";
    assert_refused(
        &[("HUBBUB_REDIS_URL", url), (name, of_other.to_str().unwrap())],
        2,
        &[name, "certificate"],
    );
    assert_refused(&[("HUBBUB_REDIS_URL", url), (name, garbled.to_str().unwrap())], 2, &[name]);
    // Without that setting the system's authorities count, and these don't know it either.
    assert_refused(&[("HUBBUB_REDIS_URL", url)], 2, &[name, "certificate"]);
}

#[test]
fn another_number_of_shards() {
    let stack = Stack::builder().gateways(1).controls(0).without_haproxy().start().unwrap();
    let url = stack.redis_url().unwrap();
    assert_refused(&[("HUBBUB_REDIS_URL", url), ("HUBBUB_SHARDS", "8")], 2, &["HUBBUB_SHARDS", "64"]);
}

#[test]
fn a_cluster_that_is_not_whole() {
    let stack = redis(|builder| builder.redis_conf("cluster-enabled yes"));
    let url = format!("{},", stack.redis_url().unwrap());
    assert_refused(&[("HUBBUB_REDIS_URL", &url), ("HUBBUB_WAIT_SECONDS", "0")], 1, &["Cluster", "slots"]);
}

/// Speaks as much of Redis's protocol as the start checks hear.
fn answer(stream: TcpStream, info: &str, time: &str) -> std::io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut lines = BufReader::new(stream).lines();
    while let Some(head) = lines.next().transpose()? {
        let parts: usize = head.trim_start_matches('*').parse().unwrap_or(0);
        let mut words = Vec::new();
        for _ in 0..parts {
            lines.next().transpose()?;
            words.extend(lines.next().transpose()?);
        }
        let reply = match words.first().map(|word| word.to_uppercase()).as_deref() {
            Some("PING") => "+PONG\r\n".to_owned(),
            Some("INFO") => format!("${}\r\n{info}\r\n", info.len()),
            Some("TIME") => time.to_owned(),
            _ => "-ERR unknown command\r\n".to_owned(),
        };
        writer.write_all(reply.as_bytes())?;
    }
    Ok(())
}

/// A server that claims a version and a time.
fn impostor(info: &'static str, time: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream, info, time));
        }
    });
    url
}

#[test]
fn an_old_one_and_one_whose_clock_is_wrong() {
    let past = "*2\r\n$10\r\n1000000000\r\n$1\r\n0\r\n";
    let url = impostor("redis_version:6.0.16", past);
    assert_refused(&[("HUBBUB_REDIS_URL", &url)], 1, &["Redis at", "6.0.16", "7.0"]);
    let url = impostor("redis_version:7.0.15", past);
    assert_refused(&[("HUBBUB_REDIS_URL", &url)], 1, &["Redis at", "clock"]);
}
