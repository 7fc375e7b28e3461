//! What an operator may set, with the defaults of a production installation.

use std::{net::SocketAddr, path::PathBuf};

use downbeat_core::policy::Policy;

use crate::replica::Liveness;

/// Settings of one control plane process.
#[derive(Clone, Debug)]
pub struct Config {
    /// REST; port 0 picks a free one.
    pub http: SocketAddr,
    /// gRPC; port 0 picks a free one.
    pub grpc: SocketAddr,
    pub policy: Policy,
    pub liveness: Liveness,
    /// How often the replica looks for what nobody told it.
    pub tick_ms: u64,
    /// A replica whose beat is older is dead; its sessions' grace time begins.
    pub dead_after_ms: u64,
    /// Planner rules instead of the built-in ones.
    pub rules: Option<PathBuf>,
    /// Rules that put an approval before the subtasks they match, whatever their plan says.
    pub approval_rules: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            http: SocketAddr::from(([127, 0, 0, 1], 8083)),
            grpc: SocketAddr::from(([127, 0, 0, 1], 9083)),
            policy: Policy::default(),
            liveness: Liveness::default(),
            tick_ms: 2_000,
            dead_after_ms: 10_000,
            rules: None,
            approval_rules: None,
        }
    }
}
