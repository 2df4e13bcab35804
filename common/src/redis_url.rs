//! `HUBBUB_REDIS_URL`, checked.
//!
//! | form | meaning |
//! | --- | --- |
//! | `redis://[user:password@]host[:port][/db]` | one server; `rediss://` with TLS |
//! | `unix:///path[?db=…&user=…&pass=…]` | one server on this machine |
//! | `redis+sentinel://[user:password@]host[:port],host[:port]/master[/db]` | the server that Sentinel calls the master; `rediss+sentinel://` with TLS to both |
//! | `redis://[user:password@]host:port,host:port` | a Cluster, found through any of these nodes; `rediss://` with TLS |
//!
//! Sentinels that ask for credentials of their own get them from `?sentinel_user=…&sentinel_password=…`.
//! In user and password `%XX` stands for a byte; an `@` may stand for itself. A Cluster of which only one
//! address is known ends with a comma.

use std::fmt;
use std::str::FromStr;

use crate::config::{Secret, split_list};

/// The port of Redis.
const PORT: u16 = 6379;
/// The port of Sentinel.
const SENTINEL_PORT: u16 = 26_379;

/// A host name or address, and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    /// Without the brackets of an IPv6 address.
    pub host: String,
    /// TCP.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// As whom to log in; neither is needed where the server asks for none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Login {
    /// ACL user, `default` where absent.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
}

/// How the servers are arranged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// One server.
    Single(Address),
    /// One server behind a Unix socket.
    Unix(String),
    /// A primary with replicas, watched by sentinels.
    Sentinel {
        /// Where to ask.
        sentinels: Vec<Address>,
        /// For whom to ask.
        master: String,
        /// As whom to ask.
        login: Login,
    },
    /// Many primaries, each with a part of the keys.
    Cluster(Vec<Address>),
}

/// Where Redis is, and as whom to log in.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl {
    /// How the servers are arranged.
    pub shape: Shape,
    /// Whether connections are encrypted.
    pub tls: bool,
    /// As whom to log in.
    pub login: Login,
    /// The number of the database; Cluster has only 0.
    pub db: i64,
}

impl RedisUrl {
    /// Whether the keys are spread over several servers.
    pub fn is_cluster(&self) -> bool {
        matches!(self.shape, Shape::Cluster(_))
    }
}

impl FromStr for RedisUrl {
    type Err = &'static str;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        let (scheme, rest) = url.split_once("://").ok_or(EXPECTED)?;
        if scheme == "unix" {
            return unix(rest);
        }
        let (tls, sentinel) = match scheme {
            "redis" => (false, false),
            "rediss" => (true, false),
            "redis+sentinel" => (false, true),
            "rediss+sentinel" => (true, true),
            _ => return Err(EXPECTED),
        };
        let (login, places) = list(rest, scheme)?;
        let login = login_of(login)?;
        let (places, query) = places.split_once('?').unwrap_or((&places, ""));
        let (hosts, path) = places.split_once('/').unwrap_or((places, ""));
        if sentinel {
            return sentinel_url(tls, login, hosts, path, query);
        }
        if !query.is_empty() {
            return Err("expected no query: only unix:// and redis+sentinel:// have one");
        }
        let addresses = addresses(hosts, PORT)?;
        let db = number_of_db(path)?;
        let shape = match addresses.as_slice() {
            [address] if !hosts.contains(',') => Shape::Single(address.clone()),
            _ if db != 0 => return Err("expected no database number: a Cluster has only database 0"),
            _ => Shape::Cluster(addresses),
        };
        Ok(Self { shape, tls, login, db })
    }
}

const EXPECTED: &str = "expected redis://[user:password@]host:port[/db], rediss://…, unix:///path, \
                        redis+sentinel://host,host/master or a comma list of nodes";

