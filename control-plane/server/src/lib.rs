//! The control plane: everything between a socket and the database.
//!
//! The way in: a face (`grpc`, `rest`) parses a request with `wire` and calls the [`engine`]; what changes
//! something becomes a command for the `committer`, whose batch step (`replica`) asks the pure core and
//! commits. The way out: effects, after the commit, to the sessions and to whoever waits.

mod approvals;
mod clock;
pub mod committer;
pub mod config;
pub mod docs;
pub mod engine;
pub mod failure;
pub mod follow;
pub mod grpc;
mod lint;
mod nesting;
mod past;
pub mod planner;
pub mod process;
pub mod registry;
pub mod replica;
pub mod rest;
mod schedule;
pub mod serve;
mod ticker;
pub mod view;
pub mod watch;
pub mod wire;
mod workflow;

pub use crate::{
    config::Config,
    serve::{ControlPlane, start},
};
