//! The successor's side.

use std::collections::{BTreeMap, HashMap};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use hubbub_common::clock::Monotonic;
use hubbub_common::ids::EntryId;
use hubbub_common::shard::Shard;
use tokio::sync::oneshot;

use super::channel::Received;
use super::moved::unpack;
use super::{Arrival, Channel, Failed, Message, VERSION, address};
use crate::bus::{Adoption, Ask, BusHandle, CoreHandle, Tell};

/// How long reading the streams may take.
const READ_ALL_MAX: Duration = Duration::from_mins(2);
/// How long it may take until every client is back in its rooms.
const SETTLED_MAX: Duration = Duration::from_secs(20);
/// How long other gateways may take to see who is online here.
const SPREAD_MAX: Duration = Duration::from_secs(2);

/// The process that has everything.
pub struct Predecessor {
    channel: Channel,
    /// Of its program.
    pub build: String,
    /// What systemd gave it.
    pub credentials: BTreeMap<String, String>,
}

/// What it had.
struct Belongings {
    /// For clients, and behind them the internal one.
    listeners: Vec<OwnedFd>,
    /// By the core that had them.
    arrivals: Vec<(u16, Arrival)>,
    told_to: HashMap<Shard, EntryId>,
}

impl Predecessor {
    /// Asks the gateway that listens on this address.
    pub fn knock(listen: SocketAddr) -> Result<Self, Failed> {
        let socket = UnixStream::connect_addr(&address(listen)?).map_err(|error| {
            Failed::Here(format!("no gateway on {listen} can be asked to hand over ({error})"))
        })?;
        let channel = Channel::new(socket)?;
        channel.say(&Message::Hello { version: VERSION, build: env!("CARGO_PKG_VERSION").to_owned() })?;
        let answer = channel.receive()?.message;
        if let Message::Refused { why } = answer {
            return Err(Failed::Refused(why));
        }
        let Message::Offer { build, credentials } = answer else {
            return Err(Failed::Unexpected("neither yes nor no"));
        };
        Ok(Self { channel, build, credentials })
    }

    /// Takes over when the bus has read the streams; the cores work already. Gives the internal listener, which has to be at
    /// `admin` where that is taken. An error leaves everything to the other process.
    pub async fn take_over(
        self,
        bus: &BusHandle,
        cores: &[CoreHandle],
        shards: u16,
        admin: Option<SocketAddr>,
    ) -> Result<Option<TcpListener>, Failed> {
        ask(bus, READ_ALL_MAX, Ask::ReadAll).await.ok_or(Failed::Unexpected("Redis gives no streams"))?;
        let belongings = self.collect(shards)?;
        if let Some(address) = admin
            && belongings.admin_address() != Some(address)
        {
            let problem = format!("HUBBUB_ADMIN_LISTEN {address}: another process listens there");
            return Err(Failed::Here(problem));
        }
        self.own()?;
        let (connections, cores_count) = (belongings.arrivals.len(), cores.len());
        let (settled, all_settled) = mpsc::channel();
        let admin = belongings.share_out(cores, &settled);
        let clock = Monotonic::start();
        let all_settled = tokio::task::spawn_blocking(move || {
            let is_settled =
                |_| all_settled.recv_timeout(SETTLED_MAX.saturating_sub(clock.elapsed())).is_ok();
            (0..cores_count).all(is_settled)
        });
        if !all_settled.await.unwrap_or(false) {
            tracing::warn!("Redis is slow: some clients are not back in their rooms yet");
        }
        // Users are online here before they leave there.
        let _ = ask(bus, SPREAD_MAX, Ask::SpreadPresence).await;
        // It sees the end of the channel as well.
        let _ = self.channel.say(&Message::Serving);
        tracing::info!(connections, "taken over");
        Ok(admin)
    }

