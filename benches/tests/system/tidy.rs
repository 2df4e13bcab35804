//! House rules that a compiler can't hold.

use std::fs;
use std::path::{Path, PathBuf};

/// Past this a file has a second responsibility; the report names it.
const LINES_LONG: usize = 400;
/// Past this the test fails.
const LINES_MAX: usize = 600;

/// All that stands at the top besides dot-files.
const TOP: [&str; 17] = [
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "Makefile",
    "README.md",
    "benches",
    "clippy.toml",
    "common",
    "control",
    "gateway",
    "haproxy",
    "migrations",
    "systemd",
    "target",
];
const TOP_TOOLS: [&str; 2] = ["rust-toolchain.toml", "rustfmt.toml"];

/// Modules that take bytes, events and `now` and give back what to do.
const PURE: [&str; 12] = [
    "gateway/src/ws",
    "gateway/src/session",
    "gateway/src/room",
    "gateway/src/rate",
    "gateway/src/fanout",
    "gateway/src/bus/window",
    "gateway/src/bus/packer",
    "gateway/src/bus/send_rates",
    "gateway/src/bus/presence/queue",
    "gateway/src/bus/redis/roll",
    "gateway/src/bus/cursor",
    "common/src",
];
/// Shells within folders that are otherwise pure: the clock, the log, what reads settings from files, and
/// connections.
const SHELLS: [&str; 5] = [
    "common/src/clock.rs",
    "common/src/log.rs",
    "common/src/config.rs",
    "common/src/redis",
    "common/src/traces",
];
/// What a pure module does not name.
const IMPURE: [&str; 7] =
    ["monoio::", "tokio::", "std::net::Tcp", "std::net::Udp", "std::fs", "std::thread", "Instant::now"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Our source files, with their paths from the root.
fn sources() -> Vec<(PathBuf, String)> {
    let root = root();
    let mut folders: Vec<_> = ["benches", "common", "control", "gateway", "haproxy", "migrations", "systemd"]
        .iter()
        .map(|folder| root.join(folder))
        .filter(|folder| folder.exists())
        .collect();
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
            if path.is_dir() && !path.ends_with("node_modules") && !path.ends_with("target") {
                folders.push(path);
            } else if ["rs", "js", "mjs", "css", "html", "sql", "toml", "cfg", "sh", "service"]
                .contains(&extension)
            {
                let text = fs::read_to_string(&path).unwrap();
                files.push((path.strip_prefix(&root).unwrap().to_owned(), text));
            }
        }
    }
    assert!(files.len() > 50, "the sources were not found");
    files
}

/// The part of a Rust file that is not its tests.
fn program(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap_or(text)
}

#[test]
fn nothing_else_stands_at_the_top() {
    for entry in fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let known = TOP.iter().chain(&TOP_TOOLS).any(|known| *known == name);
        assert!(known || name.starts_with('.'), "{name} is not part of the layout");
    }
}

#[test]
fn pure_modules_name_no_runtime() {
    let is_pure = |path: &Path| {
        let file = path.with_extension("");
        PURE.iter().any(|pure| file.starts_with(pure)) && !SHELLS.iter().any(|shell| path.starts_with(shell))
    };
    let mut seen = 0;
    for (path, text) in sources().iter().filter(|(path, _)| is_pure(path) && !path.ends_with("tests.rs")) {
        seen += 1;
        for (number, line) in program(text).lines().enumerate() {
            let code = line.split("//").next().unwrap_or(line);
            let named = IMPURE.iter().find(|word| code.contains(**word));
            assert!(
                named.is_none(),
                "{}:{}: a pure module names {}",
                path.display(),
                number + 1,
                named.unwrap()
            );
        }
    }
    assert!(seen > 20, "the pure modules were not found");
}

#[test]
fn files_are_short() {
    let mut long = Vec::new();
    for (path, text) in sources() {
        let lines = text.lines().count();
        if lines > LINES_LONG {
            long.push(format!("{lines:5} {}", path.display()));
        }
        assert!(
            lines <= LINES_MAX,
            "{} has {lines} lines: what is its second responsibility?",
            path.display()
        );
    }
    long.sort();
    println!("files of more than {LINES_LONG} lines:\n{}", long.join("\n"));
}

#[test]
fn nothing_is_left_for_later() {
    // Put together here, so that this file does not find itself.
    let words =
        [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("unimplemented", "!")];
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            let found = words.iter().find(|word| line.contains(**word));
            assert!(found.is_none(), "{}:{}: {}", path.display(), number + 1, line.trim());
        }
    }
}
