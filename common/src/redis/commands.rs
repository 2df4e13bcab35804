//! Commands to whichever server takes them now.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::try_join_all;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Client, Cmd, Pipeline, RedisError, RedisFuture, RedisResult, Value, pipe};

use super::cluster::Cluster;
use super::link::{Dial, Link};
use super::servers::Servers;
use super::slots::{Route, route, slot_of};
use super::{Fault, RESPONSE_MAX, Remedy, is_broken, remedy};
use crate::redis_url::Address;

/// Pauses before a refused command goes out again.
const PAUSES_MS: [u64; 4] = [0, 50, 100, 200];

/// See the module's text. Reconnects by itself; cheap to clone, and clones share their connections.
///
/// In a Cluster the commands of a pipeline or transaction must have keys of one slot.
#[derive(Clone)]
pub struct Commands(Arc<Inner>);

struct Inner {
    servers: Servers,
    servants: Servants,
}

/// Who takes commands.
enum Servants {
    One(Link),
    Cluster(Cluster),
}

/// What a command brought.
#[derive(Clone)]
pub struct Reply {
    /// The server's answer.
    pub value: Value,
    /// On which connection, for `WAIT`.
    pub connection: MultiplexedConnection,
    /// Tells connections apart.
    pub connection_id: u64,
}

