//! The checked settings that gateway and control plane share, and the parsers for both.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;

use crate::log::{self, Format, LogSettings};
use crate::redis_url::RedisUrl;
use crate::settings::{self as names, Setting, SettingError, Settings};
use crate::shard::{SHARDS_MAX, Shards};
use crate::token::Keys;
use crate::traces::TraceSettings;

/// A value that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The value itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Self {
        Self(value)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What both programs are told.
#[derive(Debug)]
pub struct Shared {
    /// Public listener.
    pub listen: SocketAddr,
    /// Internal listener.
    pub admin_listen: SocketAddr,
    /// Unique in the cluster.
    pub server_id: String,
    /// Relaxes cookie flags and secret length.
    pub development: bool,
    /// The streams.
    pub shards: Shards,
    /// Where Redis is, and what is expected of it.
    pub redis: RedisSettings,
    /// Keys of tickets.
    pub keys: Keys,
    /// Which web pages may connect.
    pub allowed_origins: Origins,
    /// Whose forwarding headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether those proxies begin each connection with a PROXY header.
    pub proxy_protocol: bool,
    /// How far back a client can resume.
    pub resume_window: Duration,
    /// Largest frame and message.
    pub frame_bytes_max: u32,
    /// Largest body.
    pub body_bytes_max: u32,
    /// How long to wait for servers at start.
    pub wait: Duration,
    /// What to log, and how.
    pub log: LogSettings,
    /// Where traces go, if anywhere.
    pub traces: Option<TraceSettings>,
}

impl Shared {
    /// Checks the shared settings; `listen` and `admin_listen` are the program's own.
    pub fn check(
        settings: &Settings,
        listen: &Setting,
        admin_listen: &Setting,
    ) -> Result<Self, SettingError> {
        let development = settings.get(&names::ENV, |value| match value {
            "production" => Ok(false),
            "development" => Ok(true),
            _ => Err("expected production or development"),
        })?;
        let listen = settings.get(listen, socket_address)?;
        let frame_bytes_max = settings.get(&names::FRAME_BYTES_MAX, within(1_024..=16_777_216))?;
        Ok(Self {
            listen,
            admin_listen: settings.get(admin_listen, socket_address)?,
            server_id: match settings.optional(&names::SERVER_ID, server_id)? {
                Some(id) => id,
                None => default_server_id(listen.port()),
            },
            development,
            shards: settings.get(&names::SHARDS, |value| {
                let count = value.parse().ok().and_then(Shards::new);
                count.ok_or_else(|| format!("expected a number from 1 to {SHARDS_MAX}"))
            })?,
            redis: RedisSettings {
                url: settings.get(&names::REDIS_URL, RedisUrl::from_str)?,
                ca: settings.optional(&names::REDIS_CA_FILE, read_file)?,
                ack: Ack::check(settings)?,
            },
            keys: Keys::check(settings, development)?,
            allowed_origins: match settings
                .optional(&names::ALLOWED_ORIGINS, |value| Origins::parse(value, development))?
            {
                Some(origins) => origins,
                None => Origins::SameHost,
            },
            trusted_proxies: settings.get(&names::TRUSTED_PROXIES, networks)?,
            proxy_protocol: settings.get(&names::PROXY_PROTOCOL, |value| match value {
                "off" => Ok(false),
                "on" => Ok(true),
                _ => Err("expected on or off"),
            })?,
            resume_window: settings.get(&names::RESUME_WINDOW_SECONDS, seconds(1..=86_400))?,
            frame_bytes_max,
            body_bytes_max: settings.get(&names::BODY_BYTES_MAX, |value| {
                let bytes = within(1..=frame_bytes_max)(value);
                bytes.map_err(|error| format!("{error} (the upper bound is HUBBUB_FRAME_BYTES_MAX)"))
            })?,
            wait: settings.get(&names::WAIT_SECONDS, seconds(0..=86_400))?,
            log: LogSettings {
                filter: settings.get(&names::LOG, log::parse_filter)?,
                format: settings.get(&names::LOG_FORMAT, |value| match value {
                    "text" => Ok(Format::Text),
                    "json" => Ok(Format::Json),
                    _ => Err("expected text or json"),
                })?,
                repeats_max: settings.get(&names::LOG_REPEATS_MAX, within(0..=1_000_000))?,
            },
            traces: TraceSettings::check(settings)?,
        })
    }

