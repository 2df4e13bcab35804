//! Signing tickets, and checking them.
//!
//! Which key checks a token: the one that its `kid` names. Where it names none of ours, the keys without an id; where
//! it names none at all, the current secret too.

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};

use super::keys::{KeyId, Keys, SecretKey};
use super::{Claims, TokenError};
use crate::clock::UnixMs;

/// Signs tickets with the current secret.
pub struct Signer {
    key: EncodingKey,
    id: Option<KeyId>,
}

impl Signer {
    /// With an HS256 secret.
    pub fn new(key: &SecretKey) -> Self {
        Self { key: EncodingKey::from_secret(key.secret.reveal().as_bytes()), id: key.id.clone() }
    }

    /// The ticket.
    pub fn sign(&self, claims: &Claims) -> Result<String, TokenError> {
        let header = Header { kid: self.id.clone(), ..Header::new(Algorithm::HS256) };
        jsonwebtoken::encode(&header, claims, &self.key).map_err(|_| TokenError::Malformed)
    }
}

impl From<&str> for Signer {
    fn from(secret: &str) -> Self {
        Self { key: EncodingKey::from_secret(secret.as_bytes()), id: None }
    }
}

/// Checks tickets.
pub struct Verifier {
    keys: Vec<Key>,
    hs256: Validation,
    eddsa: Validation,
}

struct Key {
    algorithm: Algorithm,
    id: Option<KeyId>,
    /// Whether it checks tokens that name no key.
    of_nameless: bool,
    key: DecodingKey,
}

/// A public key that is none.
#[derive(Debug, thiserror::Error)]
#[error("expected an Ed25519 public key in PEM")]
pub struct BadPublicKey;

impl Verifier {
    /// With these keys.
    pub fn new(keys: &Keys) -> Result<Self, BadPublicKey> {
        let secret = |of: &SecretKey, is_current: bool| Key {
            algorithm: Algorithm::HS256,
            id: of.id.clone(),
            of_nameless: is_current || of.id.is_none(),
            key: DecodingKey::from_secret(of.secret.reveal().as_bytes()),
        };
        let current = keys.current.iter().map(|key| secret(key, true));
        let mut all: Vec<_> = current.chain(keys.old.iter().map(|key| secret(key, false))).collect();
        for public in &keys.public {
            all.push(Key {
                algorithm: Algorithm::EdDSA,
                id: public.id.clone(),
                of_nameless: public.id.is_none(),
                key: DecodingKey::from_ed_pem(&public.pem).map_err(|_| BadPublicKey)?,
            });
        }
        Ok(Self { keys: all, hs256: validation(Algorithm::HS256), eddsa: validation(Algorithm::EdDSA) })
    }

    /// The claims of a token whose signature is good and whose `exp` has not passed.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a foreign enum that grows; whatever is new is refused"
    )]
    pub fn verify(&self, token: &str, now_ms: UnixMs) -> Result<Claims, TokenError> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Malformed)?;
        let validation = match header.alg {
            Algorithm::HS256 => &self.hs256,
            Algorithm::EdDSA => &self.eddsa,
            _ => return Err(TokenError::Signature),
        };
        let mut outcome = Err(TokenError::NoKey);
        for key in self.keys_for(header.alg, header.kid.as_deref()) {
            outcome = check(token, key, validation);
            if outcome != Err(TokenError::Signature) {
                break;
            }
        }
        let claims = outcome?;
        if claims.exp.saturating_mul(1_000) <= now_ms { Err(TokenError::Expired) } else { Ok(claims) }
    }

    fn keys_for<'a>(
        &'a self,
        algorithm: Algorithm,
        id: Option<&'a str>,
    ) -> impl Iterator<Item = &'a DecodingKey> {
        let of_algorithm = move |key: &&Key| key.algorithm == algorithm;
        let names_one = id.is_some() && self.keys.iter().any(|key| key.id.as_deref() == id);
        let fits = move |key: &&Key| match id {
            Some(_) if names_one => key.id.as_deref() == id,
            Some(_) => key.id.is_none(),
            None => key.of_nameless,
        };
        self.keys.iter().filter(of_algorithm).filter(fits).map(|key| &key.key)
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum that grows")]
fn check(token: &str, key: &DecodingKey, validation: &Validation) -> Result<Claims, TokenError> {
    let decoded =
        jsonwebtoken::decode::<Claims>(token, key, validation).map_err(|error| match error.kind() {
            ErrorKind::InvalidSignature | ErrorKind::InvalidAlgorithm => TokenError::Signature,
            _ => TokenError::Malformed,
        })?;
    Ok(decoded.claims)
}

