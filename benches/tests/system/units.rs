//! The units, settings files and kernel settings in `systemd/`: as hardened as they say, and complete. What they do when
//! systemd runs them, `packaged` proves.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use hubbub_benches::stack::find;
use hubbub_common::settings::{self, DRAIN_SECONDS, Setting, WAIT_SECONDS};

/// Of `systemd-analyze security`, in tenths; the least exposed service there can be has 0, a plain one 96.
const EXPOSURE_MAX: &str = "15";
const SERVICES: [&str; 4] =
    ["hubbub-backup.service", "hubbub-control.service", "hubbub-gateway@.service", "hubbub-migrate.service"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../systemd")
}

fn read(file: &str) -> String {
    fs::read_to_string(folder().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The files in a folder of `systemd/`, but for those in folders of it.
fn files_in(name: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder().join(name)).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_file()).collect()
}

/// A root folder in which everything is where the package puts it.
fn installed() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let make = |path: &str| {
        let path = root.path().join(path);
        fs::create_dir_all(&path).unwrap();
        path
    };
    let units = make("usr/lib/systemd/system");
    for path in files_in(".") {
        let extension = path.extension().unwrap_or_default().to_str().unwrap();
        if ["service", "target", "timer"].contains(&extension) {
            fs::copy(&path, units.join(path.file_name().unwrap())).unwrap();
        }
    }
    let drop_ins = make("usr/lib/systemd/system/hubbub-.service.d");
    fs::copy(folder().join("hubbub-.service.d/hardening.conf"), drop_ins.join("hardening.conf")).unwrap();
    // The targets that the units of any host are built on.
    for unit in fs::read_dir("/usr/lib/systemd/system").unwrap().map(|entry| entry.unwrap().path()) {
        if unit.extension().is_some_and(|extension| extension == "target") && !unit.is_symlink() {
            fs::copy(&unit, units.join(unit.file_name().unwrap())).unwrap();
        }
    }
    let script = folder().join("hubbub-backup");
    fs::copy(&script, make("usr/lib/hubbub").join("hubbub-backup")).unwrap();
    // Any program will do in place of ours.
    let programs = make("usr/bin");
    for program in ["hubbub-gateway", "hubbub-control"] {
        fs::copy(&script, programs.join(program)).unwrap();
    }
    root
}

fn analyze(root: &Path, args: &[&str]) -> (bool, String) {
    let mut command = Command::new(find("systemd-analyze").unwrap());
    command.arg(format!("--root={}", root.display())).args(args);
    let output = command.env("SYSTEMD_COLORS", "0").output().unwrap();
    let told = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(told).unwrap())
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let root = installed();
    for path in files_in(".") {
        let name = path.file_name().unwrap().to_str().unwrap().replace('@', "@0");
        let extension = path.extension().unwrap_or_default().to_str().unwrap();
        if ["service", "target", "timer"].contains(&extension) {
            let (fits, told) = analyze(root.path(), &["verify", "--man=no", &name]);
            // It succeeds with keys that it does not know.
            assert!(fits && told.trim().is_empty(), "{name}: {told}");
        }
    }
}

#[test]
fn services_may_do_little() {
    let root = installed();
    let there = files_in(".").into_iter().filter(|path| path.extension().is_some_and(|is| is == "service"));
    let there: BTreeSet<_> = there.map(|path| path.file_name().unwrap().to_owned()).collect();
    assert_eq!(there, SERVICES.map(Into::into).into());
    for service in SERVICES {
        let name = service.replace('@', "@0");
        let threshold = format!("--threshold={EXPOSURE_MAX}");
        let (fits, told) = analyze(root.path(), &["security", "--offline=true", &threshold, &name]);
        assert!(fits, "{name}: {told}");
        assert!(told.contains("Overall exposure level"), "{name}: {told}");
    }
}

/// The value of the line with this key.
fn value<'a>(unit: &'a str, key: &str) -> &'a str {
    let mut values = unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    values.next().unwrap_or_else(|| panic!("{key} is not there"))
}

