//! The predecessor's side.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use hubbub_common::clock::Monotonic;
use hubbub_common::ids::EntryId;
use hubbub_common::shard::Shard;
use tokio::sync::oneshot;

use super::channel::DESCRIPTORS_MAX;
use super::{Channel, Failed, Message, READY_MAX, VERSION, WORD_MAX, address};
use crate::bus::{Ask, Batch, BusHandle, CoreHandle, Tell};

/// How long a core may take to be calm, or the bus to stand still.
const CALM_MAX: Duration = Duration::from_secs(15);
/// How long the address may take to be free: a predecessor's is, when that has ended.
const BIND_MAX: Duration = Duration::from_secs(15);
/// How long a successor may need this process after it has everything.
pub const SERVING_MAX: Duration = Duration::from_secs(30);
/// How often somebody is told who is behind.
const TELL_PAUSE: Duration = Duration::from_millis(1);
/// How often it is tried.
const BIND_PAUSE: Duration = Duration::from_millis(20);

/// What a gateway can hand over.
pub struct Giver {
    /// Where it serves clients.
    pub listen: SocketAddr,
    /// The internal listener.
    pub admin: OwnedFd,
    /// How many shards there are.
    pub shards: u16,
    /// What systemd gave this process.
    pub credentials: BTreeMap<String, String>,
    /// The cores.
    pub cores: Vec<CoreHandle>,
    /// The bus.
    pub bus: BusHandle,
    /// Set while a hand-over is under way.
    pub is_busy: Arc<AtomicBool>,
}

/// Everything belongs to another process now.
#[derive(Debug)]
pub struct Given {
    /// Which one.
    pub pid: u32,
    /// Answered when it does not depend on this one any more.
    pub serving: oneshot::Receiver<()>,
}