    /// Whether forwarding headers from this address are believed.
    pub fn trusts(&self, proxy: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|network| network.contains(&proxy.to_canonical()))
    }

    /// The address of a client: that of the peer, or, behind proxies of ours, the last one in `X-Forwarded-For`
    /// that is no proxy. Each proxy appends whom it talked to, so nothing before that can be believed.
    pub fn client_address<'a>(&self, peer: IpAddr, forwarded_for: impl Iterator<Item = &'a str>) -> IpAddr {
        let peer = peer.to_canonical();
        if !self.trusts(peer) {
            return peer;
        }
        let hops: Vec<_> = forwarded_for.flat_map(|value| value.split(',')).collect();
        let hops = hops.into_iter().rev().map_while(|hop| hop.trim().parse::<IpAddr>().ok());
        hops.map(|hop| hop.to_canonical()).find(|hop| !self.trusts(*hop)).unwrap_or(peer)
    }
}

/// What both programs are told about Redis.
#[derive(Debug, Clone)]
pub struct RedisSettings {
    /// Where it is.
    pub url: RedisUrl,
    /// Certificates that vouch for it, PEM; those of the system where absent.
    pub ca: Option<Vec<u8>>,
    /// What an acknowledgement waits for.
    pub ack: Ack,
}

impl From<RedisUrl> for RedisSettings {
    fn from(url: RedisUrl) -> Self {
        Self { url, ca: None, ack: Ack::Stored }
    }
}

/// What an acknowledgement waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ack {
    /// The message is stored in Redis.
    Stored,
    /// So many replicas have it as well.
    Replicated {
        /// How many.
        replicas: u32,
        /// How long they may take.
        wait: Duration,
    },
}

impl Ack {
    fn check(settings: &Settings) -> Result<Self, SettingError> {
        let replicas = settings.get(&names::ACK_REPLICAS, within(1..=100))?;
        // More than that, and the command before the next one's reply would count as lost.
        let wait_ms = settings.get(&names::ACK_WAIT_MS, within(1..=1_500))?;
        settings.get(&names::ACK, |value| match value {
            "stored" => Ok(Self::Stored),
            "replicated" => Ok(Self::Replicated { replicas, wait: Duration::from_millis(wait_ms) }),
            _ => Err("expected stored or replicated"),
        })
    }
}

/// Which web pages may open a WebSocket or change state with a cookie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// Pages served by the host that the request names.
    SameHost,
    /// These origins.
    List(Vec<String>),
    /// Any; in development only.
    Any,
}

impl Origins {
    fn parse(list: &str, development: bool) -> Result<Self, &'static str> {
        if list == "*" {
            return if development {
                Ok(Self::Any)
            } else {
                Err("* is allowed in development only (HUBBUB_ENV)")
            };
        }
        let origins: Vec<_> =
            split_list(list).map(|origin| origin.trim_end_matches('/').to_lowercase()).collect();
        let is_origin = |origin: &String| {
            let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
            host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ']))
        };
        if origins.is_empty() || !origins.iter().all(is_origin) {
            return Err("expected a comma list of origins such as https://chat.example.org");
        }
        Ok(Self::List(origins))
    }

    /// Whether a page from `origin` may talk to `host` (the request's `Host` header).
    pub fn allow(&self, origin: &str, host: Option<&str>) -> bool {
        match self {
            Self::Any => true,
            Self::List(origins) => origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin)),
            Self::SameHost => {
                let (scheme, origin_host) = origin.split_once("://").unwrap_or_default();
                let default_port = if scheme.eq_ignore_ascii_case("https") { ":443" } else { ":80" };
                let bare = |host: &str| host.strip_suffix(default_port).unwrap_or(host).to_lowercase();
                !origin_host.is_empty() && host.is_some_and(|host| bare(host) == bare(origin_host))
            }
        }
    }
}