/// `exp` is checked by [`Verifier::verify`] against the clock that it is given.
fn validation(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    validation
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;
    use crate::ids::UserId;
    use crate::token::keys::PublicKey;
    use crate::token::{RoomsClaim, Star, is_jwt};

    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    const OTHER: &str = "another secret, another secret!!";
    // Made with: openssl genpkey -algorithm ed25519, and -pubout.
    const PRIVATE_PEM: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIH2OUIqwd2kRwkc3Ms9wOTOwa4/Tr9c7YJMm3xYSg22H\n-----END PRIVATE KEY-----\n";
    const PUBLIC_PEM: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA4fcYOK8Qh6LMHtBmwriLw6UgWOxrvNF3RRw7VSN576Q=\n-----END PUBLIC KEY-----\n";

    fn claims() -> Claims {
        Claims {
            sub: UserId::new(7).unwrap(),
            exp: 100,
            name: None,
            rooms: Some(RoomsClaim::Any(Star::Star)),
            sid: None,
        }
    }

    fn key(id: Option<&str>, secret: &str) -> SecretKey {
        SecretKey { id: id.map(str::to_owned), secret: Secret::from(secret.to_owned()) }
    }

    fn keys(current: SecretKey, old: Vec<SecretKey>) -> Verifier {
        Verifier::new(&Keys { current: Some(current), old, public: Vec::new() }).unwrap()
    }

    #[test]
    fn a_ticket_is_good_until_it_expires_and_only_under_its_key() {
        let token = Signer::from(SECRET).sign(&claims()).unwrap();
        assert!(is_jwt(&token));
        let verifier = Verifier::new(&SECRET.into()).unwrap();
        assert_eq!(verifier.verify(&token, 99_999), Ok(claims()));
        assert_eq!(verifier.verify(&token, 100_000), Err(TokenError::Expired));
        let other = Verifier::new(&OTHER.into()).unwrap();
        assert_eq!(other.verify(&token, 0), Err(TokenError::Signature));
        assert_eq!(Verifier::new(&Keys::default()).unwrap().verify(&token, 0), Err(TokenError::NoKey));
        assert_eq!(verifier.verify("a.b.c", 0), Err(TokenError::Malformed));
    }

    #[test]
    fn a_token_without_signature_is_refused() {
        use base64::Engine as _;
        let part = |json: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(json);
        let token = format!("{}.{}.", part(r#"{"alg":"none"}"#), part(r#"{"sub":"7","exp":9999999999}"#));
        assert!(Verifier::new(&SECRET.into()).unwrap().verify(&token, 0).is_err());
    }

    #[test]
    fn a_secret_is_changed_without_sending_anybody_away() {
        let sign = |key: &SecretKey| Signer::new(key).sign(&claims()).unwrap();
        let (nameless, first, second) = (key(None, SECRET), key(Some("1"), OTHER), key(Some("2"), "third"));
        let tickets = [sign(&nameless), sign(&first), sign(&second)];
        let check = |verifier: &Verifier, good: [bool; 3]| {
            assert_eq!([0, 1, 2].map(|ticket| verifier.verify(&tickets[ticket], 0).is_ok()), good);
        };
        check(&keys(nameless.clone(), vec![]), [true, false, false]);
        check(&keys(first.clone(), vec![nameless.clone()]), [true, true, false]);
        check(&keys(second.clone(), vec![nameless, first.clone()]), [true, true, true]);
        check(&keys(second.clone(), vec![first]), [false, true, true]);
        check(&keys(second.clone(), vec![]), [false, false, true]);
        // Others who sign with the current secret need not name it; a name that is ours is never another key's.
        let by_others = sign(&key(None, "third"));
        assert!(keys(second.clone(), vec![]).verify(&by_others, 0).is_ok());
        let forged = sign(&key(Some("2"), OTHER));
        assert_eq!(keys(second, vec![key(Some("1"), OTHER)]).verify(&forged, 0), Err(TokenError::Signature));
    }

    #[test]
    fn public_keys_are_told_apart_by_their_id_and_never_taken_for_a_secret() {
        let private = EncodingKey::from_ed_pem(PRIVATE_PEM.as_bytes()).unwrap();
        let sign = |id: Option<&str>| {
            let header = Header { kid: id.map(str::to_owned), ..Header::new(Algorithm::EdDSA) };
            jsonwebtoken::encode(&header, &claims(), &private).unwrap()
        };
        let verifier = |id: Option<&str>| {
            let public = PublicKey { id: id.map(str::to_owned), pem: PUBLIC_PEM.into() };
            Verifier::new(&Keys { public: vec![public], ..Keys::from(SECRET) }).unwrap()
        };
        assert_eq!(verifier(Some("app")).verify(&sign(Some("app")), 0), Ok(claims()));
        assert_eq!(verifier(Some("app")).verify(&sign(Some("other")), 0), Err(TokenError::NoKey));
        assert_eq!(verifier(None).verify(&sign(None), 0), Ok(claims()));
        assert!(Verifier::new(&SECRET.into()).unwrap().verify(&sign(None), 0).is_err());
        // Signed by HS256 with the text of the public key as secret: the classic confusion.
        let forged = Signer::from(PUBLIC_PEM).sign(&claims()).unwrap();
        assert_eq!(verifier(None).verify(&forged, 0), Err(TokenError::Signature));
        let not_a_key = PublicKey { id: None, pem: b"no key".to_vec() };
        assert!(Verifier::new(&Keys { public: vec![not_a_key], ..Keys::default() }).is_err());
    }
}
