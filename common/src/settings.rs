//! Every setting of both programs, and how they are read.
//!
//! A setting is an environment variable `HUBBUB_X_Y` and the flag `--x-y`; the flag wins, then the variable,
//! then a credential of the variable's name that systemd gave the service (`LoadCredential=`), then its older
//! alias, then the default. An empty value counts as absent. Values are parsed once at start into checked types
//! ([`crate::config`] and each program's own `config`); a bad one is a [`SettingError`], which names the variable
//! and ends the program with exit code 2.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::Path;

use clap::{Arg, ArgMatches};

use crate::config::credential;

/// A setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The environment variable.
    pub name: &'static str,
    /// Another variable that is read where this one is absent.
    pub alias: Option<&'static str>,
    /// The default, as a user would write it.
    pub default: Option<&'static str>,
    /// What it means, with its unit.
    pub help: &'static str,
    /// Whether its value must never be shown.
    pub secret: bool,
}

impl Setting {
    const fn new(name: &'static str, default: Option<&'static str>, help: &'static str) -> Self {
        Self { name, alias: None, default, help, secret: false }
    }

    const fn alias(mut self, alias: &'static str) -> Self {
        self.alias = Some(alias);
        self
    }

    const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// The flag without its dashes: `HUBBUB_ADMIN_LISTEN` gives `admin-listen`.
    pub fn flag(&self) -> String {
        self.name.trim_start_matches(PREFIX).to_lowercase().replace('_', "-")
    }
}

/// With what every variable begins.
pub const PREFIX: &str = "HUBBUB_";

