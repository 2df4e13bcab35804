//! How many connections one user and one address have on this gateway, counted over all its cores.
//!
//! Touched when a client comes and when it goes, so locks cost nothing that counts; with both limits off there is
//! nothing to touch. What a connection occupies is a value that gives its place back when it is dropped, so that no
//! way of ending can be forgotten.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hubbub_common::ids::UserId;
use smallvec::SmallVec;

use crate::bus::{CoreHandle, Tell};

/// Cores seldom meet in one of so many locks.
const LOCKS: usize = 64;
/// What one subscriber gets of the IPv6 internet, at least (RFC 6177): many addresses, one client.
const IPV6_NETWORK_BITS: u32 = 64;

/// A connection of this gateway, wherever it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) core: u16,
    pub(crate) slot: u32,
    pub(crate) connection: u64,
}

/// See the module's text.
#[derive(Debug)]
pub struct Admission {
    users: Option<PerUser>,
    addresses: Option<PerAddress>,
}

/// Its connections of a user, oldest first.
#[derive(Debug)]
struct PerUser {
    max: usize,
    places: Locked<UserId, SmallVec<[Place; 1]>>,
    cores: Vec<CoreHandle>,
}

#[derive(Debug)]
struct PerAddress {
    max: u32,
    counts: Locked<IpAddr, u32>,
}

/// One connection more of an address; given back when dropped.
#[derive(Debug)]
pub(crate) struct AddressSeat {
    admission: Arc<Admission>,
    address: IpAddr,
}

/// One connection more of a user; given back when dropped.
#[derive(Debug)]
pub(crate) struct UserSeat {
    admission: Arc<Admission>,
    user: UserId,
    place: Place,
}

/// The address has as many connections as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooMany;

impl Admission {
    /// 0 = no limit. Connections that have to go are told by their core's inbox.
    pub fn new(per_user_max: u32, per_address_max: u32, cores: Vec<CoreHandle>) -> Arc<Self> {
        let max = usize::try_from(per_user_max).unwrap_or(usize::MAX);
        let users = (per_user_max > 0).then(|| PerUser { max, places: Locked::default(), cores });
        let addresses =
            (per_address_max > 0).then(|| PerAddress { max: per_address_max, counts: Locked::default() });
        Arc::new(Self { users, addresses })
    }

    /// Takes a seat for a client that asks to come in; `None` without a limit.
    pub(crate) fn seat_address(self: &Arc<Self>, address: IpAddr) -> Result<Option<AddressSeat>, TooMany> {
        let Some(addresses) = &self.addresses else { return Ok(None) };
        let address = network(address);
        let mut counts = addresses.counts.lock(&address);
        let count = counts.entry(address).or_default();
        if *count >= addresses.max {
            return Err(TooMany);
        }
        *count += 1;
        Ok(Some(AddressSeat { admission: Arc::clone(self), address }))
    }

    /// Takes a seat for a client that had one before; `None` without a limit.
    pub(crate) fn seat_again(self: &Arc<Self>, address: IpAddr) -> Option<AddressSeat> {
        let addresses = self.addresses.as_ref()?;
        let address = network(address);
        *addresses.counts.lock(&address).entry(address).or_default() += 1;
        Some(AddressSeat { admission: Arc::clone(self), address })
    }

    /// Takes a seat for a connection that has begun; `None` without a limit. Where the user has too many, the oldest
    /// have to go.
    pub(crate) fn seat_user(self: &Arc<Self>, user: UserId, place: Place) -> Option<UserSeat> {
        let users = self.users.as_ref()?;
        let mut places = users.places.lock(&user);
        let of_user = places.entry(user).or_default();
        of_user.push(place);
        while of_user.len() > users.max {
            let Some(oldest) = of_user.first().copied() else { break };
            if users.tell_to_go(oldest).is_err() {
                // Its core is too far behind to be told anything: it goes when the next one comes.
                break;
            }
            of_user.remove(0);
        }
        Some(UserSeat { admission: Arc::clone(self), user, place })
    }
}

impl AddressSeat {
    /// Whose it is.
    pub(crate) fn address(&self) -> IpAddr {
        self.address
    }
}

impl PerUser {
    fn tell_to_go(&self, place: Place) -> Result<(), ()> {
        let Place { core, slot, connection } = place;
        let handle = self.cores.get(usize::from(core)).ok_or(())?;
        handle.tell(Tell::Replace { slot, connection }.into()).map_err(drop)
    }
}

