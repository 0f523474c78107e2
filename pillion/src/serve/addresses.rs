//! What each client address has at this moment: connections, requests, streams, and bytes of
//! responses that it has not read. One address must not be able to take what others need, so each
//! of these is limited far below the total of the process.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::count;
use crate::config::Server;

/// What counts as one client: an IPv4 address, or an IPv6 network, since a client is usually given
/// a whole network of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct AddressKey(IpAddr);

impl AddressKey {
    /// Returns the key of an address; IPv6 addresses with the same first `ipv6_prefix` bits share
    /// one. An IPv4 address mapped into IPv6 is the IPv4 address.
    pub(crate) fn of(ip: IpAddr, ipv6_prefix: u8) -> Self {
        Self(match ip.to_canonical() {
            IpAddr::V4(ip) => IpAddr::V4(ip),
            IpAddr::V6(ip) => {
                let host_bits = 128_u32.saturating_sub(u32::from(ipv6_prefix));
                let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & mask))
            }
        })
    }
}

/// What is counted for each address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    /// Open connections.
    Connections,
    /// Requests that have not been answered.
    Requests,
    /// Long-lived streams.
    Streams,
    /// Bytes of whole responses that the client has not read.
    UnreadBytes,
}

/// How many kinds of [`Resource`] there are.
const RESOURCES: usize = 4;

/// The limits of one address, in the order of [`Resource`].
#[derive(Clone, Copy, Debug)]
struct Limits([usize; RESOURCES]);

impl Limits {
    const NONE: Self = Self([usize::MAX; RESOURCES]);

    fn of(server: &Server) -> Self {
        Self([
            count(server.connections_per_address),
            count(server.requests_per_address),
            count(server.live_streams_per_address),
            count(server.unread_bytes_per_address),
        ])
    }
}

/// The addresses that are connected. There are as many as connections, or as requests in flight
/// where a trusted proxy says for whom it asks.
#[derive(Debug)]
pub(crate) struct Addresses {
    limits: Limits,
    ipv6_prefix: u8,
    connected: Mutex<HashMap<AddressKey, Weak<Address>>>,
    /// How many are connected.
    count: AtomicUsize,
}

impl Addresses {
    pub(crate) fn new(server: &Server) -> Self {
        let ipv6_prefix = u8::try_from(server.ipv6_prefix).unwrap_or(128);
        Self {
            limits: Limits::of(server),
            ipv6_prefix,
            connected: Mutex::default(),
            count: AtomicUsize::new(0),
        }
    }

    /// Returns the counts of a client's address, which every connection and request of that
    /// address shares.
    pub(crate) fn of(this: &Arc<Self>, ip: IpAddr) -> Arc<Address> {
        let key = AddressKey::of(ip, this.ipv6_prefix);
        // No code that holds the lock can panic.
        let mut connected = this.connected.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(address) = connected.get(&key).and_then(Weak::upgrade) {
            return address;
        }
        let address = Arc::new(Address {
            registered: Some((key, Arc::clone(this))),
            limits: this.limits,
            taken: Default::default(),
        });
        connected.insert(key, Arc::downgrade(&address));
        this.count.store(connected.len(), Ordering::Relaxed);
        address
    }

    /// Returns counts without limits: for a peer that speaks for many clients, such as a proxy
    /// or another service of the same deployment.
    pub(crate) fn unlimited() -> Arc<Address> {
        Arc::new(Address { registered: None, limits: Limits::NONE, taken: Default::default() })
    }
}

/// One client address.
#[derive(Debug)]
pub(crate) struct Address {
    registered: Option<(AddressKey, Arc<Addresses>)>,
    limits: Limits,
    taken: [AtomicUsize; RESOURCES],
}

