//! `stack.json`: where everything is, for scripts, while the system is ready.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::stack::{Part, Stack, write_private};

#[derive(Debug, Serialize)]
struct Whole<'a> {
    public_url: &'a str,
    jwt_secret: &'a str,
    redis_url: Option<&'a str>,
    database_url: Option<&'a str>,
    parts: Vec<OnePart<'a>>,
}

#[derive(Debug, Serialize)]
struct OnePart<'a> {
    name: &'a str,
    kind: &'a str,
    /// `null` for the second in which it is dead.
    pid: Option<u32>,
    url: &'a str,
    /// `null` where there are no metrics.
    metrics_url: Option<String>,
    log: &'a Path,
}

/// The file.
#[derive(Debug)]
pub(super) struct Record {
    path: PathBuf,
}

impl Record {
    pub(super) fn in_folder(folder: &Path) -> Self {
        Self { path: folder.join("stack.json") }
    }

    /// Writes it anew. It holds secrets, and only its owner may read it.
    pub(super) fn write(&self, stack: &Stack) -> Result<(), String> {
        let part = |part| {
            let part: &Part = part;
            OnePart {
                name: part.name(),
                kind: part.kind().as_str(),
                pid: part.pid(),
                url: part.url(),
                metrics_url: part.metrics_url(),
                log: part.log(),
            }
        };
        let whole = Whole {
            public_url: stack.public_url(),
            jwt_secret: stack.jwt_secret(),
            redis_url: stack.redis_url(),
            database_url: stack.database_url(),
            parts: stack.parts().map(part).collect(),
        };
        let text = serde_json::to_string_pretty(&whole).map_err(|error| error.to_string())?;
        write_private(&self.path, &(text + "\n")).map_err(|error| format!("{}: {error}", self.path.display()))
    }

    /// Nothing is ready any more.
    pub(super) fn remove(&self) {
        // It may not be there.
        let _ = fs::remove_file(&self.path);
    }
}