macro_rules! settings {
    ($($ident:ident = $setting:expr;)*) => {
        $(#[doc = concat!("See its `help`: `", stringify!($ident), "`.")] pub const $ident: Setting = $setting;)*
    };
}

settings! {
    GATEWAY_LISTEN = Setting::new("HUBBUB_LISTEN", Some("0.0.0.0:7000"), "address of the public listener");
    CONTROL_LISTEN = Setting::new("HUBBUB_LISTEN", Some("0.0.0.0:7100"), "address of the public listener");
    GATEWAY_ADMIN_LISTEN = Setting::new("HUBBUB_ADMIN_LISTEN", Some("127.0.0.1:7001"), "address of the internal listener: /health, /metrics");
    CONTROL_ADMIN_LISTEN = Setting::new("HUBBUB_ADMIN_LISTEN", Some("127.0.0.1:7101"), "address of the internal listener: /health, /metrics");
    SERVER_ID = Setting::new("HUBBUB_SERVER_ID", None, "unique in the cluster, 1 to 64 of A-Z a-z 0-9 . _ : - [default: host name and port]");
    ENV = Setting::new("HUBBUB_ENV", Some("production"), "production or development; development allows short secrets, cookies without Secure, and any Origin by *");
    SHARDS = Setting::new("HUBBUB_SHARDS", Some("64"), "number of streams, 1 to 4096; fixed at the cluster's first start");
    REDIS_URL = Setting::new("HUBBUB_REDIS_URL", Some("redis://127.0.0.1:6379"), "redis://[user:password@]host:port[/db], rediss:// with TLS, unix:///path, redis+sentinel://host,host/master, or a comma list of Cluster nodes").alias("REDIS_URL").secret();
    REDIS_CA_FILE = Setting::new("HUBBUB_REDIS_CA_FILE", None, "PEM file with the certificates that vouch for Redis, for rediss:// [default: those of the system]");
    ACK = Setting::new("HUBBUB_ACK", Some("stored"), "when a message counts, for its sender and all others: stored in Redis, or replicated to replicas of it");
    ACK_REPLICAS = Setting::new("HUBBUB_ACK_REPLICAS", Some("1"), "replicas that must have a message, with HUBBUB_ACK=replicated");
    ACK_WAIT_MS = Setting::new("HUBBUB_ACK_WAIT_MS", Some("1000"), "how long replicas may take to confirm, milliseconds; then the sender hears internal");
    JWT_SECRET = Setting::new("HUBBUB_JWT_SECRET", None, "HS256 secret of tickets, at least 32 bytes").alias("JWT_SECRET").secret();
    JWT_KEY_ID = Setting::new("HUBBUB_JWT_KEY_ID", None, "id (kid) of HUBBUB_JWT_SECRET, named by the tickets that are signed with it [default: none]");
    JWT_SECRETS_OLD = Setting::new("HUBBUB_JWT_SECRETS_OLD", None, "comma list of key-id:secret (no comma within) that are still accepted after a change of HUBBUB_JWT_SECRET; :secret for one without an id").secret();
    JWT_PUBLIC_KEY_FILE = Setting::new("HUBBUB_JWT_PUBLIC_KEY_FILE", None, "PEM file with the Ed25519 public key of tickets signed elsewhere; a comma list of key-id:path for several");
    ALLOWED_ORIGINS = Setting::new("HUBBUB_ALLOWED_ORIGINS", None, "comma list of exact origins such as https://chat.example.org; * in development [default: same host only]");
    TRUSTED_PROXIES = Setting::new("HUBBUB_TRUSTED_PROXIES", Some("127.0.0.0/8,::1"), "comma list of networks whose X-Forwarded-* headers are believed");
    PROXY_PROTOCOL = Setting::new("HUBBUB_PROXY_PROTOCOL", Some("off"), "on: connections from HUBBUB_TRUSTED_PROXIES begin with a PROXY header, version 1 or 2, that says who the client is");
    RESUME_WINDOW_SECONDS = Setting::new("HUBBUB_RESUME_WINDOW_SECONDS", Some("120"), "how far back a client can resume, seconds");
    FRAME_BYTES_MAX = Setting::new("HUBBUB_FRAME_BYTES_MAX", Some("65536"), "largest WebSocket frame and message, bytes");
    BODY_BYTES_MAX = Setting::new("HUBBUB_BODY_BYTES_MAX", Some("4096"), "largest body of a message, bytes");
    WAIT_SECONDS = Setting::new("HUBBUB_WAIT_SECONDS", Some("0"), "how long to wait for Redis and Postgres at start, seconds");
    LOG = Setting::new("HUBBUB_LOG", Some("info"), "error, warn, info, debug, trace, or tracing directives");
    LOG_FORMAT = Setting::new("HUBBUB_LOG_FORMAT", Some("text"), "text or json");
    LOG_REPEATS_MAX = Setting::new("HUBBUB_LOG_REPEATS_MAX", Some("10"), "lines that one place in the code may log in 10 seconds; then one says how many more there were; 0 = no limit");
    TRACES_URL = Setting::new("HUBBUB_TRACES_URL", None, "OpenTelemetry collector that takes traces by OTLP over HTTP, such as http://127.0.0.1:4318 [default: nothing is traced]").alias("OTEL_EXPORTER_OTLP_ENDPOINT");
    TRACES_RATIO = Setting::new("HUBBUB_TRACES_RATIO", Some("0.01"), "share of requests, of a gateway's entries and of the batch writer's batches that is traced, 0 to 1").alias("OTEL_TRACES_SAMPLER_ARG");

    CORES = Setting::new("HUBBUB_CORES", None, "CPUs to run on, such as 0-3,8, one pinned thread each [default: all allowed CPUs]");
    BUS = Setting::new("HUBBUB_BUS", Some("redis"), "redis, or memory for a single gateway without Redis");
    DRIVER = Setting::new("HUBBUB_DRIVER", Some("io_uring"), "io_uring, or epoll where the kernel lacks it");
    RESUME_BYTES_MAX = Setting::new("HUBBUB_RESUME_BYTES_MAX", Some("268435456"), "recent frames kept for clients that resume, bytes per gateway");
    RESUME_SCAN_BYTES_MAX = Setting::new("HUBBUB_RESUME_SCAN_BYTES_MAX", Some("16777216"), "how much of a stream is read back at a time for clients that resume further back than recent frames are kept, bytes; 0 = none");
    HISTORY = Setting::new("HUBBUB_HISTORY", Some("control"), "who keeps what is older than the streams: control, or none, where gateways are used alone and trim the streams themselves");
    OUTBOX_BYTES_MAX = Setting::new("HUBBUB_OUTBOX_BYTES_MAX", Some("262144"), "frames that may wait for one client, bytes; past it the client is slow");
    SENDS_PER_SECOND = Setting::new("HUBBUB_SENDS_PER_SECOND", Some("20"), "sends per second and user over all gateways, bursts of twice as many; 0 = no limit");
    JOINS_PER_SECOND = Setting::new("HUBBUB_JOINS_PER_SECOND", Some("100"), "rooms joined per second and connection, bursts of 1000; 0 = no limit");
    CONNECTIONS_MAX = Setting::new("HUBBUB_CONNECTIONS_MAX", None, "open WebSockets of the process [default: from the open-file limit]");
    CONNECTIONS_PER_USER_MAX = Setting::new("HUBBUB_CONNECTIONS_PER_USER_MAX", Some("0"), "open WebSockets of one user on this gateway; one more closes the oldest; 0 = no limit");
    CONNECTIONS_PER_ADDRESS_MAX = Setting::new("HUBBUB_CONNECTIONS_PER_ADDRESS_MAX", Some("0"), "open WebSockets from one client address (IPv6: /64 network) on this gateway; one more is refused; 0 = no limit");
    HEARTBEAT_SECONDS = Setting::new("HUBBUB_HEARTBEAT_SECONDS", Some("30"), "silence after which a client is pinged, seconds");
    DRAIN_PER_SECOND = Setting::new("HUBBUB_DRAIN_PER_SECOND", Some("2000"), "clients sent away per second when the gateway leaves, so that others are not overrun; more where HUBBUB_DRAIN_SECONDS would not suffice");
    DRAIN_SECONDS = Setting::new("HUBBUB_DRAIN_SECONDS", Some("60"), "how long sending clients away may take, seconds; a supervisor must wait longer");
    GATEWAY_TIMEOUT_SECONDS = Setting::new("HUBBUB_GATEWAY_TIMEOUT_SECONDS", Some("15"), "silence after which a gateway counts as dead and its users as offline, seconds; the same everywhere");

    DATABASE_URL = Setting::new("HUBBUB_DATABASE_URL", Some("postgresql:///hubbub"), "Postgres, through a pooler if you like").alias("DATABASE_URL").secret();
    DIRECT_DATABASE_URL = Setting::new("HUBBUB_DIRECT_DATABASE_URL", None, "Postgres, not through a pooler: migrations and batch writer [default: HUBBUB_DATABASE_URL]").alias("DIRECT_URL").secret();
    READ_DATABASE_URL = Setting::new("HUBBUB_READ_DATABASE_URL", None, "replica for history [default: none]").secret();
    READ_STALENESS_MS_MAX = Setting::new("HUBBUB_READ_STALENESS_MS_MAX", Some("2000"), "how far the replica of HUBBUB_READ_DATABASE_URL may be behind, milliseconds; past it the primary is read");
    RETENTION_DAYS = Setting::new("HUBBUB_RETENTION_DAYS", Some("0"), "after which months of messages are dropped, days; 0 = never");
    JANITOR_SECONDS = Setting::new("HUBBUB_JANITOR_SECONDS", Some("60"), "how often background work on stored messages is looked for, seconds");
    SEARCH_MS = Setting::new("HUBBUB_SEARCH_MS", Some("3000"), "how long a search looks through messages before it answers with what it found so far, milliseconds");
    DATABASE_CA_FILE = Setting::new("HUBBUB_DATABASE_CA_FILE", None, "PEM file with the certificates that vouch for Postgres, for URLs with sslmode=verify-full [default: those of the system]");
    DATABASE_CONNECTIONS_MAX = Setting::new("HUBBUB_DATABASE_CONNECTIONS_MAX", Some("16"), "connections to Postgres, at most");
    AUTH_PER_MINUTE = Setting::new("HUBBUB_AUTH_PER_MINUTE", Some("300"), "logins and registrations per minute and client address over all instances; 0 = no limit");
    WRITES_PER_MINUTE = Setting::new("HUBBUB_WRITES_PER_MINUTE", Some("1200"), "requests that change something, per minute and user over all instances; 0 = no limit");

    REQUEST_SECONDS = Setting::new("HUBBUB_REQUEST_SECONDS", Some("15"), "how long a request may take, and before that its body to come, seconds; its head, and the pause before it, twice as long");

    UPLOADS_URL = Setting::new("HUBBUB_UPLOADS_URL", Some("file:///var/lib/hubbub/uploads"), "where uploaded files are kept: file:///folder (shared by all control planes) or s3://bucket[/prefix]");
    UPLOADS_S3_ENDPOINT = Setting::new("HUBBUB_UPLOADS_S3_ENDPOINT", None, "address of an S3-compatible store such as https://s3.example.org, as browsers reach it [default: Amazon's]");
    UPLOADS_S3_REGION = Setting::new("HUBBUB_UPLOADS_S3_REGION", Some("us-east-1"), "region of the bucket");
    UPLOADS_S3_STYLE = Setting::new("HUBBUB_UPLOADS_S3_STYLE", Some("path"), "path (endpoint/bucket/key), or host where the bucket is in the endpoint's host name");
    UPLOADS_S3_ACCESS_KEY_ID = Setting::new("HUBBUB_UPLOADS_S3_ACCESS_KEY_ID", None, "access key of the bucket [default: the role of the machine]");
    UPLOADS_S3_SECRET_ACCESS_KEY = Setting::new("HUBBUB_UPLOADS_S3_SECRET_ACCESS_KEY", None, "secret of the access key").secret();
    UPLOADS_BYTES_MAX = Setting::new("HUBBUB_UPLOADS_BYTES_MAX", Some("26214400"), "largest uploaded file, bytes");
    UPLOADS_BYTES_PER_USER = Setting::new("HUBBUB_UPLOADS_BYTES_PER_USER", Some("0"), "what one user may keep uploaded, bytes; 0 = no limit");
    UPLOADS_TYPES = Setting::new("HUBBUB_UPLOADS_TYPES", Some("image/*,audio/*,video/*,text/plain,application/pdf,application/zip,application/octet-stream"), "comma list of content types that may be uploaded; */* for any");
    UPLOADS_LINK_SECONDS = Setting::new("HUBBUB_UPLOADS_LINK_SECONDS", Some("300"), "how long a signed URL of an upload is good for, seconds");
    UPLOADS_UNUSED_SECONDS = Setting::new("HUBBUB_UPLOADS_UNUSED_SECONDS", Some("86400"), "after which uploads that no message refers to are removed, seconds");
}

/// The settings of both programs.
const BOTH: [Setting; 24] = [
    SERVER_ID,
    ENV,
    SHARDS,
    REDIS_URL,
    REDIS_CA_FILE,
    ACK,
    ACK_REPLICAS,
    ACK_WAIT_MS,
    JWT_SECRET,
    JWT_KEY_ID,
    JWT_SECRETS_OLD,
    JWT_PUBLIC_KEY_FILE,
    ALLOWED_ORIGINS,
    TRUSTED_PROXIES,
    PROXY_PROTOCOL,
    RESUME_WINDOW_SECONDS,
    FRAME_BYTES_MAX,
    BODY_BYTES_MAX,
    WAIT_SECONDS,
    LOG,
    LOG_FORMAT,
    LOG_REPEATS_MAX,
    TRACES_URL,
    TRACES_RATIO,
];

/// The settings of `hubbub-gateway`.
pub fn gateway() -> Vec<Setting> {
    let own = [
        GATEWAY_LISTEN,
        GATEWAY_ADMIN_LISTEN,
        CORES,
        BUS,
        DRIVER,
        RESUME_BYTES_MAX,
        RESUME_SCAN_BYTES_MAX,
        HISTORY,
        OUTBOX_BYTES_MAX,
        SENDS_PER_SECOND,
        JOINS_PER_SECOND,
        CONNECTIONS_MAX,
        CONNECTIONS_PER_USER_MAX,
        CONNECTIONS_PER_ADDRESS_MAX,
        HEARTBEAT_SECONDS,
        DRAIN_PER_SECOND,
        DRAIN_SECONDS,
        GATEWAY_TIMEOUT_SECONDS,
    ];
    own.into_iter().chain(BOTH).collect()
}

/// The settings of `hubbub-control`.
pub fn control() -> Vec<Setting> {
    let own = [
        CONTROL_LISTEN,
        CONTROL_ADMIN_LISTEN,
        DATABASE_URL,
        DIRECT_DATABASE_URL,
        READ_DATABASE_URL,
        READ_STALENESS_MS_MAX,
        SEARCH_MS,
        DATABASE_CA_FILE,
        RETENTION_DAYS,
        JANITOR_SECONDS,
        DATABASE_CONNECTIONS_MAX,
        AUTH_PER_MINUTE,
        WRITES_PER_MINUTE,
        GATEWAY_TIMEOUT_SECONDS,
        REQUEST_SECONDS,
        UPLOADS_URL,
        UPLOADS_S3_ENDPOINT,
        UPLOADS_S3_REGION,
        UPLOADS_S3_STYLE,
        UPLOADS_S3_ACCESS_KEY_ID,
        UPLOADS_S3_SECRET_ACCESS_KEY,
        UPLOADS_BYTES_MAX,
        UPLOADS_BYTES_PER_USER,
        UPLOADS_TYPES,
        UPLOADS_LINK_SECONDS,
        UPLOADS_UNUSED_SECONDS,
    ];
    own.into_iter().chain(BOTH).collect()
}

/// The settings that `hubbub-control migrate` uses.
pub const MIGRATE: [Setting; 4] = [DATABASE_URL, DIRECT_DATABASE_URL, DATABASE_CA_FILE, WAIT_SECONDS];

/// The settings that `hubbub-control token` uses.
pub const TOKEN: [Setting; 3] = [ENV, JWT_SECRET, JWT_KEY_ID];

/// The settings that `hubbub-control user` and `room` use.
pub const USER: [Setting; 9] = [
    DATABASE_URL,
    DIRECT_DATABASE_URL,
    DATABASE_CONNECTIONS_MAX,
    DATABASE_CA_FILE,
    REDIS_URL,
    REDIS_CA_FILE,
    SHARDS,
    RESUME_WINDOW_SECONDS,
    WAIT_SECONDS,
];

/// The command-line arguments for settings.
pub fn args(settings: &[Setting]) -> Vec<Arg> {
    let arg = |setting: &Setting| {
        let alias = setting.alias.map(|alias| format!(", {alias}")).unwrap_or_default();
        let default = setting.default.map(|default| format!(" [default: {default}]")).unwrap_or_default();
        Arg::new(setting.name)
            .long(setting.flag())
            .value_name("VALUE")
            .global(true)
            .allow_hyphen_values(true)
            .help(format!("{}{default} [env: {}{alias}]", setting.help, setting.name))
    };
    settings.iter().map(arg).collect()
}

/// A setting whose value is no good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingError {
    /// The variable.
    pub name: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.problem)
    }
}
impl std::error::Error for SettingError {}

