//! What operators are shown and told: the rules and the dashboard of `systemd/monitoring`, asked of a real Prometheus.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hubbub_benches::stack::ports::Lease;
use hubbub_benches::stack::{Folder, Part, Stack, find, spawn, wait};
use hubbub_common::clock::Monotonic;
use hubbub_common::metrics::ALL;
use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::client::{Client, Jar, Proof, mint};

/// Two scrapes, at least, have to be in the minute of which rates are made.
const FOUND_MAX: Duration = Duration::from_mins(1);

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../systemd/monitoring").join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(file(name)).unwrap()
}

fn promtool(args: &[&str]) {
    let told = Command::new(find("promtool").unwrap()).args(args).current_dir(file("")).output().unwrap();
    let said = String::from_utf8_lossy(&told.stdout) + String::from_utf8_lossy(&told.stderr);
    assert!(told.status.success(), "promtool {args:?}: {said}");
}

#[test]
fn alerts_come_when_they_should() {
    promtool(&["check", "config", "prometheus.yml"]);
    promtool(&["test", "rules", "hubbub-alerts.test.yml"]);
}

#[test]
fn each_alert_is_tested_and_has_its_place_in_the_runbook() {
    let (tests, runbook) = (text("hubbub-alerts.test.yml"), text("../README.md"));
    let rules = text("hubbub-alerts.yml");
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 10);
    for alert in alerts {
        assert!(tests.contains(&format!("alertname: {alert}\n")), "{alert} has no test");
        assert!(runbook.contains(&format!("| `{alert}` |")), "the runbook says nothing of {alert}");
    }
}

/// Every query of the dashboard, with its panel.
fn queries() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(&text("hubbub-dashboard.json")).unwrap();
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"].as_str().unwrap().replace("$gateway", ".*");
            queries.push((panel["title"].as_str().unwrap().to_owned(), query));
        }
    }
    assert!(queries.len() > 30);
    queries
}

#[test]
fn what_is_asked_for_is_measured() {
    let known: BTreeSet<&str> = ALL.iter().map(|metric| metric.name).collect();
    let mut texts = vec![text("hubbub-rules.yml"), text("hubbub-alerts.yml"), text("hubbub-alerts.test.yml")];
    texts.extend(queries().into_iter().map(|(_, query)| query));
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    for text in &texts {
        for word in text.split(|c| !is_part(c)).filter(|word| word.starts_with("hubbub_")) {
            let name = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| word.strip_suffix(suffix));
            assert!(known.contains(word) || name.is_some_and(|name| known.contains(name)), "{word}");
        }
    }
}

/// A Prometheus that ends with its test.
struct Prometheus {
    process: Child,
    lease: Lease,
    _folder: Folder,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Prometheus {
    /// With the shipped rules, asking a stack.
    fn start(stack: &Stack) -> Self {
        let (folder, lease) = (Folder::temporary().unwrap(), Lease::any().unwrap());
        let places = |parts: &[Part]| -> Vec<String> {
            let place = |part: &Part| part.metrics_url().unwrap();
            parts.iter().map(|part| place(part).split('/').nth(2).unwrap().to_owned()).collect()
        };
        let job = |name: &str, parts: &[Part]| json!({"job_name": name, "static_configs": [{"targets": places(parts)}]});
        // JSON is YAML.
        let config = json!({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [file("hubbub-rules.yml"), file("hubbub-alerts.yml")],
            "scrape_configs": [
                job("hubbub-gateway", stack.gateways()),
                job("hubbub-control", stack.controls()),
                job("hubbub-haproxy", stack.haproxies()),
            ],
        });
        let path = folder.path().join("prometheus.yml");
        fs::write(&path, config.to_string()).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(find("prometheus").unwrap());
        command.arg(format!("--config.file={}", path.display()));
        command.arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()));
        command.arg(format!("--web.listen-address={}", lease.address()));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self { process: spawn(command).unwrap(), lease, _folder: folder }
    }

    /// What a query finds; `None` where it can't be asked.
    fn ask(&self, query: &str) -> Option<Value> {
        let url = format!("http://{}/api/v1/query", self.lease.address());
        let mut answer = ureq::get(&url).query("query", query).call().ok()?;
        let answer: Value = serde_json::from_str(&answer.body_mut().read_to_string().ok()?).unwrap();
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        Some(answer["data"]["result"].clone())
    }

    /// Whether a query finds something by now.
    fn finds(&self, query: &str) -> bool {
        self.ask(query).is_some_and(|found| found.as_array().is_some_and(|found| !found.is_empty()))
    }

    /// Waits until everybody was asked once more.
    fn await_scrape(&self) {
        let scrapes = || self.ask("min(count_over_time(up[10m]))").map(|found| found[0]["value"][1].clone());
        let before = scrapes();
        let asked = wait::until(FOUND_MAX, || scrapes().filter(|now| Some(now) != before.as_ref()));
        assert!(asked.is_some(), "Prometheus asks nobody");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_query_of_the_dashboard_finds_something() {
    let stack = block_in_place(|| Stack::builder().gateways(2).controls(1).start().unwrap());
    let prometheus = block_in_place(|| Prometheus::start(&stack));
    let token = mint(&stack, 7, &json!("*"));
    let mut writer = Client::connect(stack.public_url(), Proof::Bearer(&token), &mut Jar::default()).await;
    writer.join("5", None).await;
    let first = writer.send("5", "first", "0").await["id"].as_str().unwrap().to_owned();
    let mut missing = queries();
    let clock = Monotonic::start();
    for n in 1.. {
        // A little of everything: messages, a client that resumes, one whose requests are wrong and who is closed for it.
        writer.send("5", "more", &n.to_string()).await;
        let mut other = Client::connect(stack.public_url(), Proof::Bearer(&token), &mut Jar::default()).await;
        other.join("5", Some(&first)).await;
        for _ in 0..10 {
            other.ask(json!({"op": "unknown"})).await;
        }
        assert_eq!(other.closed().await, 1008);
        block_in_place(|| {
            prometheus.await_scrape();
            missing.retain(|(_, query)| !prometheus.finds(query));
        });
        if missing.is_empty() {
            break;
        }
        assert!(clock.elapsed() < FOUND_MAX, "nothing is found by {missing:#?}");
    }
    // Nothing is wrong, so nobody is called.
    let firing = block_in_place(|| prometheus.ask("ALERTS{alertstate=\"firing\", severity=\"page\"}"));
    assert_eq!(firing, Some(json!([])));
}
