//! What a stack is made of, and in which order it starts.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::haproxy::{self, Front};
use super::hubbub::{Variable, control, gateway, migrate};
use super::part::Part;
use super::wait::until;
use super::{Folder, RedisShape, Stack, StackError, pgbouncer, postgres, procfs, redis};

/// How long a killed stack may take to be gone.
const DYING_MAX: Duration = Duration::from_secs(10);
/// How often a part is tried on other ports.
const TRIES: usize = 5;

/// Is told, in a few words, what is being done.
pub type Report = Arc<dyn Fn(&str) + Send + Sync>;

/// Where a server is: a private one is started, or the given one is used, or there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Server {
    #[default]
    Private,
    At(String),
    None,
}

/// What the private Postgres has beside it.
#[derive(Debug, Clone, Copy, Default)]
struct AroundPostgres {
    replica: bool,
    pgbouncer: bool,
    socket: bool,
}

/// A stack to be.
#[derive(Clone)]
pub struct Builder {
    gateways: usize,
    controls: usize,
    redis: Server,
    redis_shape: RedisShape,
    redis_options: redis::Options,
    postgres: Server,
    postgres_alone: bool,
    around_postgres: AroundPostgres,
    haproxies: usize,
    front: Front,
    folder: Option<PathBuf>,
    env: Vec<Variable>,
    env_of_one: Vec<(String, Variable)>,
    report: Report,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            gateways: 2,
            controls: 1,
            redis: Server::Private,
            redis_shape: RedisShape::default(),
            redis_options: redis::Options::default(),
            postgres: Server::Private,
            postgres_alone: false,
            around_postgres: AroundPostgres::default(),
            haproxies: 1,
            front: Front::default(),
            folder: None,
            env: Vec::new(),
            env_of_one: Vec::new(),
            report: Arc::new(|_| {}),
        }
    }
}

impl Builder {
    /// How many gateways: `gateway-1` and so on.
    #[must_use]
    pub fn gateways(mut self, count: usize) -> Self {
        self.gateways = count;
        self
    }

    /// How many control planes: `control-1` and so on. With none there is no Postgres either.
    #[must_use]
    pub fn controls(mut self, count: usize) -> Self {
        self.controls = count;
        self
    }

    /// No Redis: gateways get the memory bus. Without it there is no control plane.
    #[must_use]
    pub fn without_redis(mut self) -> Self {
        self.redis = Server::None;
        self.controls = 0;
        self.env("HUBBUB_BUS", "memory")
    }

    /// Redis and Postgres, and nothing of ours.
    #[must_use]
    pub fn servers_only(self) -> Self {
        Self { gateways: 0, controls: 0, haproxies: 0, postgres_alone: true, ..self }
    }

    /// No `HAProxy`: clients use the parts' own addresses.
    #[must_use]
    pub fn without_haproxy(self) -> Self {
        self.haproxies(0)
    }

    /// How many `HAProxy`s: `haproxy`, `haproxy-2` and so on, each in front of everything.
    #[must_use]
    pub fn haproxies(mut self, count: usize) -> Self {
        self.haproxies = count;
        self
    }

