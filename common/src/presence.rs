//! How Redis keeps who is online in a room: one entry for each user, run of a gateway and core with a session.
//!
//! Text, `user/run/core`, in a sorted set whose scores are all zero, so that Redis orders the entries by their bytes
//! and those of a user are neighbours.

use std::fmt;

use crate::ids::UserId;

/// See the module's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PresenceEntry<'a> {
    /// Who.
    pub user: UserId,
    /// On which run of a gateway, as in [`crate::keys::GATEWAYS`].
    pub run: &'a str,
    /// On which of its cores.
    pub core: u16,
}

impl<'a> PresenceEntry<'a> {
    /// Takes an entry apart.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (user, place) = text.split_once('/')?;
        let (run, core) = place.rsplit_once('/')?;
        Some(Self { user: user.parse().ok()?, run, core: core.parse().ok()? })
    }

    /// Between which two the entries of a user stand, the first included, as in `ZRANGEBYLEX`.
    pub fn range_of(user: UserId) -> [String; 2] {
        // "0" is the next character after "/".
        [format!("[{user}/"), format!("({user}0")]
    }
}

impl fmt::Display for PresenceEntry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.user, self.run, self.core)
    }
}

/// The users of entries in their order, each once; `counts` says which runs count.
pub fn users<'a>(entries: impl Iterator<Item = &'a str>, counts: impl Fn(&str) -> bool) -> Vec<UserId> {
    let of_living = entries.filter_map(PresenceEntry::parse).filter(|entry| counts(entry.run));
    let mut users: Vec<_> = of_living.map(|entry| entry.user).collect();
    users.dedup();
    users
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_apart_as_they_were_put_together() {
        let user = UserId::new(12).unwrap();
        let entry = PresenceEntry { user, run: "host:7000#0a", core: 3 };
        let text = entry.to_string();
        assert_eq!(text, "12/host:7000#0a/3");
        assert_eq!(PresenceEntry::parse(&text), Some(entry));
        for bad in ["", "12", "12/run", "12/run/x", "x/run/1", "0/run/1"] {
            assert_eq!(PresenceEntry::parse(bad), None, "{bad}");
        }
        let [first, end] = PresenceEntry::range_of(user);
        assert!(first[1..] < text[..] && text[..] < end[1..]);
        // "1" is a prefix of "12", but another user.
        assert!(!("12/"..="12/z").contains(&"1/host#0/1") && !("12/"..="12/z").contains(&"120/host#0/1"));
    }

    #[test]
    fn a_user_counts_once_and_only_on_runs_that_do() {
        let entries = ["1/a/0", "1/a/1", "1/b/0", "2/b/0", "nonsense", "3/a/0"];
        let ids = |users: Vec<UserId>| users.into_iter().map(UserId::get).collect::<Vec<_>>();
        assert_eq!(ids(users(entries.into_iter(), |_| true)), [1, 2, 3]);
        assert_eq!(ids(users(entries.into_iter(), |run| run == "a")), [1, 3]);
    }
}
