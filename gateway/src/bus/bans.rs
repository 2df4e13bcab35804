//! Who is banned: nobody gets in with a token in their name, whoever signed it and for however long.
//!
//! The whole list is kept, because a token must not need a look-up. It is read at the start, when a notice says that it has
//! changed, and from time to time in case a notice was missed.

use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hubbub_common::ids::UserId;

use super::Tell;
use super::backend::{Directory, Streams};
use super::engine::Engine;

/// How often it is read without a reason.
const EVERY: Duration = Duration::from_secs(30);
/// The same while nobody can say who is banned.
const RETRY: Duration = Duration::from_secs(2);

impl<B: Streams + Directory> Engine<B> {
    /// Keeps the cores informed, for ever.
    pub(super) async fn keep_bans(self: Rc<Self>) {
        let mut known: Arc<HashSet<UserId>> = Arc::default();
        loop {
            let pause = match self.backend.banned().await {
                Ok(Some(banned)) => {
                    let banned: HashSet<UserId> = banned.into_iter().collect();
                    if *known != banned {
                        known = Arc::new(banned);
                        self.state.borrow_mut().tell_all(|| Tell::Banned(Arc::clone(&known)));
                        self.flush();
                    }
                    EVERY
                }
                // A store that lost its data knows nothing: whoever was banned stays so.
                Ok(None) => RETRY,
                Err(error) => {
                    tracing::debug!(%error, "nobody can say who is banned");
                    RETRY
                }
            };
            let _ = tokio::time::timeout(pause, self.bans_changed.notified()).await;
        }
    }
}