/// The exit code of a program with a bad setting.
pub const EXIT_BAD_SETTING: u8 = 2;

/// Raw values, before they are checked.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    values: HashMap<&'static str, String>,
}

impl Settings {
    /// From parsed flags and the process's environment.
    pub fn from_process(settings: &[Setting], flags: &ArgMatches) -> Result<Self, SettingError> {
        let flag = |name: &str| flags.try_get_one::<String>(name).ok().flatten().cloned();
        Self::from_sources(settings, flag, variable_or_credential)
    }

    /// From parsed flags, the process's environment, and the credentials of another process.
    pub fn from_process_with(
        settings: &[Setting],
        flags: &ArgMatches,
        credentials: &BTreeMap<String, String>,
    ) -> Result<Self, SettingError> {
        let flag = |name: &str| flags.try_get_one::<String>(name).ok().flatten().cloned();
        let credential = |name: &str| credentials.get(name).cloned().map(Ok);
        Self::from_sources(settings, flag, |name| variable(name).or_else(|| credential(name)))
    }

    /// From parsed flags and the process's environment, as far as a command uses them; what it has no use for is as if
    /// nobody had set it.
    pub fn from_process_for(
        used: &[Setting],
        settings: &[Setting],
        flags: &ArgMatches,
    ) -> Result<Self, SettingError> {
        let unset = Self::from_sources(settings, |_| None, |_| None)?;
        let Self { values } = Self::from_process(used, flags)?;
        Ok(Self { values: unset.values.into_iter().chain(values).collect() })
    }

