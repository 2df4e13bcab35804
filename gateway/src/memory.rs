//! Giving memory back. A storm of clients that come or go leaves pages behind that the allocator would keep for
//! the next one; a thread that has come to rest after one hands them back, so that memory is what the connections
//! need and not what their handshakes needed.

use std::cell::Cell;

/// Connections that come or go before it is worth looking through the heap.
const MANY: u64 = 512;

/// Notices that a thread has come to rest.
#[derive(Debug, Default)]
pub(crate) struct Rest {
    last: Cell<u64>,
    given_back_at: Cell<u64>,
}

impl Rest {
    /// Called at times with a count of what makes and frees much memory. When it rose by many and then stood still,
    /// `let_go` frees what the thread keeps for later, and the allocator gives back what is free.
    pub(crate) fn look(&self, count: u64, let_go: impl FnOnce()) {
        let at_rest = count == self.last.replace(count);
        if at_rest && count >= self.given_back_at.get() + MANY {
            self.given_back_at.set(count);
            let_go();
            give_back();
        }
    }
}

/// `mi_option_purge_delay` in mimalloc's `mimalloc.h` (it has no name in the bindings).
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
/// Milliseconds after which free pages go back.
const PURGE_DELAY_MS: std::ffi::c_long = 10;

/// Call once, before other threads are started.
#[expect(unsafe_code, reason = "the allocator's own function has no safe wrapper")]
pub fn keep_little() {
    // SAFETY: it sets a number that is read at each purge.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, PURGE_DELAY_MS) }
}

#[expect(unsafe_code, reason = "the allocator's own function has no safe wrapper")]
fn give_back() {
    // SAFETY: it may be called at any time from any thread; `true` means all that is free, at once.
    unsafe { libmimalloc_sys::mi_collect(true) }
}
