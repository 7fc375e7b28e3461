//! The rules of Downbeat, and nothing else.
//!
//! This crate decides. It has no async, clock, randomness, logging or IO: the time and every new id come
//! in with the [`Frame`](time::Frame), the rows a command needs are declared by [`reads::reads`] and loaded
//! before, and [`apply::apply`] either refuses the command or changes the [`Rows`](rows::Rows) and
//! returns a reply. The same rows, commands and frame give the same changes, byte for byte.
//!
//! Read `apply.rs` first, then one noun: `task`, `subtask`, `session`.

pub mod apply;
mod attempt;
pub mod check;
pub mod command;
mod compensate;
pub mod context;
mod decide;
pub mod draft;
pub mod effect;
pub mod event;
mod execute;
pub mod expr;
mod flow;
pub mod gate;
mod group;
pub mod guard;
pub mod id;
pub mod invariant;
pub mod limits;
pub mod nested;
pub mod note;
pub mod place;
pub mod plan;
pub mod policy;
pub mod reads;
pub mod reject;
mod rerun;
mod review;
pub mod rows;
pub mod schedule;
pub mod session;
mod snapshot;
mod submit;
pub mod subtask;
pub mod task;
pub mod time;
