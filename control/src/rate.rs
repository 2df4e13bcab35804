//! Rate limits shared by all instances: the generic cell rate algorithm in one Lua script.

use std::cell::RefCell;
use std::sync::LazyLock;

use hubbub_common::keys;
use hubbub_common::redis::Commands;
use redis::Script;

use crate::error::Error;

/// A limit: so many a minute, all of them at once if need be; 0 = no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Of what.
    pub name: &'static str,
    /// How many.
    pub per_minute: u64,
}

/// Logins to one account.
pub const LOGIN_PER_ACCOUNT: Limit = Limit { name: "login-account", per_minute: 20 };
/// Messages sent over REST by one user.
pub const SEND_PER_USER: Limit = Limit { name: "send-user", per_minute: 1_200 };

/// Files announced by one user.
pub const UPLOAD_PER_USER: Limit = Limit { name: "upload-user", per_minute: 60 };

/// What is left of a limit once a request has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// Of which limit.
    pub limit: Limit,
    /// So many more may come at once.
    pub remaining: u64,
    /// When all of it is there again; where nothing remains, when one is.
    pub reset_s: u64,
}

tokio::task_local! {
    static COUNTED: RefCell<Vec<Left>>;
}

/// Runs something that answers a request; gives what is left of each limit that it counted for, too.
pub async fn watched<T>(request: impl Future<Output = T>) -> (T, Vec<Left>) {
    COUNTED
        .scope(RefCell::default(), async {
            let answer = request.await;
            (answer, COUNTED.with(RefCell::take))
        })
        .await
}

/// `KEYS[1]` holds when the next request would be due if all came evenly, in microseconds of Redis's clock.
/// Answers the microseconds to wait, and how far that time is ahead.
static TAKE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"local now = redis.call('TIME')
          now = now[1] * 1000000 + now[2]
          local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
          local due = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now)
          if due - now > burst then return {due - now - burst, due - now} end
          redis.call('SET', KEYS[1], string.format('%.0f', due + interval), 'PX', 61000)
          return {0, due + interval - now}",
    )
});

/// Lets a request pass, or says when it may come again.
pub async fn take(redis: &Commands, limit: Limit, subject: &str) -> Result<(), Error> {
    if limit.per_minute == 0 {
        return Ok(());
    }
    let interval_us = 60_000_000 / limit.per_minute;
    let burst_us = interval_us * (limit.per_minute - 1);
    let (wait_us, ahead_us): (u64, u64) = TAKE
        .key(keys::rate(limit.name, subject))
        .arg(interval_us)
        .arg(burst_us)
        .invoke_async(&mut redis.clone())
        .await?;
    let left = left(limit, wait_us, ahead_us);
    // Commands have nobody who watches.
    let _ = COUNTED.try_with(|counted| counted.borrow_mut().push(left));
    if wait_us == 0 { Ok(()) } else { Err(Error::RateLimited { retry_after_s: left.reset_s }) }
}

/// What the script's answer means.
fn left(limit: Limit, wait_us: u64, ahead_us: u64) -> Left {
    let interval_us = 60_000_000 / limit.per_minute;
    let whole_us = interval_us * limit.per_minute;
    let remaining = whole_us.saturating_sub(ahead_us) / interval_us;
    let reset_us = if remaining > 0 {
        ahead_us
    } else if wait_us > 0 {
        wait_us
    } else {
        (ahead_us + interval_us).saturating_sub(whole_us)
    };
    Left { limit, remaining, reset_s: reset_us.div_ceil(1_000_000) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left() {
        // One every ten seconds.
        let limit = Limit { name: "x", per_minute: 6 };
        let check = |wait_s: u64, ahead_s: u64, remaining: u64, reset_s: u64| {
            let found = left(limit, wait_s * 1_000_000, ahead_s * 1_000_000);
            assert_eq!(found, Left { limit, remaining, reset_s }, "{wait_s} {ahead_s}");
        };
        check(0, 10, 5, 10);
        check(0, 15, 4, 15);
        check(0, 50, 1, 50);
        check(0, 55, 0, 5);
        check(0, 60, 0, 10);
        check(3, 53, 0, 3);
        check(10, 60, 0, 10);
    }
}
