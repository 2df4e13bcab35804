//! `hubbub-gateway`: reads the settings, starts bus and cores, waits for the signal to leave.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::ArgMatches;
use hubbub_common::clock::Monotonic;
use hubbub_common::config::socket_address;
use hubbub_common::log::Log;
use hubbub_common::metrics::describe_all;
use hubbub_common::settings::{
    EXIT_BAD_SETTING, GATEWAY_LISTEN, SettingError, Settings, credentials, gateway, unknown_variables,
};
use hubbub_common::token::Verifier;
use hubbub_common::{log, settings, supervisor, traces};
use hubbub_gateway::admin;
use hubbub_gateway::admission::Admission;
use hubbub_gateway::bus::{Ask, BusConfig, BusHandle, CoreHandle, Links, StartError, Tell};
use hubbub_gateway::config::{BACKGROUND, Config, DETACHED, TAKE_OVER, command};
use hubbub_gateway::core::{CoreSeed, start};
use hubbub_gateway::handover::give::{Given, Giver, SERVING_MAX};
use hubbub_gateway::handover::take::Predecessor;
use hubbub_gateway::handover::{self, background};
use hubbub_gateway::status::Status;
use hubbub_gateway::supervisor::keep_alive;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use mimalloc::MiMalloc;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// How long the address to listen on may take to come free.
const COMES_FREE_MAX: Duration = Duration::from_secs(3);
/// How often it is tried.
const COMES_FREE_PAUSE: Duration = Duration::from_millis(50);
/// How long the last clients get to leave once all were told to.
const LAST_LEAVE_MAX: Duration = Duration::from_secs(5);
/// How long the other gateways may take to be told.
const LEAVE_MAX: Duration = Duration::from_secs(2);
/// How long the process may take to end after that.
const END_MAX: Duration = Duration::from_secs(5);
/// How often it is looked whether the last have left.
const LOOK_PAUSE: Duration = Duration::from_millis(10);
/// How often the recorder tidies its histograms.
const UPKEEP: Duration = Duration::from_secs(5);
/// Bounds of latency histograms, seconds.
const SECONDS_BUCKETS: [f64; 12] =
    [0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5];

/// Why the gateway did not start.
enum Failed {
    Setting(SettingError),
    Other(String),
}

impl From<SettingError> for Failed {
    fn from(error: SettingError) -> Self {
        Self::Setting(error)
    }
}

impl From<String> for Failed {
    fn from(error: String) -> Self {
        Self::Other(error)
    }
}

impl From<StartError> for Failed {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Setting(error) => Self::Setting(error),
            StartError::Unreachable(_) | StartError::Thread(_) => Self::Other(error.to_string()),
        }
    }
}