    /// Says that this process could serve, and takes what comes.
    fn collect(&self, shards: u16) -> Result<Belongings, Failed> {
        self.channel.say(&Message::Ready { shards })?;
        // It waits for its clients' answers first.
        let (mut listeners, mut arrivals) = (Vec::new(), Vec::new());
        loop {
            match self.channel.receive()? {
                Received { message: Message::Refused { why }, .. } => return Err(Failed::Refused(why)),
                Received { message: Message::Listeners, descriptors, .. } => listeners.extend(descriptors),
                Received { message: Message::Connections { core, moved }, bytes, descriptors } => {
                    if moved.len() != descriptors.len() {
                        return Err(Failed::Unexpected("not a socket for each connection"));
                    }
                    let mut bytes = bytes.as_slice();
                    for (moved, socket) in moved.into_iter().zip(descriptors) {
                        let waiting = unpack(&moved.cuts, &mut bytes);
                        let waiting = waiting.ok_or(Failed::Unexpected("too few bytes"))?;
                        arrivals.push((core, Arrival { socket, moved, waiting }));
                    }
                }
                Received { message: Message::End { told_to, connections }, .. } => {
                    if arrivals.len() != connections {
                        return Err(Failed::Unexpected("another number of connections"));
                    }
                    let mut entries = HashMap::new();
                    for (shard, entry) in told_to {
                        let entry = entry.parse().map_err(|_| Failed::Unexpected("no entry of a stream"))?;
                        entries.insert(Shard::new(shard), entry);
                    }
                    return Ok(Belongings { listeners, arrivals, told_to: entries });
                }
                _ => return Err(Failed::Unexpected("no connections")),
            }
        }
    }

    /// Says that all of it has come. Where this returns well, it belongs to this process, and the other one touches
    /// nothing any more.
    fn own(&self) -> Result<(), Failed> {
        self.channel.say(&Message::Received)?;
        let answer = self.channel.receive()?.message;
        if let Message::Refused { why } = answer {
            return Err(Failed::Refused(why));
        }
        let Message::Yours = answer else { return Err(Failed::Unexpected("not mine")) };
        Ok(())
    }
}

impl Belongings {
    /// Where the internal listener is.
    fn admin_address(&self) -> Option<SocketAddr> {
        let admin = self.listeners.last()?.try_clone().ok()?;
        TcpListener::from(admin).local_addr().ok()
    }

    /// Shares everything out among cores, each of which answers `settled` once. Gives the internal listener.
    fn share_out(mut self, cores: &[CoreHandle], settled: &mpsc::Sender<()>) -> Option<TcpListener> {
        let admin = self.listeners.pop().map(TcpListener::from);
        let told_to = Arc::new(self.told_to);
        let adoption = |_| {
            let (told_to, settled) = (Arc::clone(&told_to), settled.clone());
            Adoption { listeners: Vec::new(), arrivals: Vec::new(), told_to, settled }
        };
        let mut adoptions: Vec<Adoption> = cores.iter().map(adoption).collect();
        let (count, listeners) = (adoptions.len().max(1), self.listeners.len());
        for (place, listener) in self.listeners.into_iter().enumerate() {
            if let Some(adoption) = adoptions.get_mut(place % count) {
                adoption.listeners.push(listener);
            }
        }
        for (core, arrival) in self.arrivals {
            if let Some(adoption) = adoptions.get_mut(usize::from(core) % count) {
                adoption.arrivals.push(arrival);
            }
        }
        if listeners < count {
            tracing::warn!(
                listeners,
                "there are more cores than before: those without a listener get no new clients"
            );
        }
        for (core, adoption) in cores.iter().zip(adoptions) {
            if core.tell(Tell::Adopt(Box::new(adoption)).into()).is_err() {
                // It was started for this, and told hardly anything else.
                tracing::error!("a core that has just begun is far behind: its clients have to come again");
            }
        }
        admin
    }
}

/// The bus's answer, if it comes in time.
async fn ask<T>(bus: &BusHandle, time: Duration, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Option<T> {
    let (done, answer) = oneshot::channel();
    bus.ask(ask(done)).ok()?;
    bus.wake();
    tokio::time::timeout(time, answer).await.ok()?.ok()
}
