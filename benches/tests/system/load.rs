//! A short run of each mode of `hubbub-load`, at its smallest: it ends well, which means that everything it checks
//! was right, and its report has every figure. Speed is for `make bench`.

use std::process::Command;

use hubbub_benches::stack::sibling;
use serde_json::Value;

/// Runs a mode and gives its report, all of whose figures are numbers.
fn run(args: &str) -> Value {
    let mut command = Command::new(sibling("hubbub-load").unwrap());
    let output = command.args(args.split(' ')).arg("--json").output().unwrap();
    assert!(output.status.success(), "{args}: {}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["mode"], args.split(' ').next().unwrap());
    for fault in ["lost", "doubled", "out_of_order"] {
        assert!(report.get(fault).is_none_or(|count| count == 0), "{args}: {report}");
    }
    report
}

fn has_figures(report: &Value, names: &[&str]) {
    for name in names {
        assert!(report[name].as_f64().is_some_and(|figure| figure > 0.0), "{name}: {report}");
    }
}

#[test]
fn idle() {
    let report = run("idle --connections 100,300 --members 10 --gateways 2");
    let steps = report["steps"].as_array().unwrap();
    let connections: Vec<_> = steps.iter().map(|step| step["connections"].as_u64().unwrap()).collect();
    assert_eq!(connections, [200, 600]);
    for step in steps {
        has_figures(step, &["user_bytes", "kernel_bytes", "cpu_s_per_1000_handshakes"]);
    }
    has_figures(&report, &["cpu_s_per_1000_handshakes", "handshakes_per_s"]);
    assert!(report["user_bytes_per_connection"].is_f64() && report["kernel_bytes_per_connection"].is_f64());
}

#[test]
fn fanout_with_a_window() {
    let report = run("fanout --connections 60 --rooms 12 --members 10 --window 5 --seconds 1");
    has_figures(&report, &["published", "deliveries", "cpu_us_per_delivery", "deliveries_per_s", "window"]);
    has_figures(&report["latency_us"], &["p50", "p99", "p999", "max"]);
    let published = report["published"].as_u64().unwrap();
    assert_eq!(report["deliveries"], published * 10);
}

#[test]
fn fanout_at_a_rate_across_two_gateways() {
    let report =
        run("fanout --connections 40 --rooms 10 --members 4 --rate 200 --seconds 1 --gateways 2 --redis");
    has_figures(&report, &["published", "rate", "redis_cpu_s"]);
    assert_eq!(report["deliveries"], report["published"].as_u64().unwrap() * 4);
}

#[test]
fn fanout_of_a_floor() {
    for floor in ["floor-send", "floor-uring"] {
        let report =
            run(&format!("fanout --server {floor} --connections 20 --members 20 --window 2 --seconds 1"));
        has_figures(&report, &["deliveries", "cpu_us_per_delivery"]);
    }
}

#[test]
fn storm() {
    let report = run("storm --connections 300 --rooms 10 --rate 300 --gateways 2 --redis");
    has_figures(&report, &["seconds_to_resumed", "cpu_s", "cpu_s_per_1000", "deliveries"]);
    assert_eq!(report["connections"], 300);
}

#[test]
fn soak() {
    let report = run("soak --connections 100 --rooms 10 --rate 200 --churn 50 --seconds 2");
    has_figures(&report, &["cuts", "published", "deliveries", "cpu_s"]);
    assert!(report["looks"].as_array().unwrap().len() >= 2);
}

#[test]
fn soak_with_streams_that_are_trimmed() {
    let report = run("soak --connections 20 --rooms 2 --rate 50 --churn 0 --seconds 12 --resume-window 1");
    has_figures(
        &report["plateau"],
        &["first_bytes", "second_bytes", "times", "entries", "entries_explained"],
    );
    assert!(report["redis"] == true && report["cuts"] == 0, "{report}");
}

#[test]
fn chaos() {
    let report = run("chaos --gateways 2 --clients 10 --rooms 3 --rate 40 --seconds 8");
    has_figures(&report, &["connects", "deliveries", "acked", "persisted"]);
    assert!(!report["faults"].as_object().unwrap().is_empty());
    assert_eq!(report["acked"], report["persisted"]);
}

#[test]
fn rolling() {
    let report = run("rolling --connections 300 --rooms 10 --rate 100 --drain 150");
    has_figures(&report, &["seconds", "published", "deliveries", "moves", "rejoins_per_s_max"]);
    has_figures(&report["away_ms"], &["p50", "p99", "max"]);
    has_figures(&report["late_ms"], &["p50", "p99", "max"]);
    // Everybody moved who was on the first gateway, and then everybody from the second to the first.
    assert!(report["moves"].as_u64().unwrap() > 300, "{report}");
    assert_eq!(report["deliveries"], report["published"].as_u64().unwrap() * 30);
}

#[test]
fn rolling_without_a_restart() {
    let report = run("rolling --connections 300 --rooms 10 --rate 100 --reload");
    has_figures(&report, &["seconds", "published", "deliveries"]);
    has_figures(&report["delivery_ms"], &["p50", "p99", "max"]);
    // Nobody had to move.
    assert_eq!(
        (&report["moves"], &report["untold"]),
        (&serde_json::json!(0), &serde_json::json!(0)),
        "{report}"
    );
    assert_eq!(report["deliveries"], report["published"].as_u64().unwrap() * 30);
}

#[test]
fn persist() {
    let report = run("persist --messages 60000 --rooms 50");
    has_figures(&report, &["messages_per_s", "control_cpu_us_per_message", "copy_rows_per_s", "of_copy"]);
}

#[test]
fn backlog() {
    let report = run("backlog --rooms 20 --rate 300 --stop 1");
    has_figures(&report, &["seconds_to_usual", "persisted_per_s", "backlog_messages", "redis_bytes"]);
    // Nobody persisted meanwhile.
    assert!(report["messages"].as_u64() > report["backlog_messages"].as_u64(), "{report}");
}

#[test]
fn rest() {
    let report = run("rest --rate 200 --rooms 5 --seconds 1");
    has_figures(&report, &["requests", "control_cpu_us_per_request", "postgres_cpu_us_per_request"]);
    assert_eq!(report["errors"], 0, "{report}");
}

#[test]
fn bus() {
    let report = run("bus --seconds 1");
    has_figures(&report, &["messages", "messages_per_s", "redis_cpu_us_per_message"]);
}

#[test]
fn bad_arguments_are_named() {
    for (args, named) in [
        ("idle --connections 300,100", "--connections"),
        ("idle --connections x,y", "--connections"),
        ("idle --members 0", "--members"),
        ("fanout --members 10 --connections 5", "--members"),
        ("fanout --rate 0", "--rate"),
        ("fanout --payload 1", "--payload"),
        ("storm --rooms 3 --connections 10", "--rooms"),
        ("soak --churn x", "--churn"),
        ("chaos --seed x", "--seed"),
        ("rolling --gateways 1", "--gateways"),
        ("rolling --drain 0", "--drain"),
        ("soak --seconds 60 --resume-window 60", "--resume-window"),
        ("persist --messages 0", "--messages"),
        ("backlog --stop 0", "--stop"),
        ("rest --rate 0", "--rate"),
        ("bus --seconds 0", "--seconds"),
    ] {
        let output = Command::new(sibling("hubbub-load").unwrap()).args(args.split(' ')).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(named), "{args}");
    }
}
