//! Who may send a form to sign in. Nobody is known by then but for an address, and one of those has a share.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Most forms that are read at the same time.
const ALL: usize = 32;
/// Most of one address: some people are behind one.
const SHARE: usize = 8;

/// The places of forms that are being read.
#[derive(Clone, Debug, Default)]
pub(super) struct Places(Arc<Mutex<HashMap<Option<IpAddr>, usize>>>);

/// A place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    of: Option<IpAddr>,
}

impl Places {
    /// A place for `address`, unless all are taken or it has its share of them.
    pub(super) fn take(&self, address: Option<IpAddr>) -> Option<Place> {
        let of = address.map(network);
        let mut taken = self.lock();
        let own = taken.get(&of).copied().unwrap_or_default();
        if own >= SHARE || taken.values().sum::<usize>() >= ALL {
            return None;
        }
        taken.insert(of, own + 1);
        drop(taken);
        let places = self.clone();
        Some(Place { places, of })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Option<IpAddr>, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        if let Some(own) = taken.get_mut(&self.of) {
            *own -= 1;
        }
        taken.retain(|_, own| *own > 0);
    }
}

/// What is one address here: of IPv6 all those of a network, whose second half a host chooses by itself.
/// Source: RFC 4291, section 2.5.1.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_share_and_gives_it_back() {
        let places = Places::default();
        let take = |address: &str| places.take(Some(address.parse().unwrap()));
        let mut held: Vec<_> = (0..SHARE).filter_map(|_| take("192.0.2.1")).collect();
        assert_eq!(held.len(), SHARE);
        assert!(take("192.0.2.1").is_none() && take("::ffff:192.0.2.1").is_none());
        held.extend((0..SHARE).filter_map(|n| take(&format!("2001:db8::{n}"))));
        assert!(take("2001:db8::ffff").is_none(), "of one network");
        held.extend((0..SHARE).filter_map(|_| take("2001:db8:0:1::")));
        held.extend((0..SHARE).filter_map(|_| places.take(None)));
        assert_eq!(held.len(), ALL);
        assert!(take("192.0.2.2").is_none(), "all are taken");
        held.pop();
        assert!(take("192.0.2.2").is_some());
        drop(held);
        assert!(places.lock().is_empty());
    }
}
