//! The keys of tickets, as an operator sets them.
//!
//! To change a secret without sending anybody away: give the new one an id and set it everywhere beside the old one
//! (`HUBBUB_JWT_SECRETS_OLD`), and take the old one away once no ticket of it can still be good.

use crate::config::{Secret, read_file, split_list};
use crate::settings::{JWT_KEY_ID, JWT_PUBLIC_KEY_FILE, JWT_SECRET, JWT_SECRETS_OLD, SettingError, Settings};

/// Bytes of an HS256 secret outside development, at least (RFC 7518 section 3.2).
const SECRET_BYTES_MIN: usize = 32;
/// Characters of a key's id, at most.
const KEY_ID_MAX: usize = 64;
/// Secrets that stand in documentation, ours and others': whoever can read can sign with them.
const KNOWN_SECRETS: [&str; 3] = [
    "your-256-bit-secret",
    "a-string-secret-at-least-256-bits-long",
    "change-me-change-me-change-me-change-me",
];

/// What a token's `kid` says.
pub type KeyId = String;

/// An HS256 secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretKey {
    /// Which tokens it is for; `None`: for those that name no key of ours.
    pub id: Option<KeyId>,
    /// The secret.
    pub secret: Secret,
}

/// An Ed25519 public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// Which tokens it is for; `None`: for those that name no key of ours.
    pub id: Option<KeyId>,
    /// PEM.
    pub pem: Vec<u8>,
}

/// Every key by which a ticket may be signed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys {
    /// The secret with which we sign.
    pub current: Option<SecretKey>,
    /// Secrets that are on their way out.
    pub old: Vec<SecretKey>,
    /// Keys of others who sign.
    pub public: Vec<PublicKey>,
}

impl Keys {
    /// Checks the settings.
    pub fn check(settings: &Settings, development: bool) -> Result<Self, SettingError> {
        let id = settings.optional(&JWT_KEY_ID, key_id)?;
        let current = settings.optional(&JWT_SECRET, |value| check_secret(value, development))?;
        let old = settings.optional(&JWT_SECRETS_OLD, |list| {
            let keys = split_list(list).map(|item| old_secret(item, development));
            keys.collect::<Result<Vec<_>, _>>()
        })?;
        let public = settings.optional(&JWT_PUBLIC_KEY_FILE, |list| {
            split_list(list).map(public_key).collect::<Result<Vec<_>, _>>()
        })?;
        Ok(Self {
            current: current.map(|secret| SecretKey { id, secret }),
            old: old.unwrap_or_default(),
            public: public.unwrap_or_default(),
        })
    }

    /// Whether no ticket can be checked.
    pub fn is_empty(&self) -> bool {
        self.current.is_none() && self.old.is_empty() && self.public.is_empty()
    }
}

impl From<&str> for Keys {
    /// One secret without an id.
    fn from(secret: &str) -> Self {
        let secret = Secret::from(secret.to_owned());
        Self { current: Some(SecretKey { id: None, secret }), ..Self::default() }
    }
}

fn check_secret(value: &str, development: bool) -> Result<Secret, String> {
    let how = "make one with: openssl rand -base64 32";
    if development {
        return Ok(Secret::from(value.to_owned()));
    }
    if value.len() < SECRET_BYTES_MIN {
        return Err(format!("expected at least {SECRET_BYTES_MIN} bytes ({how})"));
    }
    if KNOWN_SECRETS.iter().any(|known| value.eq_ignore_ascii_case(known)) {
        return Err(format!("is an example that everybody knows ({how})"));
    }
    Ok(Secret::from(value.to_owned()))
}

fn key_id(value: &str) -> Result<KeyId, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if value.is_empty() || value.len() > KEY_ID_MAX || !value.bytes().all(allowed) {
        return Err(format!("expected a key id of 1 to {KEY_ID_MAX} of A-Z a-z 0-9 . _ -"));
    }
    Ok(value.to_owned())
}

/// `id:secret`, or `:secret` for one without an id.
fn old_secret(item: &str, development: bool) -> Result<SecretKey, String> {
    let (id, secret) =
        item.split_once(':').ok_or("expected a comma list of key-id:secret, no comma within")?;
    let id = if id.is_empty() { None } else { Some(key_id(id)?) };
    Ok(SecretKey { id, secret: check_secret(secret, development)? })
}

/// `id:path`, or `path` for one without an id.
fn public_key(item: &str) -> Result<PublicKey, String> {
    let (id, path) = match item.split_once(':') {
        Some((id, path)) if !id.contains('/') => (Some(key_id(id)?), path),
        _ => (None, item),
    };
    let pem = read_file(path).map_err(|error| format!("{path} {error}"))?;
    Ok(PublicKey { id, pem })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_settings() {
        let long = "0123456789abcdef0123456789abcdef";
        let key =
            |id: Option<&str>| SecretKey { id: id.map(str::to_owned), secret: Secret::from(long.to_owned()) };
        assert_eq!(old_secret(&format!("2026-01:{long}"), false), Ok(key(Some("2026-01"))));
        assert_eq!(old_secret(&format!(":{long}"), false), Ok(key(None)));
        assert!(old_secret(long, false).is_err() && old_secret(&format!("a b:{long}"), false).is_err());
        assert!(old_secret("a:short", false).is_err() && old_secret("a:short", true).is_ok());
        for known in KNOWN_SECRETS {
            assert!(check_secret(known, false).is_err(), "{known}");
            assert!(check_secret(known, true).is_ok(), "{known}");
        }
        assert!(public_key("a:/nowhere").unwrap_err().starts_with("/nowhere can't be read"));
        assert!(public_key("/no:where").unwrap_err().starts_with("/no:where can't be read"));
        assert!(!format!("{:?}", key(None)).contains(long));
    }
}
