//! Who may begin connections where nothing is proven: whoever calls from the address of a member.
//!
//! # Contract
//! * Addresses are those of the members, of the founders (`--peers`) and of `--join`; and of the
//!   members that these name in their status, since a node that joins, or that was away, does not
//!   know them yet. Names are looked up. While one of them is on loopback, all of loopback counts.
//! * No connection waits for a name server or another node: they are asked by a task of their own,
//!   once in [`ADDRESSES_LOOK_MS`] at most, when somebody unknown calls or what is known is older
//!   than [`ADDRESSES_AGE_MS`]. A caller who is unknown waits [`ADDRESSES_WAIT_MS`] for that at most.
//! * A name that cannot be looked up keeps its addresses: a name server that fails must not stop a
//!   cluster.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::asking::statuses;
use super::context::Context;
use crate::limits::{
    ADDRESSES_AGE_MS, ADDRESSES_LOOK_MS, ADDRESSES_MAX, ADDRESSES_WAIT_MS, RESOLVE_MS_MAX,
};

/// What is known of addresses.
#[derive(Debug, Default)]
pub struct Neighbours {
    known: Mutex<Known>,
    /// Counts what has become known.
    news: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Known {
    /// Addresses of names.
    names: HashMap<String, Vec<IpAddr>>,
    /// Where other nodes say that members are, `host:port`.
    told: BTreeSet<String>,
    /// When the last look began.
    looked: Option<Instant>,
    looking: bool,
}

/// The host of `host:port`, without the brackets of IPv6.
fn host(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

fn literal(host: &str) -> Option<IpAddr> {
    host.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

impl Known {
    /// Whether one of these, or of those that others told of, is at this address.
    fn has(&self, addresses: &[String], ip: IpAddr) -> bool {
        let hosts = addresses.iter().chain(&self.told).map(|address| host(address));
        let mut ips = hosts.flat_map(|host| {
            let named = self.names.get(host).into_iter().flatten().copied();
            literal(host).into_iter().chain(named)
        });
        ips.any(|known| known == ip || (known.is_loopback() && ip.is_loopback()))
    }

    /// Whether a look is due, which then is under way.
    fn begin(&mut self, every_ms: u64, now: Instant) -> bool {
        let every = Duration::from_millis(every_ms);
        let due = self.looked.is_none_or(|looked| now.saturating_duration_since(looked) >= every);
        if !due || self.looking {
            return false;
        }
        (self.looked, self.looking) = (Some(now), true);
        true
    }
}

impl Neighbours {
    /// Whether somebody at `ip` may begin a connection.
    pub async fn admit(context: &Arc<Context>, ip: IpAddr) -> bool {
        let neighbours = &context.neighbours;
        let has = || neighbours.known.lock().has(&context.others(), ip);
        if has() {
            if neighbours.known.lock().begin(ADDRESSES_AGE_MS, Instant::now()) {
                tokio::spawn(look(Arc::clone(context)));
            }
            return true;
        }
        let mut news = neighbours.news.subscribe();
        let begun = neighbours.known.lock().begin(ADDRESSES_LOOK_MS, Instant::now());
        if begun {
            tokio::spawn(look(Arc::clone(context)));
        }
        let deadline = Instant::now() + Duration::from_millis(ADDRESSES_WAIT_MS);
        while neighbours.known.lock().looking {
            // The sender lives in `context`.
            match timeout_at(deadline, news.changed()).await {
                Ok(Ok(())) if !has() => {}
                _ => break,
            }
        }
        has()
    }

    /// The addresses that connections are taken from, for a refusal.
    pub fn shown(context: &Context) -> String {
        let known = context.neighbours.known.lock();
        let mut all: BTreeSet<String> = context.others().into_iter().collect();
        all.extend(known.told.iter().cloned());
        let all: Vec<&str> = all.iter().map(|address| host(address)).collect();
        if all.is_empty() { "none yet".to_owned() } else { all.join(", ") }
    }

    fn publish(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.known.lock());
        self.news.send_modify(|news| *news += 1);
    }
}

/// Looks up the names of other nodes, and asks those where the members are.
async fn look(context: Arc<Context>) {
    let neighbours = &context.neighbours;
    let others = context.others();
    let names = resolve(&others).await;
    neighbours.publish(|known| known.names.extend(names));
    let cluster = context.store.identity().cluster;
    let mut told = BTreeSet::new();
    for status in statuses(&context, others.iter().cloned()).await.into_values() {
        let same = cluster.is_none() || status.cluster_id.is_none() || status.cluster_id == cluster;
        if same && status.node_id != context.config.name {
            told.extend(status.peer_addrs.into_values());
        }
    }
    told.remove(&context.config.advertise);
    let told: BTreeSet<String> = told.into_iter().take(ADDRESSES_MAX).collect();
    let names = resolve(&told).await;
    neighbours.publish(|known| {
        known.names.extend(names);
        known.told = told;
        let wanted: BTreeSet<&str> =
            others.iter().chain(&known.told).map(|address| host(address)).collect();
        known.names.retain(|name, _| wanted.contains(name.as_str()));
        known.looking = false;
    });
}

/// The addresses of those that are named.
async fn resolve(addresses: impl IntoIterator<Item = &String>) -> HashMap<String, Vec<IpAddr>> {
    let names: BTreeSet<&str> = addresses
        .into_iter()
        .map(|address| host(address))
        .filter(|host| literal(host).is_none())
        .take(ADDRESSES_MAX)
        .collect();
    let mut looking = JoinSet::new();
    for name in names {
        let name = name.to_owned();
        looking.spawn(async move {
            let patience = Duration::from_millis(RESOLVE_MS_MAX);
            let found = timeout(patience, tokio::net::lookup_host((name.as_str(), 0))).await;
            let ips = found.ok()?.ok()?.map(|address| address.ip().to_canonical()).collect();
            Some((name, ips))
        });
    }
    looking.join_all().await.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn who_is_at_a_members_address_is_known_and_nobody_else() {
        let mut known = Known::default();
        known.names.insert("node2".to_owned(), vec![ip("10.0.0.2"), ip("fd00::2")]);
        known.names.insert("gone".to_owned(), vec![ip("10.0.0.9")]);
        known.told.insert("10.0.0.4:4000".to_owned());
        let addresses =
            ["10.0.0.1:4000", "node2:4000", "[fd00::3]:4000"].map(str::to_owned).to_vec();
        for here in ["10.0.0.1", "10.0.0.2", "fd00::2", "fd00::3", "10.0.0.4"] {
            assert!(known.has(&addresses, ip(here)), "{here}");
        }
        for stranger in ["10.0.0.3", "fd00::1", "127.0.0.1", "::1", "10.0.0.9"] {
            assert!(!known.has(&addresses, ip(stranger)), "{stranger}");
        }
    }

    #[test]
    fn all_of_loopback_counts_while_a_member_is_there() {
        let known = Known::default();
        for member in ["127.0.0.1:4001", "[::1]:4001", "127.0.1.1:4000"] {
            for caller in ["127.0.0.1", "127.0.0.7", "::1"] {
                assert!(known.has(&[member.to_owned()], ip(caller)), "{member} {caller}");
            }
            assert!(!known.has(&[member.to_owned()], ip("10.0.0.1")), "{member}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn looks_come_one_at_a_time_and_not_more_often_than_the_bound() {
        let mut known = Known::default();
        let look = Duration::from_millis(ADDRESSES_LOOK_MS);
        let begun = Instant::now();
        assert!(known.begin(ADDRESSES_LOOK_MS, begun));
        assert!(!known.begin(ADDRESSES_LOOK_MS, begun + look * 2), "one is under way");
        known.looking = false;
        let just_before = begun + look - Duration::from_millis(1);
        assert!(!known.begin(ADDRESSES_LOOK_MS, just_before));
        assert!(known.begin(ADDRESSES_LOOK_MS, begun + look));
    }

    #[tokio::test]
    async fn names_are_looked_up_and_addresses_are_not() {
        let addresses = ["localhost:1", "10.0.0.1:1", "nonexistent.invalid:1"].map(str::to_owned);
        let found = resolve(&addresses).await;
        assert_eq!(found.keys().collect::<Vec<_>>(), ["localhost"]);
        assert!(found["localhost"].iter().all(IpAddr::is_loopback));
    }
}
