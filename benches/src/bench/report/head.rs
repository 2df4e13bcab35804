//! Where the figures come from: when, of what, on what, and how much of it went wrong.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::figure::{number, value_at, whole};
use super::super::results::{Head, Record, Results, Session};

/// What must not happen to a message, as the reports call it.
const WRONG: [(&str, &str); 3] =
    [("/lost", "lost"), ("/doubled", "doubled"), ("/out_of_order", "out of order")];
const MS_PER_DAY: u64 = 24 * 60 * 60 * 1_000;

pub(super) fn head(results: &Results) -> String {
    let several = results.sessions.len() > 1;
    let mut lines: Vec<String> =
        results.sessions.iter().flat_map(|session| of_session(session, several)).collect();
    lines.push(format!("- {}", sums(results)));
    let versions = versions(results);
    lines.extend((!versions.is_empty()).then(|| format!("- Versions: {}", versions.join(", "))));
    lines.join("\n")
}

fn of_session(session: &Session, is_one_of_several: bool) -> Vec<String> {
    let Head { started_ms, command, commit, dirty, build, quick, machine } = &session.head;
    let commit = if commit.is_empty() { "commit unknown".to_owned() } else { format!("commit {commit}") };
    let changes = if *dirty { ", with changes (dirty)" } else { "" };
    let quick = if *quick { ", **quick: these numbers only show that it works**" } else { "" };
    let gib = number(float(machine.memory_bytes) / f64::from(1 << 30));
    let limit = |limit: u64| if limit == 0 { "no limit".to_owned() } else { limit.to_string() };
    let [soft, hard] = machine.open_files.map(limit);
    let mut lines =
        vec![format!("- {}, {commit}{changes}, {build} build{quick}: `{command}`", date(*started_ms))];
    if is_one_of_several {
        let cases: BTreeSet<&str> = session.records.iter().map(|record| record.case.as_str()).collect();
        let cases: Vec<&str> = cases.into_iter().collect();
        lines.push(format!("  - cases: {}", cases.join(", ")));
    }
    let (cpus, cpu, kernel) = (machine.cpus, &machine.cpu, &machine.kernel);
    let huge_pages = &machine.huge_pages;
    lines.push(format!(
        "  - {cpus} × {cpu}, {gib} GiB, {kernel}; open files {soft} (hard {hard}); transparent huge pages: {huge_pages}"
    ));
    lines
}

/// How many commands there were, and what became of the messages.
fn sums(results: &Results) -> String {
    let records: Vec<&Record> = results.records().collect();
    let runs = records.iter().map(|record| record.run).max().unwrap_or_default();
    let failed = records.iter().filter(|record| record.report().is_none()).count();
    let sum = |pointer: &str| -> f64 {
        records
            .iter()
            .filter_map(|record| value_at(record.report()?, pointer))
            .fold(0.0, |sum, more| sum + more)
    };
    let wrong = WRONG.map(|(pointer, word)| format!("{} {word}", whole(sum(pointer))));
    format!(
        "{} commands in {runs} run{}, {failed} failed; {} deliveries checked: {}",
        records.len(),
        if runs == 1 { "" } else { "s" },
        whole(sum("/deliveries")),
        wrong.join(", ")
    )
}

/// What of a report is wrong, in words; empty where nothing is.
pub(super) fn wrong(report: &Value) -> Vec<String> {
    let count = |pointer| value_at(report, pointer).filter(|count| *count > 0.0);
    WRONG.iter().filter_map(|(pointer, word)| Some(format!("{} {word}", whole(count(pointer)?)))).collect()
}

/// Servers with the versions that they reported.
fn versions(results: &Results) -> Vec<String> {
    let version = |record: &Record| {
        let version = record.report()?.pointer("/server_version")?.as_str()?.to_owned();
        Some(format!("{} {version}", record.server))
    };
    let versions: BTreeSet<String> = results.records().filter_map(version).collect();
    versions.into_iter().collect()
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn float(count: u64) -> f64 {
    count as f64
}

/// Unix milliseconds as day and minute in UTC.
fn date(ms: u64) -> String {
    let (year, month, day) = civil(ms / MS_PER_DAY);
    let minutes = ms % MS_PER_DAY / 60_000;
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", minutes / 60, minutes % 60)
}

/// Year, month and day of a number of days since 1970-01-01, in the Gregorian calendar. Years begin in March
/// here, so that the leap day is the last one.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::results::fake::{failed, record, results};
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let cases = [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_400_000, "2000-02-29 00:00 UTC"),
            (951_868_800_000, "2000-03-01 00:00 UTC"),
            (1_735_689_599_000, "2024-12-31 23:59 UTC"),
            (1_763_712_240_000, "2025-11-21 08:04 UTC"),
        ];
        for (ms, text) in cases {
            assert_eq!(date(ms), text);
        }
    }

    #[test]
    fn says_what_was_measured_and_what_went_wrong() {
        let report = |lost: u32| json!({"deliveries": 1_000, "lost": lost, "server_version": "1.2"});
        let head = head(&results(vec![
            record("light", "nats", 1, report(0)),
            record("light", "nats", 2, report(3)),
            failed(record("light", "ws", 1, report(0)), "x"),
        ]));
        let sums =
            "3 commands in 2 runs, 1 failed; 2,000 deliveries checked: 3 lost, 0 doubled, 0 out of order";
        assert!(head.contains(sums) && head.contains("Versions: nats 1.2"), "{head}");
        assert_eq!(wrong(&report(3)), ["3 lost"]);
        assert!(wrong(&report(0)).is_empty());
    }
}
