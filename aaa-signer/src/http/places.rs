//! How many connections one address has.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::source::client;

/// The places of each client.
#[derive(Debug)]
pub(super) struct Places {
    most: NonZeroUsize,
    taken: Mutex<HashMap<IpAddr, usize>>,
}

/// One place; free again when dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    client: IpAddr,
}

impl Places {
    pub(super) fn new(most: NonZeroUsize) -> Arc<Self> {
        Arc::new(Self {
            most,
            taken: Mutex::default(),
        })
    }

    /// A place for one more connection of that address.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let client = client(address);
        let mut taken = self.lock();
        let count = taken.entry(client).or_insert(0);
        if *count >= self.most.get() {
            return None;
        }
        *count += 1;
        drop(taken);
        Some(Place {
            places: Arc::clone(self),
            client,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        if let Some(count) = taken.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_so_many_places_and_gets_them_back() {
        let places = Places::new(NonZeroUsize::MIN.saturating_add(1));
        let [a, b] = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse().unwrap());
        let first = places.take(a);
        let second = places.take(a);
        assert!(first.is_some() && second.is_some());
        assert!(places.take(a).is_none());
        assert!(places.take(b).is_some());
        drop(first);
        assert!(places.take(a).is_some());
        drop(second);
        assert!(places.lock().is_empty());
    }

    #[test]
    fn an_ipv6_network_is_one_client_and_a_mapped_address_is_ipv4() {
        let places = Places::new(NonZeroUsize::MIN);
        let take = |text: &str| places.take(text.parse().unwrap());
        let held = take("2001:db8::1");
        assert!(held.is_some());
        assert!(take("2001:db8::2").is_none());
        assert!(take("2001:db8:0:1::2").is_some());
        let held = take("::ffff:192.0.2.1");
        assert!(held.is_some());
        assert!(take("192.0.2.1").is_none());
    }
}
