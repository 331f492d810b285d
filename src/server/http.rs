//! The accept loop: connections counted, slow headers cut off, an orderly end.

use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower_http::add_extension::AddExtension;
use tracing::{debug, warn};

use super::gate::Gated;
use crate::control::core::address::Peer;

/// A client that has not sent its request's head by then is cut off (slowloris).
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Open connections at most; more wait in the kernel's queue. Viewers keep one or two each.
const MAX_CONNECTIONS: usize = 20_000;
/// After a failed accept, mostly for want of file descriptors, there is no use in trying at once.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
/// What runs when the server leaves may take this long.
const DRAIN_FOR: Duration = Duration::from_secs(2);

/// Serves until `shutdown`, then lets open requests end.
pub async fn serve(listener: TcpListener, front: Gated, shutdown: CancellationToken) {
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIMEOUT);
    builder.http2().timer(TokioTimer::new());
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            break;
        };
        let (stream, peer) = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(%error, "a connection could not be accepted; is the limit on open files too low?");
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                    continue;
                }
            },
        };
        // Parts are small and late by whatever Nagle's algorithm holds back.
        let _ = stream.set_nodelay(true);
        let service = AddExtension::new(front.clone(), Peer(peer.ip()));
        let service = TowerToHyperService::new(service);
        let connection = builder
            .serve_connection_with_upgrades(TokioIo::new(stream), service)
            .into_owned();
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                debug!(%error, "connection");
            }
            drop(place);
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(DRAIN_FOR, graceful.shutdown()).await;
}