fn main() -> ExitCode {
    hubbub_gateway::memory::keep_little();
    let flags = command().get_matches();
    raise_file_limit();
    let outcome = begin(&flags);
    match outcome {
        Ok(code) => code,
        Err(Failed::Setting(error)) => {
            eprintln!("error: {error}");
            ExitCode::from(EXIT_BAD_SETTING)
        }
        Err(Failed::Other(error)) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// From the command line to the end.
fn begin(flags: &ArgMatches) -> Result<ExitCode, Failed> {
    if !flags.get_flag(TAKE_OVER) {
        let config =
            Settings::from_process(&gateway(), flags).and_then(|settings| Config::check(&settings))?;
        return run(config, None, credentials(&gateway())).map(|()| ExitCode::SUCCESS);
    }
    // Only the other process may have what else it takes to read the settings.
    let no_credentials = BTreeMap::new();
    let address = Settings::from_process_with(&[GATEWAY_LISTEN], flags, &no_credentials)?;
    let address = address.get(&GATEWAY_LISTEN, socket_address)?;
    let not_started = |error| Failed::Other(format!("the new gateway: {error}"));
    let (in_background, detached) = (format!("--{BACKGROUND}"), format!("--{DETACHED}"));
    if flags.get_flag(DETACHED) {
        return background::start(&detached).map_err(not_started);
    }
    if flags.get_flag(BACKGROUND) {
        return background::take_over(address, &in_background, &detached).map_err(not_started);
    }
    let predecessor = Predecessor::knock(address).map_err(|error| take_over_failed(&error))?;
    let settings = Settings::from_process_with(&gateway(), flags, &predecessor.credentials)?;
    let config = Config::check(&settings)?;
    if !config.redis_bus {
        let problem = "with HUBBUB_BUS=memory messages are in the memory of the old process";
        return Err(Failed::Other(format!("--take-over: {problem}")));
    }
    let credentials = predecessor.credentials.clone();
    run(config, Some(predecessor), credentials).map(|()| ExitCode::SUCCESS)
}

fn run(
    config: Config,
    predecessor: Option<Predecessor>,
    credentials: BTreeMap<String, String>,
) -> Result<(), Failed> {
    let log = log::init(&config.shared.log);
    traces::start(config.shared.traces.as_ref(), "hubbub-gateway", &config.shared.server_id)?;
    for name in unknown_variables() {
        tracing::warn!("{name} is set, but there is no such setting");
    }
    let metrics = install_metrics()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("the main thread's runtime: {error}"))?;
    let shared = &config.shared;
    match &predecessor {
        Some(of) => tracing::info!("taking over from hubbub-gateway {} on {}", of.build, shared.listen),
        None => runtime.block_on(comes_free(shared.listen))?,
    }
    let gateway = Gateway::start(config, credentials, predecessor.is_some())?;
    let outcome = runtime.block_on(gateway.serve(predecessor, metrics, log.clone()));
    traces::close();
    log.close();
    outcome
}

/// What runs on its own threads.
struct Gateway {
    config: Arc<Config>,
    status: Arc<Status>,
    bus: BusHandle,
    cores: Vec<CoreHandle>,
    /// For a successor.
    credentials: BTreeMap<String, String>,
}

impl Gateway {
    /// Starts bus and cores.
    fn start(
        config: Config,
        credentials: BTreeMap<String, String>,
        takes_over: bool,
    ) -> Result<Self, Failed> {
        let shared = &config.shared;
        let verifier = Verifier::new(&shared.keys);
        let verifier = Arc::new(verifier.map_err(|error| SettingError {
            name: settings::JWT_PUBLIC_KEY_FILE.name,
            problem: error.to_string(),
        })?);
        let count = config.cpus.len();
        let status = Status::new(&shared.server_id, config.driver.as_str(), config.redis_bus, count);
        let status = Arc::new(status.at(shared.listen));
        let Links { bus, cores, inboxes } = Links::new(count).map_err(|error| format!("eventfd: {error}"))?;
        let bus_config = BusConfig::of(&config);
        hubbub_gateway::bus::start(bus_config, bus.clone(), cores.clone(), Arc::clone(&status))?;
        metrics::gauge!(hubbub_common::metrics::CONNECTIONS_MAX.name)
            .set(f64::from(u32::try_from(config.connections_max).unwrap_or(u32::MAX)));
        let (per_user_max, per_address_max) =
            (config.connections_per_user_max, config.connections_per_address_max);
        let admission = Admission::new(per_user_max, per_address_max, cores.clone());
        let config = Arc::new(config);
        for ((id, cpu), inbox) in (0u16..).zip(config.cpus.iter().copied()).zip(inboxes) {
            start(CoreSeed {
                id,
                cpu,
                config: Arc::clone(&config),
                verifier: Arc::clone(&verifier),
                admission: Arc::clone(&admission),
                bus: bus.clone(),
                inbox,
                status: Arc::clone(&status),
                listens: !takes_over,
            })?;
        }
        Ok(Self { config, status, bus, cores, credentials })
    }

    /// Serves until it is told to leave, or another process has everything.
    async fn serve(
        self,
        predecessor: Option<Predecessor>,
        metrics: PrometheusHandle,
        log: Log,
    ) -> Result<(), Failed> {
        let stop = Stop::listen()?;
        tokio::spawn(keep_alive(Arc::clone(&self.status)));
        let admin = self.listen_internally(predecessor).await?;
        let lent = admin.try_clone();
        let listener = admin.set_nonblocking(true).and_then(|()| TcpListener::from_std(admin));
        let (lent, listener) =
            lent.and_then(|lent| Ok((lent, listener?))).map_err(|error| self.admin_failed(&error))?;
        announce(&self.config);
        supervisor::ready(&self.status.summary());
        let admin = tokio::spawn(admin::serve(listener, Arc::clone(&self.status), metrics.clone()));
        tokio::spawn(async move {
            let mut every = tokio::time::interval(UPKEEP);
            loop {
                every.tick().await;
                metrics.run_upkeep();
                log.tell_left_out();
            }
        });
        let hands_over = Arc::new(AtomicBool::new(false));
        let (given, mut successor) = oneshot::channel();
        if self.config.redis_bus {
            let giver = Giver {
                listen: self.config.shared.listen,
                admin: lent.into(),
                shards: self.config.shared.shards.count(),
                credentials: self.credentials.clone(),
                cores: self.cores.clone(),
                bus: self.bus.clone(),
                is_busy: Arc::clone(&hands_over),
            };
            giver.wait(given).map_err(|error| format!("the hand-over's thread: {error}"))?;
        }
        tokio::select! {
            () = stop.told() => {}
            Ok(given) = &mut successor => return self.leave_to(given, &admin).await,
        }
        while hands_over.load(Ordering::Acquire) {
            // Soon another process has everything, or this one everything back.
            if let Ok(given) = successor.try_recv() {
                return self.leave_to(given, &admin).await;
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        self.drain().await;
        Ok(())
    }

    /// On the listener of the predecessor, where there is one on this address.
    async fn listen_internally(
        &self,
        predecessor: Option<Predecessor>,
    ) -> Result<std::net::TcpListener, String> {
        let address = self.config.shared.admin_listen;
        let bound = std::net::TcpListener::bind(address);
        let Some(predecessor) = predecessor else { return bound.map_err(|error| self.admin_failed(&error)) };
        if let Err(error) = &bound
            && error.kind() != ErrorKind::AddrInUse
        {
            return Err(self.admin_failed(error));
        }
        let wanted = bound.is_err().then_some(address);
        let shards = self.config.shared.shards.count();
        let taken = predecessor.take_over(&self.bus, &self.cores, shards, wanted).await;
        let taken = taken.map_err(|error| take_over_failed(&error))?;
        bound.or_else(|error| taken.ok_or_else(|| self.admin_failed(&error)))
    }

    fn admin_failed(&self, error: &std::io::Error) -> String {
        format!("HUBBUB_ADMIN_LISTEN {}: {error}", self.config.shared.admin_listen)
    }

    /// Sends everybody away, and leaves.
    async fn drain(self) {
        let Self { config, status, cores, .. } = &self;
        tracing::info!(connections = status.connections(), "draining");
        status.set_draining();
        supervisor::stopping(&status.summary(), config.drain + LAST_LEAVE_MAX + LEAVE_MAX + END_MAX);
        for core in cores {
            if core.tell(Tell::Drain.into()).is_err() {
                tracing::warn!("a core is too far behind to be told to drain");
            }
        }
        let draining = Monotonic::start();
        while status.connections() > 0 && draining.elapsed() < config.drain + LAST_LEAVE_MAX {
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        self.leave().await;
        tracing::info!(connections = status.connections(), "stopped");
    }

    /// Another process serves the clients: what is left of this one goes as soon as that does not need it any more.
    async fn leave_to(self, successor: Given, admin: &JoinHandle<()>) -> Result<(), Failed> {
        admin.abort();
        supervisor::handed_over(successor.pid);
        // It may have ended: then there is nobody to wait for.
        let _ = tokio::time::timeout(SERVING_MAX, successor.serving).await;
        self.leave().await;
        tracing::info!(pid = successor.pid, "left to another process");
        Ok(())
    }

    /// This gateway's users are not its any more.
    async fn leave(&self) {
        let (done, left) = oneshot::channel();
        if self.bus.ask(Ask::Leave(done)).is_ok() {
            self.bus.wake();
            if tokio::time::timeout(LEAVE_MAX, left).await.is_err() {
                tracing::info!("the other gateways find out by themselves that this one has left");
            }
        }
    }
}

/// The signals that mean it. They are listened for from the beginning: their default would cut clients off.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn listen() -> Result<Self, String> {
        let listen = |kind| signal(kind).map_err(|error| format!("signals: {error}"));
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn told(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn take_over_failed(error: &handover::Failed) -> String {
    format!("--take-over: {error}")
}

/// With `SO_REUSEPORT` a second gateway on the same port would go unnoticed and share its clients. One that was killed
/// is there for a moment longer: the kernel takes back the sockets of a ring after the process has ended.
async fn comes_free(address: SocketAddr) -> Result<(), String> {
    let clock = Monotonic::start();
    loop {
        match std::net::TcpListener::bind(address) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::AddrInUse && clock.elapsed() < COMES_FREE_MAX => {
                tokio::time::sleep(COMES_FREE_PAUSE).await;
            }
            Err(error) => return Err(format!("HUBBUB_LISTEN {address}: {error}")),
        }
    }
}

fn announce(config: &Config) {
    let shared = &config.shared;
    let found = if config.connections_max_found { " (from the open-file limit)" } else { "" };
    tracing::info!("at most {} connections{found}", config.connections_max);
    if shared.keys.is_empty() {
        tracing::warn!("HUBBUB_JWT_SECRET is not set: only login sessions can connect, tickets are refused");
    }
    tracing::info!(
        server_id = shared.server_id,
        cores = config.cpus.len(),
        bus = if config.redis_bus { "redis" } else { "memory" },
        driver = config.driver.as_str(),
        "hubbub-gateway {} listens on {}",
        env!("CARGO_PKG_VERSION"),
        shared.listen
    );
}

fn install_metrics() -> Result<PrometheusHandle, String> {
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS_BUCKETS)
        .and_then(PrometheusBuilder::install_recorder)
        .map_err(|error| format!("metrics: {error}"))?;
    describe_all();
    Ok(recorder)
}

/// Takes as many files as the system lets this process have.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    // Where it fails, the soft limit stands and bounds the connections.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
