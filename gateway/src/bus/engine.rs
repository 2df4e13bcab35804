//! The state of the bus thread, and how it talks to the cores.
//!
//! One `RefCell` holds all state; it is never borrowed across an await, so every change is whole before
//! anything else runs. Batches for the cores gather in `out` and leave together ([`Engine::flush`]).

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hubbub_common::clock::{Monotonic, now_ms};
use hubbub_common::dedupe::Dedupe;
use hubbub_common::entry::{Origin, encode, new_origin};
use hubbub_common::ids::{EntryId, MessageId, RoomId};
use hubbub_common::shard::{Shard, Shards};
use tokio::sync::{Notify, Semaphore};

use super::backend::{Directory, Streams};
use super::catch_up::Start;
use super::counts::BusMetrics;
use super::deleted::Deleted;
use super::entered::Entrances;
use super::gap::Watch;
use super::look_up::LookUps;
use super::packer::Packer;
use super::pause::Pause;
use super::presence::{PresenceQueue, PresenceTasks};
use super::recheck::Rechecks;
use super::roles::RecentRoles;
use super::scan::{SCANS_MAX, ScanQueue};
use super::send_rates::SendRates;
use super::task::{spawn, tell_when};
use super::trace::{EntrySpan, Trace};
use super::window::Window;
use super::{Answer, Ask, Batch, BusConfig, CoreHandle, Event, Failure, Tell, Waiter};
use crate::memory::Rest;
use crate::status::Status;

/// How long an answer to a core may take before the request is refused.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Whether a shard is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// Nobody here was interested yet.
    Off,
    /// Its end is being looked up.
    Starting,
    /// The window before the start is being read; cores are told what is after `told_to`. `added` entries were
    /// ever appended up to `until`.
    CatchingUp { cursor: EntryId, until: EntryId, added: u64, told_to: EntryId },
    /// Read as it grows. `passed` entries were ever appended up to the cursor.
    Live { cursor: EntryId, passed: u64 },
}

impl Reading {
    /// Whether cores are told what an entry holds.
    pub(super) fn tells(self, entry: EntryId) -> bool {
        match self {
            Self::Off | Self::Starting => false,
            Self::CatchingUp { told_to, .. } => entry > told_to,
            Self::Live { .. } => true,
        }
    }

    pub(super) fn is_live(self) -> bool {
        matches!(self, Self::Live { .. })
    }
}

pub(super) struct ShardState {
    pub(super) reading: Reading,
    /// Every event after this was read.
    pub(super) read_from: MessageId,
    pub(super) start: Start,
    pub(super) scans: ScanQueue,
    pub(super) look_ups: LookUps,
    pub(super) packer: Packer,
    /// Of the entry that is made from what gathers in the packer.
    pub(super) gathering: Option<EntrySpan>,
    pub(super) dedupe: Dedupe,
    /// Who waits for the records of entries that this gateway appended, until they come back.
    pub(super) appended: BTreeMap<u64, Appended>,
    /// Age of the oldest entry read since the last tick.
    pub(super) lag_ms: u64,
    /// By core: whether it had a session in a room of this shard.
    pub(super) interested: Vec<bool>,
}

impl ShardState {
    /// Whether joins can be answered.
    pub(super) fn is_ready(&self) -> bool {
        self.reading.is_live() && self.start.settled
    }

    /// Since when every nonce is remembered, Unix milliseconds.
    pub(super) fn remembered_from_ms(&self, window_ms: u64) -> u64 {
        let cursor = match self.reading {
            Reading::CatchingUp { cursor, .. } | Reading::Live { cursor, .. } => cursor,
            Reading::Off | Reading::Starting => EntryId::MAX,
        };
        cursor.ms.saturating_sub(window_ms).max(self.read_from.ts() + 1)
    }
}

pub(super) struct Appended {
    pub(super) at_ms: u64,
    pub(super) waiters: Vec<Option<Waiter>>,
    /// Ends when the entry comes back.
    pub(super) span: Option<EntrySpan>,
}

pub(super) struct State {
    pub(super) shards: Vec<ShardState>,
    pub(super) window: Window,
    pub(super) presence: PresenceQueue,
    pub(super) roles: RecentRoles,
    pub(super) deleted: Deleted,
    pub(super) rechecks: Rechecks,
    /// Of the control stream.
    control: ShardState,
    /// Who waits to hear who is online, by room.
    pub(super) asked_present: HashMap<RoomId, Vec<Waiter>>,
    pub(super) send_rates: SendRates,
    out: Vec<Batch>,
}

