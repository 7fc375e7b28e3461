//! What a client writes to the shared context of its task, and finds there.

use bytes::Bytes;
use downbeat_core::id::TaskNo;
use downbeat_server::engine::{ContextChange, Engine};

use super::Client;
use crate::sim::{plans, server::TENANT};

impl Client {
    /// Writes to the shared context, perhaps only where it finds a certain version.
    pub(super) async fn write(&self, task: TaskNo) -> Option<()> {
        let unique = self.world.number();
        let change = self.world.draw(|rng| ContextChange {
            key: rng.pick(&plans::KEYS).copied().unwrap_or_default().to_owned(),
            value: rng.per_mille(850).then(|| Bytes::from(format!("{{\"unique\":{unique}}}"))),
            expected_version: rng.coin().then(|| rng.below(4)),
            by: plans::PEOPLE[0].to_owned(),
        });
        self.world.audit(|auditor| auditor.contexts().0.asking(task, &change));
        let write =
            move |engine: Engine, id: String| async move { engine.write_context(TENANT, &id, change).await };
        let answer = self.call(write).await?;
        self.world.note(|| format!("somebody writes to the context of task {task}: {answer:?}"));
        Some(())
    }

    /// Reads the shared context: what is shown was written.
    pub(super) async fn read(&self, task: TaskNo) -> Option<()> {
        let read = move |engine: Engine, id: String| async move { engine.context(TENANT, &id, None).await };
        let entries = self.call(read).await?.ok()?;
        self.world.audit(|auditor| auditor.contexts().0.shown(task, &entries));
        Some(())
    }
}