    /// `HAProxy` speaks TLS, as in production. See [`Stack::authority`] and [`Stack::plain_url`].
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.front.tls = true;
        self
    }

    /// From how many addresses `HAProxy` connects to each gateway.
    #[must_use]
    pub fn haproxy_sources(mut self, count: u8) -> Self {
        self.front.sources = count;
        self
    }

    /// How the servers of the private Redis are arranged.
    #[must_use]
    pub fn redis_shape(mut self, shape: RedisShape) -> Self {
        self.redis_shape = shape;
        self
    }

    /// The private Redis knows this ACL user only. Not for several servers: they would have to log in at each other.
    #[must_use]
    pub fn redis_user(mut self, user: &str, password: &str, rules: &str) -> Self {
        self.redis_options.login = Some((user.to_owned(), password.to_owned(), rules.to_owned()));
        self
    }

    /// A further line of the private servers' `redis.conf`.
    #[must_use]
    pub fn redis_conf(mut self, line: impl Into<String>) -> Self {
        self.redis_options.lines.push(line.into());
        self
    }

    /// Uses a Redis that runs already.
    #[must_use]
    pub fn redis_at(mut self, url: impl Into<String>) -> Self {
        self.redis = Server::At(url.into());
        self
    }

    /// Uses a Postgres that runs already.
    #[must_use]
    pub fn postgres_at(mut self, url: impl Into<String>) -> Self {
        self.postgres = Server::At(url.into());
        self
    }

    /// The private Postgres gets a replica, which control planes read history from.
    #[must_use]
    pub fn postgres_replica(mut self) -> Self {
        self.around_postgres.replica = true;
        self
    }

    /// The private Postgres listens at a Unix socket in its folder, too.
    #[must_use]
    pub fn postgres_socket(mut self) -> Self {
        self.around_postgres.socket = true;
        self
    }

    /// Control planes reach the private Postgres through PgBouncer in transaction mode, except by the direct URL.
    #[must_use]
    pub fn pgbouncer(mut self) -> Self {
        self.around_postgres.pgbouncer = true;
        self
    }

    /// A setting of every gateway and control plane. It wins over what the stack would choose, except for their
    /// addresses and names.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// A setting of one part, by its name. It wins over everything.
    #[must_use]
    pub fn env_of_part(
        mut self,
        part: impl Into<String>,
        name: impl Into<OsString>,
        value: impl Into<OsString>,
    ) -> Self {
        self.env_of_one.push((part.into(), (name.into(), value.into())));
        self
    }

    /// Where `HAProxy` listens, instead of on a free port.
    #[must_use]
    pub fn public_port(mut self, port: u16) -> Self {
        self.front.public_port = Some(port);
        self
    }

    /// Keeps data, secrets and logs in this folder, and finds them there the next time.
    #[must_use]
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Whether Redis and Postgres flush to disk as they should for data that matters.
    #[must_use]
    pub fn durable(mut self, durable: bool) -> Self {
        self.redis_options.durable = durable;
        self
    }

    /// Who is told what is being done.
    #[must_use]
    pub fn report(mut self, report: Report) -> Self {
        self.report = report;
        self
    }

    /// Starts everything, each part once those that it needs are ready. Blocks.
    pub fn start(self) -> Result<Stack, StackError> {
        let folder = self.folder.clone().map_or_else(Folder::temporary, Folder::kept)?;
        wait_for_the_dying(&folder);
        let mut stack = Stack {
            jwt_secret: match self.value_of("HUBBUB_JWT_SECRET") {
                Some(secret) => secret,
                None => folder.secret("jwt-secret")?,
            },
            folder,
            haproxies: Vec::new(),
            gateways: Vec::new(),
            controls: Vec::new(),
            postgres: None,
            replica: None,
            pgbouncer: None,
            redis: Vec::new(),
            redis_url: None,
            database_url: None,
        };
        self.start_redis(&mut stack)?;
        if self.controls > 0 || self.postgres_alone {
            self.start_postgres(&mut stack)?;
        }
        if self.controls > 0 {
            (self.report)("bringing the database up to date");
            migrate(&stack.folder, self.env_of_all(&stack))?;
        }
        for name in numbered("control", self.controls) {
            let part = self.begin(&name, || control(&stack.folder, &name, self.env_of_all(&stack)))?;
            stack.controls.push(part);
        }
        for name in numbered("gateway", self.gateways) {
            let part = self.begin(&name, || gateway(&stack.folder, &name, self.env_of_gateways(&stack)))?;
            stack.gateways.push(part);
        }
        for number in 1..=self.haproxies {
            let make = || self.front.haproxy(&stack.folder, number, &stack.gateways, &stack.controls);
            let part = self.begin(&haproxy::name(number), make)?;
            stack.haproxies.push(part);
        }
        Ok(stack)
    }

    fn start_redis(&self, stack: &mut Stack) -> Result<(), StackError> {
        match &self.redis {
            Server::Private => {
                let (parts, url) = self.private_redis(&stack.folder)?;
                stack.redis_url = Some(url);
                stack.redis = parts;
            }
            Server::At(url) => stack.redis_url = Some(url.clone()),
            Server::None => {}
        }
        Ok(())
    }

    fn private_redis(&self, folder: &Folder) -> Result<(Vec<Part>, String), StackError> {
        let options = &self.redis_options;
        let one = |make: fn(&Folder, &redis::Options) -> Result<Part, StackError>| {
            let part = self.begin("redis", || make(folder, options))?;
            let url = part.url().to_owned();
            Ok((vec![part], url))
        };
        match self.redis_shape {
            RedisShape::Single => one(redis::single),
            RedisShape::Tls => one(redis::with_tls),
            RedisShape::Sentinel => redis::sentinels(folder, options),
            RedisShape::Cluster => redis::cluster(folder, options),
        }
    }

    fn start_postgres(&self, stack: &mut Stack) -> Result<(), StackError> {
        match &self.postgres {
            Server::Private => {
                let (durable, socket) = (self.redis_options.durable, self.around_postgres.socket);
                let make = || postgres::postgres(&stack.folder, durable, socket);
                let part = self.begin("postgres", make)?;
                if self.around_postgres.replica {
                    stack.replica = Some(self.begin("replica", || postgres::replica(&stack.folder, &part))?);
                }
                if self.around_postgres.pgbouncer {
                    let make = || pgbouncer::pgbouncer(&stack.folder, part.url());
                    stack.pgbouncer = Some(self.begin("pgbouncer", make)?);
                }
                stack.database_url = Some(part.url().to_owned());
                stack.postgres = Some(part);
            }
            Server::At(url) => stack.database_url = Some(url.clone()),
            Server::None => {}
        }
        Ok(())
    }

    /// Makes and starts a part, on other ports where somebody else was faster.
    fn begin(&self, name: &str, make: impl Fn() -> Result<Part, StackError>) -> Result<Part, StackError> {
        (self.report)(&format!("starting {name}"));
        let mut tries = 0;
        loop {
            let mut part = make()?;
            part.launch.env.extend(self.env_of(name));
            part.launch.truncate_log().map_err(StackError::io(part.log().display().to_string()))?;
            tries += 1;
            match part.start() {
                Ok(()) => return Ok(part),
                Err(error) if error.is_port_taken() && tries < TRIES && !self.is_fixed(name) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether another try would meet the same port.
    fn is_fixed(&self, name: &str) -> bool {
        name == haproxy::name(1) && self.front.public_port.is_some()
    }

    fn env_of_all(&self, stack: &Stack) -> Vec<Variable> {
        let pair = |name: &str, value: &str| (OsString::from(name), OsString::from(value));
        let mut env = vec![pair("HUBBUB_ENV", "development")];
        if let Some(url) = stack.redis_url() {
            env.push(pair("HUBBUB_REDIS_URL", url));
            if stack.redis.first().is_some_and(|redis| redis.url().starts_with("rediss://")) {
                env.push((OsString::from("HUBBUB_REDIS_CA_FILE"), redis::authority(&stack.folder).into()));
            }
        }
        if let Some(url) = stack.database_url() {
            env.push(pair("HUBBUB_DATABASE_URL", stack.pgbouncer.as_ref().map_or(url, Part::url)));
            if stack.pgbouncer.is_some() {
                env.push(pair("HUBBUB_DIRECT_DATABASE_URL", url));
            }
        }
        if let Some(replica) = &stack.replica {
            env.push(pair("HUBBUB_READ_DATABASE_URL", replica.url()));
        }
        env.push(pair("HUBBUB_UPLOADS_URL", &format!("file://{}", stack.folder().join("uploads").display())));
        env.extend(self.env.iter().cloned());
        env.push(pair("HUBBUB_JWT_SECRET", stack.jwt_secret()));
        env
    }

    /// Gateways learn from `HAProxy` who their clients are, and only from it: tests connect to them directly, too.
    fn env_of_gateways(&self, stack: &Stack) -> Vec<Variable> {
        let mut env = self.env_of_all(stack);
        if self.haproxies > 0 {
            env.push(("HUBBUB_PROXY_PROTOCOL".into(), "on".into()));
            env.push(("HUBBUB_TRUSTED_PROXIES".into(), haproxy::SOURCES.into()));
        }
        env
    }

    fn env_of(&self, part: &str) -> impl Iterator<Item = Variable> {
        self.env_of_one.iter().filter(move |(of, _)| of == part).map(|(_, variable)| variable.clone())
    }

    fn value_of(&self, wanted: &str) -> Option<String> {
        let last = self.env.iter().rev().find(|(name, _)| name == wanted);
        last.and_then(|(_, value)| value.to_str()).map(str::to_owned)
    }
}

/// A stack that was killed a moment ago in the same folder may still be ending, and Redis and Postgres refuse data
/// that somebody uses. One that does not end is for them to complain about.
fn wait_for_the_dying(folder: &Folder) {
    let data = ["redis", "postgres"].map(|part| folder.path().join(part));
    let nobody = || data.iter().all(|data| procfs::living_in(data).is_empty());
    let _ = until(DYING_MAX, || nobody().then_some(()));
}

fn numbered(kind: &str, count: usize) -> impl Iterator<Item = String> {
    (1..=count).map(move |number| format!("{kind}-{number}"))
}