impl State {
    /// The fate of an entry is unknown, and stays so.
    pub(super) fn fail_entry(&mut self, shard: Shard, seq: u64, failure: Failure) {
        let appended = self.shard(shard).and_then(|of_shard| of_shard.appended.remove(&seq));
        let Some(Appended { waiters, span, .. }) = appended else { return };
        if let Some(span) = span {
            span.fail();
        }
        self.fail(&waiters, failure);
    }

    pub(super) fn shard(&mut self, shard: Shard) -> Option<&mut ShardState> {
        if shard == Shard::CONTROL { Some(&mut self.control) } else { self.shards.get_mut(shard.index()) }
    }

    pub(super) fn reading(&self, shard: Shard) -> Option<Reading> {
        if shard == Shard::CONTROL {
            return Some(self.control.reading);
        }
        self.shards.get(shard.index()).map(|of_shard| of_shard.reading)
    }

    pub(super) fn answer(&mut self, waiter: Waiter, answer: Answer) {
        if let Some(out) = self.out.get_mut(usize::from(waiter.core)) {
            out.tells.push(Tell::Answer(waiter, answer));
        }
    }

    pub(super) fn fail(&mut self, waiters: &[Option<Waiter>], failure: Failure) {
        for waiter in waiters.iter().flatten() {
            self.answer(*waiter, Answer::Failed(failure));
        }
    }

    /// Puts an event into the batch of every core with sessions in its shard.
    pub(super) fn deliver(&mut self, shard: Shard, event: &Event) {
        for out in self.outs_of(shard) {
            out.event_bytes += event.frame.len();
            out.tells.push(Tell::Event(event.clone()));
        }
    }

    /// The same with something else.
    pub(super) fn tell_interested(&mut self, shard: Shard, tell: impl Fn() -> Tell) {
        self.outs_of(shard).for_each(|out| out.tells.push(tell()));
    }

    fn outs_of(&mut self, shard: Shard) -> impl Iterator<Item = &mut Batch> {
        let interested = self.shards.get(shard.index()).map(|of_shard| of_shard.interested.iter());
        let outs = self.out.iter_mut().zip(interested.into_iter().flatten());
        outs.filter_map(|(out, interested)| interested.then_some(out))
    }

    pub(super) fn tell_all(&mut self, tell: impl Fn() -> Tell) {
        self.out.iter_mut().for_each(|out| out.tells.push(tell()));
    }
}

/// See the module's text.
pub(super) struct Engine<B> {
    pub(super) backend: B,
    pub(super) shards: Shards,
    pub(super) resume_window_ms: u64,
    pub(super) resume_scan_bytes_max: usize,
    /// How long an entry may take to come back from its stream.
    comes_back_max_ms: u64,
    /// Whether nobody else trims the streams.
    trims: bool,
    pub(super) origin: Origin,
    pub(super) state: RefCell<State>,
    pub(super) metrics: BusMetrics,
    pub(super) trace: Trace,
    pub(super) clock: Monotonic,
    /// Wakes joins that wait for a shard to go live, and the reader when there are more shards.
    pub(super) shards_changed: Notify,
    /// Wakes joins that wait for the reader.
    pub(super) read_on: Notify,
    pub(super) watch: Watch,
    pub(super) scan_permits: Semaphore,
    pub(super) presence_tasks: PresenceTasks,
    pub(super) pause: Pause,
    /// Rings when who is banned is to be read again.
    pub(super) bans_changed: Notify,
    pub(super) entrances: Entrances,
    said_seq: Cell<u64>,
    /// Changes of presence, which come with joins.
    come_and_gone: Cell<u64>,
    rest: Rest,
    cores: Vec<CoreHandle>,
    pub(super) status: Arc<Status>,
    pub(super) gateway_timeout: Duration,
}

