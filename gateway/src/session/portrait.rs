//! A session as another process can go on with it.
//!
//! What counts against limits of rate is left out: it begins anew.

use hubbub_common::ids::{RoomId, UserId};
use hubbub_common::token::LoginMark;
use serde::{Deserialize, Serialize};

use super::{Rare, Rarer, Session};
use crate::rate::Rate;

/// See the module's text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Portrait {
    user: UserId,
    name: Box<str>,
    /// The rooms that the token names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    granted: Option<Box<[RoomId]>>,
    membership_decides: bool,
    /// Unix seconds; 0 for never.
    expires_at_s: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    login: Option<LoginMark>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    muted: Vec<RoomId>,
}

impl Session {
    /// For another process.
    pub fn portrait(&self) -> Portrait {
        let rare = self.rare.as_deref();
        let rarer = rare.and_then(|rare| rare.rarer.as_deref());
        Portrait {
            user: self.user,
            name: self.name.clone(),
            granted: rare.and_then(|rare| rare.rooms.clone()),
            membership_decides: self.membership_decides,
            expires_at_s: self.expires_at_s,
            login: self.login,
            muted: rarer.map(|rarer| rarer.muted.clone()).unwrap_or_default(),
        }
    }
}

impl From<Portrait> for Session {
    fn from(portrait: Portrait) -> Self {
        let Portrait { user, name, granted, membership_decides, expires_at_s, login, muted } = portrait;
        let rarer = (!muted.is_empty()).then(|| Box::new(Rarer { muted, ..Rarer::default() }));
        let is_rare = granted.is_some() || rarer.is_some();
        Self {
            user,
            name,
            rare: is_rare.then(|| Box::new(Rare { rooms: granted, rarer })),
            sends: Rate::default(),
            joins: Rate::default(),
            ephemerals: Rate::default(),
            expires_at_s,
            membership_decides,
            login,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{Grant, Identity};

    #[test]
    fn a_session_goes_on_elsewhere_as_it_was() {
        let room = |n| RoomId::new(n).unwrap();
        let identity = Identity {
            user: UserId::new(7).unwrap(),
            name: "ada".into(),
            expires_at_ms: Some(1_500),
            grant: Grant::Rooms([room(1), room(2)].into()),
            login_session: Some("login".into()),
        };
        let mut session = Session::new(identity.clone());
        session.set_muted(room(2), true);
        let travelled = serde_json::to_string(&session.portrait()).unwrap();
        let again = Session::from(serde_json::from_str::<Portrait>(&travelled).unwrap());
        assert_eq!(again.portrait(), session.portrait());
        assert!(again.token_denies(room(3)) && !again.token_denies(room(1)));
        assert!(again.is_muted(room(2)) && !again.is_muted(room(1)));
        assert!(again.has_expired(2_000) && !again.has_expired(1_999));
        assert_eq!(again.login(), session.login());

        let plain = Session::new(Identity { grant: Grant::Membership, login_session: None, ..identity });
        let again = Session::from(plain.portrait());
        assert!(again.rare.is_none() && again.membership_decides());
    }
}
