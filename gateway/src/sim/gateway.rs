//! One run of a simulated gateway: the real engine on a local task set, the real cores by hand.

use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hubbub_common::settings::{Settings, gateway as settings_of_gateway};
use hubbub_common::simulation::enter;
use hubbub_common::token::Verifier;
use tokio::task::LocalSet;
use tokio::time::sleep;

use super::link::{Link, SimBackend};
use super::scene::{Machine, Scene};
use crate::admission::Admission;
use crate::bus::backend::Presence as _;
use crate::bus::{BusConfig, CoreHandle, Links, Tell, serve, spawn};
use crate::config::Config;
use crate::core::CoreSeed;
use crate::core::by_hand::CoreByHand;
use crate::session::Identity;
use crate::status::Status;

/// Between two tries to begin.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// What differs from world to world.
#[derive(Debug, Clone)]
pub(super) struct GatewayPlan {
    pub(super) cores: usize,
    pub(super) asks_max: usize,
    pub(super) batches_max: usize,
    pub(super) inbox_bytes_max: usize,
    /// Settings and their values.
    pub(super) settings: Vec<(&'static str, String)>,
}

/// See the module's text.
pub(super) struct Gateway {
    pub(super) link: Rc<Link>,
    pub(super) machine: Rc<Machine>,
    pub(super) status: Arc<Status>,
    handles: Vec<CoreHandle>,
    cores: Vec<Seat>,
    engine: LocalSet,
    calm_since_ms: Cell<u64>,
}

/// A core and its place in time.
struct Seat {
    core: CoreByHand,
    /// Until then it does nothing, as if the machine gave the CPU to others.
    stalled_until_ms: u64,
    ticked_s: u64,
}

impl Gateway {
    pub(super) fn start(plan: &GatewayPlan, name: &str, link: Link, skew_ms: i64) -> Self {
        let scene = &link.scene;
        let machine = Rc::new(Machine::new(scene, skew_ms));
        let _here = enter(machine.clone());
        let fixed = [
            ("HUBBUB_BUS", "redis"),
            ("HUBBUB_SERVER_ID", name),
            ("HUBBUB_DRIVER", "epoll"),
            ("HUBBUB_JWT_SECRET", "0123456789abcdef0123456789abcdef"),
        ];
        let find = |asked: &str| {
            let of_world = plan.settings.iter().map(|(name, value)| (*name, value.as_str()));
            let found = of_world.chain(fixed).find(|(name, _)| *name == asked);
            found.map(|(_, value)| Ok(value.to_owned()))
        };
        let settings = Settings::from_sources(&settings_of_gateway(), |_| None, find).unwrap();
        let config = Arc::new(Config::check(&settings).unwrap());
        let status = Arc::new(Status::new(name, "epoll", true, plan.cores));
        status.set_bus_up(true);
        let links =
            Links::bounded(plan.cores, plan.asks_max, plan.batches_max, plan.inbox_bytes_max).unwrap();
        let verifier = Arc::new(Verifier::new(&"0123456789abcdef0123456789abcdef".into()).unwrap());
        let per_user_max = config.connections_per_user_max;
        let admission = Admission::new(per_user_max, 0, links.cores.clone());
        let now_s = scene.now_ms() / 1_000;
        let cores = (0..).zip(links.inboxes).map(|(id, inbox)| {
            let seed = CoreSeed {
                id,
                cpu: 0,
                config: Arc::clone(&config),
                verifier: Arc::clone(&verifier),
                bus: links.bus.clone(),
                inbox,
                status: Arc::clone(&status),
                admission: Arc::clone(&admission),
                listens: false,
            };
            Seat { core: CoreByHand::new(seed).unwrap(), stalled_until_ms: 0, ticked_s: now_s }
        });
        let cores: Vec<_> = cores.collect();
        let bus = BusConfig { server_id: name.to_owned(), ..BusConfig::of(&config) };
        let link = Rc::new(link);
        let engine = LocalSet::new();
        let (backend, asks, handles) = (SimBackend(Rc::clone(&link)), links.bus, links.cores);
        let (to_cores, engine_status) = (handles.clone(), Arc::clone(&status));
        {
            let _of_engine = engine.enter();
            spawn(async move {
                // As the real backend does before it is served from.
                while backend.begin_run().await.is_err() {
                    sleep(RETRY_PAUSE).await;
                }
                serve(backend, &bus, asks, to_cores, engine_status).await;
            });
        }
        let calm_since_ms = Cell::new(link.scene.now_ms());
        Self { link, machine, status, handles, cores, engine, calm_since_ms }
    }

    /// Since when nothing has kept it from its work.
    pub(super) fn calm_since_ms(&self) -> u64 {
        self.calm_since_ms.get()
    }

    /// Notes whether something keeps it from its work.
    pub(super) fn look_for_trouble(&self) {
        let now_ms = self.link.scene.now_ms();
        if self.link.is_troubled() || self.cores.iter().any(|seat| now_ms < seat.stalled_until_ms) {
            self.calm_since_ms.set(now_ms);
        }
    }

    /// Lets the engine go on, in its own world.
    pub(super) fn poll_engine(&mut self, context: &mut Context<'_>) {
        let _here = enter(self.machine.clone());
        let running = Pin::new(&mut self.engine).poll(context);
        assert_eq!(running, Poll::Pending, "the engine ended");
        assert_eq!(self.machine.exit_code(), None, "the gateway ended itself");
    }

    pub(super) fn cores(&self) -> usize {
        self.cores.len()
    }

    /// A client's socket, its handshake over.
    pub(super) fn begin(&self, core: usize, socket: OwnedFd, identity: Identity) {
        let _here = enter(self.machine.clone());
        self.cores[core].core.begin(socket, identity);
    }

    /// A core does nothing until then.
    pub(super) fn stall(&mut self, core: usize, until_ms: u64) {
        self.cores[core].stalled_until_ms = until_ms;
    }

    pub(super) fn end_stalls(&mut self) {
        self.cores.iter_mut().for_each(|seat| seat.stalled_until_ms = 0);
    }

    /// One turn of a core: some of its work, in any order. `thorough` leaves nothing out.
    pub(super) fn turn(&mut self, core: usize, scene: &Scene, thorough: bool) {
        let seat = &mut self.cores[core];
        let now_ms = scene.now_ms();
        if now_ms < seat.stalled_until_ms {
            return;
        }
        let _here = enter(self.machine.clone());
        let mut work = [0, 1, 2, 3];
        scene.shuffle(&mut work);
        for part in work {
            if !thorough && scene.happens(200) {
                continue;
            }
            match part {
                0 => seat.core.look_at_sockets(),
                1 => seat.core.look_at_inbox(),
                2 => seat.core.read_on(),
                _ if now_ms / 1_000 > seat.ticked_s => {
                    seat.ticked_s = now_ms / 1_000;
                    seat.core.tick();
                }
                _ => {}
            }
        }
        seat.core.end_turn();
    }

    /// SIGTERM.
    pub(super) fn drain(&self) {
        self.status.set_draining();
        for core in &self.handles {
            let _ = core.tell(Tell::Drain.into());
        }
    }
}