fn sentinel_url(
    tls: bool,
    login: Login,
    hosts: &str,
    path: &str,
    query: &str,
) -> Result<RedisUrl, &'static str> {
    let (master, db) = path.split_once('/').unwrap_or((path, ""));
    if master.is_empty() {
        return Err("expected the name of the master: redis+sentinel://host,host/master");
    }
    let mut of_sentinels = Login::default();
    for (name, value) in pairs(query) {
        match name {
            "sentinel_user" => of_sentinels.user = Some(decoded(value)?),
            "sentinel_password" => of_sentinels.password = Some(decoded(value)?.into()),
            _ => return Err("expected only sentinel_user and sentinel_password in the query"),
        }
    }
    let shape = Shape::Sentinel {
        sentinels: addresses(hosts, SENTINEL_PORT)?,
        master: decoded(master)?,
        login: of_sentinels,
    };
    Ok(RedisUrl { shape, tls, login, db: number_of_db(db)? })
}

fn unix(rest: &str) -> Result<RedisUrl, &'static str> {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    if !path.starts_with('/') {
        return Err("expected an absolute path: unix:///path");
    }
    let (mut login, mut db) = (Login::default(), 0);
    for (name, value) in pairs(query) {
        match name {
            "db" => db = number_of_db(value)?,
            "user" => login.user = Some(decoded(value)?),
            "pass" => login.password = Some(decoded(value)?.into()),
            _ => return Err("expected only db, user and pass in the query"),
        }
    }
    Ok(RedisUrl { shape: Shape::Unix(decoded(path)?), tls: false, login, db })
}

/// The login and the places. `redis://login@a,redis://login@b` is as good as `redis://login@a,b`.
fn list<'a>(rest: &'a str, scheme: &str) -> Result<(&'a str, String), &'static str> {
    let separator = format!(",{scheme}://");
    let mut elements =
        rest.split(separator.as_str()).map(|element| element.rsplit_once('@').unwrap_or(("", element)));
    let (login, first) = elements.next().unwrap_or_default();
    let mut places = first.to_owned();
    for (other, place) in elements {
        if !other.is_empty() && other != login {
            return Err("expected the same user and password for all addresses of the list");
        }
        places = format!("{places},{place}");
    }
    if places.contains("://") {
        return Err("expected the same scheme for all addresses of the list");
    }
    Ok((login, places))
}

fn login_of(text: &str) -> Result<Login, &'static str> {
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    let some = |text: &str| (!text.is_empty()).then(|| decoded(text)).transpose();
    Ok(Login { user: some(user)?, password: some(password)?.map(Secret::from) })
}

fn addresses(hosts: &str, default_port: u16) -> Result<Vec<Address>, &'static str> {
    let addresses = split_list(hosts).map(|host| address(host, default_port));
    let addresses: Vec<_> = addresses.collect::<Result<_, _>>()?;
    if addresses.is_empty() { Err(EXPECTED) } else { Ok(addresses) }
}

fn address(text: &str, default_port: u16) -> Result<Address, &'static str> {
    const EXPECTED: &str = "expected host:port, or [IPv6 address]:port";
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or(EXPECTED)?;
            (host, if port.is_empty() { None } else { Some(port.strip_prefix(':').ok_or(EXPECTED)?) })
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = port.map_or(Some(default_port), |port| port.parse().ok().filter(|port| *port != 0));
    if host.is_empty() || host.contains(['/', ' ', '[', ']']) {
        return Err(EXPECTED);
    }
    Ok(Address { host: host.to_owned(), port: port.ok_or(EXPECTED)? })
}

fn number_of_db(text: &str) -> Result<i64, &'static str> {
    match text.trim_end_matches('/') {
        "" => Ok(0),
        number => number.parse::<u16>().map(i64::from).map_err(|_| "expected a database number after the /"),
    }
}

fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// Percent-decoding (RFC 3986, section 2.1).
fn decoded(text: &str) -> Result<String, &'static str> {
    const BAD: &str = "expected % to be followed by two hexadecimal digits of UTF-8";
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let (high, low) = (digit().ok_or(BAD)?, digit().ok_or(BAD)?);
        bytes.push(u8::try_from(high * 16 + low).map_err(|_| BAD)?);
    }
    String::from_utf8(bytes).map_err(|_| BAD)
}

/// The URL without users and passwords, fit for logs.
impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "rediss" } else { "redis" };
        let list =
            |addresses: &[Address]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        match &self.shape {
            Shape::Single(address) => write!(f, "{scheme}://{address}/{}", self.db),
            Shape::Unix(path) => write!(f, "unix://{path}"),
            Shape::Sentinel { sentinels, master, .. } => {
                write!(f, "{scheme}+sentinel://{}/{master}", list(sentinels))
            }
            Shape::Cluster(nodes) => write!(f, "{scheme}://{}", list(nodes)),
        }
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> RedisUrl {
        url.parse().unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    #[test]
    fn passwords_are_not_shown() {
        let url = parse("redis://ada:s@cret@10.0.0.1:6379/0");
        assert_eq!(format!("{url} {url:?}"), "redis://10.0.0.1:6379/0 RedisUrl(redis://10.0.0.1:6379/0)");
        assert_eq!(url.login.password.as_ref().unwrap().reveal(), "s@cret");
        let url = parse("rediss+sentinel://a:hush@h1,h2:1/chat?sentinel_user=s&sentinel_password=hush");
        assert_eq!(url.to_string(), "rediss+sentinel://h1:26379,h2:1/chat");
        for url in [parse("redis://:hush@a:1,b:2"), parse("unix:///run/r.sock?pass=hush"), url] {
            assert!(!format!("{url} {url:?} {:?} {:?}", url.shape, url.login).contains("hush"), "{url}");
        }
    }

    #[test]
    fn each_shape_is_told_from_the_others() {
        let shown = |url: &str| parse(url).to_string();
        assert_eq!(shown("redis://localhost"), "redis://localhost:6379/0");
        assert_eq!(shown("rediss://[::1]:7/3"), "rediss://[::1]:7/3");
        assert_eq!(shown("unix:///run/redis.sock"), "unix:///run/redis.sock");
        assert_eq!(shown("redis://a:1,b,redis://c:3"), "redis://a:1,b:6379,c:3");
        assert_eq!(shown("redis://a:1,"), "redis://a:1");
        assert!(parse("redis://a:1,").is_cluster() && !parse("redis://a:1").is_cluster());
        let login = |url: &str| {
            let login = parse(url).login;
            (login.user.unwrap_or_default(), login.password.map_or(String::new(), |p| p.reveal().to_owned()))
        };
        let pair = |user: &str, password: &str| (user.to_owned(), password.to_owned());
        assert_eq!(login("redis://h"), pair("", ""));
        assert_eq!(login("redis://ada%40x:p%2Fq@h"), pair("ada@x", "p/q"));
        assert_eq!(login("redis://:p:q@a,b"), pair("", "p:q"));
        assert_eq!(login("redis://u:p@a,redis://u:p@b"), pair("u", "p"));
        assert_eq!(login("unix:///s?user=u&pass=p"), pair("u", "p"));
    }

    #[test]
    fn anything_else_is_refused() {
        let bad = [
            "",
            "redis://",
            "http://x",
            "127.0.0.1:6379",
            "redis://a,rediss://b",
            "redis://u:p@a,redis://u:q@b",
            "redis://a,b/1",
            "redis://a:x",
            "redis://a:0",
            "redis://a:1:2",
            "redis://::1",
            "redis://a/x",
            "redis://a/0?x=1",
            "redis://%zz:p@h",
            "unix://relative",
            "unix:///s?color=red",
            "redis+sentinel://a,b",
            "redis+sentinel://a/m?x=1",
            "redis+sentinel:///m",
        ];
        for bad in bad {
            assert!(bad.parse::<RedisUrl>().is_err(), "{bad}");
        }
    }
}