impl Giver {
    /// Waits for a successor, on a thread of its own; ends when one has everything.
    pub fn wait(self, given: oneshot::Sender<Given>) -> std::io::Result<()> {
        std::thread::Builder::new().name("hand-over".to_owned()).spawn(move || {
            let listener = match self.bind() {
                Ok(listener) => listener,
                Err(error) => {
                    tracing::warn!(%error, "no other process can take this gateway's clients over");
                    return;
                }
            };
            loop {
                match listener
                    .accept()
                    .map_err(Failed::from)
                    .and_then(|(socket, _)| self.give(Channel::new(socket)?))
                {
                    Ok(channel) => {
                        drop(listener);
                        return hear_to_the_end(&channel, given);
                    }
                    // Somebody who only looked whether this one is there.
                    Err(Failed::Channel(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => {}
                    Err(error) => tracing::error!(%error, "nothing was handed over: this gateway goes on"),
                }
                self.is_busy.store(false, Ordering::Release);
            }
        })?;
        Ok(())
    }

    fn bind(&self) -> std::io::Result<UnixListener> {
        let (address, clock) = (address(self.listen)?, Monotonic::start());
        loop {
            match UnixListener::bind_addr(&address) {
                Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && clock.elapsed() < BIND_MAX => {
                    std::thread::park_timeout(BIND_PAUSE);
                }
                bound => return bound,
            }
        }
    }

    fn give(&self, channel: Channel) -> Result<Channel, Failed> {
        let Message::Hello { version, build } = channel.receive()?.message else {
            return Err(Failed::Unexpected("no greeting"));
        };
        let own = env!("CARGO_PKG_VERSION");
        if version != VERSION {
            let why = format!("hubbub-gateway {own} can't hand over to {build}: restart it");
            return refuse(&channel, why);
        }
        let credentials = self.credentials.clone();
        channel.say(&Message::Offer { build: own.to_owned(), credentials })?;
        channel.wait_at_most(READY_MAX)?;
        let Message::Ready { shards } = channel.receive()?.message else {
            return Err(Failed::Unexpected("not ready"));
        };
        channel.wait_at_most(WORD_MAX)?;
        if shards != self.shards {
            return refuse(&channel, format!("this gateway has {} shards, not {shards}", self.shards));
        }
        self.is_busy.store(true, Ordering::Release);
        let Err(error) = self.give_all(&channel) else { return Ok(channel) };
        self.thaw();
        // It may have gone.
        let _ = channel.say(&Message::Refused { why: error.to_string() });
        Err(Failed::Here(error.to_string()))
    }

    fn give_all(&self, channel: &Channel) -> Result<(), Failed> {
        let began = Monotonic::start();
        let mut descriptors = self.freeze_cores()?;
        let told_to = self.freeze_bus()?;
        descriptors.push(self.admin.try_clone()?);
        for some in descriptors.chunks(DESCRIPTORS_MAX) {
            let some: Vec<_> = some.iter().map(OwnedFd::as_fd).collect();
            channel.send(&Message::Listeners, &[], &some)?;
        }
        let mut connections = 0;
        for core in &self.cores {
            let (given, outcome) = mpsc::channel();
            tell(core, Tell::Give(channel.try_clone()?, given))?;
            let outcome = outcome.recv().map_err(|_| Failed::Here("a core has gone".to_owned()))?;
            connections += outcome?;
        }
        let told_to = told_to.iter().map(|(shard, entry)| (shard.number(), entry.to_string())).collect();
        channel.say(&Message::End { told_to, connections })?;
        let Message::Received = channel.receive()?.message else {
            return Err(Failed::Unexpected("not received"));
        };
        let (pid, ms) = (channel.peer()?, began.elapsed().as_millis());
        // Nothing may fail behind this.
        channel.say(&Message::Yours)?;
        tracing::info!(connections, ms, pid, "handed over to another process");
        Ok(())
    }

    /// Gives the cores' listeners.
    fn freeze_cores(&self) -> Result<Vec<OwnedFd>, Failed> {
        let mut calm = Vec::new();
        for core in &self.cores {
            let (told, waiting) = mpsc::channel();
            tell(core, Tell::Freeze(told))?;
            calm.push(waiting);
        }
        let mut listeners = Vec::new();
        for waiting in calm {
            let outcome = waiting
                .recv_timeout(CALM_MAX)
                .map_err(|_| Failed::Here("a core does not answer".to_owned()))?;
            listeners.extend(outcome.map_err(Failed::Here)?);
        }
        Ok(listeners)
    }

    fn freeze_bus(&self) -> Result<Vec<(Shard, EntryId)>, Failed> {
        let (told, frozen) = oneshot::channel();
        self.ask(Ask::Freeze(told))?;
        let frozen = frozen.blocking_recv().map_err(|_| Failed::Here("the bus has gone".to_owned()))?;
        frozen.map_err(Failed::Here)
    }

    fn thaw(&self) {
        let are_told = self.cores.iter().all(|core| tell(core, Tell::Thaw).is_ok());
        if !are_told || self.ask(Ask::Thaw).is_err() {
            tracing::error!("a part of this gateway can't be told to go on");
            std::process::exit(crate::status::EXIT_BUG);
        }
    }

    fn ask(&self, mut ask: Ask) -> Result<(), Failed> {
        let clock = Monotonic::start();
        while let Err(refused) = self.bus.ask(ask) {
            if clock.elapsed() >= CALM_MAX {
                return Err(Failed::Here("the bus is far behind".to_owned()));
            }
            ask = refused;
            std::thread::park_timeout(TELL_PAUSE);
        }
        self.bus.wake();
        Ok(())
    }
}

fn refuse(channel: &Channel, why: String) -> Result<Channel, Failed> {
    channel.say(&Message::Refused { why: why.clone() })?;
    Err(Failed::Refused(why))
}

/// A full inbox is no failure: the core gets to it.
fn tell(core: &CoreHandle, tell: Tell) -> Result<(), Failed> {
    let (clock, mut batch) = (Monotonic::start(), Batch::from(tell));
    while let Err(refused) = core.tell(batch) {
        if clock.elapsed() >= CALM_MAX {
            return Err(Failed::Here("a core is far behind".to_owned()));
        }
        batch = refused;
        std::thread::park_timeout(TELL_PAUSE);
    }
    Ok(())
}

fn hear_to_the_end(channel: &Channel, given: oneshot::Sender<Given>) {
    let (done, serving) = oneshot::channel();
    let pid = channel.peer().unwrap_or_default();
    let _ = given.send(Given { pid, serving });
    // Whatever it says, or that it has ended, is the end.
    let _ = channel.receive();
    let _ = done.send(());
}
