//! A link to each node of a Cluster, and which of them owns a slot.
//!
//! The map of slots is asked for when it is needed first, and anew after a refusal or a broken connection said
//! that it is out of date. However many need it at once, one question is on its way, and whoever waits drives it: one
//! that is not polled for a while, as a reader's futures are between two reads, must hold up nobody.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
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
    turn: AtomicUsize,
}

/// The map, and the node that gave it.
type Question = Shared<BoxFuture<'static, RedisResult<(Arc<SlotMap>, Address)>>>;

#[derive(Default)]
struct State {
    map: Option<Arc<SlotMap>>,
    asking: Option<Question>,
    links: HashMap<Address, Arc<Link>>,
    /// Nodes that were primaries once: whom to ask besides those that the URL names.
    known: Vec<Address>,
}

impl Cluster {
    pub(super) fn new(servers: Servers, response_max: Duration) -> Self {
        let known = servers.seeds().to_vec();
        let state = State { known, ..State::default() };
        Self { servers, response_max, state: Mutex::new(state), turn: AtomicUsize::new(0) }
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
        let question = {
            let mut state = self.state();
            if let Some(map) = &state.map {
                return Ok(Arc::clone(map));
            }
            let new = || ask_any(self.servers.clone(), state.known.clone()).boxed().shared();
            let question = state.asking.clone().unwrap_or_else(new);
            state.asking = Some(question.clone());
            question
        };
        let answer = question.clone().await;
        let mut state = self.state();
        // For the first of those who waited.
        if state.asking.as_ref().is_some_and(|asking| asking.ptr_eq(&question)) {
            state.asking = None;
            if let Ok((map, node)) = &answer {
                state.learn(map, node, self.servers.seeds());
            }
        }
        answer.map(|(map, _)| map)
    }

    fn new_link(&self, address: &Address) -> Link {
        Link::new(Dial::Node(self.servers.clone(), address.clone()), Some(self.response_max))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The next time this node is asked first, then the primaries, then those that the URL names.
    fn learn(&mut self, map: &Arc<SlotMap>, node: &Address, seeds: &[Address]) {
        self.known = vec![node.clone()];
        for address in map.primaries().iter().chain(seeds) {
            if !self.known.contains(address) {
                self.known.push(address.clone());
            }
        }
        self.links.retain(|address, _| self.known.contains(address));
        self.map = Some(Arc::clone(map));
    }
}

async fn ask_any(servers: Servers, known: Vec<Address>) -> RedisResult<(Arc<SlotMap>, Address)> {
    let mut problem = down("no address of a node".to_owned());
    for address in known {
        match ask(&servers, &address).await {
            Ok(map) => return Ok((Arc::new(map), address)),
            Err(error) => problem = error,
        }
    }
    Err(problem)
}

async fn ask(servers: &Servers, address: &Address) -> RedisResult<SlotMap> {
    // A connection of its own: it is needed rarely, and tells at once whether the node is there.
    let dial = Dial::Node(servers.clone(), address.clone());
    let mut connection = dial.connect(Some(RESPONSE_MAX)).await?;
    let reply = cmd("CLUSTER").arg("SLOTS").query_async(&mut connection).await?;
    SlotMap::parse(&reply, address)
        .filter(|map| map.covered() > 0)
        .ok_or_else(|| down(format!("{address} knows no slots")))
}

fn down(problem: String) -> RedisError {
    (ErrorKind::Client, "the Cluster is not whole", problem).into()
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt as _;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn nobody_waits_for_a_question_that_is_not_driven() {
        let url = "redis://127.0.0.1:1,127.0.0.1:2".parse().unwrap();
        let cluster = Cluster::new(Servers::new(&url, None).unwrap(), RESPONSE_MAX);
        let mut first = pin!(cluster.map());
        assert!(first.as_mut().now_or_never().is_none());
        let second = timeout(Duration::from_secs(30), cluster.map()).await;
        assert!(second.expect("an answer, though the first is not polled").is_err(), "nobody is there");
        assert!(first.await.is_err());
    }
}
