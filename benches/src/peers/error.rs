//! Why there is no peer.

use thiserror::Error;

use crate::stack::StackError;

/// See the module's text.
#[derive(Debug, Error)]
pub enum PeerError {
    /// It comes from a package that is not installed.
    #[error("{0} is missing: run: make bench-setup")]
    NotInstalled(String),
    /// It is one of our examples, and not built in the profile of the running program.
    #[error(
        "{0} is not built: run, with the profile of this program: cargo build -p hubbub-benches --examples"
    )]
    NotBuilt(&'static str),
    /// It did not come up.
    #[error(transparent)]
    Stack(#[from] StackError),
}
