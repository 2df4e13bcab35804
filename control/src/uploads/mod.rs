//! Uploads: who may send which file, where it goes, when it counts as there, and who may read it.
//!
//! A client announces a file, sends its bytes to a signed URL, and names its URL in a message. The bytes do not pass
//! through the rules: they go to a bucket directly, or to this process's own disk. So nobody tells when a file is
//! there; it is looked for when it is first needed (`complete`), and what is not as announced is removed.
//!
//! Rights: an id has 63 random bits, and whoever is logged in and knows it may read the file, as with a link that was
//! shared. The signed URL they get is good for a short time. What no message names is removed after a while ([`unused`]).

pub mod bucket;
pub mod content_type;
pub mod disk;
pub mod links;
pub mod mentions;
pub mod settings;
pub mod unused;

use std::fmt::Write as _;

use bytes::Bytes;
use futures_util::Stream;
use hubbub_common::clock::now_ms;
use hubbub_common::ids::{UploadId, UserId};
use hubbub_common::metrics::UPLOADS;

use crate::app::App;
use crate::auth::Caller;
use crate::error::Error;
use crate::rate::{self, UPLOAD_PER_USER};
use crate::store::uploads as store;
use bucket::{Bucket, Stored};
use content_type::ContentType;
use disk::Disk;
use links::{Act, Links, Proof};
use mentions::Image;
use settings::{Place, UploadSettings};

/// Bytes of a file's name, at most: what file systems take.
const FILE_NAME_BYTES_MAX: usize = 255;

/// An upload as it was announced.
#[derive(Debug, Clone)]
pub struct Upload {
    /// Which.
    pub id: UploadId,
    /// Who sent it.
    pub owner: UserId,
    /// Its name, for whoever saves it.
    pub file_name: String,
    /// What it is said to be.
    pub content_type: ContentType,
    /// Its bytes.
    pub size: u64,
    /// Whether the bytes were seen.
    pub is_complete: bool,
}

/// Where files are kept.
#[derive(Debug)]
pub enum Store {
    /// In a folder; the links are this process's own.
    Disk(Disk, Links),
    /// In a bucket.
    Bucket(Bucket),
}

impl Store {
    /// The place of the settings; `secret` signs links to this process.
    pub fn new(settings: &UploadSettings, secret: &[u8]) -> Result<Self, String> {
        Ok(match &settings.place {
            Place::Folder(folder) => Self::Disk(Disk::new(folder.clone()), Links::new(secret)?),
            Place::Bucket(bucket) => Self::Bucket(Bucket::new(bucket)?),
        })
    }

    /// Makes the folder where it is missing.
    pub fn prepare(&self) {
        match self {
            Self::Disk(disk, _) => disk.prepare(),
            Self::Bucket(_) => {}
        }
    }

    /// The origin of links, where it is not this process's own.
    pub fn origin(&self) -> Option<&str> {
        match self {
            Self::Disk(..) => None,
            Self::Bucket(bucket) => Some(bucket.origin()),
        }
    }

    async fn look(&self, id: UploadId) -> Result<Option<Stored>, Error> {
        match self {
            Self::Disk(disk, _) => Ok(disk.size(id).await?.map(|size| Stored { size, content_type: None })),
            Self::Bucket(bucket) => bucket.look(id).await,
        }
    }

    async fn remove(&self, id: UploadId) -> Result<(), Error> {
        match self {
            Self::Disk(disk, _) => disk.remove(id).await,
            Self::Bucket(bucket) => bucket.remove(id).await,
        }
    }
}

/// Announces a file; gives the upload and the URL to send it to, which is a path where it is this process's own.
pub async fn announce(
    app: &App,
    caller: &Caller,
    file_name: String,
    content_type: &str,
    size: u64,
) -> Result<(Upload, String), Error> {
    let settings = &app.config.uploads;
    let upload = Upload {
        id: new_id()?,
        owner: caller.user,
        content_type: checked_type(settings, content_type)?,
        file_name: checked_name(file_name)?,
        size,
        is_complete: false,
    };
    if !(1..=settings.bytes_max).contains(&size) {
        return Err(Error::invalid("size", format!("expected 1 to {} bytes", settings.bytes_max)));
    }
    rate::take(&app.redis, UPLOAD_PER_USER, &caller.user.to_string()).await?;
    let link = match &app.uploads {
        Store::Disk(_, links) => links.sign(Act::Put, upload.id, link_end(app)),
        Store::Bucket(bucket) => bucket.put_link(&upload, settings.link_life).await?,
    };
    add(app, &upload).await?;
    count("presigned");
    Ok((upload, link))
}

