//! Starts parts again that died, as systemd would.

use std::collections::BTreeMap;
use std::time::Duration;

use hubbub_common::clock::Monotonic;

use super::logs::Logs;
use crate::stack::Stack;

/// Between a death and the next start.
const RESTART_AFTER: Duration = Duration::from_secs(1);

/// Which parts are dead, and since when.
#[derive(Debug, Default)]
pub(super) struct Supervisor {
    dead: BTreeMap<String, Monotonic>,
}

impl Supervisor {
    /// Notes deaths and starts what is due; whether anything changed. It waits for nobody to become ready: a part
    /// that can't will die again.
    pub(super) fn look_after(&mut self, stack: &Stack, logs: &Logs) -> bool {
        let mut changed = false;
        for part in stack.parts() {
            if let Some(status) = part.exited() {
                logs.say(&format!("{} has ended ({status}), and starts again in a second", part.name()));
                self.dead.insert(part.name().to_owned(), Monotonic::start());
                changed = true;
            }
            if self.dead.get(part.name()).is_some_and(|since| since.elapsed() >= RESTART_AFTER) {
                match part.launch() {
                    Ok(()) => {
                        logs.say(&format!("{} is started again", part.name()));
                        self.dead.remove(part.name());
                    }
                    Err(error) => {
                        logs.say(&error.to_string());
                        self.dead.insert(part.name().to_owned(), Monotonic::start());
                    }
                }
                changed = true;
            }
        }
        changed
    }
}
