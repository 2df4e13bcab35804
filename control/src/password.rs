//! Password hashes: Argon2id with the parameters that OWASP recommends (19 MiB, 2 passes, 1 lane).
//!
//! Hashing is slow on purpose: it runs off the async threads, and only so many at once.

use std::sync::Arc;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use tokio::sync::Semaphore;

use crate::error::Error;

/// See the module's text.
pub struct Passwords {
    at_once: Arc<Semaphore>,
    /// The hash of no password, checked for unknown users so that they take as long.
    nobody: String,
}

impl Passwords {
    /// Hashes at most this many passwords at once.
    pub fn new(at_once: usize) -> Result<Self, Error> {
        Ok(Self { at_once: Arc::new(Semaphore::new(at_once)), nobody: hash("nobody's password")? })
    }

    /// The hash to store.
    pub async fn hash(&self, password: String) -> Result<String, Error> {
        self.run(move || hash(&password)).await?
    }

    /// Whether the password is the one of the hash; takes as long where there is no hash.
    pub async fn verify(&self, password: String, stored: Option<String>) -> Result<bool, Error> {
        let known = stored.is_some();
        let stored = stored.unwrap_or_else(|| self.nobody.clone());
        let fits = self.run(move || {
            let parsed = PasswordHash::new(&stored)
                .map_err(|error| Error::Internal(format!("a stored hash: {error}")))?;
            Ok::<_, Error>(Argon2::default().verify_password(password.as_bytes(), &parsed).is_ok())
        });
        Ok(fits.await?? && known)
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
        let permit = Arc::clone(&self.at_once).acquire_owned().await;
        let permit = permit.map_err(|error| Error::Internal(error.to_string()))?;
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        done.await.map_err(|error| Error::Internal(error.to_string()))
    }
}

fn hash(password: &str) -> Result<String, Error> {
    let hash = Argon2::default().hash_password(password.as_bytes());
    hash.map(|hash| hash.to_string()).map_err(|error| Error::Internal(format!("hashing: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_password_of_a_known_user_fits() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let passwords = Passwords::new(2).unwrap();
            let stored = passwords.hash("correct horse".into()).await.unwrap();
            assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
            assert!(passwords.verify("correct horse".into(), Some(stored.clone())).await.unwrap());
            assert!(!passwords.verify("wrong".into(), Some(stored)).await.unwrap());
            assert!(!passwords.verify("nobody's password".into(), None).await.unwrap());
        });
    }
}
