//! Rate limits shared by all instances: the generic cell rate algorithm in one Lua script.

use std::sync::LazyLock;

use hubbub_common::keys;
use hubbub_common::redis::Commands;
use redis::Script;

use crate::error::Error;

/// A limit: so many a minute, all of them at once if need be.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    name: &'static str,
    per_minute: u64,
}

/// Logins and registrations from one address.
pub const AUTH_PER_ADDRESS: Limit = Limit { name: "auth-address", per_minute: 300 };
/// Logins to one account.
pub const LOGIN_PER_ACCOUNT: Limit = Limit { name: "login-account", per_minute: 20 };
/// Messages sent over REST by one user.
pub const SEND_PER_USER: Limit = Limit { name: "send-user", per_minute: 1_200 };

/// Files announced by one user.
pub const UPLOAD_PER_USER: Limit = Limit { name: "upload-user", per_minute: 60 };

/// `KEYS[1]` holds when the next request would be due if all came evenly, in microseconds of Redis's clock.
/// Answers 0, or the milliseconds to wait.
static TAKE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"local now = redis.call('TIME')
          now = now[1] * 1000000 + now[2]
          local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
          local due = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now)
          if due - now > burst then return math.ceil((due - now - burst) / 1000) end
          redis.call('SET', KEYS[1], string.format('%.0f', due + interval), 'PX', 61000)
          return 0",
    )
});

/// Lets a request pass, or says when it may come again.
pub async fn take(redis: &Commands, limit: Limit, subject: &str) -> Result<(), Error> {
    let interval_us = 60_000_000 / limit.per_minute;
    let burst_us = interval_us * (limit.per_minute - 1);
    let wait_ms: u64 = TAKE
        .key(keys::rate(limit.name, subject))
        .arg(interval_us)
        .arg(burst_us)
        .invoke_async(&mut redis.clone())
        .await?;
    if wait_ms == 0 { Ok(()) } else { Err(Error::RateLimited { retry_after_s: wait_ms.div_ceil(1_000) }) }
}
