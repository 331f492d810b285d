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

use super::auth::{self, KeyHash};
use super::caller::bearer;
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

/// So many requests a minute of one address, and of one token.
pub struct Limit {
    pace: Pace<IpAddr>,
    tokens: Pace<KeyHash>,
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
            tokens: Pace::new(per_minute)?,
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

/// What the API is asked by who commands. What an audience may see is in memory, and all of it may be behind
/// one address, with one token.
pub fn calls(request: &Request) -> bool {
    let below = request.uri().path().strip_prefix("/api/v1/rooms");
    let is_room = below.is_some_and(|rest| !rest.trim_start_matches('/').contains('/'));
    let is_of_audience = is_room || !request.headers().contains_key(header::AUTHORIZATION);
    request.method() != Method::GET || !is_of_audience
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
    if (limit.counts)(&request) {
        let token = bearer(request.headers()).map(auth::hash);
        if let Some(Err(wait)) = token.map(|token| limit.tokens.take(&token)) {
            return too_many("with your token", wait);
        }
        if let Some(Err(wait)) = client.map(|address| limit.take(address)) {
            return too_many("from your address", wait);
        }
    }
    let response = next.run(request).await;
    if let (StatusCode::UNAUTHORIZED, Some(address)) = (response.status(), client) {
        limit.punish(address);
    }
    response
}

fn too_many(how: &str, wait: Duration) -> Response {
    let seconds = wait.as_secs();
    let detail = format!("too many requests come {how}: wait {seconds} s");
    Problem::new(StatusCode::TOO_MANY_REQUESTS, detail)
        .with_header(header::RETRY_AFTER, HeaderValue::from(seconds))
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_audience_asks_is_not_counted() {
        let counts = |method: &str, path: &str, token: bool| {
            let mut request = http::Request::builder().method(method).uri(path);
            if token {
                request = request.header("authorization", "Bearer a");
            }
            calls(&request.body(axum::body::Body::empty()).expect("a request"))
        };
        for path in [
            "/api/v1/rooms",
            "/api/v1/rooms?live=true",
            "/api/v1/rooms/demo",
        ] {
            assert!(
                !counts("GET", path, true) && !counts("GET", path, false),
                "{path}"
            );
            assert!(counts("PUT", path, false), "{path}");
        }
        for path in [
            "/api/v1/rooms/demo/participants",
            "/api/v1/audit",
            "/api/v1/recordings",
        ] {
            assert!(
                counts("GET", path, true) && !counts("GET", path, false),
                "{path}"
            );
        }
    }

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
