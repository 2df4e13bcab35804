//! Content types: which may be uploaded, and which a browser may show as they are.
//!
//! Pure. A type is kept without parameters and in lower case, so that it compares by its bytes.

use std::fmt;
use std::str::FromStr;

use hubbub_common::config::split_list;

/// Bytes of a type, at most: what RFC 6838 section 4.2 allows for both parts.
const TYPE_BYTES_MAX: usize = 255;

/// Types that run nothing where a browser shows them. SVG and PDF can hold scripts, and HTML is a script's home.
const INLINE: [&str; 14] = [
    "image/png",
    "image/jpeg",
    "image/gif",
    "image/webp",
    "image/avif",
    "image/bmp",
    "audio/mpeg",
    "audio/mp4",
    "audio/ogg",
    "audio/wav",
    "audio/webm",
    "video/mp4",
    "video/ogg",
    "video/webm",
];

/// What everything else is called on its way out: a browser makes nothing of it, whatever is in it.
const OPAQUE: &str = "application/octet-stream";

/// Such as `image/png`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentType(String);

impl FromStr for ContentType {
    type Err = &'static str;

    /// Parameters are dropped: `text/plain; charset=utf-8` is `text/plain`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let essence = text.split(';').next().unwrap_or_default().trim();
        let is_type = essence.split_once('/').is_some_and(|(kind, name)| is_token(kind) && is_token(name));
        if is_type && essence.len() <= TYPE_BYTES_MAX {
            Ok(Self(essence.to_ascii_lowercase()))
        } else {
            Err("expected a content type such as image/png")
        }
    }
}

/// A token of RFC 9110 section 5.6.2, without the asterisk of patterns.
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'+-.^_`|~".contains(&byte))
}

impl ContentType {
    /// The type as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether browsers may show it; they are told to save everything else.
    pub fn is_inline(&self) -> bool {
        INLINE.contains(&self.as_str())
    }

    /// Whether it is an image that browsers may show.
    pub fn is_image(&self) -> bool {
        self.is_inline() && self.0.starts_with("image/")
    }

    /// What it is called when it is served.
    pub fn served_as(&self) -> &str {
        if self.is_inline() { self.as_str() } else { OPAQUE }
    }
}

impl fmt::Display for ContentType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The types that may be uploaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed(Vec<Pattern>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Any,
    /// With the slash: `image/`.
    Kind(String),
    Exact(ContentType),
}

impl FromStr for Allowed {
    type Err = &'static str;

    fn from_str(list: &str) -> Result<Self, Self::Err> {
        let pattern = |text: &str| match text.strip_suffix('*') {
            Some("*/") => Some(Pattern::Any),
            Some(kind) => {
                let name = kind.strip_suffix('/').filter(|name| is_token(name))?;
                Some(Pattern::Kind(format!("{}/", name.to_ascii_lowercase())))
            }
            None => text.parse().ok().map(Pattern::Exact),
        };
        let patterns: Option<Vec<_>> = split_list(list).map(pattern).collect();
        let patterns = patterns.filter(|patterns| !patterns.is_empty());
        patterns.map(Self).ok_or("expected a comma list of content types such as image/*,application/pdf")
    }
}

impl Allowed {
    /// Whether this type may be uploaded.
    pub fn allows(&self, content_type: &ContentType) -> bool {
        self.0.iter().any(|pattern| match pattern {
            Pattern::Any => true,
            Pattern::Kind(kind) => content_type.0.starts_with(kind),
            Pattern::Exact(exact) => exact == content_type,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_kept_bare() {
        for (text, kept) in [
            ("image/png", Some("image/png")),
            ("Text/Plain; charset=utf-8", Some("text/plain")),
            ("application/vnd.api+json", Some("application/vnd.api+json")),
            ("image", None),
            ("image/", None),
            ("/png", None),
            ("image/*", None),
            ("image/png\r\nX: y", None),
            ("a/b/c", None),
            ("", None),
        ] {
            assert_eq!(text.parse::<ContentType>().ok().map(|it| it.0).as_deref(), kept, "{text}");
        }
        assert!(format!("a/{}", "b".repeat(254)).parse::<ContentType>().is_err());
    }

    #[test]
    fn what_can_run_is_served_as_nothing_in_particular() {
        for (text, served_as) in [
            ("image/png", "image/png"),
            ("video/mp4", "video/mp4"),
            ("image/svg+xml", OPAQUE),
            ("text/html", OPAQUE),
            ("text/javascript", OPAQUE),
            ("application/xhtml+xml", OPAQUE),
            ("application/pdf", OPAQUE),
            ("text/plain", OPAQUE),
        ] {
            assert_eq!(text.parse::<ContentType>().unwrap().served_as(), served_as, "{text}");
        }
    }

    #[test]
    fn patterns() {
        let check = |list: &str, text: &str| list.parse::<Allowed>().unwrap().allows(&text.parse().unwrap());
        assert!(check("image/*, application/PDF", "image/svg+xml"));
        assert!(check("image/*, application/PDF", "application/pdf"));
        assert!(!check("image/*", "imagery/png") && !check("text/plain", "text/html"));
        assert!(check("*/*", "text/html"));
        for bad in ["", ",", "image", "*", "*/png", "im age/*"] {
            assert!(bad.parse::<Allowed>().is_err(), "{bad}");
        }
    }
}
