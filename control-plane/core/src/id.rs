//! Newtypes for every id. Numbers are minted from a batch's [`Frame`](crate::time::Frame); names are the
//! client's own and are checked where they enter.

use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// An isolated customer. Every row belongs to one.
    TenantNo(i32)
}
number! {
    /// A task, by its internal number. Clients know it by [`TaskId`].
    TaskNo(i64)
}
number! {
    /// A worker's session.
    SessionNo(i64)
}
number! {
    /// The right of one session to execute one attempt. Only ever grows, and so fences every write.
    LeaseId(i64)
}
number! {
    /// What a subtask needs (tenant, agent, capability tags), interned. Workers match routes, not rows.
    RouteNo(i64)
}
number! {
    /// One running control plane process.
    ReplicaNo(i64)
}
number! {
    /// A schedule. Clients know it by its name; one that is created again under the name of a deleted one is another.
    ScheduleNo(i64)
}

impl TenantNo {
    /// The tenant every call belongs to until identities exist.
    pub const DEFAULT: TenantNo = TenantNo(1);
}

/// A subtask's place in its task's plan, from 0.
pub type Index = u32;

/// A task by the client's own name, unique per tenant: 1 to
/// [`TASK_ID_BYTES`](crate::limits::TASK_ID_BYTES) bytes without control characters.
pub type TaskId = String;

/// One attempt of one subtask: the lease, and where it points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LeaseAt {
    pub task: TaskNo,
    pub index: Index,
    pub lease: LeaseId,
}
