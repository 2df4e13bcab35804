//! Files in a folder, one an upload, named by its id.
//!
//! Invariant: a file under its own name is whole, has the announced size, is on the disk, and never changes. It is
//! written under another name in `unfinished/`, and linked to its own name at the end; a link never replaces.
//! No part of a path comes from outside but the digits of an id.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use hubbub_common::ids::UploadId;
use tokio::fs::{self, File};
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use crate::error::Error;

/// How long a client may be silent while it sends a file.
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// How long it may take for all of it.
pub const PUT_MAX: Duration = Duration::from_mins(30);

/// See the module's text.
#[derive(Debug)]
pub struct Disk {
    folder: PathBuf,
    unfinished: PathBuf,
}

impl Disk {
    /// In this folder.
    pub fn new(folder: PathBuf) -> Self {
        Self { unfinished: folder.join("unfinished"), folder }
    }

    /// Makes the folder where it is missing. Without it files are refused, and the rest of the control plane works.
    pub(super) fn prepare(&self) {
        if let Err(error) = std::fs::create_dir_all(&self.unfinished) {
            let folder = self.folder.display();
            tracing::warn!(%folder, %error, "uploads will be refused: the folder of HUBBUB_UPLOADS_URL can't be made");
        }
    }

    /// Where a whole file is.
    pub fn path(&self, id: UploadId) -> PathBuf {
        self.folder.join(id.to_string())
    }

    /// The size of a whole file.
    pub(super) async fn size(&self, id: UploadId) -> Result<Option<u64>, Error> {
        match fs::metadata(self.path(id)).await {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(away(&error)),
        }
    }

    /// Stores a file of exactly this size.
    pub(super) async fn put<E>(
        &self,
        id: UploadId,
        size: u64,
        body: impl Stream<Item = Result<Bytes, E>> + Unpin,
    ) -> Result<(), Error> {
        let path = self.unfinished.join(format!("{id}-{:016x}", hubbub_common::entry::new_origin()));
        let put = async {
            write(&path, size, body).await?;
            match fs::hard_link(&path, self.path(id)).await {
                Ok(()) => File::open(&self.folder)
                    .await
                    .map_err(|error| away(&error))?
                    .sync_all()
                    .await
                    .map_err(|error| away(&error)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    Err(Error::Conflict("this file is there already"))
                }
                Err(error) => Err(away(&error)),
            }
        };
        // Where the request is given up, `sweep` finds what is left.
        let outcome = timeout(PUT_MAX, put).await.unwrap_or_else(|_| Err(stopped()));
        let _ = fs::remove_file(&path).await;
        outcome
    }

    /// Removes a file, if it is there.
    pub(super) async fn remove(&self, id: UploadId) -> Result<(), Error> {
        match fs::remove_file(self.path(id)).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(away(&error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Removes what was begun before this time and can't be under way any more.
    pub(super) async fn sweep(&self, begun_before: SystemTime) -> Result<(), Error> {
        let mut entries = match fs::read_dir(&self.unfinished).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(|error| away(&error))?,
        };
        while let Some(entry) = entries.next_entry().await.map_err(|error| away(&error))? {
            let modified = entry.metadata().await.and_then(|metadata| metadata.modified());
            if modified.is_ok_and(|modified| modified < begun_before) {
                // Another instance may have been faster.
                let _ = fs::remove_file(entry.path()).await;
            }
        }
        Ok(())
    }
}

async fn write<E>(
    path: &Path,
    size: u64,
    mut body: impl Stream<Item = Result<Bytes, E>> + Unpin,
) -> Result<(), Error> {
    let mut file = File::create_new(path).await.map_err(|error| away(&error))?;
    let mut written = 0;
    loop {
        let bytes = match timeout(SILENCE_MAX, body.next()).await {
            Ok(Some(Ok(bytes))) => bytes,
            Ok(None) => break,
            Ok(Some(Err(_))) | Err(_) => return Err(stopped()),
        };
        written += bytes.len() as u64;
        if written > size {
            return Err(Error::TooLarge("more bytes came than were announced"));
        }
        file.write_all(&bytes).await.map_err(|error| away(&error))?;
    }
    if written < size {
        return Err(Error::Malformed(format!("{size} bytes were announced, {written} came")));
    }
    file.sync_all().await.map_err(|error| away(&error))
}

fn stopped() -> Error {
    Error::Malformed("the file stopped coming".to_owned())
}

fn away(error: &io::Error) -> Error {
    Error::Unavailable(format!("the folder of uploads: {error}"))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;

    use super::*;

    fn body(parts: &[&'static str]) -> impl Stream<Item = Result<Bytes, Infallible>> + Unpin + use<> {
        let parts: Vec<_> = parts.iter().map(|part| Ok(Bytes::from_static(part.as_bytes()))).collect();
        stream::iter(parts)
    }

    #[tokio::test]
    async fn a_file_is_there_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::new(folder.path().join("uploads"));
        disk.prepare();
        let id = UploadId::new(7).unwrap();
        assert!(matches!(disk.put(id, 5, body(&["abc", "def"])).await, Err(Error::TooLarge(_))));
        assert!(matches!(disk.put(id, 7, body(&["abc", "def"])).await, Err(Error::Malformed(_))));
        let broken = stream::iter([Ok(Bytes::from_static(b"abc")), Err("reset")]);
        assert!(matches!(disk.put(id, 6, broken).await, Err(Error::Malformed(_))));
        assert_eq!(disk.size(id).await.unwrap(), None);

        disk.put(id, 6, body(&["abc", "def"])).await.unwrap();
        assert!(matches!(disk.put(id, 6, body(&["ghijkl"])).await, Err(Error::Conflict(_))));
        assert_eq!(std::fs::read(disk.path(id)).unwrap(), b"abcdef");
        assert_eq!(std::fs::read_dir(&disk.unfinished).unwrap().count(), 0);

        disk.remove(id).await.unwrap();
        disk.remove(id).await.unwrap();
        assert_eq!(disk.size(id).await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_a_crash_left_is_swept() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::new(folder.path().to_owned());
        disk.prepare();
        std::fs::write(disk.unfinished.join("7-1"), "abc").unwrap();
        disk.sweep(SystemTime::UNIX_EPOCH).await.unwrap();
        assert_eq!(std::fs::read_dir(&disk.unfinished).unwrap().count(), 1);
        let modified = std::fs::metadata(disk.unfinished.join("7-1")).unwrap().modified().unwrap();
        disk.sweep(modified + Duration::from_secs(1)).await.unwrap();
        assert_eq!(std::fs::read_dir(&disk.unfinished).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_folder_that_is_away_is_no_bug() {
        let folder = tempfile::tempdir().unwrap();
        let in_the_way = folder.path().join("file");
        std::fs::write(&in_the_way, "").unwrap();
        let disk = Disk::new(in_the_way.join("uploads"));
        disk.prepare();
        let put = disk.put(UploadId::new(7).unwrap(), 3, body(&["abc"])).await;
        assert!(matches!(put, Err(Error::Unavailable(_))), "{put:?}");
    }
}
