//! A service that answers viewers itself, and hands everything else to the house's router:
//! what thousands of viewers ask for does not pass through routing, extractors and layers.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::response::Response;
use bytes::Bytes;
use http::Request;
use tower::Service;

use super::origin::Origin;

/// See the module's first line; the router need not have the origin's routes.
#[derive(Clone)]
pub struct Front {
    origin: Origin,
    rest: Router,
}

impl Front {
    pub fn new(origin: Origin, rest: Router) -> Self {
        Self { origin, rest }
    }
}

type Answer = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

impl<B> Service<Request<B>> for Front
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

    fn call(&mut self, request: Request<B>) -> Answer {
        if !request.uri().path().starts_with("/live/") {
            return Box::pin(self.rest.call(request.map(Body::new)));
        }
        let origin = self.origin.clone();
        // A body is not expected, and not read.
        let (head, _) = request.into_parts();
        Box::pin(async move { Ok(origin.serve(&head.method, &head.uri, &head.headers).await) })
    }
}
