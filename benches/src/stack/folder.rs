//! The folder in which a stack keeps its data, secrets and logs.
//!
//! A temporary one is removed with its stack. One whose process was killed can't be; it is recognised by its
//! lock, which the kernel has let go, and removed when the next stack starts.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{StackError, random};

const PREFIX: &str = "hubbub-stack-";
const LOCK: &str = "lock";

/// See the module's text.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    temporary: Option<TempDir>,
    _lock: Option<File>,
}

impl Folder {
    /// A temporary folder.
    pub fn temporary() -> Result<Self, StackError> {
        sweep();
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir();
        let folder = folder.map_err(StackError::io("a temporary folder"))?;
        let path = folder.path().to_owned();
        // Postgres may run as somebody else: others may pass, not list.
        fs::set_permissions(&path, Permissions::from_mode(0o711)).map_err(StackError::io("permissions"))?;
        let lock = lock_anew(&path).map_err(StackError::io(format!("a lock in {}", path.display())))?;
        Self { path, temporary: Some(folder), _lock: Some(lock) }.with_logs()
    }

    /// A folder that survives. Whoever uses it sees to it that nobody else does.
    pub fn kept(path: PathBuf) -> Result<Self, StackError> {
        Self { path, temporary: None, _lock: None }.with_logs()
    }

    fn with_logs(self) -> Result<Self, StackError> {
        self.sub("logs")?;
        Ok(self)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A folder in it, made where needed.
    pub fn sub(&self, name: &str) -> Result<PathBuf, StackError> {
        let path = self.path.join(name);
        fs::create_dir_all(&path).map_err(StackError::io(path.display().to_string()))?;
        Ok(path)
    }

    /// The log of a part.
    pub fn log(&self, part: &str) -> PathBuf {
        self.path.join("logs").join(format!("{part}.log"))
    }

    /// A random secret of 64 hexadecimal digits, made once.
    pub fn secret(&self, name: &str) -> Result<String, StackError> {
        let path = self.path.join(name);
        match fs::read_to_string(&path) {
            Ok(secret) if !secret.trim().is_empty() => return Ok(secret.trim().to_owned()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StackError::io(path.display().to_string())(error));
            }
            Ok(_) | Err(_) => {}
        }
        let secret = [random()?, random()?].map(u128::from_ne_bytes);
        let secret = secret.map(|half| format!("{half:032x}")).concat();
        write_private(&path, &secret).map_err(StackError::io(path.display().to_string()))?;
        Ok(secret)
    }

    /// Leaves a temporary folder where it is, for somebody who wants to know what went wrong.
    pub fn keep(&mut self) {
        if let Some(temporary) = &mut self.temporary {
            temporary.disable_cleanup(true);
            let _ = fs::remove_file(self.path.join(LOCK));
            eprintln!("the logs are kept in {}", self.path.join("logs").display());
        }
    }
}

/// Writes a file that only its owner may read, in one step.
pub(crate) fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let unfinished = path.with_extension("unfinished");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(text.as_bytes())?;
    fs::rename(unfinished, path)
}

/// Takes the lock before it has its name, so that no sweep ever finds it free.
fn lock_anew(folder: &Path) -> io::Result<File> {
    let unnamed = folder.join("lock.new");
    let lock = File::create(&unnamed)?;
    lock.lock()?;
    fs::rename(unnamed, folder.join(LOCK))?;
    Ok(lock)
}

/// Removes what killed processes left.
fn sweep() {
    let folders = fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten();
    let folders = folders.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes()));
    for folder in folders.map(|entry| entry.path()) {
        let lock = File::open(folder.join(LOCK));
        if lock.is_ok_and(|lock| lock.try_lock().is_ok()) {
            // Somebody else may sweep too, or it may belong to another user.
            let _ = fs::remove_dir_all(&folder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_the_dead_are_swept_and_those_of_the_living_are_not() {
        let living = Folder::temporary().unwrap();
        let mut dead = Folder::temporary().unwrap();
        let path = dead.path().to_owned();
        dead.temporary.as_mut().unwrap().disable_cleanup(true);
        drop(dead);
        assert!(path.is_dir());
        sweep();
        assert!(!path.exists() && living.path().is_dir());
    }

    #[test]
    fn a_secret_stays() {
        let folder = Folder::temporary().unwrap();
        let secret = folder.secret("s").unwrap();
        assert_eq!(secret.len(), 64);
        assert_eq!(folder.secret("s").unwrap(), secret);
        assert_ne!(folder.secret("t").unwrap(), secret);
    }
}
