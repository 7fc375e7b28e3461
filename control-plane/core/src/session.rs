//! The session: a worker's connection to the control plane, which its leases belong to.
//!
//! A lease lives as long as its session, so no row is touched to extend it. A session is open while its
//! stream is up, detached through a grace time after the stream broke, expired once that is over. Leases
//! are given only to open sessions; an expired one is swept of its leases and then deleted.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    id::{ReplicaNo, RouteNo, SessionNo, TenantNo},
    time::Time,
};

/// What a worker declares about one of its agents.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentDeclaration {
    pub name: String,
    pub capabilities: Vec<String>,
    #[serde(default)]
    pub skills: Vec<String>,
    #[serde(default)]
    pub domain: String,
    #[serde(default)]
    pub description: String,
    /// Start to close, where the plan says nothing.
    #[serde(default)]
    pub sla_ms: Option<u32>,
    /// An attempt silent for so long has timed out.
    #[serde(default)]
    pub progress_timeout_ms: Option<u32>,
    /// What it takes, as JSON Schema; empty: anything.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub input_schema: String,
    /// What it delivers, as JSON Schema; empty: anything.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub output_schema: String,
}

/// What a worker says of itself when it connects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerDeclaration {
    pub worker: String,
    pub agents: Vec<AgentDeclaration>,
    pub slots: u32,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub build_id: String,
}

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum SessionState {
    Open = 0,
    /// Its stream is gone; `wake_at` ends the grace time.
    Detached = 1,
    /// Its leases are being taken away.
    Expired = 2,
    /// Gets no new leases. Its stream is gone if `wake_at` is set.
    Draining = 3,
}

impl SessionState {
    pub const ALL: [SessionState; 4] =
        [SessionState::Open, SessionState::Detached, SessionState::Expired, SessionState::Draining];

    pub fn from_number(n: u8) -> Option<SessionState> {
        SessionState::ALL.get(usize::from(n)).copied()
    }

    pub fn word(self) -> &'static str {
        match self {
            SessionState::Open => "open",
            SessionState::Detached => "detached",
            SessionState::Expired => "expired",
            SessionState::Draining => "draining",
        }
    }
}

/// A session's row. Written when something happens to the session, never to keep it alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub no: SessionNo,
    pub tenant: TenantNo,
    /// The replica its stream is, or was last, connected to.
    pub replica: ReplicaNo,
    /// Proves to be the same worker when it resumes.
    pub token: [u8; 16],
    /// The number that the worker gave to the stream which was taken up, 0 for its first: of two, the higher came later.
    pub connection: u32,
    pub state: SessionState,
    pub declaration: Arc<WorkerDeclaration>,
    pub opened_at: Time,
    /// End of the grace time while the stream is gone.
    pub wake_at: Option<Time>,
}

/// One agent of a connected worker, as a route sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skill {
    pub agent: Arc<str>,
    pub sla_ms: Option<u32>,
}

/// A session connected to this replica that may take work: what placement chooses from.
/// Kept by the server in memory and handed in; `free` is used up while placing.
#[derive(Clone, Debug)]
pub struct Seat {
    pub session: SessionNo,
    pub worker: Arc<str>,
    pub free: u32,
    pub skills: Arc<BTreeMap<RouteNo, Skill>>,
}
