//! The head of an HTTP/1 request (RFC 9112), strictly. Pure: httparse reads it, this refuses what a server that
//! only upgrades has no use for, before it can be misunderstood by something in between.

use super::answer::Refusal;

/// Bytes of a request's head.
pub(super) const HEAD_BYTES_MAX: usize = 8_192;
const HEADERS_MAX: usize = 64;
/// Headers that would have two meanings if they came twice.
const SINGLE: [&str; 6] =
    ["host", "authorization", "origin", "sec-websocket-key", "sec-websocket-version", "content-length"];

/// A request, borrowed from the bytes that came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) method: &'a str,
    /// 0 for HTTP/1.0, which knows no upgrade.
    pub(super) minor_version: u8,
    pub(super) path: &'a str,
    pub(super) query: &'a str,
    headers: &'a [httparse::Header<'a>],
}

impl<'a> Request<'a> {
    /// The first header of this name, where it is text.
    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.texts(name).next()
    }

    /// Every header of this name.
    pub(super) fn texts(&self, name: &str) -> impl Iterator<Item = &'a str> {
        let of_name = self.headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
        of_name.filter_map(|header| std::str::from_utf8(header.value).ok())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.count(name) > 0
    }

    /// How often a header came, text or not.
    fn count(&self, name: &str) -> usize {
        self.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name)).count()
    }

    /// Whether a header, which is a comma list, has this word.
    pub(super) fn names(&self, name: &str, word: &str) -> bool {
        self.texts(name)
            .flat_map(|value| value.split(','))
            .any(|element| element.trim().eq_ignore_ascii_case(word))
    }
}

/// Hands over the request at the front of `bytes`, with the number of bytes that its head takes; `None` while it
/// has not come whole.
pub(super) fn parse<R>(
    bytes: &[u8],
    then: impl FnOnce(&Request<'_>, usize) -> R,
) -> Result<Option<R>, Refusal> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    let head_bytes = match parsed.parse(bytes.get(..HEAD_BYTES_MAX).unwrap_or(bytes)) {
        Ok(httparse::Status::Complete(head_bytes)) => head_bytes,
        Ok(httparse::Status::Partial) if bytes.len() >= HEAD_BYTES_MAX => {
            return Err(Refusal::head_too_large());
        }
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Refusal::head_too_large()),
        Err(_) => return Err(Refusal::bad_request("not an HTTP/1 request")),
    };
    // The parser takes a bare LF for the end of a line; a proxy in front may not.
    let ends_lines = |(at, byte): (usize, &u8)| {
        *byte != b'\n' || at.checked_sub(1).is_some_and(|before| bytes.get(before) == Some(&b'\r'))
    };
    if !bytes.iter().take(head_bytes).enumerate().all(ends_lines) {
        return Err(Refusal::bad_request("a line that does not end with CR LF"));
    }
    let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(Refusal::bad_request("not an HTTP/1 request"));
    };
    let (path, query) = path_and_query(target);
    let request = Request { method, minor_version: version, path, query, headers: parsed.headers };
    if let Some(name) = SINGLE.iter().find(|name| request.count(name) > 1) {
        return Err(Refusal::bad_request(&format!("{name}: given more than once")));
    }
    if version == 1 && !request.has("host") {
        return Err(Refusal::bad_request("no Host"));
    }
    if request.has("transfer-encoding")
        || (request.has("content-length") && request.text("content-length") != Some("0"))
    {
        return Err(Refusal::bad_request("requests here have no body"));
    }
    Ok(Some(then(&request, head_bytes)))
}

/// Of a target in origin form or, as to a proxy, in absolute form (RFC 9112 section 3.2).
fn path_and_query(target: &str) -> (&str, &str) {
    let absolute = if target.starts_with('/') { None } else { target.split_once("://") };
    let origin_form =
        absolute.map_or(target, |(_, rest)| rest.find('/').and_then(|path| rest.get(path..)).unwrap_or("/"));
    origin_form.split_once('?').unwrap_or((origin_form, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &str, expected: Result<Option<(&str, &str, usize)>, u16>) {
        let parsed = parse(bytes.as_bytes(), |request, used| {
            (request.path.to_owned(), request.query.to_owned(), used)
        });
        let parsed = parsed.map_err(|refusal| refusal.status);
        let expected =
            expected.map(|found| found.map(|(path, query, used)| (path.to_owned(), query.to_owned(), used)));
        assert_eq!(parsed, expected, "{bytes:?}");
    }

    #[test]
    fn heads_are_read_whole_or_not_at_all() {
        let good = "GET /ws?a=b HTTP/1.1\r\nHost: h\r\n\r\n";
        check(&format!("{good}early"), Ok(Some(("/ws", "a=b", good.len()))));
        for end in 0..good.len() {
            check(&good[..end], Ok(None));
        }
        check("GET http://h.example/ws HTTP/1.1\r\nHost: h\r\n\r\n", Ok(Some(("/ws", "", 45))));
        check("GET /health HTTP/1.0\r\n\r\n", Ok(Some(("/health", "", 24))));
        let nested = "GET /ws?x=http://y/health HTTP/1.0\r\n\r\n";
        check(nested, Ok(Some(("/ws", "x=http://y/health", nested.len()))));
    }

    #[test]
    fn what_could_be_misread_is_refused() {
        check("GET /ws HTTP/1.1\r\n\r\n", Err(400));
        check("GET /ws HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Err(400));
        check("GET /ws HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", Err(400));
        check("GET /ws HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", Err(400));
        check("GET /ws HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", Err(400));
        check("GET /ws HTTP/2.0\r\n\r\n", Err(400));
        check("GET /ws HTTP/1.1\nHost: a\n\n", Err(400));
        check("GET /ws HTTP/1.1\r\nHost: a\r\nX: y\n\r\n", Err(400));
        check(&format!("GET /ws HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(65)), Err(431));
        check(&format!("GET /{}", "x".repeat(HEAD_BYTES_MAX)), Err(431));
    }
}
