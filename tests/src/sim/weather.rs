//! What one seed is made of: sizes, times, and which faults it has. Each fault is absent from about half of
//! the seeds, so that they do not hide each other.

use downbeat_core::policy::Policy;
use downbeat_server::replica::Liveness;

use super::{Plant, rng::Rng};

/// Everything that a seed decides before it starts.
#[derive(Clone, Debug)]
pub struct Settings {
    pub seed: u64,
    /// Over the embedded SQLite instead of the map-backed store.
    pub sqlite: bool,
    pub plant: Option<Plant>,
    pub replicas: u64,
    pub workers: u64,
    pub tasks: u64,
    pub schedules: u64,
    pub policy: Policy,
    pub liveness: Liveness,
    pub tick_ms: u64,
    pub dead_after_ms: u64,
    /// Faults happen for so long.
    pub storm_ms: u64,
    /// Faults of the database happen for so much longer.
    pub swell_ms: u64,
    pub weather: Weather,
    pub habits: Habits,
}

/// Faults of the world. Rates are per 1,000 occasions; times are the mean between two, 0: never.
#[derive(Clone, Debug, Default)]
pub struct Weather {
    /// The longest way of a message or a query.
    pub delay_ms: u64,
    pub read_fails: u32,
    /// What was read arrives late.
    pub read_late: u32,
    pub load_fails: u32,
    /// The commit fails, and nothing of it is durable.
    pub commit_fails: u32,
    /// The commit fails, and everything of it is durable.
    pub commit_unknown: u32,
    /// The commit fails, and becomes durable later.
    pub commit_late: u32,
    pub conflict: u32,
    /// A replica dies at one of the points of a step.
    pub step_crash: u32,
    /// A hint to another replica is lost.
    pub hint_lost: u32,
    /// An answer to a client is lost.
    pub answer_lost: u32,
    pub outage_every_ms: u64,
    pub crash_every_ms: u64,
    pub freeze_every_ms: u64,
    pub cut_every_ms: u64,
    pub worker_crash_every_ms: u64,
    pub worker_freeze_every_ms: u64,
    pub clock_jump_every_ms: u64,
}

/// What workers and their agents are like. Rates are per 1,000 attempts.
#[derive(Clone, Debug, Default)]
pub struct Habits {
    pub work_ms: u64,
    pub fails: u32,
    pub fails_for_good: u32,
    /// Works until it is told to stop.
    pub hangs: u32,
    /// Takes an assignment and never says so.
    pub never_acks: u32,
    /// Says so late.
    pub acks_late: u32,
    /// Loses an attempt without a word.
    pub forgets: u32,
    /// Sends a result twice.
    pub doubles: u32,
    /// Sends a result under a lease that is not its own.
    pub lies: u32,
    /// Does not confirm a cancel.
    pub mute: u32,
    /// Works on for a while after it was told to stop, and then sends its result all the same.
    pub stubborn: u32,
    /// Stops reading its stream for a while, in percent of workers.
    pub deaf: u32,
    /// An operator drains a worker, which comes back, mean time between; 0: never.
    pub drain_every_ms: u64,
}

impl Settings {
    /// The settings of a seed.
    pub fn draw(seed: u64, sqlite: bool, plant: Option<Plant>) -> Settings {
        let mut rng = Rng::new(seed ^ 0x00D0_BEA7);
        let replicas = if sqlite { 1 } else { rng.between(1, 3) };
        let lease_ms = rng.between(4_000, 20_000);
        let policy = Policy {
            attempts_max: u16::try_from(rng.between(1, 4)).unwrap_or(3),
            losses_max: u16::try_from(rng.between(2, 10)).unwrap_or(10),
            backoff_base_ms: rng.between(50, 1_000),
            backoff_max_ms: rng.between(1_000, 8_000),
            grace_ms: rng.between(1_000, 12_000),
            schedule_to_start_ms: rng.between(1_000, 20_000),
        };
        let liveness = Liveness {
            heartbeat_interval_ms: lease_ms / rng.between(3, 6),
            lease_ms,
            assign_ack_ms: rng.between(2_000, 8_000),
            report_ms: rng.between(100, 1_000),
        };
        let tick_ms = rng.between(500, 2_000);
        Settings {
            seed,
            sqlite,
            plant,
            replicas,
            workers: rng.between(2, 7),
            tasks: rng.between(2, 9),
            policy,
            liveness,
            tick_ms,
            dead_after_ms: tick_ms * rng.between(3, 6),
            storm_ms: rng.between(15_000, 60_000),
            swell_ms: rng.between(0, 40_000),
            weather: Weather::draw(&mut rng),
            habits: Habits::draw(&mut rng),
            schedules: rng.below(3),
        }
    }
}

/// `value` in about half of the seeds, else 0.
fn sometimes(rng: &mut Rng, low: u64, high: u64) -> u64 {
    let value = rng.between(low, high);
    if rng.coin() { value } else { 0 }
}

fn rate(rng: &mut Rng, high: u64) -> u32 {
    u32::try_from(sometimes(rng, 1, high)).unwrap_or(0)
}

impl Weather {
    fn draw(rng: &mut Rng) -> Weather {
        // One seed in eight has no fault at all: then every lease must be kept and no attempt lost.
        if rng.below(8) == 0 {
            return Weather { delay_ms: rng.between(1, 20), ..Weather::default() };
        }
        Weather {
            delay_ms: rng.between(1, 60),
            read_fails: rate(rng, 60),
            read_late: rate(rng, 60),
            load_fails: rate(rng, 40),
            commit_fails: rate(rng, 40),
            commit_unknown: rate(rng, 40),
            commit_late: rate(rng, 40),
            conflict: rate(rng, 60),
            step_crash: rate(rng, 4),
            hint_lost: rate(rng, 1_000),
            answer_lost: rate(rng, 200),
            outage_every_ms: sometimes(rng, 10_000, 60_000),
            crash_every_ms: sometimes(rng, 5_000, 40_000),
            freeze_every_ms: sometimes(rng, 5_000, 40_000),
            cut_every_ms: sometimes(rng, 1_000, 15_000),
            worker_crash_every_ms: sometimes(rng, 5_000, 40_000),
            worker_freeze_every_ms: sometimes(rng, 5_000, 40_000),
            clock_jump_every_ms: sometimes(rng, 10_000, 60_000),
        }
    }
}

impl Habits {
    fn draw(rng: &mut Rng) -> Habits {
        Habits {
            work_ms: rng.between(50, 8_000),
            fails: rate(rng, 250),
            fails_for_good: rate(rng, 60),
            hangs: rate(rng, 60),
            never_acks: rate(rng, 30),
            acks_late: rate(rng, 100),
            forgets: rate(rng, 30),
            doubles: rate(rng, 200),
            lies: rate(rng, 60),
            mute: rate(rng, 60),
            stubborn: rate(rng, 300),
            deaf: rate(rng, 30),
            drain_every_ms: sometimes(rng, 8_000, 40_000),
        }
    }
}
