//! Who a client is, and which rooms its token names.

use hubbub_common::clock::UnixMs;
use hubbub_common::ids::{RoomId, UserId};
use hubbub_common::token::{Claims, LoginSession, RoomsClaim};

use super::name_to_show;

/// Which rooms a session may join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    /// Any: the token says `"*"`.
    Any,
    /// Those that the token names.
    Rooms(Box<[RoomId]>),
    /// Those in which the user has a role.
    Membership,
}

/// Who a client proved to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Who.
    pub user: UserId,
    /// The name to show.
    pub name: Box<str>,
    /// Which rooms.
    pub grant: Grant,
    /// Until when; `None` for login sessions, which the control plane ends.
    pub expires_at_ms: Option<UnixMs>,
    /// The login session, if one stands behind it.
    pub login_session: Option<Box<str>>,
}

impl From<Claims> for Identity {
    fn from(claims: Claims) -> Self {
        Self {
            user: claims.sub,
            name: name_to_show(claims.name, claims.sub),
            grant: match claims.rooms {
                None => Grant::Membership,
                Some(RoomsClaim::Any(_)) => Grant::Any,
                Some(RoomsClaim::List(rooms)) => Grant::Rooms(rooms.into()),
            },
            // A ticket is a proof for connecting; with a login session behind it, that one's end counts.
            expires_at_ms: claims.sid.is_none().then(|| claims.exp.saturating_mul(1_000)),
            login_session: claims.sid.map(Into::into),
        }
    }
}

impl From<LoginSession> for Identity {
    fn from(session: LoginSession) -> Self {
        Self {
            user: session.user,
            name: name_to_show(Some(session.name), session.user),
            grant: Grant::Membership,
            expires_at_ms: None,
            login_session: Some(session.id.into()),
        }
    }
}
