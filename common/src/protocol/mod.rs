//! The WebSocket protocol, version 1: what clients ask ([`command`]), what the server tells ([`event`]),
//! and how either goes wrong ([`error`], [`close`]).

pub mod close;
pub mod command;
pub mod error;
pub mod event;
mod reference;

pub use close::{ByeCode, CloseCode};
pub use command::{Command, Join, Send};
pub use error::{ErrorCode, Refusal};
pub use event::{
    Event, Joined, JoinedRoom, Limits, MemberState, MessageKind, PresenceState, Role, RoomChange, UserRef,
};
pub use reference::Ref;

/// The subprotocol that clients offer and gateways answer with.
pub const SUBPROTOCOL: &str = "hubbub.v1.json";
/// Path of the WebSocket endpoint.
pub const WEBSOCKET_PATH: &str = "/ws";
/// Cookie with an opaque session token.
pub const SESSION_COOKIE: &str = "hubbub_session";
