//! Places of which one address has a share, so that one stranger leaves room for everybody else.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

/// Places that callers take. Cheap to clone; clones are the same places.
#[derive(Debug, Clone)]
pub struct Places {
    all_max: usize,
    per_address_max: usize,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A place. It is given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    places: Places,
    ip: IpAddr,
}

impl Places {
    /// So many, and so many for one address.
    pub fn new(all_max: usize, per_address_max: usize) -> Self {
        Self { all_max, per_address_max, taken: Arc::default() }
    }

    /// A place for somebody at this address, if there is one.
    pub fn take(&self, ip: IpAddr) -> Option<Place> {
        let mut taken = self.taken.lock();
        let own = taken.by_address.get(&ip).copied().unwrap_or_default();
        if taken.all >= self.all_max || own >= self.per_address_max {
            return None;
        }
        taken.all += 1;
        taken.by_address.insert(ip, own + 1);
        drop(taken);
        Some(Place { places: self.clone(), ip })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock();
        taken.all -= 1;
        if let Some(own) = taken.by_address.get_mut(&self.ip) {
            *own -= 1;
            if *own == 0 {
                taken.by_address.remove(&self.ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::limits::{STREAMS_UNPROVEN_MAX, STREAMS_UNPROVEN_PER_ADDRESS_MAX};

    fn places() -> Places {
        Places::new(STREAMS_UNPROVEN_MAX, STREAMS_UNPROVEN_PER_ADDRESS_MAX)
    }

    fn ip(number: usize) -> IpAddr {
        Ipv4Addr::from_bits(u32::try_from(number).unwrap()).into()
    }

    #[test]
    fn an_address_has_its_share_and_not_one_more_and_gets_it_back() {
        let places = places();
        let mut own: Vec<Place> =
            (0..STREAMS_UNPROVEN_PER_ADDRESS_MAX).map(|_| places.take(ip(1)).unwrap()).collect();
        assert!(places.take(ip(1)).is_none());
        assert!(places.take(ip(2)).is_some());
        own.pop();
        assert!(places.take(ip(1)).is_some());
        drop(own);
        let taken = places.taken.lock();
        assert!(taken.all == 0 && taken.by_address.is_empty(), "{taken:?}");
    }

    #[test]
    fn all_addresses_together_have_the_bound_and_not_one_more() {
        let places = places();
        let mut all: Vec<Place> =
            (0..STREAMS_UNPROVEN_MAX).map(|number| places.take(ip(number)).unwrap()).collect();
        assert!(places.take(ip(STREAMS_UNPROVEN_MAX)).is_none());
        all.pop();
        assert!(places.take(ip(STREAMS_UNPROVEN_MAX)).is_some());
    }
}
