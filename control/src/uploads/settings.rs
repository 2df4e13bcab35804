//! The settings of uploads, checked.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use hubbub_common::config::{Secret, seconds, within};
use hubbub_common::settings::{self as names, SettingError, Settings};

use super::content_type::Allowed;

/// Everything about uploads.
#[derive(Debug)]
pub struct UploadSettings {
    /// Where the bytes are.
    pub place: Place,
    /// The largest file.
    pub bytes_max: u64,
    /// What one user may keep, in bytes; `None`: as much as they like.
    pub bytes_per_user: Option<u64>,
    /// Which types.
    pub allowed: Allowed,
    /// How long a signed URL is good for.
    pub link_life: Duration,
    /// How long a file that no message names is kept.
    pub unused_kept: Duration,
}

/// Where the bytes are.
#[derive(Debug)]
pub enum Place {
    /// A folder that every control plane sees.
    Folder(PathBuf),
    /// A bucket of S3, or of a store that speaks like it.
    Bucket(BucketSettings),
}

/// A bucket and how to reach it.
#[derive(Debug)]
pub struct BucketSettings {
    /// Its name.
    pub bucket: String,
    /// With what keys begin; may be empty.
    pub prefix: String,
    /// The origin of a store that is not Amazon's.
    pub endpoint: Option<String>,
    /// The region.
    pub region: String,
    /// Whether the bucket is part of the host name.
    pub in_host: bool,
    /// Access key and its secret; without them, the role of the machine.
    pub key: Option<(String, Secret)>,
}

impl UploadSettings {
    /// Checks them.
    pub fn check(settings: &Settings) -> Result<Self, SettingError> {
        Ok(Self {
            place: place(settings)?,
            bytes_max: settings.get(&names::UPLOADS_BYTES_MAX, within(1..=5_368_709_120))?,
            bytes_per_user: Some(
                settings.get(&names::UPLOADS_BYTES_PER_USER, within(0..=i64::MAX.cast_unsigned()))?,
            )
            .filter(|bytes| *bytes > 0),
            allowed: settings.get(&names::UPLOADS_TYPES, str::parse)?,
            link_life: settings.get(&names::UPLOADS_LINK_SECONDS, seconds(1..=604_800))?,
            unused_kept: settings.get(&names::UPLOADS_UNUSED_SECONDS, seconds(1..=31_536_000))?,
        })
    }
}

/// Every part is checked, also those that the chosen place does not need: a misspelt value is never silent.
fn place(settings: &Settings) -> Result<Place, SettingError> {
    let url = settings.get(&names::UPLOADS_URL, place_url)?;
    let endpoint = settings.optional(&names::UPLOADS_S3_ENDPOINT, endpoint)?;
    let region = settings
        .get(&names::UPLOADS_S3_REGION, |value| word(value, "expected a region such as eu-central-1"))?;
    let in_host = settings.get(&names::UPLOADS_S3_STYLE, |value| match value {
        "path" => Ok(false),
        "host" => Ok(true),
        _ => Err("expected path or host"),
    })?;
    let key_word = |value: &str| word(value, "expected printable characters without spaces");
    let id = settings.optional(&names::UPLOADS_S3_ACCESS_KEY_ID, key_word)?;
    let secret =
        settings.optional(&names::UPLOADS_S3_SECRET_ACCESS_KEY, |value| key_word(value).map(Secret::from))?;
    let missing = |name| SettingError {
        name,
        problem: "must be set: access key and secret belong together".to_owned(),
    };
    let key = match (id, secret) {
        (Some(id), Some(secret)) => Some((id, secret)),
        (None, None) => None,
        (Some(_), None) => return Err(missing(names::UPLOADS_S3_SECRET_ACCESS_KEY.name)),
        (None, Some(_)) => return Err(missing(names::UPLOADS_S3_ACCESS_KEY_ID.name)),
    };
    Ok(match url {
        PlaceUrl::Folder(folder) => Place::Folder(folder),
        PlaceUrl::Bucket { bucket, prefix } => {
            Place::Bucket(BucketSettings { bucket, prefix, endpoint, region, in_host, key })
        }
    })
}

enum PlaceUrl {
    Folder(PathBuf),
    Bucket { bucket: String, prefix: String },
}

