//! The deterministic simulation: whole installations of Downbeat in virtual time, on one thread, from one
//! seed. Replicas are production's own processes, but for the sockets, over a store that fails; workers, clients
//! and the network are simulated, with every fault of the real ones. An auditor checks every commit.
//!
//! The same seed gives the same run: time is tokio's paused clock, chance is [`rng`], and nothing else decides.
//! To see what a seed does: `SEED=4711 cargo test -p downbeat-tests --test simulation replay -- --nocapture`.

pub mod audit;
pub mod client;
pub mod cluster;
pub mod database;
pub mod faults;
mod log;
pub mod plans;
pub mod plant;
pub mod process;
pub mod rng;
mod run;
pub mod schedules;
pub mod server;
mod storm;
mod tap;
pub mod weather;
pub mod wire;
mod worker;
mod workflows;
pub mod world;

pub use self::{
    plant::Plant,
    run::{Outcome, run},
    world::{Tally, World},
};
