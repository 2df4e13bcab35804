//! What proves who somebody is: signed tickets (JWT) and opaque session tokens.

mod jwt;
mod keys;

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::clock::UnixMs;
use crate::ids::{RoomId, UserId};
use crate::protocol::SESSION_COOKIE;

pub use jwt::{BadPublicKey, Signer, Verifier};
pub use keys::{KeyId, Keys, PublicKey, SecretKey};

/// Rooms that a token names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum RoomsClaim {
    /// `"*"`: any room.
    Any(Star),
    /// These rooms.
    List(Vec<RoomId>),
}

/// The string `"*"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Star {
    /// `"*"`.
    #[serde(rename = "*")]
    Star,
}

/// The claims of a ticket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who.
    pub sub: UserId,
    /// Until when, in Unix seconds.
    pub exp: u64,
    /// The name to show; `sub` where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Rooms that the bearer may join and send to. Absent: membership decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rooms: Option<RoomsClaim>,
    /// The login session that the ticket was made from, so that revoking the one ends the other. Not the `sid` of
    /// other issuers, which says nothing here.
    #[serde(rename = "hubbub_sid", skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
}

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// The signature does not fit, or the algorithm is not one of ours.
    #[error("the token's signature is not valid")]
    Signature,
    /// No key is configured for this kind of token.
    #[error("no key is configured for this kind of token")]
    NoKey,
    /// Not a JWT with the claims that are needed.
    #[error("the token is malformed")]
    Malformed,
}

/// Whether a token looks like a JWT rather than an opaque session token: three parts joined by dots.
pub fn is_jwt(token: &str) -> bool {
    token.bytes().filter(|byte| *byte == b'.').count() == 2
}

/// The token of an `Authorization: Bearer` header.
pub fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The session token in `Cookie` headers.
pub fn session_cookie<'a>(cookies: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == SESSION_COOKIE).map(|(_, value)| value)
}

/// What Redis knows of a login session, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginSession {
    /// Public id of the session, for listing and revoking.
    pub id: String,
    /// Whose.
    pub user: UserId,
    /// The name to show.
    pub name: String,
    /// When it was made.
    pub created_at: UnixMs,
    /// From which address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// With which program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
}

/// The id of a login session in four bytes: enough to tell the few sessions of one user apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LoginMark(NonZeroU32);

impl LoginMark {
    /// Of a session's id: its FNV-1a hash. Ids are random, so nobody can choose two that are alike.
    pub fn of(id: &str) -> Self {
        let hash =
            id.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        Self(NonZeroU32::new(hash).unwrap_or(NonZeroU32::MIN))
    }
}

/// How long a login session lives after its last use.
pub const LOGIN_SESSION_SECONDS: u64 = 24 * 60 * 60;

/// A new opaque session token: 256 random bits in base64url.
pub fn new_session_token() -> Result<String, getrandom::Error> {
    use base64::Engine as _;
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes))
}

/// The hash under which a session token is known: only it is stored.
pub fn session_token_hash(token: &str) -> String {
    use std::fmt::Write as _;
    Sha256::digest(token.as_bytes()).iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rooms_claim_is_a_star_or_a_list() {
        let parse = |json| serde_json::from_str::<RoomsClaim>(json);
        assert_eq!(parse("\"*\"").unwrap(), RoomsClaim::Any(Star::Star));
        assert_eq!(parse("[\"1\"]").unwrap(), RoomsClaim::List(vec![RoomId::new(1).unwrap()]));
        assert!(parse("\"all\"").is_err() && parse("[1]").is_err());
    }

    #[test]
    fn the_session_id_of_another_issuer_is_none_of_ours() {
        let claims: Claims = serde_json::from_str(r#"{"sub":"7","exp":9,"sid":"theirs"}"#).unwrap();
        assert_eq!(claims.sid, None);
        let ours: Claims = serde_json::from_str(r#"{"sub":"7","exp":9,"hubbub_sid":"ours"}"#).unwrap();
        assert_eq!(ours.sid.as_deref(), Some("ours"));
    }

    #[test]
    fn session_tokens_are_opaque_and_stored_hashed() {
        let token = new_session_token().unwrap();
        assert!(token.len() == 43 && !is_jwt(&token));
        assert_eq!(
            session_token_hash("abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
