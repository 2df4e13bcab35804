//! Which sessions of a core are attached to which rooms.
//!
//! Pure. A room knows its members and a connection its rooms; each side holds the other's place, so that
//! joining and leaving cost the same however large either is. Connections are named by their slot in the
//! core's table.

mod registry;

pub use registry::{Change, Member, Registry};
