//! The Rust SDK of Downbeat, the control plane for teams of specialist agents: a client that submits work and
//! follows it, and a worker that does it.
//!
//! # Submit work
//! ```no_run
//! use downbeat_sdk::{Client, Plan, SubmitTask, Subtask};
//! use serde_json::json;
//!
//! # async fn example() -> Result<(), downbeat_sdk::Error> {
//! let client = Client::connect("http://127.0.0.1:9083").await?;
//! client
//!     .submit(SubmitTask::new("release-42").title("Release 42").plan(
//!         Plan::new()
//!             .subtask(Subtask::new("diff").agent("diff").input(&json!({"tag": "v42"})))
//!             .subtask(Subtask::new("review").agent("code-review").depends_on(["diff"])),
//!     ))
//!     .await?;
//! client.execute("release-42").await?;
//! let task = client.wait("release-42").await?;
//! println!("{}: {}", task.task_id, task.status().as_str_name());
//! # Ok(())
//! # }
//! ```
//!
//! # Do work
//! ```no_run
//! use downbeat_sdk::{Agent, Context, Output, Worker};
//! use serde_json::json;
//!
//! # async fn example() -> Result<(), downbeat_sdk::Error> {
//! let worker = Worker::builder()
//!     .addr("http://127.0.0.1:9083")
//!     .slots(8)
//!     .agent(Agent::new("code-review").capability("review"), |context: Context| async move {
//!         let diff: String = context.dependency("diff").await?;
//!         context.progress("reading the diff", 0.1);
//!         Output::json(&json!({ "lines": diff.lines().count() }))
//!     })
//!     .build()?;
//! worker.run().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Let work decide what follows
//! A plan may wait for people, signals and times, and grow: [`Subtask::approval`], [`Subtask::signal`],
//! [`Subtask::timer`], [`Subtask::group`], [`Subtask::map`], [`Subtask::repeat`]. A handler may add children to its own
//! subtask ([`Context::spawn`]) and be called again when they have ended ([`Output::suspend`]).
//!
//! # Share what several subtasks need
//! A task has a context of JSON values by key, each with a version: [`Context::shared`] reads and writes it under the
//! lease, [`Client::context`] and [`Client::put_context`] from outside, `context.KEY` in expressions reads it, and
//! [`Subtask::context`] has it handed over with the brief.
//!
//! # What holds
//! - Every call may be sent twice, and the client retries what may pass; only [`Client::rerun`], and writes
//!   to a context that expect a version, are sent once.
//! - An attempt runs under a *lease*. Its id only ever grows ([`Context::lease_id`]): use it to fence side effects.
//! - A worker that loses its connection keeps its attempts and takes its session up again. Results are sent until
//!   the control plane has them.
//! - A handler that blocks its runtime, or panics, costs its own attempt and no lease.
//!
//! Answers are the messages of the contract itself, re-exported as [`proto`].
#![warn(missing_docs)]

mod address;
mod client;
mod context;
mod error;
mod request;
mod shared;
mod worker;

/// The worker's session machine, let out for fuzzing: no part of the contract.
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub use self::worker::session;
/// The messages and services of the contract, package `downbeat.v1`.
pub use downbeat_proto::v1 as proto;

pub use self::{
    address::{ADDR_DEFAULT, ADDR_ENV},
    client::{
        Client, ClientBuilder, EventStream, REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX, Retry, Stored, Submitted,
        is_final,
    },
    context::{CancelReason, Context},
    error::{Error, FieldViolation},
    request::{
        Approval, Approvers, Backoff, Compensation, DecideSubtask, ExecuteTask, ForkTask, ListAgents,
        ListTasks, Loop, Map, Plan, RerunTask, RunWorkflow, ScheduleSpec, SignalGate, SignalTask, SubmitTask,
        Subtask, Timer, Timing, Workflow, WorkflowCall,
    },
    shared::{SharedContext, Versioned},
    worker::{
        Agent, Artifact, CANCEL_GRACE_DEFAULT, DRAIN_TIMEOUT_DEFAULT, Ended, Handler, HandlerError, Output,
        SLOTS_DEFAULT, SLOTS_MAX, Worker, WorkerBuilder,
    },
};
