//! Where requests become core types, and views become answers: the only place that knows both the contract
//! (proto messages, JSON bodies) and the core.
//!
//! In: [`request`] reads proto messages, [`body`] and [`query`] read what REST sends; both end in the same
//! forms (`submission`, `plan`, `forms`) and the same checks, so that a request means the same on either face, and
//! all of its problems come back at once. Out: `proto` and `answer`. [`session`] is the worker's stream, both ways. Nothing here
//! talks to the engine or to a socket. What reads is public: fuzzing comes in where the faces do.

pub(crate) mod answer;
pub mod body;
pub(crate) mod check;
pub mod context;
pub(crate) mod event;
pub(crate) mod fields;
pub(crate) mod figures;
pub mod filter;
pub(crate) mod forms;
pub mod json;
pub(crate) mod kind;
pub(crate) mod page;
pub mod past;
pub mod plan;
pub(crate) mod problems;
pub(crate) mod proto;
pub mod query;
pub mod request;
pub mod schedule;
pub mod session;
pub(crate) mod submission;
#[cfg(test)]
mod tests;
pub(crate) mod times;
pub(crate) mod words;
pub mod workflow;

pub(crate) use self::{
    proto::artifact,
    words::{priority, subtask_state},
};