/// An address and port.
pub fn socket_address(value: &str) -> Result<SocketAddr, &'static str> {
    value.parse().map_err(|_| "expected an address and port such as 127.0.0.1:7000 or [::1]:7000")
}

/// A whole number within bounds.
pub fn within<T: FromStr + PartialOrd + fmt::Display>(
    bounds: RangeInclusive<T>,
) -> impl FnOnce(&str) -> Result<T, String> {
    move |value| {
        let number = value.parse().ok().filter(|number| bounds.contains(number));
        number.ok_or_else(|| format!("expected a whole number from {} to {}", bounds.start(), bounds.end()))
    }
}

/// A number from 0 to 1.
pub fn read_share(value: &str) -> Result<f64, &'static str> {
    let share = value.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or("expected a number from 0 to 1")
}

/// What stands in a file.
pub fn read_file(path: &str) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("can't be read: {error}"))
}

/// The credential that systemd has put into a service's folder under the name of a setting, without its line's end.
pub fn credential(folder: &Path, name: &str) -> Option<Result<String, String>> {
    match std::fs::read_to_string(folder.join(name)) {
        Ok(text) => Some(Ok(text.trim_end_matches('\n').to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(Err(format!("the credential can't be read: {error}"))),
    }
}

/// Whole seconds within bounds.
pub fn seconds(bounds: RangeInclusive<u64>) -> impl FnOnce(&str) -> Result<Duration, String> {
    move |value| within(bounds)(value).map(Duration::from_secs)
}

/// The elements of a comma list, without spaces and empty ones.
pub fn split_list(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|element| !element.is_empty())
}

fn networks(list: &str) -> Result<Vec<IpNet>, &'static str> {
    let network = |text: &str| text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let networks: Result<_, _> = split_list(list).map(network).collect();
    networks.map_err(|_| "expected a comma list of networks such as 10.0.0.0/8,::1")
}

fn server_id(id: &str) -> Result<String, &'static str> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    if !id.is_empty() && id.len() <= 64 && id.bytes().all(allowed) {
        Ok(id.to_owned())
    } else {
        Err("expected 1 to 64 of A-Z a-z 0-9 . _ : -")
    }
}