impl Drop for AddressSeat {
    fn drop(&mut self) {
        let Some(addresses) = &self.admission.addresses else { return };
        let mut counts = addresses.counts.lock(&self.address);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

impl Drop for UserSeat {
    fn drop(&mut self) {
        let Some(users) = &self.admission.users else { return };
        let mut places = users.places.lock(&self.user);
        if let Some(of_user) = places.get_mut(&self.user) {
            // One that was told to go has no place any more.
            of_user.retain(|place| *place != self.place);
            if of_user.is_empty() {
                places.remove(&self.user);
            }
        }
    }
}

/// What counts as one address.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (128 - IPV6_NETWORK_BITS))))
        }
    }
}

/// A map behind several locks.
#[derive(Debug)]
struct Locked<K, V> {
    maps: Vec<Mutex<HashMap<K, V>>>,
    hasher: RandomState,
}

impl<K, V> Default for Locked<K, V> {
    fn default() -> Self {
        Self { maps: (0..LOCKS).map(|_| Mutex::default()).collect(), hasher: RandomState::new() }
    }
}

impl<K: Hash, V> Locked<K, V> {
    /// The map in which a key stands. Nothing that could panic happens while it is locked.
    #[expect(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "a remainder is in bounds")]
    fn lock(&self, key: &K) -> MutexGuard<'_, HashMap<K, V>> {
        let index = self.hasher.hash_one(key) as usize % self.maps.len();
        self.maps[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::Links;

    fn place(connection: u64) -> Place {
        Place { core: u16::try_from(connection % 2).unwrap(), slot: 0, connection }
    }

    #[test]
    fn an_address_has_so_many_seats_and_no_more() {
        let admission = Admission::new(0, 2, Vec::new());
        let seat = |address: &str| admission.seat_address(address.parse().unwrap());
        let first = seat("10.0.0.1").unwrap();
        let second = seat("::ffff:10.0.0.1").unwrap();
        assert_eq!(seat("10.0.0.1").unwrap_err(), TooMany);
        let other = seat("10.0.0.2").unwrap();
        drop(first);
        let third = seat("10.0.0.1").unwrap();
        assert_eq!(seat("10.0.0.1").unwrap_err(), TooMany);
        drop((second, third, other));
        assert!(
            admission
                .addresses
                .as_ref()
                .unwrap()
                .counts
                .maps
                .iter()
                .all(|map| map.lock().unwrap().is_empty())
        );
        // A network of IPv6 counts as one client.
        let _seats = (seat("2001:db8::1").unwrap(), seat("2001:db8::ffff:0:0:2").unwrap());
        assert_eq!(seat("2001:db8::3").unwrap_err(), TooMany);
        assert!(seat("2001:db8:0:1::3").is_ok());
    }

    #[test]
    fn the_oldest_of_a_user_has_to_go() {
        let links = Links::new(2).unwrap();
        let admission = Admission::new(2, 0, links.cores.clone());
        let user = UserId::new(7).unwrap();
        let seats: Vec<_> = (0..5).map(|n| admission.seat_user(user, place(n))).collect();
        let told = |core: usize| {
            let batches = std::iter::from_fn(|| links.inboxes[core].take()).flat_map(|batch| batch.tells);
            let gone = batches.map(|tell| {
                let Tell::Replace { connection, .. } = tell else { panic!("{tell:?}") };
                connection
            });
            gone.collect::<Vec<_>>()
        };
        assert_eq!((told(0), told(1)), (vec![0, 2], vec![1]));
        // Those that went give nothing back twice.
        drop(seats);
        let users = admission.users.as_ref().unwrap();
        assert!(users.places.maps.iter().all(|map| map.lock().unwrap().is_empty()));
    }

    #[test]
    fn threads_that_race_for_seats_take_as_many_as_there_are() {
        let admission = Admission::new(0, 100, Vec::new());
        let address: IpAddr = "10.0.0.1".parse().unwrap();
        let taken: usize = std::thread::scope(|scope| {
            let take = || (0..1_000).filter_map(|_| admission.seat_address(address).ok()).collect::<Vec<_>>();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            let seats: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
            seats.iter().map(Vec::len).sum()
        });
        assert_eq!(taken, 100);
        assert!(admission.seat_address(address).is_ok());
    }

    #[test]
    fn without_limits_nothing_is_counted() {
        let admission = Admission::new(0, 0, Vec::new());
        assert!(admission.seat_address("10.0.0.1".parse().unwrap()).unwrap().is_none());
        assert!(admission.seat_user(UserId::new(7).unwrap(), place(1)).is_none());
    }
}