impl<B: Streams + Directory> Engine<B> {
    pub(super) fn new(
        backend: B,
        config: &BusConfig,
        cores: Vec<CoreHandle>,
        status: Arc<Status>,
    ) -> Rc<Self> {
        let shards = config.shards;
        let resume_window_ms = u64::try_from(config.resume_window.as_millis()).unwrap_or(u64::MAX);
        let shard_state = || ShardState {
            reading: Reading::Off,
            read_from: MessageId::ZERO,
            start: Start::default(),
            scans: ScanQueue::default(),
            look_ups: LookUps::default(),
            packer: Packer::default(),
            gathering: None,
            dedupe: Dedupe::new(resume_window_ms),
            appended: BTreeMap::new(),
            lag_ms: 0,
            interested: vec![false; cores.len()],
        };
        Rc::new(Self {
            backend,
            shards,
            resume_window_ms,
            resume_scan_bytes_max: config.resume_scan_bytes_max,
            comes_back_max_ms: u64::try_from(config.comes_back_max.as_millis()).unwrap_or(u64::MAX),
            trims: config.trims,
            origin: new_origin(),
            state: RefCell::new(State {
                shards: shards.all().map(|_| shard_state()).collect(),
                window: Window::new(config.resume_bytes_max),
                presence: PresenceQueue::default(),
                asked_present: HashMap::new(),
                send_rates: SendRates::new(config.sends_per_second),
                roles: RecentRoles::default(),
                deleted: Deleted::default(),
                rechecks: Rechecks::default(),
                control: shard_state(),
                out: cores.iter().map(|_| Batch::default()).collect(),
            }),
            metrics: BusMetrics::new(shards),
            trace: Trace::of_process(),
            clock: Monotonic::start(),
            shards_changed: Notify::new(),
            read_on: Notify::new(),
            watch: Watch::new(),
            scan_permits: Semaphore::new(SCANS_MAX),
            presence_tasks: PresenceTasks::new(config.gateway_timeout),
            pause: Pause::default(),
            bans_changed: Notify::new(),
            entrances: Entrances::default(),
            said_seq: Cell::new(0),
            come_and_gone: Cell::new(0),
            rest: Rest::default(),
            cores,
            status,
            gateway_timeout: config.gateway_timeout,
        })
    }

    /// Handles one question; what needs the backend goes on in a task of its own.
    pub(super) fn handle(self: &Rc<Self>, ask: Ask) {
        match ask {
            Ask::Publish { shard, record, nonce, sender, waiter } => {
                self.publish(shard, record, nonce, sender, waiter);
            }
            Ask::Change { change, waiter } => self.change(change, waiter),
            Ask::Join { rooms, member, waiter } => self.join(rooms, member, waiter),
            Ask::Say { shard, record } => self.say(shard, &[record]),
            Ask::Login { hash, waiter } => {
                self.look_up(waiter, |engine| async move {
                    engine.backend.login_session(&hash).await.map(Answer::Login)
                });
            }
            Ask::Present { room, waiter } => self.present(room, waiter),
            Ask::PresenceChanged { room, user, core, online } => {
                self.come_and_gone.set(self.come_and_gone.get() + 1);
                self.state.borrow_mut().presence.push(room, user, core, online);
            }
            Ask::PresenceAll { generation, core, present } => {
                self.state.borrow_mut().presence.take_all(generation, core, present);
            }
            Ask::Recheck(claims) => self.recheck(claims),
            Ask::PresenceUnsure => self.presence_tasks.is_unsure(),
            Ask::Leave(done) => tell_when(done, Rc::clone(self).leave()),
            Ask::Freeze(done) => tell_when(done, Rc::clone(self).freeze()),
            Ask::Thaw => self.thaw(),
            Ask::ReadAll(done) => tell_when(done, Rc::clone(self).read_all()),
            Ask::SpreadPresence(done) => {
                let engine = Rc::clone(self);
                tell_when(done, async move { engine.spread_all().await });
            }
        }
    }

    /// Tells ephemeral records to every gateway; nobody hears of a failure, by the nature of the thing.
    pub(super) fn say(self: &Rc<Self>, shard: Shard, records: &[Vec<u8>]) {
        if !self.is_up() {
            return;
        }
        self.said_seq.set(self.said_seq.get() + 1);
        let entry = encode(self.origin, self.said_seq.get(), records).into();
        let engine = Rc::clone(self);
        spawn(async move {
            if let Err(error) = engine.backend.say(shard, entry).await {
                tracing::debug!(%error, "an ephemeral event was lost");
            }
        });
    }

