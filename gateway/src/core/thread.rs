//! The thread of a core: pinned, with its own ring and listener.
//!
//! The io_uring driver is built on purpose; nothing falls back to epoll unasked. A core that dies ends the
//! process: its connections are lost either way, and a supervisor starts all anew.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use hubbub_common::token::Verifier;
use monoio::fs::File;
use monoio::net::UnixStream;
use monoio::time::TimeDriver;
use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use rustix::thread::CpuSet;

use super::Core;
use super::hand_over::calm_down;
use super::poller::Poller;
use super::sender::Sender;
use super::turn::{end_turns, go_on};
use crate::admission::Admission;
use crate::bus::{BusHandle, Inbox};
use crate::config::{Config, Driver};
use crate::status::{EXIT_BUG, EndsProcess, Status};

/// Entries of a core's submission ring.
const RING_ENTRIES: u32 = 4_096;
/// Connections that may wait to be accepted, per core.
const BACKLOG: i32 = 4_096;

/// What a core is made of.
pub struct CoreSeed {
    /// Its number, from zero.
    pub id: u16,
    /// Where it runs.
    pub cpu: usize,
    /// The settings.
    pub config: Arc<Config>,
    /// Checks tickets.
    pub verifier: Arc<Verifier>,
    /// Counts the connections of users and addresses.
    pub admission: Arc<Admission>,
    /// To the bus.
    pub bus: BusHandle,
    /// From the bus.
    pub inbox: Inbox,
    /// For `/health`.
    pub status: Arc<Status>,
    /// Whether it listens; otherwise another process gives it its listeners.
    pub listens: bool,
}

/// Starts a core, and returns when it works.
pub fn start(seed: CoreSeed) -> Result<(), String> {
    let (started, wait_for_start) = mpsc::channel();
    let name = format!("core-{}", seed.id);
    let body = move || {
        let _guard = EndsProcess("a core");
        let mut cpus = CpuSet::new();
        cpus.set(seed.cpu);
        if let Err(error) = rustix::thread::sched_setaffinity(None, &cpus) {
            tracing::warn!(core = seed.id, cpu = seed.cpu, %error, "not pinned");
        }
        match seed.config.driver {
            Driver::IoUring => {
                let ring = io_uring::IoUring::builder();
                let builder =
                    RuntimeBuilder::<IoUringDriver>::new().with_entries(RING_ENTRIES).uring_builder(ring);
                match builder.enable_timer().build() {
                    Ok(mut runtime) => runtime.block_on(run(seed, started)),
                    Err(error) => {
                        let hint = "set HUBBUB_DRIVER=epoll where the kernel or a sandbox forbids it";
                        let _ = started.send(Err(format!("io_uring: {error}: {hint}")));
                    }
                }
            }
            Driver::Epoll => match RuntimeBuilder::<TimeDriver<LegacyDriver>>::new().build() {
                Ok(mut runtime) => runtime.block_on(run(seed, started)),
                Err(error) => {
                    let _ = started.send(Err(format!("epoll: {error}")));
                }
            },
        }
    };
    std::thread::Builder::new()
        .name(name)
        .spawn(body)
        .map_err(|error| format!("a core's thread: {error}"))?;
    wait_for_start.recv().unwrap_or_else(|_| Err("a core's thread ended".to_owned()))
}

async fn run(seed: CoreSeed, started: mpsc::Sender<Result<(), String>>) {
    let listener = seed.listens.then(|| listen(seed.config.shared.listen)).transpose();
    let prepared = listener.and_then(|listener| {
        let eventfd = seed.inbox.eventfd().map_err(|error| format!("eventfd: {error}"))?;
        let with_ring = seed.config.driver == Driver::IoUring;
        let sender = Sender::new(with_ring).map_err(|error| format!("io_uring for sends: {error}"))?;
        let poller = Poller::new(with_ring).map_err(|error| format!("io_uring to watch sockets: {error}"))?;
        let watched = poller.descriptor().and_then(|fd| UnixStream::from_std(fd.into()));
        let watched = watched.map_err(|error| format!("io_uring to watch sockets: {error}"))?;
        Ok((listener, eventfd, sender, poller, watched))
    });
    let (listener, eventfd, sender, poller, watched) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            let _ = started.send(Err(error));
            return;
        }
    };
    let core = Core::new(&seed, sender, poller);
    let _ = started.send(Ok(()));
    if let Some(listener) = listener {
        core.accept_on(listener);
    }
    monoio::spawn(calm_down(Rc::clone(&core)));
    monoio::spawn(tick(Rc::clone(&core)));
    monoio::spawn(end_turns(Rc::clone(&core)));
    monoio::spawn(go_on(Rc::clone(&core)));
    monoio::spawn(watch(Rc::clone(&core), watched));
    // One loop: sleep until the bus has something, then a turn.
    let wake = match Wake::new(eventfd, seed.config.driver) {
        Ok(wake) => wake,
        Err(error) => return can_not_wait(&error),
    };
    loop {
        if let Err(error) = wake.woken().await {
            can_not_wait(&error);
        }
        seed.inbox.about_to_drain();
        core.turn(&seed.inbox);
    }
}

/// The eventfd of the inbox. It is read, so that it sleeps again.
enum Wake {
    /// By an operation that completes when there is something.
    IoUring(File),
    /// By waiting for it under the type of a stream, because that is what the runtime waits for.
    Epoll(UnixStream),
}

impl Wake {
    fn new(eventfd: OwnedFd, driver: Driver) -> std::io::Result<Self> {
        Ok(match driver {
            Driver::IoUring => Self::IoUring(File::from_std(eventfd.into())?),
            Driver::Epoll => Self::Epoll(UnixStream::from_std(eventfd.into())?),
        })
    }

    #[expect(unsafe_code, reason = "the runtime's stream lends only the number")]
    async fn woken(&self) -> std::io::Result<()> {
        match self {
            Self::IoUring(file) => file.read_at(Vec::<u8>::with_capacity(8), 0).await.0.map(drop),
            Self::Epoll(stream) => {
                stream.readable(false).await?;
                // SAFETY: the stream owns the descriptor and lives during this call.
                let eventfd = unsafe { BorrowedFd::borrow_raw(stream.as_raw_fd()) };
                Ok(rustix::io::read(eventfd, &mut [0; 8]).map(drop)?)
            }
        }
    }
}

fn can_not_wait(error: &std::io::Error) {
    tracing::error!(%error, "the inbox can't be waited for");
    std::process::exit(EXIT_BUG);
}

fn listen(address: SocketAddr) -> Result<OwnedFd, String> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let listen = || {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let listener = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        sockopt::set_socket_reuseport(&listener, true)?;
        sockopt::set_socket_reuseaddr(&listener, true)?;
        // Frames are written whole: waiting for more to send would only delay them. Accepted sockets inherit it.
        sockopt::set_tcp_nodelay(&listener, true)?;
        rustix::net::bind(&listener, &address)?;
        rustix::net::listen(&listener, BACKLOG)?;
        Ok(listener)
    };
    listen().map_err(|error: rustix::io::Errno| format!("HUBBUB_LISTEN {address}: {error}"))
}

/// Waits for the poller's descriptor, under the type of a stream, because the runtime waits for those.
async fn watch(core: Rc<Core>, poller: UnixStream) {
    while poller.readable(false).await.is_ok() {
        core.take_ready();
    }
    tracing::error!("the sockets can't be watched");
    std::process::exit(EXIT_BUG);
}

async fn tick(core: Rc<Core>) {
    let mut every = monoio::time::interval(Duration::from_secs(1));
    loop {
        every.tick().await;
        core.tick();
    }
}
