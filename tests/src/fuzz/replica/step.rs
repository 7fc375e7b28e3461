//! What may happen to two replicas, as bytes say it.

use arbitrary::Arbitrary;

/// One of what there is, whatever that is by then.
pub(super) type Pick = u8;

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(super) enum Lease {
    /// One that somebody holds by the rows.
    Current(Pick),
    /// One that was ever handed out.
    Given(Pick),
    Invented(i64, u32, i64),
}

#[derive(Arbitrary, Debug)]
pub(super) enum Outcome<'a> {
    Completed(&'a [u8]),
    Failed(&'a str, bool),
}

#[derive(Arbitrary, Debug)]
pub(super) enum Say {
    Retry,
    Skip,
    Fail,
    Complete,
    Release,
}

#[derive(Arbitrary, Debug)]
pub(super) enum Step<'a> {
    Submit {
        masks: [u8; 5],
        count: u8,
        agents: u8,
        attempts: u8,
        deadline_s: u8,
        execute: bool,
    },
    Execute {
        task: Pick,
        manual: bool,
        checkpoints: u8,
        served: u8,
    },
    Pause(Pick),
    Cancel(Pick, &'a str),
    Review {
        task: Pick,
        index: u8,
        say: Say,
    },
    Route {
        task: Pick,
        index: u8,
        route: u8,
    },
    Open {
        slots: u8,
        agents: u8,
        silence_s: u8,
    },
    /// Comes back, here or there, and says that it holds these.
    Resume {
        session: Pick,
        genuine: bool,
        keeps: u8,
        also: Option<Lease>,
        slots: u8,
    },
    Break(Pick),
    Goodbye(Pick),
    Drain(Pick),
    Heartbeat(Pick, u8, Option<Lease>),
    Acknowledge(Pick, Lease),
    Progress(Pick, Lease, &'a str),
    Results(Pick, Lease, Outcome<'a>, Option<Lease>),
    Freed(Pick, Lease),
    /// What timers and looks ask for, and what they may ask for too late.
    Return(Lease),
    Lose(Lease),
    Silence(Lease),
    Wake(Pick, Option<u8>),
    Block(Pick, u8),
    Unblock(Pick, u8),
    Expire(Pick, bool),
    Forget(Pick),
    Tick,
    LookAtSessions,
    LookAtLeases,
    Pass(u16),
    /// The same on the other replica from here on.
    Elsewhere,
    /// What was gathered goes into one batch.
    Commit,
}
