//! `HUBBUB_REDIS_URL`, checked.
//!
//! Absent so far: TLS (`rediss://`), Sentinel and Cluster. They are refused with a clear error rather than
//! half-supported.

use std::fmt;
use std::str::FromStr;

/// Where Redis is: a `redis://` or `unix://` URL.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl(String);

impl RedisUrl {
    /// The URL with its password, for the client library only.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl FromStr for RedisUrl {
    type Err = &'static str;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        if url.contains(',') || url.starts_with("redis+sentinel://") || url.starts_with("rediss://") {
            return Err("this version talks to one Redis without TLS: redis://host:port or unix:///path");
        }
        let rest = url.strip_prefix("redis://").or_else(|| url.strip_prefix("unix://"));
        match rest {
            Some(rest) if !rest.is_empty() => Ok(Self(url.to_owned())),
            _ => Err("expected redis://[user:password@]host:port[/db] or unix:///path"),
        }
    }
}

/// The URL without user and password, fit for logs.
impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.split_once("://"), self.0.rsplit_once('@')) {
            (Some((scheme, _)), Some((_, place))) => write!(f, "{scheme}://{place}"),
            _ => f.write_str(&self.0),
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

    #[test]
    fn passwords_are_not_shown() {
        let url: RedisUrl = "redis://ada:s@cret@10.0.0.1:6379/0".parse().unwrap();
        assert_eq!(format!("{url} {url:?}"), "redis://10.0.0.1:6379/0 RedisUrl(redis://10.0.0.1:6379/0)");
    }

    #[test]
    fn other_schemes_are_refused() {
        for bad in ["", "redis://", "http://x", "127.0.0.1:6379", "rediss://x", "redis://a,redis://b"] {
            assert!(bad.parse::<RedisUrl>().is_err(), "{bad}");
        }
        assert!("unix:///run/redis.sock".parse::<RedisUrl>().is_ok());
    }
}