#[test]
fn systemd_waits_longer_than_the_programs_do() {
    let seconds = |unit: &str, key: &str| value(unit, key).parse::<u64>().unwrap();
    let default = |setting: &Setting| setting.default.unwrap().parse::<u64>().unwrap();
    let gateway = read("hubbub-gateway@.service");
    // 12 s are what it may need after the drain: `LAST_LEAVE_MAX`, `LEAVE_MAX`, `END_MAX`.
    assert!(seconds(&gateway, "TimeoutStopSec") > default(&DRAIN_SECONDS) + 12);
    // A gateway that is stuck says nothing for 10 s before it counts as stuck.
    assert!(seconds(&gateway, "WatchdogSec") > 10);
    for (service, servers) in [("hubbub-gateway@.service", 1), ("hubbub-control.service", 2)] {
        let unit = read(service);
        let wait = value(&unit, &format!("Environment={}", WAIT_SECONDS.name)).parse::<u64>().unwrap();
        assert!(seconds(&unit, "TimeoutStartSec") > servers * wait, "{service}");
    }
}

/// What each setting of a file has above it, as one line, and what it is set to.
fn documented(file: &str) -> BTreeMap<String, (String, String)> {
    let text = read(&format!("env/{file}"));
    let mut found = BTreeMap::new();
    for paragraph in text.split("\n\n") {
        let mut lines: Vec<_> = paragraph.lines().collect();
        let Some((name, value)) = lines.pop().and_then(|line| line.strip_prefix('#')?.split_once('=')) else {
            continue;
        };
        let help: Vec<_> = lines.iter().map(|line| line.trim_start_matches("# ")).collect();
        let entry = (help.join(" "), value.to_owned());
        assert!(found.insert(name.to_owned(), entry).is_none(), "{file} has {name} twice");
    }
    let set: Vec<_> = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert!(set.is_empty(), "{file} sets something: {set:?}");
    found
}

/// Every setting stands, as its help says it and with its default, in the common file or in the program's own; nothing else
/// does.
#[test]
fn settings_files_have_every_setting_and_no_other() {
    let common = documented("hubbub.env");
    for (file, settings) in [("gateway.env", settings::gateway()), ("control.env", settings::control())] {
        let own = documented(file);
        for setting in &settings {
            let here = own.get(setting.name);
            assert!(here.is_none() || !common.contains_key(setting.name), "{} is in both", setting.name);
            let expected = (setting.help.to_owned(), setting.default.unwrap_or_default().to_owned());
            assert_eq!(
                here.or(common.get(setting.name)),
                Some(&expected),
                "systemd/env/{file}, or hubbub.env where it is for both, should have\n\n# {}\n#{}={}\n\n",
                expected.0,
                setting.name,
                expected.1
            );
        }
        let known: BTreeSet<_> = settings.iter().map(|setting| setting.name).collect();
        let unknown: Vec<_> =
            own.keys().chain(common.keys()).filter(|name| !known.contains(name.as_str())).collect();
        assert!(unknown.is_empty(), "hubbub.env and {file} have what no such program reads: {unknown:?}");
    }
}

#[test]
fn the_backup_s_settings_are_those_of_its_script() {
    let script = read("hubbub-backup");
    for name in documented("backup.env").keys() {
        assert!(script.contains(&format!("${{{name}:-")), "{name}");
    }
    let read_there = script.split("${").filter_map(|rest| rest.split(":-").next());
    let read_there: BTreeSet<_> = read_there.filter(|name| name.starts_with("BACKUP")).collect();
    assert_eq!(read_there, documented("backup.env").keys().map(String::as_str).collect());
}

#[test]
fn every_kernel_setting_says_why() {
    let text = read("hubbub.sysctl");
    let mut explained = 0;
    for paragraph in
        text.split("\n\n").filter(|paragraph| paragraph.lines().any(|line| !line.starts_with('#')))
    {
        let lines: Vec<_> = paragraph.trim().lines().collect();
        let (last, reason) = lines.split_last().unwrap();
        assert!(!reason.is_empty() && reason.iter().all(|line| line.starts_with("# ")), "{paragraph}");
        let (name, _) = last.split_once(" = ").unwrap();
        let file = Path::new("/proc/sys").join(name.trim_start_matches('-').replace('.', "/"));
        // A container's network lacks some of the first; a kernel without a firewall lacks the second.
        let may_lack = name.starts_with("net.core.") || name.starts_with("-net.netfilter.");
        assert!(may_lack || file.exists(), "the kernel knows no {name}");
        explained += 1;
    }
    assert!(explained > 5);
}
