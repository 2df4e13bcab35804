//! Uploads into a bucket of an S3-compatible store, by links that it checks itself.

use std::fs;

use hubbub_benches::stack::Builder;
use ureq::http::Method;

use super::{
    Announced, PNG, announce, builder, check_unused, get, link, read, request, room, send, upload, user,
};
use crate::s3::{BUCKET, KEY_ID, S3, SECRET};

fn with_bucket(s3: &S3) -> Builder {
    builder()
        .env("HUBBUB_UPLOADS_URL", format!("s3://{BUCKET}/some/prefix"))
        .env("HUBBUB_UPLOADS_S3_ENDPOINT", &s3.url)
        .env("HUBBUB_UPLOADS_S3_ACCESS_KEY_ID", KEY_ID)
        .env("HUBBUB_UPLOADS_S3_SECRET_ACCESS_KEY", SECRET)
        .env("HUBBUB_UPLOADS_TYPES", "*/*")
        .env("HUBBUB_UPLOADS_UNUSED_SECONDS", "10")
        .env("HUBBUB_LOG", "debug")
}

fn key(id: &str) -> String {
    format!("some/prefix/{id}")
}

#[test]
fn a_bucket_takes_what_was_announced_and_nothing_else() {
    let s3 = S3::start();
    let stack = with_bucket(&s3).start().unwrap();
    let ada = user(&stack, "ada");
    let control = stack.control(0).url();
    let cat = announce(&ada, "cat.png", "image/png", PNG.len());
    assert!(
        cat.put_url.starts_with(&format!("{}/{BUCKET}/some/prefix/{}?", s3.url, cat.id)),
        "{}",
        cat.put_url
    );
    assert_eq!(cat.url, format!("{control}/api/v1/uploads/{}", cat.id));
    assert_eq!(get(&ada, &cat.url).status, 404);
    let html = [("content-type", "text/html")];
    assert_eq!(request(Method::PUT, &cat.put_url, &html, Some(PNG)).status, 403, "the type is signed");
    let forged = cat.put_url.replace("X-Amz-Expires=300", "X-Amz-Expires=3000");
    assert_ne!(forged, cat.put_url);
    assert_eq!(
        Announced { put_url: forged, ..announce(&ada, "a", "image/png", PNG.len()) }.put(PNG).status,
        403
    );
    assert!(!s3.object(&key(&cat.id)).exists());

    assert_eq!(cat.put(PNG).status, 200);
    let shown = read(&ada, &cat, control);
    assert_eq!((shown.status, shown.body.as_slice()), (200, PNG));
    assert_eq!(shown.header("content-type"), "image/png");
    assert_eq!(send(&ada, &room(&ada), "image", &cat.url).0, 201);
    let link = link(&ada, &cat.url, control);
    assert_eq!(request(Method::PUT, &link, &[("content-type", "image/png")], Some(PNG)).status, 403);

    let page = upload(&ada, "page.html", "text/html", b"<script>alert(1)</script>");
    let saved = read(&ada, &page, control);
    assert_eq!(saved.status, 200);
    assert_eq!(saved.header("content-type"), "application/octet-stream");
    assert!(
        saved.header("content-disposition").starts_with("attachment;"),
        "{}",
        saved.header("content-disposition")
    );

    // Of another size than announced: it counts as not there, and is removed.
    let longer = announce(&ada, "dog.png", "image/png", PNG.len());
    assert_eq!(longer.put(b"something else altogether, and longer").status, 200);
    assert!(s3.object(&key(&longer.id)).exists());
    assert_eq!(send(&ada, &room(&ada), "image", &longer.url).0, 422);
    assert!(!s3.object(&key(&longer.id)).exists());
    assert_eq!(get(&ada, &longer.url).status, 404);

    // No path to this process's own disk; the page may talk to the store; and nothing secret in the log.
    assert_eq!(
        request(Method::GET, &format!("{}/content?expires=1&signature=x", cat.url), &[], None).status,
        404
    );
    let policy = request(Method::GET, control, &[], None).header("content-security-policy").to_owned();
    assert!(policy.contains(&format!("connect-src 'self' {};", s3.url)), "{policy}");
    let log = fs::read_to_string(stack.control(0).log()).unwrap();
    assert!(
        log.contains("some/prefix") && !log.contains(SECRET) && !log.contains("X-Amz-Signature"),
        "{log}"
    );
}

#[test]
fn what_no_message_names_is_removed_from_the_bucket() {
    let s3 = S3::start();
    let stack = with_bucket(&s3).start().unwrap();
    check_unused(&stack, |id| s3.object(&key(id)));
}

#[test]
fn a_bucket_that_is_away_is_told() {
    let s3 = S3::start();
    let stack = with_bucket(&s3).start().unwrap();
    let ada = user(&stack, "ada");
    let cat = announce(&ada, "cat.png", "image/png", PNG.len());
    drop(s3);
    let away = get(&ada, &cat.url);
    assert_eq!((away.status, away.header("retry-after")), (503, "1"));
    assert_eq!(request(Method::GET, &format!("{}/health", stack.control(0).url()), &[], None).status, 200);
}
