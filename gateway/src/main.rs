//! `hubbub-gateway`: reads the settings, starts bus and cores, waits for the signal to leave.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use hubbub_common::clock::Monotonic;
use hubbub_common::metrics::describe_all;
use hubbub_common::settings::{EXIT_BAD_SETTING, SettingError, Settings, gateway, unknown_variables};
use hubbub_common::token::Verifier;
use hubbub_common::{log, settings, supervisor, traces};
use hubbub_gateway::admission::Admission;
use hubbub_gateway::bus::{Ask, BusConfig, Links, StartError, Tell};
use hubbub_gateway::config::{Config, command};
use hubbub_gateway::core::{CoreSeed, start};
use hubbub_gateway::status::Status;
use hubbub_gateway::supervisor::keep_alive;
use hubbub_gateway::{admin, bus};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use mimalloc::MiMalloc;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

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
    let config = Settings::from_process(&gateway(), &flags).and_then(|settings| Config::check(&settings));
    let outcome = config.map_err(Failed::from).and_then(run);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
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

fn run(config: Config) -> Result<(), Failed> {
    let log = log::init(&config.shared.log);
    traces::start(config.shared.traces.as_ref(), "hubbub-gateway", &config.shared.server_id)?;
    for name in unknown_variables() {
        tracing::warn!("{name} is set, but there is no such setting");
    }
    let metrics = install_metrics()?;
    let shared = &config.shared;
    let verifier = Verifier::new(&shared.keys);
    let verifier = Arc::new(verifier.map_err(|error| SettingError {
        name: settings::JWT_PUBLIC_KEY_FILE.name,
        problem: error.to_string(),
    })?);
    let cores = config.cpus.len();
    let status = Status::new(&shared.server_id, config.driver.as_str(), config.redis_bus, cores);
    let status = Arc::new(status.at(shared.listen));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("the main thread's runtime: {error}"))?;
    runtime.block_on(comes_free(shared.listen))?;
    let links = Links::new(cores).map_err(|error| format!("eventfd: {error}"))?;
    let bus_config = BusConfig::of(&config);
    bus::start(bus_config, links.bus.clone(), links.cores.clone(), Arc::clone(&status))?;
    metrics::gauge!(hubbub_common::metrics::CONNECTIONS_MAX.name)
        .set(f64::from(u32::try_from(config.connections_max).unwrap_or(u32::MAX)));
    let (per_user_max, per_address_max) =
        (config.connections_per_user_max, config.connections_per_address_max);
    let admission = Admission::new(per_user_max, per_address_max, links.cores.clone());
    let config = Arc::new(config);
    for ((id, cpu), inbox) in (0u16..).zip(config.cpus.iter().copied()).zip(links.inboxes) {
        start(CoreSeed {
            id,
            cpu,
            config: Arc::clone(&config),
            verifier: Arc::clone(&verifier),
            admission: Arc::clone(&admission),
            bus: links.bus.clone(),
            inbox,
            status: Arc::clone(&status),
        })?;
    }
    runtime.block_on(async {
        let address = config.shared.admin_listen;
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|error| format!("HUBBUB_ADMIN_LISTEN {address}: {error}"))?;
        announce(&config);
        supervisor::ready(&status.summary());
        tokio::spawn(keep_alive(Arc::clone(&status)));
        tokio::spawn(admin::serve(listener, Arc::clone(&status), metrics.clone()));
        let log_of_upkeep = log.clone();
        tokio::spawn(async move {
            let mut every = tokio::time::interval(UPKEEP);
            loop {
                every.tick().await;
                metrics.run_upkeep();
                log_of_upkeep.tell_left_out();
            }
        });
        let stopped = async {
            let mut terminate =
                signal(SignalKind::terminate()).map_err(|error| format!("signals: {error}"))?;
            let mut interrupt =
                signal(SignalKind::interrupt()).map_err(|error| format!("signals: {error}"))?;
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            Ok::<(), String>(())
        };
        stopped.await?;
        tracing::info!(connections = status.connections(), "draining");
        status.set_draining();
        supervisor::stopping(&status.summary(), config.drain + LAST_LEAVE_MAX + LEAVE_MAX + END_MAX);
        for core in &links.cores {
            if core.tell(Tell::Drain.into()).is_err() {
                tracing::warn!("a core is too far behind to be told to drain");
            }
        }
        let draining = Monotonic::start();
        while status.connections() > 0 && draining.elapsed() < config.drain + LAST_LEAVE_MAX {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let (done, left) = oneshot::channel();
        if links.bus.ask(Ask::Leave(done)).is_ok() {
            links.bus.wake();
            if tokio::time::timeout(LEAVE_MAX, left).await.is_err() {
                tracing::info!("the other gateways find out by themselves that this one has left");
            }
        }
        tracing::info!(connections = status.connections(), "stopped");
        traces::close();
        log.close();
        Ok(())
    })
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
