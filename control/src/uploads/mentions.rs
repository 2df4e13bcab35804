//! Which uploads a text names. Pure.

use hubbub_common::ids::UploadId;

/// Where uploads are read.
const PATH: &str = "/api/v1/uploads/";

/// The uploads whose URL stands in a text, wherever it begins: `[img]https://chat/api/v1/uploads/7` names 7.
pub fn mentions(text: &str) -> impl Iterator<Item = UploadId> {
    text.match_indices(PATH).filter_map(|(at, path)| {
        let rest = text.get(at + path.len()..)?;
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        rest.get(..digits)?.parse().ok()
    })
}

/// What the body of an image message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Image {
    /// One of our uploads.
    Upload(UploadId),
    /// Something elsewhere in the web.
    Elsewhere,
}

/// Reads the body of an image message: the URL of an upload, absolute or from the root, or any `https` URL.
pub fn image(body: &str) -> Option<Image> {
    if body.contains(|character: char| character.is_whitespace() || character.is_control()) {
        return None;
    }
    let is_absolute = body.starts_with("https://") || body.starts_with("http://");
    let path = if is_absolute {
        body.splitn(4, '/').nth(3).map(|path| format!("/{path}"))
    } else {
        Some(body.to_owned())
    };
    let id = path.as_deref().and_then(|path| path.strip_prefix(PATH)).and_then(|id| id.parse().ok());
    match id {
        Some(id) => Some(Image::Upload(id)),
        None => body.strip_prefix("https://").filter(|rest| !rest.is_empty()).map(|_| Image::Elsewhere),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_name_uploads() {
        let check = |text: &str, expected: &[u64]| {
            let found: Vec<_> = mentions(text).map(UploadId::get).collect();
            assert_eq!(found, expected, "{text}");
        };
        check("hello", &[]);
        check("/api/v1/uploads/7", &[7]);
        check("[img]https://chat.example.org/api/v1/uploads/7", &[7]);
        check("a /api/v1/uploads/7, b (/api/v1/uploads/12)", &[7, 12]);
        check(
            "/api/v1/uploads/ /api/v1/uploads/0 /api/v1/uploads/é /api/v1/uploads/99999999999999999999",
            &[],
        );
    }

    #[test]
    fn bodies_of_images() {
        let upload = Some(Image::Upload(UploadId::new(7).unwrap()));
        for (body, expected) in [
            ("/api/v1/uploads/7", upload),
            ("https://chat.example.org/api/v1/uploads/7", upload),
            ("http://127.0.0.1:8080/api/v1/uploads/7", upload),
            ("https://example.org/cat.png", Some(Image::Elsewhere)),
            ("https://example.org/api/v1/uploads/x", Some(Image::Elsewhere)),
            ("http://example.org/cat.png", None),
            ("https://", None),
            ("https://a b", None),
            ("javascript:alert(1)", None),
            ("data:image/png;base64,AAAA", None),
            ("/api/v1/uploads/x", None),
            ("cat", None),
        ] {
            assert_eq!(image(body), expected, "{body}");
        }
    }
}