fn place_url(url: &str) -> Result<PlaceUrl, &'static str> {
    const EXPECTED: &str = "expected file:///folder or s3://bucket[/prefix]";
    if let Some(path) = url.strip_prefix("file://") {
        let folder = PathBuf::from(path);
        return if folder.is_absolute() { Ok(PlaceUrl::Folder(folder)) } else { Err(EXPECTED) };
    }
    let (bucket, prefix) =
        url.strip_prefix("s3://").map(|rest| rest.split_once('/').unwrap_or((rest, ""))).ok_or(EXPECTED)?;
    // https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
    let in_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
    if (3..=63).contains(&bucket.len()) && bucket.bytes().all(in_name) {
        Ok(PlaceUrl::Bucket { bucket: bucket.to_owned(), prefix: prefix.trim_matches('/').to_owned() })
    } else {
        Err(EXPECTED)
    }
}

/// An origin: pages are allowed to load from it, so it must not smuggle anything into their policy.
fn endpoint(url: &str) -> Result<String, &'static str> {
    let origin = url.trim_end_matches('/');
    let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    let in_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    if host.is_some_and(|host| !host.is_empty() && host.bytes().all(in_host)) {
        Ok(origin.to_owned())
    } else {
        Err("expected an address such as https://s3.example.org")
    }
}

fn word<E>(value: &str, expected: E) -> Result<String, E> {
    if value.bytes().all(|byte| byte.is_ascii_graphic()) { Ok(value.to_owned()) } else { Err(expected) }
}

impl fmt::Display for Place {
    /// Fit for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => write!(f, "file://{}", folder.display()),
            Self::Bucket(BucketSettings { bucket, prefix, .. }) => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(values: &[(&str, &str)]) -> Result<UploadSettings, SettingError> {
        let variable = |asked: &str| {
            values.iter().find(|(name, _)| *name == asked).map(|(_, value)| Ok((*value).to_owned()))
        };
        UploadSettings::check(&Settings::from_sources(&names::control(), |_| None, variable)?)
    }

    #[test]
    fn each_bad_value_names_its_variable() {
        for (name, value) in [
            ("HUBBUB_UPLOADS_URL", "/var/lib"),
            ("HUBBUB_UPLOADS_URL", "file://relative"),
            ("HUBBUB_UPLOADS_URL", "s3://"),
            ("HUBBUB_UPLOADS_URL", "s3://Bucket"),
            ("HUBBUB_UPLOADS_URL", "gs://bucket"),
            ("HUBBUB_UPLOADS_S3_ENDPOINT", "minio:9000"),
            ("HUBBUB_UPLOADS_S3_ENDPOINT", "https://a; script-src *"),
            ("HUBBUB_UPLOADS_S3_ENDPOINT", "https://a/path"),
            ("HUBBUB_UPLOADS_S3_REGION", "a b"),
            ("HUBBUB_UPLOADS_S3_STYLE", "auto"),
            ("HUBBUB_UPLOADS_S3_SECRET_ACCESS_KEY", "a b"),
            ("HUBBUB_UPLOADS_BYTES_MAX", "0"),
            ("HUBBUB_UPLOADS_BYTES_PER_USER", "1G"),
            ("HUBBUB_UPLOADS_TYPES", "png"),
            ("HUBBUB_UPLOADS_LINK_SECONDS", "604801"),
            ("HUBBUB_UPLOADS_UNUSED_SECONDS", "-1"),
        ] {
            assert_eq!(check(&[(name, value)]).unwrap_err().name, name, "{value}");
        }
        let half = check(&[("HUBBUB_UPLOADS_S3_ACCESS_KEY_ID", "id")]).unwrap_err();
        assert_eq!(half.name, "HUBBUB_UPLOADS_S3_SECRET_ACCESS_KEY");
        let half = check(&[("HUBBUB_UPLOADS_S3_SECRET_ACCESS_KEY", "hush")]).unwrap_err();
        assert_eq!(half.name, "HUBBUB_UPLOADS_S3_ACCESS_KEY_ID");
    }

    #[test]
    fn places() {
        let place = |url: &str| check(&[("HUBBUB_UPLOADS_URL", url)]).unwrap().place.to_string();
        assert_eq!(check(&[]).unwrap().place.to_string(), "file:///var/lib/hubbub/uploads");
        assert_eq!(place("s3://chat-files"), "s3://chat-files/");
        assert_eq!(place("s3://chat-files/a/b/"), "s3://chat-files/a/b");
    }

    #[test]
    fn the_secret_is_not_shown() {
        let keys = [
            ("HUBBUB_UPLOADS_URL", "s3://bucket"),
            ("HUBBUB_UPLOADS_S3_ACCESS_KEY_ID", "id"),
            ("HUBBUB_UPLOADS_S3_SECRET_ACCESS_KEY", "hush"),
        ];
        assert!(!format!("{:?}", check(&keys).unwrap()).contains("hush"));
    }
}