/// What is sent at once.
#[derive(Clone, Copy)]
enum Request<'a> {
    One(&'a Cmd),
    /// With the number of replies to skip, and of those to give.
    Many(&'a Pipeline, usize, usize),
}

struct Replies {
    values: Vec<Value>,
    connection: MultiplexedConnection,
    connection_id: u64,
}

impl Commands {
    /// Connects when the first command is sent.
    pub fn new(servers: Servers) -> Self {
        let servants = if servers.url().is_cluster() {
            Servants::Cluster(Cluster::new(servers.clone(), RESPONSE_MAX))
        } else {
            Servants::One(Link::new(Dial::Primary(servers.clone()), Some(RESPONSE_MAX)))
        };
        Self(Arc::new(Inner { servers, servants }))
    }

    /// The same servers by connections of their own.
    #[must_use]
    pub fn apart(&self) -> Self {
        Self::new(self.0.servers.clone())
    }

    /// Where the servers are.
    pub fn servers(&self) -> &Servers {
        &self.0.servers
    }

    /// Sends one command.
    pub async fn send(&self, cmd: &Cmd) -> Result<Reply, Fault> {
        // Boxed, as the client library boxes its own: callers' futures stay small.
        let replies = self.request(Request::One(cmd)).boxed().await?;
        let Replies { mut values, connection, connection_id } = replies;
        Ok(Reply { value: values.pop().unwrap_or(Value::Nil), connection, connection_id })
    }

    /// Sends a command without keys to every primary; one reply each.
    pub async fn send_to_all(&self, cmd: &Cmd) -> Result<Vec<Value>, Fault> {
        let Servants::Cluster(cluster) = &self.0.servants else {
            return Ok(vec![self.send(cmd).await?.value]);
        };
        let primaries = cluster.primaries().await.map_err(Fault::Refused)?;
        let replies = primaries.iter().map(|primary| async move {
            let mut replies = self.send_to(Some(primary), Request::One(cmd), false).await?;
            Ok(replies.values.pop().unwrap_or(Value::Nil))
        });
        try_join_all(replies).await
    }

    /// A server that takes commands without keys, for pub/sub: in a Cluster every node hears everything.
    pub async fn anyone(&self) -> RedisResult<Client> {
        match &self.0.servants {
            Servants::One(_) => self.0.servers.primary().await,
            Servants::Cluster(cluster) => self.0.servers.client_of(&cluster.anyone().await?),
        }
    }

    /// A connection to whoever owns a key, for a command that blocks; with `None` it may block for ever. Whoever
    /// finds it of no use tells by [`Commands::is_out_of_date`], and makes another.
    pub async fn connect(
        &self,
        key: &str,
        response_max: Option<Duration>,
    ) -> RedisResult<MultiplexedConnection> {
        let dial = match &self.0.servants {
            Servants::One(_) => Dial::Primary(self.0.servers.clone()),
            Servants::Cluster(cluster) => cluster.dial(slot_of(key.as_bytes())).await?,
        };
        let connected = dial.connect(response_max).await;
        if connected.is_err() {
            self.is_out_of_date();
        }
        connected
    }

    /// What was known about who owns which slot is asked for again.
    pub fn is_out_of_date(&self) {
        if let Servants::Cluster(cluster) = &self.0.servants {
            cluster.is_out_of_date();
        }
    }

    /// Whether the Cluster, if it is one, has a node for every slot.
    pub(super) async fn check_covered(&self) -> RedisResult<()> {
        match &self.0.servants {
            Servants::One(_) => Ok(()),
            Servants::Cluster(cluster) => cluster.check_covered().await,
        }
    }

    /// Sends to the owner of the keys. What a server refuses because it is not the one goes to the one.
    async fn request(&self, request: Request<'_>) -> Result<Replies, Fault> {
        let mut moved: Option<(Address, bool)> = None;
        let mut pauses_ms = PAUSES_MS.into_iter();
        loop {
            let address = match (&moved, &self.0.servants) {
                (Some((address, _)), _) => Some(address.clone()),
                (None, Servants::One(_)) => None,
                (None, Servants::Cluster(cluster)) => Some(match request.route() {
                    Route::Slot(slot) => cluster.owner(slot).await.map_err(Fault::Refused)?,
                    Route::Any | Route::All => cluster.anyone().await.map_err(Fault::Refused)?,
                }),
            };
            let asking = moved.as_ref().is_some_and(|(_, asking)| *asking);
            let error = match self.send_to(address.as_ref(), request, asking).await {
                Err(Fault::Refused(error)) => error,
                settled => return settled,
            };
            moved = match remedy(&error) {
                Remedy::None => return Err(Fault::Refused(error)),
                Remedy::Moved => redirect(&error).map(|address| (address, false)),
                Remedy::Ask => redirect(&error).map(|address| (address, true)),
                Remedy::Elsewhere | Remedy::Wait => None,
            };
            let Some(pause_ms) = pauses_ms.next() else { return Err(Fault::Refused(error)) };
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        }
    }

    /// Sends to one server, and lets go of what turns out to be of no use.
    async fn send_to(
        &self,
        address: Option<&Address>,
        request: Request<'_>,
        asking: bool,
    ) -> Result<Replies, Fault> {
        let of_node;
        let link = match (&self.0.servants, address) {
            (Servants::Cluster(cluster), Some(address)) => {
                of_node = cluster.link(address);
                &*of_node
            }
            (Servants::One(link), _) => link,
            (Servants::Cluster(_), None) => {
                return Err(Fault::Refused(super::timed_out("no node to send to")));
            }
        };
        let (connection_id, mut connection) = link.get().await.map_err(|error| {
            self.is_out_of_date();
            Fault::Refused(error)
        })?;
        let error = match request.send_on(&mut connection, asking).await {
            Ok(values) => return Ok(Replies { values, connection, connection_id }),
            Err(error) => error,
        };
        if is_broken(&error) {
            link.forget(connection_id);
            self.is_out_of_date();
            return Err(Fault::Unknown(error));
        }
        match remedy(&error) {
            Remedy::Elsewhere => {
                // Sentinel is asked again, or the map of slots.
                link.forget(connection_id);
                self.is_out_of_date();
            }
            Remedy::Moved | Remedy::Wait => self.is_out_of_date(),
            Remedy::Ask | Remedy::None => {}
        }
        Err(Fault::Refused(error))
    }
}

impl Request<'_> {
    fn route(self) -> Route {
        match self {
            Self::One(cmd) => route(cmd),
            Self::Many(pipeline, ..) => pipeline.cmd_iter().next().map_or(Route::Any, route),
        }
    }

    async fn send_on(self, connection: &mut MultiplexedConnection, asking: bool) -> RedisResult<Vec<Value>> {
        match self {
            Self::One(cmd) if asking => {
                let mut both = pipe();
                both.cmd("ASKING");
                both.add_command(cmd.clone());
                let mut values = connection.send_packed_commands(&both, 0, 2).await?;
                let reply = values.pop().unwrap_or(Value::Nil).extract_error()?;
                Ok(vec![reply])
            }
            Self::One(cmd) => Ok(vec![connection.send_packed_command(cmd).await?.extract_error()?]),
            Self::Many(pipeline, offset, count) => {
                let values = connection.send_packed_commands(pipeline, offset, count).await?;
                // The others are the pipeline's to judge; by the first one tells whether this is the server.
                match values.first() {
                    Some(first @ Value::ServerError(_)) => first.clone().extract_error().map(|_| values),
                    _ => Ok(values),
                }
            }
        }
    }
}

/// Where the server says to go.
fn redirect(error: &RedisError) -> Option<Address> {
    let (place, _slot) = error.redirect_node()?;
    let (host, port) = place.rsplit_once(':')?;
    // A node may leave out the host, meaning its own; the map of slots will have it.
    (!host.is_empty()).then(|| Some(Address { host: host.to_owned(), port: port.parse().ok()? }))?
}

impl ConnectionLike for Commands {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        async move {
            if matches!(self.0.servants, Servants::Cluster(_)) && route(cmd) == Route::All {
                return Ok(self.send_to_all(cmd).await?.pop().unwrap_or(Value::Nil));
            }
            Ok(self.send(cmd).await?.value)
        }
        .boxed()
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        async move { Ok(self.request(Request::Many(pipeline, offset, count)).await?.values) }.boxed()
    }

    fn get_db(&self) -> i64 {
        0
    }
}
