//! The rules, through tables: one row per command, and all that must come of it.
//!
//! [`world`] is the database and the committer in a few maps, and checks laws after every batch;
//! [`ask`] names commands in a line; [`table`] runs rows and compares. The other modules hold the tests.

mod ask;
mod table;
mod world;

mod again;
mod attempt;
mod backoff;
mod children;
mod compensation;
mod context;
mod decisions;
mod execute;
mod expr;
mod gates;
mod graph;
mod groups;
mod guard;
mod happenings;
mod idle;
mod invariants;
mod judging;
mod nested;
mod placement;
mod plan;
mod properties;
mod reading;
mod rejects;
mod review;
mod schedule;
mod session;
mod submit;
mod types;
mod words;