impl Address {
    /// Takes one of the address's places; `None` at its limit.
    pub(crate) fn take(self: &Arc<Self>, resource: Resource) -> Option<AddressPlace> {
        let (limit, taken) = (self.limit(resource), self.counter(resource));
        let grow = |taken: usize| (taken < limit).then_some(taken + 1);
        taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grow).ok()?;
        Some(AddressPlace { address: Arc::clone(self), resource, amount: 1 })
    }

    /// Takes an amount of what is there already, whatever the limit is.
    pub(crate) fn charge(self: &Arc<Self>, resource: Resource, amount: usize) -> AddressPlace {
        self.counter(resource).fetch_add(amount, Ordering::Relaxed);
        AddressPlace { address: Arc::clone(self), resource, amount }
    }

    /// Returns whether the address has all that it may have of a resource.
    pub(crate) fn is_full(&self, resource: Resource) -> bool {
        self.taken(resource) >= self.limit(resource)
    }

    /// Returns how much the address has of a resource.
    pub(crate) fn taken(&self, resource: Resource) -> usize {
        self.counter(resource).load(Ordering::Relaxed)
    }

    #[expect(clippy::indexing_slicing, reason = "there is one for each resource")]
    fn limit(&self, resource: Resource) -> usize {
        self.limits.0[resource as usize]
    }

    #[expect(clippy::indexing_slicing, reason = "there is one for each resource")]
    fn counter(&self, resource: Resource) -> &AtomicUsize {
        &self.taken[resource as usize]
    }

    /// Returns whether other addresses are connected that could be served instead.
    pub(crate) fn has_rivals(&self) -> bool {
        let rivals = |(_, addresses): &(_, Arc<Addresses>)| addresses.count.load(Ordering::Relaxed);
        self.registered.as_ref().map_or(0, rivals) > 1
    }
}

impl Drop for Address {
    fn drop(&mut self) {
        let Some((key, addresses)) = self.registered.take() else { return };
        let mut connected = addresses.connected.lock().unwrap_or_else(PoisonError::into_inner);
        // A new client of the same address may have registered meanwhile.
        if connected.get(&key).is_some_and(|address| address.strong_count() == 0) {
            connected.remove(&key);
            addresses.count.store(connected.len(), Ordering::Relaxed);
        }
    }
}

/// Something that an address has, until it is dropped.
#[derive(Debug)]
pub(crate) struct AddressPlace {
    address: Arc<Address>,
    resource: Resource,
    amount: usize,
}

impl Drop for AddressPlace {
    fn drop(&mut self) {
        self.address.counter(self.resource).fetch_sub(self.amount, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(ip: &str, ipv6_prefix: u8) -> AddressKey {
        AddressKey::of(ip.parse().unwrap(), ipv6_prefix)
    }

    #[test]
    fn s04_ipv6_addresses_of_one_network_are_one_client() {
        assert_eq!(key("2001:db8:1:2::1", 64), key("2001:db8:1:2:ffff::9", 64));
        assert_ne!(key("2001:db8:1:2::1", 64), key("2001:db8:1:3::1", 64));
        assert_eq!(key("2001:db8:1:2::1", 48), key("2001:db8:1:3::1", 48));
        assert_ne!(key("2001:db8::1", 128), key("2001:db8::2", 128));
        assert_eq!(key("::ffff:192.0.2.1", 64), key("192.0.2.1", 64));
        assert_ne!(key("192.0.2.1", 64), key("192.0.2.2", 64));
    }

    #[test]
    fn places_are_limited_for_each_address_and_free_again() {
        let server = Server { requests_per_address: 2, ..Server::default() };
        let addresses = Arc::new(Addresses::new(&server));
        let ip = "192.0.2.1".parse().unwrap();
        let address = Addresses::of(&addresses, ip);
        let first = address.take(Resource::Requests).unwrap();
        // The same counts, over another connection.
        let same = Addresses::of(&addresses, ip);
        let _second = same.take(Resource::Requests).unwrap();
        assert!(address.take(Resource::Requests).is_none() && same.is_full(Resource::Requests));
        assert!(address.take(Resource::Connections).is_some());
        let other = Addresses::of(&addresses, "192.0.2.2".parse().unwrap());
        assert!(other.take(Resource::Requests).is_some());
        drop(first);
        assert!(same.take(Resource::Requests).is_some());
    }

    #[test]
    fn addresses_are_forgotten_when_nothing_of_them_is_left() {
        let addresses = Arc::new(Addresses::new(&Server::default()));
        let address = Addresses::of(&addresses, "192.0.2.1".parse().unwrap());
        let place = address.charge(Resource::UnreadBytes, 1_000);
        drop(address);
        assert_eq!(addresses.connected.lock().unwrap().len(), 1);
        drop(place);
        assert_eq!(addresses.connected.lock().unwrap().len(), 0);
    }
}
