//! What a case is: the same measurement of several servers, one command for each.

use std::time::Duration;

use super::figure::Figure;

/// The ratio that counts is the one to these: what the kernel's part of the work costs alone.
pub(super) const FLOORS: [&str; 2] = ["floor-uring", "floor-send"];

/// Where in the report a case stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    /// How servers compare.
    Comparison,
    /// How the gateway grows.
    Growth,
}

/// A measurement.
#[derive(Debug, Clone)]
pub(super) struct Case {
    /// The word for it on the command line and in the results.
    pub(super) name: &'static str,
    /// Its heading.
    pub(super) title: String,
    /// What is done, in a sentence.
    pub(super) about: String,
    pub(super) section: Section,
    /// The columns; ratios are taken of the first.
    pub(super) figures: Vec<Figure>,
    /// The rows, in the order in which they are run.
    pub(super) arms: Vec<Arm>,
}

/// One command of a case.
#[derive(Debug, Clone)]
pub(super) struct Arm {
    /// The server that is measured.
    pub(super) server: &'static str,
    /// What else tells it from other commands of the case; may be empty.
    pub(super) variant: String,
    /// Arguments of `hubbub-load`.
    pub(super) arguments: Vec<String>,
    /// About how long it takes.
    pub(super) expected: Duration,
}

impl Arm {
    /// How progress names it.
    pub(super) fn label(&self) -> String {
        if self.variant.is_empty() {
            self.server.to_owned()
        } else {
            format!("{}, {}", self.server, self.variant)
        }
    }
}

/// The cases and servers that were asked for; all where none is named.
pub(super) fn chosen(cases: Vec<Case>, only: &[String], servers: &[String]) -> Result<Vec<Case>, String> {
    let names: Vec<&str> = cases.iter().map(|case| case.name).collect();
    known("case", only, &names)?;
    let mut every: Vec<&str> = cases.iter().flat_map(|case| case.arms.iter().map(|arm| arm.server)).collect();
    every.sort_unstable();
    every.dedup();
    known("server", servers, &every)?;
    let wanted = |list: &[String], name: &str| list.is_empty() || list.iter().any(|one| one == name);
    let mut left: Vec<Case> = cases.into_iter().filter(|case| wanted(only, case.name)).collect();
    for case in &mut left {
        case.arms.retain(|arm| wanted(servers, arm.server));
    }
    left.retain(|case| !case.arms.is_empty());
    if left.is_empty() { Err("none of these servers is in these cases".to_owned()) } else { Ok(left) }
}

fn known(what: &str, asked: &[String], names: &[&str]) -> Result<(), String> {
    match asked.iter().find(|one| !names.contains(&one.as_str())) {
        Some(unknown) => Err(format!("no {what} {unknown}; there are: {}", names.join(", "))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::cases;
    use super::*;

    #[test]
    fn chooses_cases_and_servers() {
        let list = |words: &[&str]| -> Vec<String> { words.iter().map(|word| (*word).to_owned()).collect() };
        let pick = |only: &[&str], servers: &[&str]| chosen(cases(false), &list(only), &list(servers));
        assert_eq!(pick(&[], &[]).unwrap().len(), cases(false).len());
        let light = pick(&["light"], &["ws", "hubbub"]).unwrap();
        let labels: Vec<String> = light[0].arms.iter().map(Arm::label).collect();
        assert_eq!((light.len(), labels), (1, list(&["hubbub", "ws"])));
        assert!(pick(&["dark"], &[]).unwrap_err().contains("light, window-1"));
        assert!(pick(&[], &["uwebsockets"]).unwrap_err().contains("no server uwebsockets; there are: floor"));
        assert!(pick(&["bus"], &["ws"]).is_err());
    }
}
