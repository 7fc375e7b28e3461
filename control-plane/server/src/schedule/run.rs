//! The loop of a replica that looks after its schedules: it sleeps until the first one is due of those that the last
//! look has seen. All replicas do; who writes the row first goes on with it.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use downbeat_core::{
    id::{ReplicaNo, ScheduleNo},
    time::Time,
};
use futures::{StreamExt, stream};
use tokio::sync::watch;

use super::Upcoming;
use crate::engine::Engine;

/// Schedules that one replica sees to at once.
const AT_ONCE: usize = 16;

/// Fires what is due. Runs until it is dropped, or nobody looks around any more.
pub(crate) async fn run(engine: Engine, mut upcoming: watch::Receiver<Upcoming>) {
    let mut due: BTreeMap<ScheduleNo, Time> = BTreeMap::new();
    loop {
        let first = due.values().min().copied();
        let wait = first.map(|at| Duration::from_millis(at.since_ms(engine.registry.now())));
        tokio::select! {
            biased;
            looked = upcoming.changed() => {
                if looked.is_err() {
                    return;
                }
                due = upcoming.borrow_and_update().iter().map(|(at, no)| (*no, *at)).collect();
            }
            () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {}
        }
        let now = engine.registry.now();
        let ready = in_turn(engine.replica, due.iter().filter(|(_, at)| **at <= now).map(|(no, _)| *no));
        let fired = stream::iter(ready).map(|no| {
            let engine = &engine;
            async move { (no, engine.see_to(no).await) }
        });
        let fired: Vec<_> = fired.buffer_unordered(AT_ONCE).collect().await;
        for (no, next) in fired {
            due.remove(&no);
            match next {
                Ok(next) => due.extend(next.map(|at| (no, at))),
                // The next look sees it again.
                Err(failure) => tracing::debug!(schedule = %no, %failure, "cannot see to a schedule"),
            }
        }
    }
}

/// Each replica begins with others, so that they do not get in each other's way.
fn in_turn(replica: ReplicaNo, ready: impl Iterator<Item = ScheduleNo>) -> Vec<ScheduleNo> {
    let mut ready: Vec<ScheduleNo> = ready.collect();
    ready.sort_by_cached_key(|no| {
        let mut hasher = DefaultHasher::new();
        (replica, no).hash(&mut hasher);
        hasher.finish()
    });
    ready
}
