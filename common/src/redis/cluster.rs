//! A link to each node of a Cluster, and which of them owns a slot.
//!
//! The map of slots is asked for when it is needed first, and anew after a refusal or a broken connection said
//! that it is out of date.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::{ErrorKind, RedisError, RedisResult, cmd};

use super::RESPONSE_MAX;
use super::link::{Dial, Link};
use super::servers::Servers;
use super::slots::{SLOTS, SlotMap};
use crate::redis_url::Address;

/// See the module's text.
pub(super) struct Cluster {
    servers: Servers,
    response_max: Duration,
    state: Mutex<State>,
    /// Held by the one that asks for the map.
    asking: tokio::sync::Mutex<()>,
    turn: AtomicUsize,
}

#[derive(Default)]
struct State {
    map: Option<Arc<SlotMap>>,
    links: HashMap<Address, Arc<Link>>,
    /// Nodes that were primaries once: whom to ask besides those that the URL names.
    known: Vec<Address>,
}

impl Cluster {
    pub(super) fn new(servers: Servers, response_max: Duration) -> Self {
        let known = servers.seeds().to_vec();
        let state = State { known, ..State::default() };
        Self {
            servers,
            response_max,
            state: Mutex::new(state),
            asking: tokio::sync::Mutex::default(),
            turn: AtomicUsize::new(0),
        }
    }

    /// The address of the primary of a slot.
    pub(super) async fn owner(&self, slot: u16) -> RedisResult<Address> {
        let map = self.map().await?;
        map.owner(slot).cloned().ok_or_else(|| {
            self.is_out_of_date();
            down(format!("no node owns slot {slot}"))
        })
    }

    /// Some primary, another one each time.
    pub(super) async fn anyone(&self) -> RedisResult<Address> {
        let primaries = self.map().await?.primaries();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let place = turn.checked_rem(primaries.len()).unwrap_or(0);
        primaries.into_iter().nth(place).ok_or_else(|| down("no primary".to_owned()))
    }

    /// Every primary.
    pub(super) async fn primaries(&self) -> RedisResult<Vec<Address>> {
        Ok(self.map().await?.primaries())
    }

    /// The link to a node.
    pub(super) fn link(&self, address: &Address) -> Arc<Link> {
        let mut state = self.state();
        let new = || Arc::new(self.new_link(address));
        Arc::clone(state.links.entry(address.clone()).or_insert_with(new))
    }

    /// How to connect to the primary of a slot, for a connection of one's own.
    pub(super) async fn dial(&self, slot: u16) -> RedisResult<Dial> {
        Ok(Dial::Node(self.servers.clone(), self.owner(slot).await?))
    }

    /// The map is asked for again before it is used.
    pub(super) fn is_out_of_date(&self) {
        self.state().map = None;
    }

    /// Whether every slot has an owner.
    pub(super) async fn check_covered(&self) -> RedisResult<()> {
        let covered = self.map().await?.covered();
        if covered >= u32::from(SLOTS) {
            return Ok(());
        }
        self.is_out_of_date();
        Err(down(format!("{covered} of {SLOTS} slots have a node")))
    }

    async fn map(&self) -> RedisResult<Arc<SlotMap>> {
        if let Some(map) = self.present() {
            return Ok(map);
        }
        let _alone = self.asking.lock().await;
        if let Some(map) = self.present() {
            return Ok(map);
        }
        let known = self.state().known.clone();
        let mut problem = down("no address of a node".to_owned());
        for (place, address) in known.iter().enumerate() {
            match self.ask(address).await {
                Ok(map) => {
                    let map = Arc::new(map);
                    self.learn(Arc::clone(&map), place);
                    return Ok(map);
                }
                Err(error) => problem = error,
            }
        }
        Err(problem)
    }

    async fn ask(&self, address: &Address) -> RedisResult<SlotMap> {
        // A connection of its own: it is needed rarely, and tells at once whether the node is there.
        let dial = Dial::Node(self.servers.clone(), address.clone());
        let mut connection = dial.connect(Some(RESPONSE_MAX)).await?;
        let reply = cmd("CLUSTER").arg("SLOTS").query_async(&mut connection).await?;
        SlotMap::parse(&reply, address)
            .filter(|map| map.covered() > 0)
            .ok_or_else(|| down(format!("{address} knows no slots")))
    }

    /// The node at this place answered: it is asked first the next time.
    fn learn(&self, map: Arc<SlotMap>, place: usize) {
        let mut state = self.state();
        state.known.swap(0, place);
        for primary in map.primaries() {
            if !state.known.contains(&primary) {
                state.known.push(primary);
            }
        }
        state.map = Some(map);
    }

    fn present(&self) -> Option<Arc<SlotMap>> {
        self.state().map.clone()
    }

    fn new_link(&self, address: &Address) -> Link {
        Link::new(Dial::Node(self.servers.clone(), address.clone()), Some(self.response_max))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn down(problem: String) -> RedisError {
    (ErrorKind::Client, "the Cluster is not whole", problem).into()
}