/// Adds an upload, where its owner may keep as much. What was announced counts until it is known that it does not come.
async fn add(app: &App, upload: &Upload) -> Result<(), Error> {
    let mut database = app.database().await?;
    let transaction = database.transaction().await?;
    if let Some(bytes_max) = app.config.uploads.bytes_per_user {
        let kept = store::bytes_of(&*transaction, upload.owner).await?;
        if kept.saturating_add(upload.size) > bytes_max {
            let left = bytes_max.saturating_sub(kept);
            let reason = format!("you may keep {bytes_max} bytes of files in all: {left} are left");
            return Err(Error::invalid("size", reason));
        }
    }
    store::insert(&*transaction, upload).await?;
    transaction.commit().await?;
    Ok(())
}

/// A URL, good for a short time, from which a file can be read.
pub async fn link(app: &App, _: &Caller, id: UploadId) -> Result<String, Error> {
    let upload = complete(app, id).await?.ok_or(Error::NotFound("upload"))?;
    match &app.uploads {
        Store::Disk(_, links) => Ok(links.sign(Act::Get, id, link_end(app))),
        Store::Bucket(bucket) => bucket.get_link(&upload, app.config.uploads.link_life).await,
    }
}

/// Stores the bytes of a file that was announced, for whoever has the link. `sent_type` and `sent_size` are what the
/// request says about them.
pub async fn put<E>(
    app: &App,
    id: UploadId,
    proof: &Proof,
    sent_type: Option<&str>,
    sent_size: Option<u64>,
    body: impl Stream<Item = Result<Bytes, E>> + Unpin,
) -> Result<(), Error> {
    let (disk, upload) = own(app, Act::Put, id, proof).await?;
    if upload.is_complete {
        return Err(Error::Conflict("this file is there already"));
    }
    if sent_type.and_then(|text| text.parse().ok()).as_ref() != Some(&upload.content_type) {
        return Err(Error::invalid(
            "content-type",
            format!("expected {}, as announced", upload.content_type),
        ));
    }
    if sent_size.is_some_and(|size| size > upload.size) {
        return Err(Error::TooLarge("more bytes than were announced"));
    }
    disk.put(id, upload.size, body).await?;
    if complete(app, id).await?.is_none() {
        // It took so long that the upload was given up.
        disk.remove(id).await?;
        return Err(Error::NotFound("upload"));
    }
    Ok(())
}

/// A file to read, for whoever has the link, and where it is.
pub async fn read(app: &App, id: UploadId, proof: &Proof) -> Result<(Upload, std::path::PathBuf), Error> {
    let (disk, upload) = own(app, Act::Get, id, proof).await?;
    Ok((upload, disk.path(id)))
}

/// Checks the body of an image message: an upload that is there and is an image, or a URL elsewhere.
pub async fn check_image(app: &App, body: &str) -> Result<(), Error> {
    let expected = |reason: &str| Error::invalid("body", reason);
    match mentions::image(body) {
        None => Err(expected("expected the URL of an upload, or an https URL")),
        Some(Image::Elsewhere) => Ok(()),
        Some(Image::Upload(id)) => match complete(app, id).await? {
            None => Err(expected("no such upload, or its file is not there yet")),
            Some(upload) if !upload.content_type.is_image() => {
                Err(expected("this upload is no image that can be shown"))
            }
            Some(_) => Ok(()),
        },
    }
}

/// An upload that is there. One that was only announced is looked for; if it is not as announced, it is removed.
async fn complete(app: &App, id: UploadId) -> Result<Option<Upload>, Error> {
    let Some(upload) = store::get(&**app.database().await?, id).await? else { return Ok(None) };
    if upload.is_complete {
        return Ok(Some(upload));
    }
    let Some(stored) = app.uploads.look(id).await? else { return Ok(None) };
    if is_as_announced(&upload, &stored) {
        if store::set_complete(&**app.database().await?, id).await? {
            count("complete");
        }
        return Ok(Some(Upload { is_complete: true, ..upload }));
    }
    tracing::warn!(upload = %id, owner = %upload.owner, "a file is not as announced, and is removed");
    app.uploads.remove(id).await?;
    store::remove(&**app.database().await?, &[id]).await?;
    count("refused");
    Ok(None)
}

