//! Where a request comes from, and how often: more than a setting allows is answered 429.

use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};
use http::{HeaderValue, Method, StatusCode, header};

use super::core::address::{self, Peer};
use crate::problem::Problem;

/// What a guessed token costs besides the request it came with: ten in all.
const FAILURE_COSTS: u32 = 9;
/// Addresses that were quiet for long are forgotten after so many requests.
const FORGET_EVERY: u32 = 10_000;

/// The proxies of the operator's own.
#[derive(Clone, Default)]
pub struct Proxies(Arc<[IpAddr]>);

impl Proxies {
    pub fn new(trusted: &[IpAddr]) -> Self {
        Self(trusted.iter().map(IpAddr::to_canonical).collect())
    }

    /// Whom a request comes from.
    pub fn client<B>(&self, request: &http::Request<B>) -> Option<IpAddr> {
        let Peer(peer) = request.extensions().get()?;
        let forwarded = request.headers().get("x-forwarded-for");
        let forwarded = forwarded.and_then(|value| value.to_str().ok());
        Some(address::client(*peer, forwarded, &self.0))
    }
}

/// So many requests a minute of one address.
pub struct Limit {
    pace: Pace<IpAddr>,
    counts: fn(&Request) -> bool,
    proxies: Proxies,
}

impl Limit {
    /// Of requests that count. `None` with 0: as many as come.
    pub fn new(
        per_minute: u32,
        counts: fn(&Request) -> bool,
        proxies: Proxies,
    ) -> Option<Arc<Self>> {
        Some(Arc::new(Self {
            pace: Pace::new(per_minute)?,
            counts,
            proxies,
        }))
    }

    /// How long to wait, if it is too much.
    fn take(&self, address: IpAddr) -> Result<(), Duration> {
        self.pace.take(&network(address))
    }

    fn punish(&self, address: IpAddr) {
        // As much as there is left.
        let network = network(address);
        let _ = (0..FAILURE_COSTS).try_for_each(|_| self.pace.take(&network));
    }
}

/// Who has an IPv6 address has its whole network.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

/// What the API is asked by who commands. What everybody may see is in memory, and a page's audience may
/// be behind one address.
pub fn calls(request: &Request) -> bool {
    request.method() != Method::GET || request.headers().contains_key(header::AUTHORIZATION)
}

/// Who comes, by WHIP, WHEP or a session.
pub fn joins(request: &Request) -> bool {
    matches!(*request.method(), Method::POST | Method::GET)
}

/// So many of each a minute.
pub struct Pace<K: Clone + Eq + Hash> {
    limiter: DefaultKeyedRateLimiter<K>,
    clock: DefaultClock,
    counted: AtomicU32,
}

impl<K: Clone + Eq + Hash> Pace<K> {
    /// `None` with 0: as many as come.
    pub fn new(per_minute: u32) -> Option<Self> {
        let quota = Quota::per_minute(NonZeroU32::new(per_minute)?);
        Some(Self {
            limiter: DefaultKeyedRateLimiter::keyed(quota),
            clock: DefaultClock::default(),
            counted: AtomicU32::new(0),
        })
    }

    /// How long to wait, if it is too much.
    pub fn take(&self, key: &K) -> Result<(), Duration> {
        if self.counted.fetch_add(1, Ordering::Relaxed) % FORGET_EVERY == FORGET_EVERY - 1 {
            self.limiter.retain_recent();
        }
        let taken = self.limiter.check_key(key);
        taken.map_err(|until| {
            let wait = until.wait_time_from(self.clock.now());
            Duration::from_secs(wait.as_secs() + 1)
        })
    }
}

/// Around routes: each request counts, and one with a token that is not good counts for many.
pub async fn limit(State(limit): State<Arc<Limit>>, request: Request, next: Next) -> Response {
    let client = limit.proxies.client(&request);
    // From inside the own network comes a proxy that nobody named, with everybody's requests.
    let client = client.filter(|address| address::is_public(*address));
    let Some(address) = client.filter(|_| (limit.counts)(&request)) else {
        return next.run(request).await;
    };
    if let Err(wait) = limit.take(address) {
        let seconds = wait.as_secs();
        let detail = format!("too many requests come from your address: wait {seconds} s");
        let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, detail);
        let after = HeaderValue::from(seconds);
        return problem
            .with_header(header::RETRY_AFTER, after)
            .into_response();
    }
    let response = next.run(request).await;
    if response.status() == StatusCode::UNAUTHORIZED {
        limit.punish(address);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_network_has_its_own_minute() {
        let limit = Limit::new(3, calls, Proxies::default()).expect("a limit");
        let [one, neighbour, other]: [IpAddr; 3] =
            ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"].map(|a| a.parse().expect("one"));
        for address in [one, neighbour, one] {
            assert_eq!(limit.take(address), Ok(()));
        }
        assert!(
            limit
                .take(neighbour)
                .is_err_and(|wait| (1..=21).contains(&wait.as_secs()))
        );
        assert_eq!(limit.take(other), Ok(()));
        limit.punish("1.2.3.4".parse().expect("one"));
        assert!(limit.take("1.2.3.4".parse().expect("one")).is_err());
    }
}
