//! Signed URLs of files that the control plane keeps itself, after the model of S3's presigned ones.
//!
//! A link allows one act on one file until a time. Its key is derived from `HUBBUB_JWT_SECRET`, so that every
//! instance checks what any other has signed, and so that no signature is ever a ticket or the reverse.
//! Pure: the time is an argument.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use hubbub_common::clock::UnixMs;
use hubbub_common::ids::UploadId;
use serde::Deserialize;
use sha2::Sha256;
use utoipa::IntoParams;

/// What the derived key is for.
const PURPOSE: &[u8] = b"hubbub uploads v1";

/// What a link allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// To store the file.
    Put,
    /// To read it.
    Get,
}

impl Act {
    fn as_str(self) -> &'static str {
        match self {
            Self::Put => "PUT",
            Self::Get => "GET",
        }
    }
}

/// The part of a link that proves it: its query.
#[derive(Clone, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Proof {
    /// Unix seconds.
    expires: u64,
    /// Base64url.
    signature: String,
}

/// Signs and checks.
pub struct Links {
    keyed: Hmac<Sha256>,
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Links(…)")
    }
}

impl Links {
    /// With a key derived from this secret.
    pub fn new(secret: &[u8]) -> Result<Self, String> {
        let keyed = |key: &[u8]| Hmac::<Sha256>::new_from_slice(key).map_err(|error| error.to_string());
        let derived = keyed(secret)?.chain_update(PURPOSE).finalize().into_bytes();
        Ok(Self { keyed: keyed(&derived)? })
    }

    /// The path and query of a link.
    pub fn sign(&self, act: Act, id: UploadId, until: UnixMs) -> String {
        let expires = until.div_ceil(1_000);
        let signature = URL_SAFE_NO_PAD.encode(self.mac(act, id, expires).finalize().into_bytes());
        format!("/api/v1/uploads/{id}/content?expires={expires}&signature={signature}")
    }

    /// Whether a proof allows this now.
    pub fn check(&self, act: Act, id: UploadId, proof: &Proof, now: UnixMs) -> bool {
        let signature = URL_SAFE_NO_PAD.decode(&proof.signature);
        let is_ours = |signature: Vec<u8>| self.mac(act, id, proof.expires).verify_slice(&signature).is_ok();
        signature.is_ok_and(is_ours) && now / 1_000 < proof.expires
    }

    fn mac(&self, act: Act, id: UploadId, expires: u64) -> Hmac<Sha256> {
        self.keyed.clone().chain_update(format!("{}\n{id}\n{expires}", act.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(link: &str) -> Proof {
        let (_, query) = link.split_once("?expires=").unwrap();
        let (expires, signature) = query.split_once("&signature=").unwrap();
        Proof { expires: expires.parse().unwrap(), signature: signature.to_owned() }
    }

    #[test]
    fn a_link_is_good_for_one_act_on_one_file_until_its_time() {
        let links = Links::new(b"secret").unwrap();
        let (id, other) = (UploadId::new(7).unwrap(), UploadId::new(8).unwrap());
        let link = links.sign(Act::Put, id, 10_000);
        assert!(link.starts_with("/api/v1/uploads/7/content?expires=10&signature="));
        let good = proof(&link);
        assert!(links.check(Act::Put, id, &good, 9_999));
        assert!(!links.check(Act::Put, id, &good, 10_000));
        assert!(!links.check(Act::Get, id, &good, 0));
        assert!(!links.check(Act::Put, other, &good, 0));
        assert!(!Links::new(b"another").unwrap().check(Act::Put, id, &good, 0));
        assert!(!links.check(Act::Put, id, &Proof { expires: 11, ..good.clone() }, 0));
        for signature in ["", "AAAA", "not base64!"] {
            let forged = Proof { signature: signature.to_owned(), ..good.clone() };
            assert!(!links.check(Act::Put, id, &forged, 0), "{signature}");
        }
    }

    #[test]
    fn neither_secret_nor_key_is_shown() {
        assert_eq!(format!("{:?}", Links::new(b"secret").unwrap()), "Links(…)");
    }
}
