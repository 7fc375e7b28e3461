//! One who follows a task: its history from the store as far as it goes (a new task's is still in memory), and then what
//! is committed as it comes.

use std::{sync::Arc, time::Duration};

use downbeat_core::{
    event::Event,
    id::{TaskNo, TenantNo},
};
use downbeat_store::PlanRecord;
use tokio::sync::watch;

use crate::{
    engine::Engine,
    failure::Failure,
    view::EventPage,
    watch::{Newer, Tail},
};

/// A follower looks into the store this often, in case nobody tells it.
const POLL: Duration = Duration::from_secs(2);

/// Reads a task's events to their end.
pub struct Follower {
    engine: Engine,
    task: TaskNo,
    record: Arc<PlanRecord>,
    committed: watch::Receiver<Tail>,
    /// Of the hints in the tail those that were followed.
    hints: u64,
    after: u64,
    limit: u32,
    /// The store may have what the tail has not.
    look: bool,
}

impl Follower {
    /// Begins after the event with that number; gives at most `limit` events at once.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn new(
        engine: &Engine,
        tenant: TenantNo,
        id: &str,
        after: u64,
        limit: u32,
    ) -> Result<Follower, Failure> {
        let (task, record) = engine.find(tenant, id).await?;
        // Before the first look, so that nothing can happen in between.
        let committed = engine.watch.subscribe(task);
        let look = !matches!(committed.borrow().newer(after, 1), Newer::Events(_));
        let engine = engine.clone();
        Ok(Follower { engine, task, record, committed, hints: 0, after, limit, look })
    }

    /// Waits until there are new events, or the task has ended. A page that was not awaited to its end is not
    /// lost.
    ///
    /// # Errors
    /// `Unavailable`; the next call goes on from there.
    pub async fn next(&mut self) -> Result<EventPage, Failure> {
        loop {
            if let Some(events) = self.committed_here() {
                return self.page(events).await;
            }
            if self.look {
                let mut events = self.engine.store.events(self.task, self.after, self.limit).await?;
                events.truncate(self.limit as usize);
                self.look = events.len() == self.limit as usize;
                if !events.is_empty() {
                    return self.page(events).await;
                }
                if self.engine.has_ended(self.task, self.after).await? {
                    return Ok(EventPage { events: Vec::new(), end: true });
                }
            }
            // The sender lives as long as this receiver: an error cannot come, and the poll would find all.
            self.look |= tokio::time::timeout(POLL, self.committed.changed()).await.is_err();
        }
    }

    /// What follows the last event without gap.
    fn committed_here(&mut self) -> Option<Vec<Event>> {
        let tail = self.committed.borrow_and_update();
        let hinted = std::mem::replace(&mut self.hints, tail.hints) != tail.hints;
        let newer = tail.newer(self.after, self.limit);
        self.look |= hinted || newer == Newer::Gap;
        match newer {
            Newer::Events(events) => Some(events),
            Newer::None | Newer::Gap => None,
        }
    }

    async fn page(&mut self, events: Vec<Event>) -> Result<EventPage, Failure> {
        let after = events.last().map_or(self.after, |last| last.number);
        if EventPage::nodes_named(&events) > self.record.plan.len() {
            self.record = self.engine.record_naming(self.task, &events).await?;
        }
        self.after = after;
        Ok(EventPage::new(events, &self.record, self.limit))
    }
}
