//! A short run of each mode of `hubbub-load`: it ends well, checks what it does, and its report has all figures.

use std::process::Command;

use hubbub_benches::stack::sibling;
use serde_json::Value;

#[test]
fn idle() {
    let mut command = Command::new(sibling("hubbub-load").unwrap());
    let output =
        command.args(["idle", "--connections", "100,300", "--members", "10", "--json"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["mode"], &report["members"]), (&"idle".into(), &10.into()));
    let steps = report["steps"].as_array().unwrap();
    assert_eq!(
        steps.iter().map(|step| step["connections"].as_u64().unwrap()).collect::<Vec<_>>(),
        [100, 300]
    );
    for step in steps {
        assert!(step["anonymous_bytes"].as_u64().unwrap() > 0 && step["cpu_s_per_1000_handshakes"].is_f64());
    }
    assert!(report["bytes_per_connection"].is_f64());
}

#[test]
fn bad_arguments_are_named() {
    for (args, named) in [
        (["idle", "--connections", "300,100"], "--connections"),
        (["idle", "--connections", "x,y"], "--connections"),
        (["idle", "--members", "0"], "--members"),
    ] {
        let output = Command::new(sibling("hubbub-load").unwrap()).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains(named));
    }
}