    /// From any two sources, flags first.
    pub fn from_sources(
        settings: &[Setting],
        flag: impl Fn(&str) -> Option<String>,
        variable: impl Fn(&str) -> Option<Result<String, String>>,
    ) -> Result<Self, SettingError> {
        let mut values = HashMap::new();
        for setting in settings {
            let from_environment = || {
                let names = [Some(setting.name), setting.alias];
                names.into_iter().flatten().filter_map(&variable).find(|value| value.as_deref() != Ok(""))
            };
            let value = match flag(setting.name).filter(|value| !value.is_empty()) {
                Some(value) => Some(value),
                None => from_environment()
                    .transpose()
                    .map_err(|problem| SettingError { name: setting.name, problem })?
                    .or_else(|| setting.default.map(str::to_owned)),
            };
            if let Some(value) = value {
                values.insert(setting.name, value);
            }
        }
        Ok(Self { values })
    }

    /// Parses a setting that has a default.
    pub fn get<T, E: fmt::Display>(
        &self,
        setting: &Setting,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, SettingError> {
        let missing = || SettingError { name: setting.name, problem: "must be set".to_owned() };
        self.optional(setting, parse)?.ok_or_else(missing)
    }

    /// Parses a setting that may be absent.
    pub fn optional<T, E: fmt::Display>(
        &self,
        setting: &Setting,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, SettingError> {
        let Some(value) = self.values.get(setting.name) else { return Ok(None) };
        let problem = |error: E| {
            let shown = if setting.secret { String::new() } else { format!(", got \"{value}\"") };
            SettingError { name: setting.name, problem: format!("{error}{shown}") }
        };
        parse(value).map(Some).map_err(problem)
    }
}

/// Names of `HUBBUB_*` variables in the environment that no program of ours knows: likely misspelt.
pub fn unknown_variables() -> Vec<String> {
    let known: Vec<_> = gateway().into_iter().chain(control()).map(|setting| setting.name).collect();
    let mut unknown: Vec<_> = std::env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| name.starts_with(PREFIX) && !name.starts_with("HUBBUB_DEV_"))
        .filter(|name| !known.contains(&name.as_str()))
        .collect();
    unknown.sort();
    unknown
}

/// What systemd has given this process as credentials: for another one that goes on with its work, because systemd gives
/// them only to those that it starts for good.
pub fn credentials(settings: &[Setting]) -> BTreeMap<String, String> {
    let names = settings.iter().flat_map(|setting| [Some(setting.name), setting.alias]).flatten();
    names.filter_map(|name| Some((name.to_owned(), own_credential(name)?.ok()?))).collect()
}

/// systemd names the folder of a service's credentials in a variable.
fn variable_or_credential(name: &str) -> Option<Result<String, String>> {
    variable(name).or_else(|| own_credential(name))
}

fn variable(name: &str) -> Option<Result<String, String>> {
    environment(name).filter(|value| value.as_deref() != Ok(""))
}

fn own_credential(name: &str) -> Option<Result<String, String>> {
    let folder = environment("CREDENTIALS_DIRECTORY")?.ok()?;
    credential(Path::new(&folder), name)
}

#[expect(clippy::disallowed_methods, reason = "this is the settings module")]
fn environment(name: &str) -> Option<Result<String, String>> {
    Some(std::env::var_os(name)?.into_string().map_err(|_| "not UTF-8".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(flags: &[(&str, &str)], variables: &[(&str, &str)]) -> Settings {
        let find = |list: &[(&str, &str)], name: &str| {
            list.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        Settings::from_sources(&gateway(), |name| find(flags, name), |name| find(variables, name).map(Ok))
            .unwrap()
    }

    fn text(settings: &Settings, setting: &Setting) -> Option<String> {
        settings.optional(setting, |value| Ok::<_, String>(value.to_owned())).unwrap()
    }

    #[test]
    fn flag_then_variable_then_alias_then_default() {
        let url =
            |flags: &[(&str, &str)], variables: &[(&str, &str)]| text(&load(flags, variables), &REDIS_URL);
        assert_eq!(url(&[], &[]).unwrap(), "redis://127.0.0.1:6379");
        assert_eq!(url(&[], &[("REDIS_URL", "a")]).unwrap(), "a");
        assert_eq!(url(&[], &[("REDIS_URL", "a"), ("HUBBUB_REDIS_URL", "b")]).unwrap(), "b");
        assert_eq!(url(&[("HUBBUB_REDIS_URL", "c")], &[("HUBBUB_REDIS_URL", "b")]).unwrap(), "c");
        assert_eq!(url(&[], &[("HUBBUB_REDIS_URL", "")]).unwrap(), "redis://127.0.0.1:6379");
        assert_eq!(text(&load(&[], &[]), &CORES), None);
    }

    #[test]
    fn an_error_names_the_variable_and_hides_secrets() {
        let settings = load(&[], &[("HUBBUB_JWT_SECRET", "hush"), ("HUBBUB_SHARDS", "x")]);
        let refuse = |_: &str| Err::<(), _>("bad");
        assert_eq!(settings.get(&SHARDS, refuse).unwrap_err().to_string(), "HUBBUB_SHARDS: bad, got \"x\"");
        assert_eq!(settings.get(&JWT_SECRET, refuse).unwrap_err().to_string(), "HUBBUB_JWT_SECRET: bad");
    }

    #[test]
    fn flags_follow_from_names() {
        assert_eq!(GATEWAY_ADMIN_LISTEN.flag(), "admin-listen");
        for setting in gateway().into_iter().chain(control()) {
            assert!(setting.name.starts_with(PREFIX));
        }
    }
}
