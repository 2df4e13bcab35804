//! Every setting that a program lists in its help refuses a bad value: exit code 2, and one line that names it.

use std::collections::BTreeSet;
use std::process::Command;

use hubbub_benches::stack::sibling;

/// A value that must be refused, for every setting there is.
const BAD: [(&str, &str); 66] = [
    ("HUBBUB_LISTEN", "7000"),
    ("HUBBUB_ADMIN_LISTEN", "localhost"),
    ("HUBBUB_SERVER_ID", "a b"),
    ("HUBBUB_ENV", "prod"),
    ("HUBBUB_SHARDS", "0"),
    ("HUBBUB_REDIS_URL", "http://127.0.0.1"),
    ("HUBBUB_REDIS_CA_FILE", "/nowhere/at.all"),
    ("HUBBUB_ACK", "maybe"),
    ("HUBBUB_ACK_REPLICAS", "0"),
    ("HUBBUB_ACK_WAIT_MS", "0"),
    ("HUBBUB_JWT_SECRET", "short"),
    ("HUBBUB_JWT_KEY_ID", "a b"),
    ("HUBBUB_JWT_SECRETS_OLD", "no-id"),
    ("HUBBUB_JWT_PUBLIC_KEY_FILE", "/nowhere/at.all"),
    ("HUBBUB_ALLOWED_ORIGINS", "*"),
    ("HUBBUB_TRUSTED_PROXIES", "10.0.0.0/99"),
    ("HUBBUB_PROXY_PROTOCOL", "v2"),
    ("HUBBUB_AUTH_PER_MINUTE", "-1"),
    ("HUBBUB_WRITES_PER_MINUTE", "all"),
    ("HUBBUB_RESUME_WINDOW_SECONDS", "0"),
    ("HUBBUB_FRAME_BYTES_MAX", "64k"),
    ("HUBBUB_BODY_BYTES_MAX", "0"),
    ("HUBBUB_WAIT_SECONDS", "-1"),
    ("HUBBUB_LOG", "a=b=c"),
    ("HUBBUB_LOG_FORMAT", "xml"),
    ("HUBBUB_LOG_REPEATS_MAX", "all"),
    ("HUBBUB_TRACES_URL", "127.0.0.1:4318"),
    ("HUBBUB_TRACES_RATIO", "all"),
    ("HUBBUB_CORES", "x"),
    ("HUBBUB_BUS", "kafka"),
    ("HUBBUB_DRIVER", "kqueue"),
    ("HUBBUB_RESUME_BYTES_MAX", "1G"),
    ("HUBBUB_RESUME_SCAN_BYTES_MAX", "16M"),
    ("HUBBUB_HISTORY", "postgres"),
    ("HUBBUB_OUTBOX_BYTES_MAX", "1"),
    ("HUBBUB_SENDS_PER_SECOND", "-1"),
    ("HUBBUB_JOINS_PER_SECOND", "-1"),
    ("HUBBUB_CONNECTIONS_MAX", "0"),
    ("HUBBUB_CONNECTIONS_PER_USER_MAX", "-1"),
    ("HUBBUB_CONNECTIONS_PER_ADDRESS_MAX", "all"),
    ("HUBBUB_HEARTBEAT_SECONDS", "0"),
    ("HUBBUB_DRAIN_PER_SECOND", "0"),
    ("HUBBUB_DRAIN_SECONDS", "soon"),
    ("HUBBUB_GATEWAY_TIMEOUT_SECONDS", "0"),
    ("HUBBUB_DATABASE_URL", "mysql://x"),
    ("HUBBUB_DIRECT_DATABASE_URL", "mysql://x"),
    ("HUBBUB_READ_DATABASE_URL", "mysql://x"),
    ("HUBBUB_DATABASE_CONNECTIONS_MAX", "0"),
    ("HUBBUB_UPLOADS_URL", "uploads"),
    ("HUBBUB_UPLOADS_S3_ENDPOINT", "s3.example.org"),
    ("HUBBUB_UPLOADS_S3_REGION", "here and there"),
    ("HUBBUB_UPLOADS_S3_STYLE", "virtual"),
    ("HUBBUB_UPLOADS_S3_ACCESS_KEY_ID", "a b"),
    ("HUBBUB_UPLOADS_S3_SECRET_ACCESS_KEY", "a b"),
    ("HUBBUB_UPLOADS_BYTES_MAX", "25M"),
    ("HUBBUB_DATABASE_CA_FILE", "/nowhere/at.all"),
    ("HUBBUB_READ_STALENESS_MS_MAX", "9"),
    ("HUBBUB_SEARCH_MS", "0"),
    ("HUBBUB_RETENTION_DAYS", "-1"),
    ("HUBBUB_JANITOR_SECONDS", "0"),
    ("HUBBUB_UPLOADS_BYTES_PER_USER", "-1"),
    ("HUBBUB_UPLOADS_TYPES", "images"),
    ("HUBBUB_REQUEST_SECONDS", "0"),
    ("HUBBUB_UPLOADS_LINK_SECONDS", "0"),
    ("HUBBUB_UPLOADS_UNUSED_SECONDS", "0"),
    ("HUBBUB_DEV_PORT", "http"),
];

/// The settings that a program's help lists.
fn listed(program: &str, args: &[&str]) -> BTreeSet<String> {
    let output = Command::new(sibling(program).unwrap()).args(args).arg("--help").output().unwrap();
    assert!(output.status.success());
    let help = String::from_utf8(output.stdout).unwrap();
    let names = help.split("[env: ").skip(1).filter_map(|rest| rest.split([',', ']']).next());
    names.map(str::to_owned).collect()
}

fn check(program: &str, args: &[&str]) {
    let names = listed(program, args);
    assert!(names.len() >= 4, "{names:?}");
    for name in names {
        let bad = BAD.iter().find(|(of, _)| *of == name);
        let (_, value) = bad.unwrap_or_else(|| panic!("add a bad value of {name} to this test"));
        let mut command = Command::new(sibling(program).unwrap());
        // Where a value is not refused, the program ends all the same: there is no such Redis.
        command.args(args).env("HUBBUB_REDIS_URL", "redis://127.0.0.1:1").env(&name, value);
        let output = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{name}={value}: {stderr}");
        assert!(stderr.contains(&name) && stderr.lines().count() == 1, "{name}={value}: {stderr}");
    }
}

/// As systemd hands them over (`LoadCredential=`): read where there is no variable.
#[test]
fn a_setting_may_be_a_credential() {
    let credentials = tempfile::tempdir().unwrap();
    std::fs::write(credentials.path().join("HUBBUB_SHARDS"), "0\n").unwrap();
    let complaint = |env: &[(&str, &str)]| {
        let mut command = Command::new(sibling("hubbub-gateway").unwrap());
        command
            .env("CREDENTIALS_DIRECTORY", credentials.path())
            .env("HUBBUB_REDIS_URL", "redis://127.0.0.1:1");
        let output = command.envs(env.iter().copied()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, line) = complaint(&[("HUBBUB_SHARDS", "")]);
    assert_eq!(code, Some(2), "{line}");
    assert!(line.contains("HUBBUB_SHARDS") && line.contains("got \"0\""), "{line}");
    let (code, line) = complaint(&[("HUBBUB_SHARDS", "64")]);
    assert_eq!(code, Some(1), "{line}");
}

#[test]
fn gateway() {
    check("hubbub-gateway", &[]);
}

#[test]
fn control() {
    check("hubbub-control", &["serve"]);
}