fn default_server_id(port: u16) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}:{port}", if host.trim().is_empty() { "localhost" } else { host.trim() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each setting with a value that must be refused; the list is complete.
    #[test]
    fn each_bad_value_names_its_variable() {
        let bad = [
            ("HUBBUB_LISTEN", "7000"),
            ("HUBBUB_ADMIN_LISTEN", "localhost"),
            ("HUBBUB_SERVER_ID", "a b"),
            ("HUBBUB_ENV", "prod"),
            ("HUBBUB_SHARDS", "0"),
            ("HUBBUB_SHARDS", "4097"),
            ("HUBBUB_REDIS_URL", "http://x"),
            ("HUBBUB_REDIS_CA_FILE", "/nowhere/at.all"),
            ("HUBBUB_ACK", "maybe"),
            ("HUBBUB_ACK_REPLICAS", "0"),
            ("HUBBUB_ACK_WAIT_MS", "1501"),
            ("HUBBUB_JWT_SECRET", "short"),
            ("HUBBUB_JWT_PUBLIC_KEY_FILE", "/nowhere/at.all"),
            ("HUBBUB_ALLOWED_ORIGINS", "*"),
            ("HUBBUB_ALLOWED_ORIGINS", "example.org"),
            ("HUBBUB_TRUSTED_PROXIES", "10.0.0.0/99"),
            ("HUBBUB_PROXY_PROTOCOL", "v2"),
            ("HUBBUB_JWT_KEY_ID", "a b"),
            ("HUBBUB_JWT_SECRETS_OLD", "no-id"),
            ("HUBBUB_RESUME_WINDOW_SECONDS", "0"),
            ("HUBBUB_FRAME_BYTES_MAX", "64k"),
            ("HUBBUB_BODY_BYTES_MAX", "65537"),
            ("HUBBUB_WAIT_SECONDS", "-1"),
            ("HUBBUB_LOG", "a=b=c"),
            ("HUBBUB_LOG_FORMAT", "xml"),
            ("HUBBUB_LOG_REPEATS_MAX", "all"),
            ("HUBBUB_TRACES_URL", "127.0.0.1:4318"),
            ("HUBBUB_TRACES_URL", "http://"),
            ("HUBBUB_TRACES_URL", "http://:4318"),
            ("HUBBUB_TRACES_URL", "http://user@collector"),
            ("HUBBUB_TRACES_RATIO", "2"),
            ("HUBBUB_TRACES_RATIO", "NaN"),
        ];
        let own = [names::GATEWAY_LISTEN, names::GATEWAY_ADMIN_LISTEN];
        let table: Vec<_> = names::gateway();
        let check = |name: &str, value: &str| {
            let variable = |asked: &str| (asked == name).then(|| Ok(value.to_owned()));
            let settings = Settings::from_sources(&table, |_| None, variable).unwrap();
            Shared::check(&settings, &own[0], &own[1])
        };
        assert!(check("NOTHING", "").is_ok());
        for (name, value) in bad {
            assert_eq!(check(name, value).unwrap_err().name, name, "{value}");
        }
    }

    #[test]
    fn only_trusted_proxies_say_who_the_client_is() {
        let own = [names::GATEWAY_LISTEN, names::GATEWAY_ADMIN_LISTEN];
        let variable = |asked: &str| (asked == "HUBBUB_TRUSTED_PROXIES").then(|| Ok("10.0.0.0/8".to_owned()));
        let settings = Settings::from_sources(&names::gateway(), |_| None, variable).unwrap();
        let shared = Shared::check(&settings, &own[0], &own[1]).unwrap();
        let check = |peer: &str, forwarded: &[&str], client: &str| {
            let found = shared.client_address(peer.parse().unwrap(), forwarded.iter().copied());
            assert_eq!(found.to_string(), client, "{peer} {forwarded:?}");
        };
        check("192.0.2.1", &["198.51.100.9"], "192.0.2.1");
        check("10.0.0.1", &[], "10.0.0.1");
        check("10.0.0.1", &["1.1.1.1, 192.0.2.7"], "192.0.2.7");
        check("::ffff:10.0.0.1", &["1.1.1.1, 192.0.2.7", "10.0.0.2"], "192.0.2.7");
        check("10.0.0.1", &["192.0.2.7, garbage"], "10.0.0.1");
    }

    #[test]
    fn origins() {
        let list = Origins::parse("https://chat.example.org, http://localhost:8080/", false).unwrap();
        assert!(list.allow("https://chat.example.org", None));
        assert!(list.allow("http://localhost:8080", Some("other")));
        assert!(!list.allow("https://evil.example.org", Some("evil.example.org")));
        assert!(!list.allow("null", None));
        let same = Origins::SameHost;
        assert!(same.allow("https://a.org", Some("a.org")) && same.allow("https://a.org", Some("a.org:443")));
        assert!(same.allow("http://a.org:8080", Some("A.org:8080")));
        assert!(!same.allow("http://a.org:8080", Some("a.org")) && !same.allow("null", Some("null")));
        assert!(!same.allow("https://a.org", None));
        assert_eq!(Origins::parse("*", true), Ok(Origins::Any));
    }
}