fn is_as_announced(upload: &Upload, stored: &Stored) -> bool {
    stored.size == upload.size
        && stored.content_type.as_ref().is_none_or(|stored| *stored == upload.content_type)
}

/// A file that this process keeps, for whoever has the link.
async fn own<'a>(app: &'a App, act: Act, id: UploadId, proof: &Proof) -> Result<(&'a Disk, Upload), Error> {
    let Store::Disk(disk, links) = &app.uploads else { return Err(Error::NotFound("path")) };
    if !links.check(act, id, proof, now_ms()) {
        return Err(Error::Forbidden("this link is not valid, or has expired"));
    }
    let upload = store::get(&**app.database().await?, id).await?;
    Ok((disk, upload.ok_or(Error::NotFound("upload"))?))
}

fn link_end(app: &App) -> u64 {
    now_ms().saturating_add(u64::try_from(app.config.uploads.link_life.as_millis()).unwrap_or(u64::MAX))
}

fn checked_type(settings: &UploadSettings, text: &str) -> Result<ContentType, Error> {
    let content_type: ContentType =
        text.parse().map_err(|reason: &str| Error::invalid("content_type", reason))?;
    if settings.allowed.allows(&content_type) {
        Ok(content_type)
    } else {
        Err(Error::invalid("content_type", "files of this type are not taken"))
    }
}

fn checked_name(file_name: String) -> Result<String, Error> {
    if file_name.is_empty() || file_name.len() > FILE_NAME_BYTES_MAX {
        return Err(Error::invalid("file_name", format!("expected 1 to {FILE_NAME_BYTES_MAX} bytes")));
    }
    if file_name.contains(|character: char| character.is_control() || "/\\".contains(character)) {
        return Err(Error::invalid("file_name", "a name without slashes and control characters is expected"));
    }
    Ok(file_name)
}

/// 63 random bits: an id is the right to read.
fn new_id() -> Result<UploadId, Error> {
    let bug = |error: getrandom::Error| Error::Internal(format!("random numbers: {error}"));
    let random = getrandom::u64().map_err(bug)? >> 1;
    UploadId::new(random.max(1)).ok_or_else(|| Error::Internal("a random id out of range".to_owned()))
}

/// `Content-Disposition` (RFC 6266): shown or saved, with the file's name, which may be in any script (RFC 8187).
pub fn disposition(upload: &Upload) -> String {
    let act = if upload.content_type.is_inline() { "inline" } else { "attachment" };
    let mut name = String::with_capacity(upload.file_name.len());
    for byte in upload.file_name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            name.push(char::from(byte));
        } else {
            // Writing to a string can't fail.
            let _ = write!(name, "%{byte:02X}");
        }
    }
    format!("{act}; filename*=UTF-8''{name}")
}

fn count(event: &'static str) {
    metrics::counter!(UPLOADS.name, "event" => event).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upload(file_name: &str, content_type: &str) -> Upload {
        Upload {
            id: UploadId::new(7).unwrap(),
            owner: UserId::new(1).unwrap(),
            file_name: file_name.to_owned(),
            content_type: content_type.parse().unwrap(),
            size: 3,
            is_complete: false,
        }
    }

    #[test]
    fn names_can_add_nothing_to_the_header() {
        let check = |name: &str, content_type: &str, expected: &str| {
            assert_eq!(disposition(&upload(name, content_type)), expected);
        };
        check("cat.png", "image/png", "inline; filename*=UTF-8''cat.png");
        check("a\"; b=c.html", "text/html", "attachment; filename*=UTF-8''a%22%3B%20b%3Dc.html");
        check("Käse.svg", "image/svg+xml", "attachment; filename*=UTF-8''K%C3%A4se.svg");
    }

    #[test]
    fn names_are_names() {
        assert!(checked_name("Käse (1).png".to_owned()).is_ok());
        for bad in ["", "../etc/passwd", "a\\b", "a\0b", "a\r\nb", &"x".repeat(256)] {
            assert!(checked_name(bad.to_owned()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_file_has_to_be_as_announced() {
        let upload = upload("cat.png", "image/png");
        let check = |size: u64, content_type: Option<&str>| {
            let content_type = content_type.map(|text| text.parse().unwrap());
            is_as_announced(&upload, &Stored { size, content_type })
        };
        assert!(check(3, None) && check(3, Some("image/png")));
        assert!(!check(4, None) && !check(3, Some("text/html")));
    }
}
