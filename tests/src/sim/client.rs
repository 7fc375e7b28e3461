//! A simulated client: submits a task, drives it about while the storm lasts, and sees to it that it ends.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use downbeat_core::{
    command::Action,
    id::{Index, TaskNo, TenantNo},
    plan::{Draft, Plan},
    reject::Reject,
    subtask::SubtaskState,
    task::{Mode, Priority, TaskStatus},
};
use downbeat_store::TaskRecord;

use super::{
    World,
    cluster::{AGENTS, Cluster},
    plans,
    server::calls::{Refusal, Submission},
};

/// A client with one task.
pub struct Client {
    world: Arc<World>,
    cluster: Arc<Cluster>,
    request: Submission,
}

impl Client {
    /// A client that wants something.
    pub fn new(cluster: Arc<Cluster>, place: u64) -> Client {
        let world = Arc::clone(&cluster.world);
        let now = (world.clock())();
        let request = world.draw(|rng| {
            let drafts: Vec<Draft> = plans::draft(rng);
            let deadline = rng.per_mille(80).then(|| now.plus_ms(rng.between(5_000, 60_000)));
            let priority = rng.pick(&Priority::ALL).copied().unwrap_or_default();
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&rng.number().to_be_bytes());
            Submission { id: format!("task-{place}"), digest, priority, deadline, drafts }
        });
        if let Err(violations) = Plan::check(&request.drafts) {
            world.fail(format!("the simulation made a bad plan: {violations:?}"));
        }
        Client { world, cluster, request }
    }

    /// From the first submit until the task is final.
    pub async fn run(self) {
        let storm_ms = self.world.settings.storm_ms;
        self.world.pause(0, storm_ms / 2).await;
        let task = self.submit().await;
        self.world.count(|tally| {
            tally.tasks += 1;
            tally.subtasks += self.request.drafts.len() as u64;
        });
        while !self.world.is_calm() {
            self.world.pause(20, 4_000).await;
            self.meddle(task).await;
        }
        while !self.settle(task).await {
            self.world.pause(100, 1_000).await;
        }
    }

    async fn submit(&self) -> TaskNo {
        loop {
            if let Some(Ok((task, existed))) = self.try_submit(self.request.clone()).await {
                self.world.note(|| format!("`{}` is task {task} (existed: {existed})", self.request.id));
                return task;
            }
            self.world.pause(50, 1_000).await;
        }
    }

    async fn try_submit(&self, request: Submission) -> Option<Result<(TaskNo, bool), Refusal>> {
        let engine = self.cluster.pick()?;
        let sent = request.clone();
        let answer = engine.call(move |engine| engine.submit(sent)).await;
        match &answer {
            Ok((task, _)) => {
                self.world
                    .audit(|auditor| auditor.promises().0.submitted(TenantNo::DEFAULT, &request.id, *task));
            }
            Err(Refusal::Unavailable) => {}
            Err(refusal) if request.digest == self.request.digest => {
                self.world.fail(format!("`{}` was refused: {refusal:?}", request.id));
            }
            Err(_) => {}
        }
        Some(answer)
    }

    /// Does one thing that a person, or a script gone wild, might do.
    async fn meddle(&self, task: TaskNo) -> Option<()> {
        let engine = self.cluster.pick()?;
        let total = self.request.drafts.len() as u64;
        let index = Index::try_from(self.world.draw(|rng| rng.below(total))).ok()?;
        match self.world.draw(|rng| rng.below(20)) {
            0 => {
                let answer = self.try_submit(self.request.clone()).await?;
                if answer.is_ok_and(|(again, existed)| again != task || !existed) {
                    self.world.fail(format!("task {task} was submitted again, and is another"));
                }
            }
            1 => {
                let other = Submission { digest: [7; 32], ..self.request.clone() };
                match self.try_submit(other).await? {
                    Err(Refusal::Reject(Reject::TaskConflict(_)) | Refusal::Unavailable) => {}
                    answer => self.world.fail(format!("a conflicting submit got {answer:?}")),
                }
            }
            2 => {
                let _ = engine.call(move |engine| engine.pause(task)).await;
            }
            3 if self.world.draw(|rng| rng.per_mille(150)) => {
                let cancelled = engine.call(move |engine| engine.cancel(task)).await.is_ok();
                self.world.audit(|auditor| cancelled.then(|| auditor.promises().0.cancelled(task)));
            }
            4 => {
                let agent = self.world.draw(|rng| rng.pick(&AGENTS).copied().unwrap_or_default().to_owned());
                let _ = engine.call(move |engine| engine.route(task, index, agent)).await;
            }
            5 | 6 => self.review(task, index, None).await?,
            7..=9 => self.help(task).await?,
            10..=14 => {
                let (mode, checkpoints) = self.world.draw(|rng| {
                    let mode = if rng.per_mille(200) { Mode::Manual } else { Mode::Auto };
                    let stop = |rng: &mut super::rng::Rng| rng.per_mille(100);
                    let places = (0..Index::try_from(total).unwrap_or(0)).filter(|_| stop(rng));
                    (mode, places.collect::<BTreeSet<Index>>())
                });
                let _ = engine.call(move |engine| engine.execute(task, mode, checkpoints)).await;
            }
            _ => {}
        }
        Some(())
    }

    /// Some review action on one subtask, whatever its state.
    async fn review(&self, task: TaskNo, index: Index, action: Option<Action>) -> Option<()> {
        let engine = self.cluster.pick()?;
        let reason = String::from("simulated");
        let action = action.unwrap_or_else(|| {
            self.world.draw(|rng| match rng.below(8) {
                0 => Action::Skip { reason },
                1 => Action::Fail { reason },
                2 => Action::Complete { output: Bytes::from(format!("{{\"by hand\":{}}}", rng.number())) },
                3..=5 => Action::Release,
                _ => Action::Retry,
            })
        });
        if let Action::Complete { output } = &action {
            let output = output.clone();
            self.world.audit(|auditor| auditor.promises().0.completing(task, index, output));
        }
        let final_action = !matches!(action, Action::Retry | Action::Release);
        if let Ok(state) = engine.call(move |engine| engine.review(task, index, action)).await {
            self.world.note(|| format!("{task}/{index} was reviewed: {}", state.word()));
            if final_action {
                self.world.audit(|auditor| auditor.promises().0.decided(task, index, state));
            }
        }
        Some(())
    }

    /// Does what the task waits for.
    async fn help(&self, task: TaskNo) -> Option<()> {
        let record = self.look(task).await?;
        for (index, row) in (0..).zip(&record.subtasks) {
            match row.state {
                SubtaskState::NeedsReview => self.review(task, index, Some(Action::Retry)).await?,
                SubtaskState::Waiting => self.review(task, index, Some(Action::Release)).await?,
                SubtaskState::Pending
                | SubtaskState::Ready
                | SubtaskState::Blocked
                | SubtaskState::Leased
                | SubtaskState::Running
                | SubtaskState::Backoff
                | SubtaskState::Completed
                | SubtaskState::Failed
                | SubtaskState::Skipped
                | SubtaskState::Cancelled => {}
            }
        }
        Some(())
    }

    async fn look(&self, task: TaskNo) -> Option<TaskRecord> {
        self.cluster.pick()?.call(move |engine| engine.task(task)).await.ok()
    }

    /// In calm weather: whatever the task waits for is done. True once it is final.
    async fn settle(&self, task: TaskNo) -> bool {
        let Some(record) = self.look(task).await else { return false };
        match record.task.status {
            TaskStatus::Completed | TaskStatus::Failed | TaskStatus::Cancelled => return true,
            TaskStatus::Planning | TaskStatus::Planned | TaskStatus::Paused => {
                if let Some(engine) = self.cluster.pick() {
                    let _ = engine.call(move |e| e.execute(task, Mode::Auto, BTreeSet::new())).await;
                }
            }
            TaskStatus::Running | TaskStatus::NeedsReview => {
                self.help(task).await;
            }
        }
        false
    }
}
