//! The real binary, as people and scripts use it: a control plane by `downbeat dev` on free ports, workers as
//! processes, everything else as calls of the command line.

#![allow(clippy::unwrap_used)]

mod client;
mod dev;
mod errors;
mod examples;
mod graph;
mod help;
mod house;
mod schedule;
mod show;
mod worker;
mod workflow;
