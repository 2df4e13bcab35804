//! Files in a bucket of S3, or of a store that speaks like it. Clients send and fetch them by presigned URLs.
//!
//! The type is signed, so that the store itself refuses another. The size can't be (`object_store` signs no
//! `Content-Length`): it is checked when the file is looked for, and what is too long or too short is removed.

use std::time::Duration;

use hubbub_common::ids::UploadId;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::signer::{HeaderName, HeaderValue, Method, SignedUrlOptions, Signer as _};
use object_store::{
    Attribute, ClientOptions, GetOptions, ObjectStore as _, ObjectStoreExt as _, RetryConfig,
};

use super::content_type::ContentType;
use super::settings::BucketSettings;
use super::{Upload, disposition};
use crate::error::Error;

/// How long a question to the store may take, and again with everything that is tried twice.
const ANSWER_MAX: Duration = Duration::from_secs(5);
const ANSWER_AND_RETRIES_MAX: Duration = Duration::from_secs(8);

/// See the module's text.
#[derive(Debug)]
pub struct Bucket {
    store: AmazonS3,
    prefix: Path,
    origin: String,
}

/// What the store says about a file.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) size: u64,
    pub(super) content_type: Option<ContentType>,
}

impl Bucket {
    /// Connects when first used.
    pub fn new(settings: &BucketSettings) -> Result<Self, String> {
        // Fails where it is chosen already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let BucketSettings { bucket, prefix, endpoint, region, in_host, key } = settings;
        let is_plain = endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"));
        let retry =
            RetryConfig { max_retries: 2, retry_timeout: ANSWER_AND_RETRIES_MAX, ..RetryConfig::default() };
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(region)
            .with_virtual_hosted_style_request(*in_host)
            .with_client_options(ClientOptions::new().with_timeout(ANSWER_MAX).with_allow_http(is_plain))
            .with_retry(retry);
        if let Some(endpoint) = endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        if let Some((id, secret)) = key {
            builder = builder.with_access_key_id(id).with_secret_access_key(secret.reveal());
        }
        Ok(Self {
            store: builder.build().map_err(|error| error.to_string())?,
            prefix: Path::parse(prefix).map_err(|error| error.to_string())?,
            origin: match endpoint {
                Some(endpoint) => endpoint.clone(),
                None if *in_host => format!("https://{bucket}.s3.{region}.amazonaws.com"),
                None => format!("https://s3.{region}.amazonaws.com"),
            },
        })
    }

    /// Scheme and host of the presigned URLs.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    fn path(&self, id: UploadId) -> Path {
        self.prefix.clone().join(id.to_string())
    }

    /// A URL to which the file can be sent.
    pub(super) async fn put_link(&self, upload: &Upload, life: Duration) -> Result<String, Error> {
        let content_type = HeaderValue::try_from(upload.content_type.as_str()).map_err(|_| not_a_header())?;
        let options =
            SignedUrlOptions::new().with_signed_header(HeaderName::from_static("content-type"), content_type);
        let url = self.store.signed_url_opts(Method::PUT, &self.path(upload.id), life, &options).await;
        Ok(url.map_err(|error| away(&error))?.into())
    }

    /// A URL from which the file can be read. What may run in a browser comes as something to save.
    pub(super) async fn get_link(&self, upload: &Upload, life: Duration) -> Result<String, Error> {
        let options = SignedUrlOptions::new().with_query([
            ("response-content-type", upload.content_type.served_as().to_owned()),
            ("response-content-disposition", disposition(upload)),
        ]);
        let url = self.store.signed_url_opts(Method::GET, &self.path(upload.id), life, &options).await;
        Ok(url.map_err(|error| away(&error))?.into())
    }

    /// What is there.
    pub(super) async fn look(&self, id: UploadId) -> Result<Option<Stored>, Error> {
        let head = GetOptions { head: true, ..GetOptions::default() };
        match self.store.get_opts(&self.path(id), head).await {
            Ok(found) => Ok(Some(Stored {
                size: found.meta.size,
                content_type: found
                    .attributes
                    .get(&Attribute::ContentType)
                    .and_then(|value| value.parse().ok()),
            })),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(away(&error)),
        }
    }

    /// Removes a file, if it is there.
    pub(super) async fn remove(&self, id: UploadId) -> Result<(), Error> {
        match self.store.delete(&self.path(id)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(away(&error)),
        }
    }
}

fn not_a_header() -> Error {
    Error::Internal("a content type that is no header".to_owned())
}

fn away(error: &object_store::Error) -> Error {
    Error::Unavailable(format!("the bucket of uploads: {error}"))
}
