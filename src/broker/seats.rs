//! How many connections each address has, over all listeners: `connections_per_address`.
//!
//! A listener takes a seat before it spends anything on a connection; the seat is given back when it is dropped, with the
//! connection. The lock is held for one look into a map, at the beginning and at the end of a connection only.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The low bits of an IPv6 address that its owner chooses by itself: one subnet is one owner (RFC 4291 section 2.5.4).
const OWNERS_BITS: u32 = 64;

/// The seats of all addresses. Grows with the connections that are there, and shrinks with them.
#[derive(Debug)]
pub(super) struct Seats {
    limit: usize,
    taken: Mutex<HashMap<IpAddr, Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    count: usize,
    /// That the address has all its seats was said.
    told: bool,
}

/// One connection of an address; dropped with it.
#[derive(Debug)]
pub struct Seat {
    seats: Arc<Seats>,
    owner: IpAddr,
}

/// An address has all connections that it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSeat {
    /// The limit.
    pub limit: usize,
    /// It was not said yet since the address last had half of its seats free: a flood is worth one line in the log.
    pub is_news: bool,
}

impl Seats {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            taken: Mutex::default(),
        }
    }

    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Result<Seat, NoSeat> {
        let owner = owner(address);
        let mut all = self.lock();
        let taken = all.entry(owner).or_default();
        if taken.count >= self.limit {
            let is_news = !taken.told;
            taken.told = true;
            let limit = self.limit;
            return Err(NoSeat { limit, is_news });
        }
        taken.count += 1;
        Ok(Seat {
            seats: Arc::clone(self),
            owner,
        })
    }

    fn give_back(&self, owner: IpAddr) {
        let mut all = self.lock();
        let Some(taken) = all.get_mut(&owner) else {
            return;
        };
        taken.count = taken.count.saturating_sub(1);
        if taken.count <= self.limit / 2 {
            taken.told = false;
        }
        if taken.count == 0 {
            all.remove(&owner);
            if all.len() < all.capacity() / 4 {
                all.shrink_to_fit();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Taken>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.give_back(self.owner);
    }
}

/// Whose address that is: an IPv4 address, also one that comes as IPv6, or a whole IPv6 subnet.
fn owner(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let subnet = address.to_bits() >> OWNERS_BITS << OWNERS_BITS;
            IpAddr::V6(Ipv6Addr::from_bits(subnet))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(seats: &Arc<Seats>, address: &str) -> Result<Seat, NoSeat> {
        seats.take(address.parse().unwrap())
    }

    #[test]
    fn an_address_gets_as_many_seats_as_the_limit_says_and_others_have_their_own() {
        let seats = Arc::new(Seats::new(2));
        let first = take(&seats, "10.0.0.1").unwrap();
        let second = take(&seats, "10.0.0.1").unwrap();
        assert!(take(&seats, "10.0.0.1").is_err());
        let other = take(&seats, "10.0.0.2").unwrap();
        drop(first);
        let third = take(&seats, "10.0.0.1").unwrap();
        drop((second, third, other));
        assert!(seats.lock().is_empty(), "nothing is kept of who is gone");
    }

    #[test]
    fn ipv4_in_ipv6_is_ipv4_and_a_subnet_of_ipv6_is_one() {
        let seats = Arc::new(Seats::new(1));
        let taken = [
            take(&seats, "10.0.0.1").unwrap(),
            take(&seats, "2001:db8:0:1::1").unwrap(),
            take(&seats, "2001:db8:0:2::1").unwrap(),
            take(&seats, "::1").unwrap(),
        ];
        for full in ["::ffff:10.0.0.1", "2001:db8:0:1:ffff::2", "::1"] {
            assert!(take(&seats, full).is_err(), "{full}");
        }
        drop(taken);
    }

    #[test]
    fn a_flood_is_told_once_until_it_has_ebbed() {
        let seats = Arc::new(Seats::new(4));
        let is_news = || take(&seats, "10.0.0.1").unwrap_err().is_news;
        let mut taken: Vec<_> = (0..4).map(|_| take(&seats, "10.0.0.1").unwrap()).collect();
        assert!(is_news());
        assert!(!is_news());
        taken.pop();
        taken.push(take(&seats, "10.0.0.1").unwrap());
        assert!(!is_news());
        taken.truncate(2);
        taken.extend((0..2).map(|_| take(&seats, "10.0.0.1").unwrap()));
        assert!(is_news());
    }
}
