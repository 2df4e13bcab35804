//! Waiting until replicas have what was appended.
//!
//! `WAIT` answers for everything that was written before it on its own connection, and holds up what comes after
//! it there. So one `WAIT` at a time is in flight on a connection, for all entries whose `XADD` has been answered
//! by then; what is answered meanwhile waits for the next one. A connection that broke confirms nothing any more.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::mem;
use std::rc::Rc;
use std::time::Duration;

use hubbub_common::config::Ack;
use hubbub_common::redis::Reply;
use hubbub_common::shard::Shard;
use redis::aio::MultiplexedConnection;
use redis::cmd;
use tokio::sync::oneshot;

/// See the module's text.
pub(super) struct Replicas {
    wanted: Wanted,
    /// By shard: who waits on the connection of its last append.
    appended: RefCell<HashMap<Shard, Rc<Confirmer>>>,
}

#[derive(Clone, Copy)]
struct Wanted {
    replicas: u32,
    wait: Duration,
}

/// Who waits on one connection.
struct Confirmer {
    connection_id: u64,
    connection: MultiplexedConnection,
    wanted: Wanted,
    waiting: RefCell<Vec<oneshot::Sender<bool>>>,
    asks: Cell<bool>,
}

impl Replicas {
    /// `None` where acknowledgements do not wait for replicas.
    pub(super) fn new(ack: Ack) -> Option<Self> {
        match ack {
            Ack::Stored => None,
            Ack::Replicated { replicas, wait } => {
                Some(Self { wanted: Wanted { replicas, wait }, appended: RefCell::default() })
            }
        }
    }

    /// An entry of the shard was appended on the connection of this reply.
    pub(super) fn appended(&self, shard: Shard, reply: &Reply) {
        let mut appended = self.appended.borrow_mut();
        let is_same = |confirmer: &&Rc<Confirmer>| confirmer.connection_id == reply.connection_id;
        if appended.get(&shard).is_some_and(|confirmer| is_same(&confirmer)) {
            return;
        }
        let of_another_shard = appended.values().find(is_same).cloned();
        let confirmer = of_another_shard.unwrap_or_else(|| {
            Rc::new(Confirmer {
                connection_id: reply.connection_id,
                connection: reply.connection.clone(),
                wanted: self.wanted,
                waiting: RefCell::default(),
                asks: Cell::new(false),
            })
        });
        appended.insert(shard, confirmer);
    }

    /// Whether replicas have what was appended to the shard before this call.
    pub(super) fn confirm(&self, shard: Shard) -> impl Future<Output = bool> + use<> {
        let confirmer = self.appended.borrow().get(&shard).cloned();
        let told = confirmer.map(Confirmer::enter);
        async move {
            match told {
                Some(told) => told.await.unwrap_or(false),
                None => false,
            }
        }
    }
}

impl Confirmer {
    fn enter(self: Rc<Self>) -> oneshot::Receiver<bool> {
        let (tell, told) = oneshot::channel();
        self.waiting.borrow_mut().push(tell);
        if !self.asks.replace(true) {
            tokio::task::spawn_local(self.ask());
        }
        told
    }

    /// Asks for as long as somebody waits.
    async fn ask(self: Rc<Self>) {
        loop {
            let round = mem::take(&mut *self.waiting.borrow_mut());
            if round.is_empty() {
                self.asks.set(false);
                return;
            }
            let confirmed = self.replicas_have_it().await;
            for tell in round {
                // Nobody waits for it any more: that is no concern of the others.
                let _ = tell.send(confirmed);
            }
        }
    }

    async fn replicas_have_it(&self) -> bool {
        let Wanted { replicas, wait } = self.wanted;
        let mut command = cmd("WAIT");
        command.arg(replicas).arg(u64::try_from(wait.as_millis()).unwrap_or(1));
        let have: Result<u32, _> = command.query_async(&mut self.connection.clone()).await;
        match have {
            Ok(have) if have >= replicas => true,
            Ok(have) => {
                tracing::debug!(have, replicas, "too few replicas confirmed in time");
                false
            }
            Err(error) => {
                tracing::debug!(%error, "replicas could not be asked");
                false
            }
        }
    }
}
