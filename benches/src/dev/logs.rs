//! The logs of all parts in one, each line with its part's name in front.
//!
//! Parts write to files; this follows the files, so that a slow reader never holds up a part.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::printer::Printer;

/// ANSI colours that can be read on dark and on light.
const COLOURS: [u8; 6] = [36, 33, 35, 32, 34, 31];
/// Wide enough for `hubbub-dev`.
const NAME_WIDTH: usize = 10;
/// The name under which this program itself speaks.
const OURSELVES: &str = "hubbub-dev";

/// See the module's text.
#[derive(Debug)]
pub(super) struct Logs {
    folder: PathBuf,
    colour: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    files: BTreeMap<String, Follow>,
    printer: Printer,
}

#[derive(Debug)]
struct Follow {
    file: File,
    /// The start of a line whose end is not yet written.
    begun: Vec<u8>,
}

impl Logs {
    /// Of the parts of a stack in this folder. What an earlier run has written is removed.
    pub(super) fn new(folder: &Path) -> Result<Self, String> {
        let folder = folder.join("logs");
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        }
        #[expect(clippy::disallowed_methods, reason = "NO_COLOR is everybody's, not a setting of ours")]
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let printer = Printer::new();
        let colour = printer.is_terminal() && !no_colour;
        Ok(Self { folder, colour, state: Mutex::new(State { files: BTreeMap::new(), printer }) })
    }

    /// A line of our own.
    pub(super) fn say(&self, text: &str) {
        let mut out = Vec::new();
        text.lines().for_each(|line| self.put(&mut out, OURSELVES, line.as_bytes()));
        self.state().printer.print(&out);
    }

    /// A line for scripts, without a name in front.
    pub(super) fn announce(&self, line: &str) {
        self.state().printer.print(format!("{line}\n").as_bytes());
    }

    /// Whether the terminal was closed.
    pub(super) fn has_hung_up(&self) -> bool {
        self.state().printer.has_hung_up()
    }

    /// Shows what has been written since the last time.
    pub(super) fn follow(&self) {
        let mut state = self.state();
        let State { files, printer } = &mut *state;
        if !printer.has_room() {
            return;
        }
        for path in fs::read_dir(&self.folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
            let Some(name) = path.file_stem().and_then(|name| name.to_str()) else { continue };
            if !files.contains_key(name)
                && let Ok(file) = File::open(&path)
            {
                files.insert(name.to_owned(), Follow { file, begun: Vec::new() });
            }
        }
        let mut out = Vec::new();
        for (name, follow) in files {
            for line in follow.lines() {
                self.put(&mut out, name, &line);
            }
        }
        printer.print(&out);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, out: &mut Vec<u8>, name: &str, line: &[u8]) {
        let colour = COLOURS.get(name.bytes().map(usize::from).sum::<usize>() % COLOURS.len());
        let prefix = match colour {
            Some(colour) if self.colour => format!("\x1b[{colour}m{name:NAME_WIDTH$} |\x1b[0m "),
            _ => format!("{name:NAME_WIDTH$} | "),
        };
        out.extend_from_slice(prefix.as_bytes());
        out.extend_from_slice(line);
        out.push(b'\n');
    }
}

impl Follow {
    /// The lines that have been finished since.
    fn lines(&mut self) -> Vec<Vec<u8>> {
        // An unreadable log is no reason to stop.
        let _ = self.file.read_to_end(&mut self.begun);
        let Some(end) = self.begun.iter().rposition(|byte| *byte == b'\n') else { return Vec::new() };
        let rest = self.begun.split_off(end + 1);
        let whole = std::mem::replace(&mut self.begun, rest);
        let whole = whole.strip_suffix(b"\n").unwrap_or(&whole);
        whole.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn only_whole_lines_are_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let mut written = File::create(&path).unwrap();
        let mut follow = Follow { file: File::open(&path).unwrap(), begun: Vec::new() };
        let mut check = |more: &str, expected: &[&str]| {
            written.write_all(more.as_bytes()).unwrap();
            let lines: Vec<_> =
                follow.lines().into_iter().map(|line| String::from_utf8(line).unwrap()).collect();
            assert_eq!(lines, expected, "{more:?}");
        };
        check("", &[]);
        check("one\ntw", &["one"]);
        check("o", &[]);
        check("\n\nthree\n", &["two", "", "three"]);
    }
}
