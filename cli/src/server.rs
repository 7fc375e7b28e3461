//! What `dev`, `serve` and `demo` share: starting the control plane, saying where it is, ending it well.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use clap::Args;
use downbeat_server::{Config, ControlPlane, serve::StartError};
use downbeat_store::Store;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    failure::{Failure, Result},
    out::Out,
    timing::Timing,
};

/// Where to listen, and what to plan by.
#[derive(Debug, Args)]
pub(crate) struct Faces {
    /// Where to serve REST; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8083")]
    http: SocketAddr,
    /// Where to serve gRPC; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9083")]
    grpc: SocketAddr,
    /// Planner rules instead of the built-in ones (YAML)
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
    /// Rules that put an approval before the subtasks they match, whatever their plan says (YAML)
    #[arg(long, value_name = "FILE")]
    approval_rules: Option<PathBuf>,
    #[command(flatten)]
    timing: Timing,
}

impl Faces {
    pub(crate) fn config(self) -> Config {
        let mut config = Config {
            http: self.http,
            grpc: self.grpc,
            rules: self.rules,
            approval_rules: self.approval_rules,
            ..Config::default()
        };
        self.timing.apply(&mut config);
        config
    }
}

/// Serves until the process is told to stop.
pub(crate) async fn run(config: Config, store: Arc<dyn Store>, out: &mut Out) -> Result {
    // Before anything is said, so that whoever reads it may stop us at once.
    let mut stop = StopSignal::new()?;
    let control_plane = start(config, store).await?;
    let (http, grpc) = (reachable(control_plane.http), reachable(control_plane.grpc));
    out.either(
        || json!({"http": format!("http://{http}"), "grpc": format!("http://{grpc}")}),
        |_| vec![format!("http  http://{http}"), format!("grpc  http://{grpc}")],
    )?;
    let name = stop.wait().await;
    tracing::info!(signal = name, "stopping");
    control_plane.shutdown().await;
    Ok(())
}

/// Starts a control plane in this process.
pub(crate) async fn start(config: Config, store: Arc<dyn Store>) -> Result<ControlPlane> {
    downbeat_server::start(config, store).await.map_err(|error| match &error {
        StartError::Listen { what, source, .. } if source.kind() == std::io::ErrorKind::AddrInUse => {
            let option = if *what == "REST" { "--http" } else { "--grpc" };
            Failure::failed(error.to_string())
                .hint(format!("another downbeat may be running; `{option} 127.0.0.1:0` takes a free port"))
        }
        _ => Failure::failed(error.to_string()),
    })
}

/// An address to connect to: nobody can connect to "everywhere".
fn reachable(addr: SocketAddr) -> SocketAddr {
    let mut addr = addr;
    if addr.ip().is_unspecified() {
        addr.set_ip(if addr.is_ipv4() { [127, 0, 0, 1].into() } else { [0, 0, 0, 0, 0, 0, 0, 1].into() });
    }
    addr
}

/// SIGTERM and SIGINT.
pub(crate) struct StopSignal {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl StopSignal {
    pub(crate) fn new() -> Result<StopSignal> {
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(StopSignal { terminate, interrupt })
    }

    /// The name of the signal that came.
    pub(crate) async fn wait(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
