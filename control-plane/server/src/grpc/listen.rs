//! Serving gRPC on a listener until told to stop.

use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Server, server::TcpIncoming};

use crate::engine::Engine;

/// A peer that does not answer pings for so long is gone: its stream ends, and its leases' grace begins.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// Serves every service until `stop`, then lets open requests end.
pub(crate) async fn serve(listener: TcpListener, engine: Engine, stop: CancellationToken) {
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let served = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .add_routes(super::services(engine).await)
        .serve_with_incoming_shutdown(incoming, stop.cancelled_owned())
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "gRPC ended");
    }
}
