//! Places for callers that have proven nothing yet.
//!
//! # Contract
//! * At most [`STREAMS_UNPROVEN_MAX`] at once, of which one address has at most
//!   [`STREAMS_UNPROVEN_PER_ADDRESS_MAX`]: whoever repeats what others have said takes no more of them
//!   away.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::limits::{STREAMS_UNPROVEN_MAX, STREAMS_UNPROVEN_PER_ADDRESS_MAX};

/// Callers that have a place, by address.
#[derive(Debug, Clone, Default)]
pub struct Unproven(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// A place. It is given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    places: Unproven,
    ip: IpAddr,
}

impl Unproven {
    /// A place for somebody at this address, if there is one.
    pub fn take(&self, ip: IpAddr) -> Option<Place> {
        let mut places = self.0.lock();
        let all: usize = places.values().sum();
        let own = places.get(&ip).copied().unwrap_or_default();
        if all >= STREAMS_UNPROVEN_MAX || own >= STREAMS_UNPROVEN_PER_ADDRESS_MAX {
            return None;
        }
        places.insert(ip, own + 1);
        drop(places);
        Some(Place { places: self.clone(), ip })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.places.0.lock();
        if let Some(own) = places.get_mut(&self.ip) {
            *own -= 1;
            if *own == 0 {
                places.remove(&self.ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn ip(number: usize) -> IpAddr {
        Ipv4Addr::from_bits(u32::try_from(number).unwrap()).into()
    }

    #[test]
    fn an_address_has_its_share_and_not_one_more_and_gets_it_back() {
        let unproven = Unproven::default();
        let mut own: Vec<Place> =
            (0..STREAMS_UNPROVEN_PER_ADDRESS_MAX).map(|_| unproven.take(ip(1)).unwrap()).collect();
        assert!(unproven.take(ip(1)).is_none());
        assert!(unproven.take(ip(2)).is_some());
        own.pop();
        assert!(unproven.take(ip(1)).is_some());
        drop(own);
        assert!(unproven.0.lock().is_empty());
    }

    #[test]
    fn all_addresses_together_have_the_bound_and_not_one_more() {
        let unproven = Unproven::default();
        let mut all: Vec<Place> =
            (0..STREAMS_UNPROVEN_MAX).map(|number| unproven.take(ip(number)).unwrap()).collect();
        assert!(unproven.take(ip(STREAMS_UNPROVEN_MAX)).is_none());
        all.pop();
        assert!(unproven.take(ip(STREAMS_UNPROVEN_MAX)).is_some());
    }
}
