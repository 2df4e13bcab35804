//! The report is written by hand and by the program: what stands between a pair of markers is the program's,
//! everything else is kept as it is.

/// A part that the program writes.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// The word in its markers.
    pub(super) name: &'static str,
    /// Put above it where the report does not have it yet; may be empty.
    pub(super) heading: &'static str,
    pub(super) body: String,
}

fn markers(name: &str) -> (String, String) {
    (format!("<!-- generated: begin {name} -->"), format!("<!-- generated: end {name} -->"))
}

/// The report with these parts in place of those of the same names; parts that it does not have come last.
pub(super) fn splice(report: &str, parts: &[Part]) -> String {
    parts.iter().fold(report.to_owned(), |report, part| put(&report, part))
}

fn put(report: &str, part: &Part) -> String {
    let (begin, end) = markers(part.name);
    let body = part.body.trim();
    let found = report.split_once(&begin).and_then(|(before, rest)| Some((before, rest.split_once(&end)?.1)));
    match found {
        Some((before, after)) => format!("{before}{begin}\n{body}\n{end}{after}"),
        None => {
            let before = report.trim_end();
            let heading =
                if part.heading.is_empty() { String::new() } else { format!("{}\n\n", part.heading) };
            format!("{before}\n\n{heading}{begin}\n{body}\n{end}\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_by_hand_stays() {
        let part = |name, body: &str| Part { name, heading: "## Heading", body: body.to_owned() };
        let first = splice("# Results\n", &[part("one", "1"), part("two", "2")]);
        let by_hand = first.replace("## Heading\n", "## Mine\n\nWhat I think.\n") + "\nThe end.\n";
        let again = splice(&by_hand, &[part("one", "new\n"), part("two", "newer")]);
        assert_eq!(
            again,
            "# Results\n\n## Mine\n\nWhat I think.\n\n<!-- generated: begin one -->\nnew\n<!-- generated: end one \
             -->\n\n## Mine\n\nWhat I think.\n\n<!-- generated: begin two -->\nnewer\n<!-- generated: end two \
             -->\n\nThe end.\n"
        );
        assert_eq!(splice(&again, &[part("one", "new"), part("two", "newer")]), again, "twice is once");
    }
}
