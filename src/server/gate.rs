//! Who may watch: everybody; of a private room, who holds a token for it.
//!
//! A player cannot send a header with each request, so the token may stand in the path, before what it
//! opens: `/with/{token}/live/{room}/index.m3u8`. URIs in playlists are relative, so that all below goes
//! the same way, in every player, and playlists are the same for everybody. A cache that knows
//! nothing of tokens keeps a copy for each; one that cuts them off, and asks here before it answers, keeps
//! one for all.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::HttpBody;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use tower::Service;

use super::admission::BANNED;
use crate::control::auth::Authority;
use crate::control::bans::Bans;
use crate::control::caller::bearer;
use crate::control::rooms::MadeRooms;
use crate::hls;
use crate::problem::Problem;
use crate::room::RoomId;
use crate::vod;

const WITH: &str = "/with/";

pub struct Gate {
    pub made: Arc<MadeRooms>,
    pub authority: Authority,
    pub bans: Arc<Bans>,
}

impl Gate {
    /// Whether who comes with these may watch what is, or `was_private`, of this room.
    fn check(
        &self,
        room: &RoomId,
        was_private: bool,
        headers: &http::HeaderMap,
    ) -> Result<(), Problem> {
        let is_private = || {
            self.made
                .find(room)
                .is_some_and(|made| made.settings.private)
        };
        if !was_private && !is_private() {
            return Ok(());
        }
        let caller = self.authority.identify(bearer(headers));
        caller.enters(room)?;
        let identity = caller.claims().and_then(|claims| claims.sub.as_deref());
        match identity.is_some_and(|identity| self.bans.is_banned(room, identity)) {
            true => Err(Problem::new(StatusCode::FORBIDDEN, BANNED)),
            false => Ok(()),
        }
    }

    pub fn of_recordings(self: &Arc<Self>) -> vod::Gate {
        let gate = self.clone();
        Arc::new(move |manifest, headers| gate.check(&manifest.room, manifest.private, headers))
    }
}

/// Before all that is watched. Everything else passes.
#[derive(Clone)]
pub struct Gated {
    gate: Arc<Gate>,
    front: hls::Front,
}

impl Gated {
    pub fn new(gate: Arc<Gate>, front: hls::Front) -> Self {
        Self { gate, front }
    }
}

type Answer = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

impl<B> Service<Request<B>> for Gated
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Answer {
        let is_carried = take_token(&mut request);
        let path = request.uri().path();
        if !(path.starts_with("/live/") || path.starts_with("/vod/")) {
            return self.front.call(request);
        }
        let room = path
            .strip_prefix("/live/")
            .and_then(|path| path.split('/').next());
        let room = room.and_then(|room| room.parse().ok());
        // A preflight has no token, and nothing to see.
        let room = room.filter(|_| request.method() != Method::OPTIONS);
        let allowed = room.map(|room| self.gate.check(&room, false, request.headers()));
        if let Some(Err(problem)) = allowed {
            return Box::pin(std::future::ready(Ok(refusal(problem))));
        }
        let is_own = request.headers().contains_key(header::AUTHORIZATION) && !is_carried;
        let answer = self.front.call(request);
        match is_own {
            true => Box::pin(async move { answer.await.map(kept_by_nobody_else) }),
            false => answer,
        }
    }
}

/// `/with/{token}/…` becomes `/…` with the token where all look for it.
fn take_token<B>(request: &mut Request<B>) -> bool {
    let Some((token, rest)) = parse(request.uri()) else {
        return false;
    };
    let Ok(token) = HeaderValue::from_str(&format!("Bearer {token}")) else {
        return false;
    };
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = Some(rest);
    let Ok(uri) = Uri::from_parts(parts) else {
        return false;
    };
    *request.uri_mut() = uri;
    request.headers_mut().insert(header::AUTHORIZATION, token);
    true
}

/// The token and what is behind it. It opens what is watched, and nothing else: who sees an address in a
/// log does not command.
fn parse(uri: &Uri) -> Option<(&str, PathAndQuery)> {
    let whole = uri.path_and_query()?.as_str();
    let (token, _) = whole.strip_prefix(WITH)?.split_once('/')?;
    let rest = &whole[WITH.len() + token.len()..];
    let is_watched = rest.starts_with("/live/") || rest.starts_with("/vod/");
    is_watched.then(|| Some((token, rest.parse().ok()?)))?
}

fn refusal(problem: Problem) -> Response {
    let mut response = problem.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let anyone = HeaderValue::from_static("*");
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, anyone);
    response
}

/// A shared cache would hand `public` to who has no token (RFC 9111 §3.5).
fn kept_by_nobody_else(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let cache = headers.get(header::CACHE_CONTROL);
    let cache = cache
        .and_then(|cache| cache.to_str().ok())
        .unwrap_or_default();
    let private = cache.replace("public", "private");
    if let Ok(private) = HeaderValue::from_str(&private) {
        headers.insert(header::CACHE_CONTROL, private);
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn a_token_in_the_path_opens_what_is_watched_alone() {
        let taken = |uri: &str| {
            let request = Request::builder().uri(uri);
            let mut request = request.body(Body::empty()).expect("a request");
            take_token(&mut request);
            let token = bearer(request.headers()).map(str::to_owned);
            (request.uri().to_string(), token)
        };
        let is_left = |uri: &str| assert_eq!(taken(uri), (uri.to_owned(), None));
        assert_eq!(
            taken("/with/a.b.c/live/demo/index.m3u8?_HLS_msn=1"),
            (
                "/live/demo/index.m3u8?_HLS_msn=1".to_owned(),
                Some("a.b.c".to_owned())
            )
        );
        let vod = ("/vod/1/index.m3u8".to_owned(), Some("a".to_owned()));
        assert_eq!(taken("/with/a/vod/1/index.m3u8"), vod);
        for other in [
            "/with/a/api/v1/rooms",
            "/with/a/with/b/live/demo/index.m3u8",
            "/with/live/demo/index.m3u8",
            "/with//metrics",
            "/live/with/a/index.m3u8",
        ] {
            is_left(other);
        }
    }
}