    /// Answers from the backend, or with a failure when that takes too long.
    fn look_up<F, L>(self: &Rc<Self>, waiter: Waiter, look_up: L)
    where
        F: Future<Output = Result<Answer, super::backend::BusError>> + 'static,
        L: FnOnce(Rc<Self>) -> F,
    {
        let engine = Rc::clone(self);
        let answer = look_up(Rc::clone(self));
        spawn(async move {
            let answer = match tokio::time::timeout(ANSWER_MAX, answer).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(error)) => {
                    tracing::debug!(%error, "a look-up failed");
                    Answer::Failed(Failure::Unavailable)
                }
                Err(_) => Answer::Failed(Failure::Unavailable),
            };
            engine.state.borrow_mut().answer(waiter, answer);
            engine.flush();
        });
    }

    /// Hands the gathered batches to the cores. A batch that a full inbox refuses stays for the next flush.
    pub(super) fn flush(&self) {
        let mut state = self.state.borrow_mut();
        for (core, out) in self.cores.iter().zip(&mut state.out) {
            if !out.tells.is_empty()
                && let Err(refused) = core.tell(std::mem::take(out))
            {
                *out = refused;
            }
        }
    }

    pub(super) fn core_count(&self) -> u16 {
        u16::try_from(self.cores.len()).unwrap_or(u16::MAX)
    }

    /// Whether a core is so far behind that reading has to wait for it.
    pub(super) fn is_congested(&self) -> bool {
        self.state.borrow().out.iter().any(|out| !out.tells.is_empty())
    }

    /// Notes whether the backend answers; says so once for each change.
    pub(super) fn set_up(&self, up: Result<(), &super::backend::BusError>) {
        if self.status.set_bus_up(up.is_ok()) != up.is_ok() {
            match up {
                Ok(()) => tracing::info!("the bus answers again"),
                Err(error) => tracing::error!(%error, "the bus is away: sends are refused until it is back"),
            }
        }
        self.metrics.up.set(if up.is_ok() { 1.0 } else { 0.0 });
    }

    pub(super) fn is_up(&self) -> bool {
        self.status.is_bus_up()
    }

    /// Once a second: lets go of what is too old.
    pub(super) fn tick(self: &Rc<Self>) {
        self.status.bus_lives();
        self.rest.look(self.come_and_gone.get(), || {});
        let now_ms = now_ms();
        if self.trims {
            self.trim(now_ms);
        }
        let mut state = self.state.borrow_mut();
        state.window.evict_before(MessageId::floor_of_ms(now_ms.saturating_sub(self.resume_window_ms)));
        // Streams are trimmed behind two windows.
        state.deleted.forget_before(MessageId::floor_of_ms(now_ms.saturating_sub(2 * self.resume_window_ms)));
        self.metrics.window_bytes.set(approximate(state.window.bytes()));
        self.metrics.window_frames.set(approximate(state.window.frames()));
        state.roles.forget_before(self.clock.elapsed().saturating_sub(2 * ANSWER_MAX));
        let uptime_ms = self.clock.elapsed_ms();
        state.send_rates.sweep(uptime_ms);
        let waited_too_long =
            |appended: &Appended| uptime_ms.saturating_sub(appended.at_ms) > self.comes_back_max_ms;
        self.tell_lag(&mut state);
        let mut given_up = Vec::new();
        for (shard, of_shard) in self.shards.all().zip(&state.shards) {
            let late = of_shard.appended.iter().filter(|(_, appended)| waited_too_long(appended));
            given_up.extend(late.map(|(seq, _)| (shard, *seq)));
        }
        self.metrics.unconfirmed.increment(given_up.len() as u64);
        for (shard, seq) in given_up {
            state.fail_entry(shard, seq, Failure::Unknown);
        }
    }

    /// Trims the streams that this gateway reads; it writes to no others.
    fn trim(self: &Rc<Self>, now_ms: u64) {
        let state = self.state.borrow();
        let is_live = |shard: &Shard| state.reading(*shard).is_some_and(Reading::is_live);
        let shards: Vec<Shard> = self.shards.all().filter(is_live).collect();
        if shards.is_empty() || !self.is_up() {
            return;
        }
        // A gateway that starts needs the window before the window too, to know what is a repeat.
        let before = EntryId { ms: now_ms.saturating_sub(2 * self.resume_window_ms), seq: 0 };
        let engine = Rc::clone(self);
        spawn(async move {
            if let Err(error) = engine.backend.trim(&shards, before).await {
                tracing::debug!(%error, "the streams were not trimmed");
            }
        });
    }
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
fn approximate(count: usize) -> f64 {
    count as f64
}
