//! The client's own mark on a request.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::limits::REF_BYTES_MAX;

/// A `ref`: a JSON number, or a JSON string of at most [`REF_BYTES_MAX`] bytes, kept as the client wrote it.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct Ref(Box<RawValue>);

impl Ref {
    /// Checks a raw JSON value.
    pub fn new(raw: &RawValue) -> Option<Self> {
        let text = raw.get();
        let fits = match text.as_bytes().first()? {
            b'"' => serde_json::from_str::<String>(text).is_ok_and(|decoded| decoded.len() <= REF_BYTES_MAX),
            b'-' | b'0'..=b'9' => text.len() <= REF_BYTES_MAX,
            _ => false,
        };
        fits.then(|| Self(raw.to_owned()))
    }

    /// The JSON text.
    pub fn as_json(&self) -> &str {
        self.0.get()
    }
}

impl PartialEq for Ref {
    fn eq(&self, other: &Self) -> bool {
        self.as_json() == other.as_json()
    }
}
impl Eq for Ref {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_short_strings_are_refs() {
        let check = |json: &str, good: bool| {
            let raw: &RawValue = serde_json::from_str(json).unwrap();
            assert_eq!(Ref::new(raw).is_some(), good, "{json}");
        };
        check("1", true);
        check("-1.5e3", true);
        check("\"a\"", true);
        check(&format!("\"{}\"", "a".repeat(64)), true);
        check(&format!("\"{}\"", "\\u0061".repeat(64)), true);
        check(&format!("\"{}\"", "a".repeat(65)), false);
        check(&"1".repeat(65), false);
        for other in ["null", "true", "{}", "[1]"] {
            check(other, false);
        }
    }
}
