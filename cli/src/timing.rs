//! How long who may be silent, and how long what waits: the settings of `dev` and `serve` beside their
//! addresses. The defaults suit production; tests and demos want shorter ones.

use clap::Args;
use downbeat_server::Config;

/// All in milliseconds.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Timing")]
pub(crate) struct Timing {
    /// How often workers are to be heard
    #[arg(long, value_name = "MS", env = "DOWNBEAT_HEARTBEAT_MS")]
    heartbeat_ms: Option<u64>,
    /// A worker silent for so long has lost its leases
    #[arg(long, value_name = "MS", env = "DOWNBEAT_LEASE_MS")]
    lease_ms: Option<u64>,
    /// How long leases outlive a broken stream
    #[arg(long, value_name = "MS", env = "DOWNBEAT_GRACE_MS")]
    grace_ms: Option<u64>,
    /// An assignment not acknowledged for so long goes to another worker
    #[arg(long, value_name = "MS", env = "DOWNBEAT_ASSIGN_ACK_MS")]
    assign_ack_ms: Option<u64>,
    /// The wait before a second attempt; doubles with each further one
    #[arg(long, value_name = "MS", env = "DOWNBEAT_BACKOFF_MS")]
    backoff_ms: Option<u64>,
    /// A ready subtask that nobody can do is blocked after so long
    #[arg(long, value_name = "MS", env = "DOWNBEAT_SCHEDULE_TO_START_MS")]
    schedule_to_start_ms: Option<u64>,
    /// How often a replica looks around; its sign of life
    #[arg(long, value_name = "MS", env = "DOWNBEAT_TICK_MS", value_parser = clap::value_parser!(u64).range(50..))]
    tick_ms: Option<u64>,
    /// A replica without a sign of life for so long is dead
    #[arg(long, value_name = "MS", env = "DOWNBEAT_DEAD_AFTER_MS")]
    dead_after_ms: Option<u64>,
}

impl Timing {
    pub(crate) fn apply(&self, config: &mut Config) {
        let settings = [
            (self.heartbeat_ms, &mut config.liveness.heartbeat_interval_ms),
            (self.lease_ms, &mut config.liveness.lease_ms),
            (self.grace_ms, &mut config.policy.grace_ms),
            (self.assign_ack_ms, &mut config.liveness.assign_ack_ms),
            (self.backoff_ms, &mut config.policy.backoff_base_ms),
            (self.schedule_to_start_ms, &mut config.policy.schedule_to_start_ms),
            (self.tick_ms, &mut config.tick_ms),
            (self.dead_after_ms, &mut config.dead_after_ms),
        ];
        for (given, setting) in settings {
            if let Some(ms) = given {
                *setting = ms;
            }
        }
    }
}
