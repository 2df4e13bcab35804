//! The queues between cores and the bus thread.
//!
//! Both are bounded. A core whose question finds the queue full answers `unavailable` itself. A core whose
//! inbox is full, by batches or by the bytes of their events, makes the bus stop reading the streams until it catches
//! up: a cursor that stands still costs nothing and loses nothing. Waking costs a system call, so a flag makes sure that of many wake-ups only the
//! first pays; the sleeper clears it before it drains.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crossbeam_queue::ArrayQueue;
use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::Notify;

use super::{Ask, Batch};

/// Questions of all cores that may wait for the bus.
const ASKS_MAX: usize = 65_536;
/// Batches that may wait for a core.
const INBOX_BATCHES_MAX: usize = 1_024;
/// Bytes of events that wait for a core and make the bus wait too; the last batch may go over it.
const INBOX_BYTES_MAX: usize = 64 << 20;

/// A core's way to the bus.
#[derive(Debug, Clone)]
pub struct BusHandle {
    asks: Arc<ArrayQueue<Ask>>,
    wake: Arc<Notify>,
}

impl BusHandle {
    /// Puts a question into the queue; gives it back when that is full. The bus looks when it is woken.
    pub fn ask(&self, ask: Ask) -> Result<(), Ask> {
        self.asks.push(ask)
    }

    /// Makes the bus look at its queue.
    pub fn wake(&self) {
        if !self.asks.is_empty() {
            self.wake.notify_one();
        }
    }

    pub(super) fn take(&self) -> Option<Ask> {
        self.asks.pop()
    }

    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }
}

#[derive(Debug)]
struct Mailbox {
    batches: ArrayQueue<Batch>,
    bytes: AtomicUsize,
    bytes_max: usize,
    awake: AtomicBool,
    eventfd: OwnedFd,
}

/// The bus's way to a core.
#[derive(Debug, Clone)]
pub struct CoreHandle(Arc<Mailbox>);

impl CoreHandle {
    /// Hands over a batch; gives it back when the core is too far behind.
    pub fn tell(&self, batch: Batch) -> Result<(), Batch> {
        if self.0.bytes.load(Ordering::Relaxed) >= self.0.bytes_max {
            return Err(batch);
        }
        // Counted first: it may be taken before `push` returns.
        let bytes = batch.event_bytes;
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Err(batch) = self.0.batches.push(batch) {
            self.0.bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(batch);
        }
        if !self.0.awake.swap(true, Ordering::AcqRel) {
            // An eventfd refuses only when its counter would pass 2^64 - 2.
            let _ = rustix::io::write(&self.0.eventfd, &1u64.to_ne_bytes());
        }
        Ok(())
    }
}

/// A core's end of its mailbox.
#[derive(Debug)]
pub struct Inbox(Arc<Mailbox>);

impl Inbox {
    /// Becomes readable when there is something to take.
    pub fn eventfd(&self) -> rustix::io::Result<OwnedFd> {
        rustix::io::dup(&self.0.eventfd)
    }

    /// Call after a wake-up and before [`Inbox::take`].
    pub fn about_to_drain(&self) {
        self.0.awake.store(false, Ordering::Release);
        // Pairs with the swap in `tell`: what was pushed before the flag was seen set is visible below.
        std::sync::atomic::fence(Ordering::SeqCst);
    }

    /// Batches that wait.
    pub fn depth(&self) -> usize {
        self.0.batches.len()
    }

    /// The next batch.
    pub fn take(&self) -> Option<Batch> {
        let batch = self.0.batches.pop()?;
        self.0.bytes.fetch_sub(batch.event_bytes, Ordering::Relaxed);
        Some(batch)
    }
}

/// Every queue of a gateway, made before its threads.
#[derive(Debug)]
pub struct Links {
    /// To the bus.
    pub bus: BusHandle,
    /// To each core.
    pub cores: Vec<CoreHandle>,
    /// Of each core, to be moved to its thread.
    pub inboxes: Vec<Inbox>,
}

impl Links {
    /// For this many cores.
    pub fn new(cores: usize) -> rustix::io::Result<Self> {
        Self::bounded(cores, ASKS_MAX, INBOX_BATCHES_MAX, INBOX_BYTES_MAX)
    }

    /// With bounds of its own for the questions that wait, and for the batches and bytes that wait for each core.
    pub(crate) fn bounded(
        cores: usize,
        asks_max: usize,
        batches_max: usize,
        bytes_max: usize,
    ) -> rustix::io::Result<Self> {
        let bus = BusHandle { asks: Arc::new(ArrayQueue::new(asks_max)), wake: Arc::new(Notify::new()) };
        let mailboxes: Vec<_> = (0..cores)
            .map(|_| {
                Ok(Arc::new(Mailbox {
                    batches: ArrayQueue::new(batches_max),
                    bytes: AtomicUsize::new(0),
                    bytes_max,
                    awake: AtomicBool::new(false),
                    eventfd: eventfd(0, EventfdFlags::CLOEXEC)?,
                }))
            })
            .collect::<rustix::io::Result<_>>()?;
        Ok(Self {
            bus,
            cores: mailboxes.iter().map(|mailbox| CoreHandle(Arc::clone(mailbox))).collect(),
            inboxes: mailboxes.into_iter().map(Inbox).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inbox_is_bounded_by_batches_and_by_bytes() {
        let batch = |event_bytes| Batch { tells: Vec::new(), event_bytes };
        let links = Links::bounded(1, 1, 2, 100).unwrap();
        let (core, inbox) = (&links.cores[0], &links.inboxes[0]);
        // A batch may be larger than the bound, and nothing passes behind it.
        core.tell(batch(1_000)).unwrap();
        assert_eq!(core.tell(batch(1)).unwrap_err().event_bytes, 1);
        assert_eq!(inbox.take().unwrap().event_bytes, 1_000);
        core.tell(batch(1)).unwrap();
        core.tell(batch(1)).unwrap();
        assert!(core.tell(batch(1)).is_err());
        inbox.take().unwrap();
        // What was refused counts for nothing.
        core.tell(batch(98)).unwrap();
        inbox.take().unwrap();
        core.tell(batch(1)).unwrap();
    }
}
