//! A simulated client: submits a task, drives it about while the storm lasts, and sees to it that it ends.

use std::sync::Arc;

use bytes::Bytes;
use downbeat_core::{
    check,
    command::Action,
    draft::Draft,
    id::{Index, TaskNo},
    reject::Reject,
    subtask::SubtaskState,
    task::{Mode, Priority, TaskStatus},
};
use downbeat_server::{
    engine::{Engine, Submission},
    failure::Failure,
    follow::Follower,
    view::TaskView,
};

use super::{
    World,
    cluster::{AGENTS, Cluster},
    plans,
    server::TENANT,
};

/// A client with one task.
pub struct Client {
    world: Arc<World>,
    cluster: Arc<Cluster>,
    request: Submission,
    subtasks: Index,
    /// Whether somebody reads along.
    follows: bool,
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
            Submission {
                tenant: TENANT,
                id: format!("task-{place}"),
                digest,
                title: format!("task {place}"),
                description: String::new(),
                priority,
                metadata: Bytes::from_static(b"{}"),
                deadline,
                due_at: None,
                plan: Some(drafts),
                execute: rng.coin(),
            }
        });
        let drafts = request.plan.as_deref().unwrap_or_default();
        let subtasks = Index::try_from(drafts.len()).unwrap_or(Index::MAX);
        if let Err(violations) = check::check(drafts) {
            world.fail(format!("the simulation made a bad plan: {violations:?}"));
        }
        let follows = world.draw(|rng| rng.per_mille(100));
        Client { world, cluster, request, subtasks, follows }
    }

    /// From the first submit until the task is final.
    pub async fn run(self) {
        let storm_ms = self.world.settings.storm_ms;
        self.world.pause(0, storm_ms / 2).await;
        let task = self.submit().await;
        self.world.count(|tally| {
            tally.tasks += 1;
            tally.subtasks += u64::from(self.subtasks);
        });
        let (driven, followed) = (self.drive(task), self.follow(task));
        futures::join!(driven, followed);
    }

    /// Until the task is final.
    async fn drive(&self, task: TaskNo) {
        while !self.world.is_calm() {
            self.world.pause(20, 4_000).await;
            self.meddle(task).await;
        }
        while !self.settle(task).await {
            self.world.pause(100, 1_000).await;
        }
    }

    /// Reads the task's history as it grows, to its end.
    async fn follow(&self, task: TaskNo) {
        let (mut after, mut end) = (0, !self.follows);
        while !end {
            let limit = self.world.draw(|rng| u32::try_from(rng.between(1, 20)).unwrap_or(1));
            let pages = self.world.draw(|rng| rng.between(1, 8));
            let follow = move |engine: Engine, id: String| async move {
                let mut follower = Follower::new(&engine, TENANT, &id, after, limit).await?;
                let (mut events, mut end) = (Vec::new(), false);
                for _ in 0..pages {
                    let page = follower.next().await?;
                    events.extend(page.events.into_iter().map(|view| view.event));
                    end = page.end;
                    if end {
                        break;
                    }
                }
                Ok::<_, Failure>((events, end))
            };
            let Some(Ok((events, ended))) = self.call(follow).await else {
                self.world.pause(100, 1_000).await;
                continue;
            };
            self.world.audit(|auditor| auditor.followed(task, after, &events, ended));
            after += events.len() as u64;
            end = ended;
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

    async fn try_submit(&self, request: Submission) -> Option<Result<(TaskNo, bool), Failure>> {
        let (server, sent) = (self.cluster.pick()?, request.clone());
        let answer = server.call(move |engine: Engine| async move { engine.submit(sent).await }).await;
        let answer = answer.map(|submitted| (submitted.view.task.no, submitted.existed));
        match &answer {
            Ok((task, _)) => {
                self.world.audit(|auditor| auditor.promises().0.submitted(TENANT, &request.id, *task));
            }
            Err(Failure::Unavailable { .. }) => {}
            Err(refusal) if request.digest == self.request.digest => {
                self.world.fail(format!("`{}` was refused: {refusal:?}", request.id));
            }
            Err(_) => {}
        }
        Some(answer)
    }

    /// Does one thing that a person, or a script gone wild, might do.
    async fn meddle(&self, task: TaskNo) -> Option<()> {
        let total = u64::from(self.subtasks);
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
                    Err(Failure::Reject(Reject::TaskConflict(_)) | Failure::Unavailable { .. }) => {}
                    answer => self.world.fail(format!("a conflicting submit got {answer:?}")),
                }
            }
            2 => {
                let _ = self.call(move |engine, id| async move { engine.pause(TENANT, &id).await }).await?;
            }
            3 if self.world.draw(|rng| rng.per_mille(150)) => {
                let reason = String::from("simulated");
                let cancelled = self
                    .call(move |engine, id| async move { engine.cancel(TENANT, &id, reason).await })
                    .await?
                    .is_ok();
                self.world.audit(|auditor| cancelled.then(|| auditor.promises().0.cancelled(task)));
            }
            4 => {
                let agent = self.world.draw(|rng| rng.pick(&AGENTS).copied().unwrap_or_default().to_owned());
                let route = move |engine: Engine, id: String| async move {
                    engine.route_subtask(TENANT, &id, &key(index), &agent).await
                };
                let _ = self.call(route).await?;
            }
            5 | 6 => self.review(task, index, None).await?,
            7..=9 => self.help(task).await?,
            10..=14 => {
                let (mode, checkpoints) = self.world.draw(|rng| {
                    let mode = if rng.per_mille(200) { Mode::Manual } else { Mode::Auto };
                    let stop = |rng: &mut super::rng::Rng| rng.per_mille(100);
                    let places = (0..self.subtasks).filter(|_| stop(rng));
                    (mode, places.map(key).collect::<Vec<String>>())
                });
                self.execute(mode, checkpoints).await?;
            }
            _ => {}
        }
        Some(())
    }

    /// Some review action on one subtask, whatever its state.
    async fn review(&self, task: TaskNo, index: Index, action: Option<Action>) -> Option<()> {
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
        let review = move |engine: Engine, id: String| async move {
            engine.review(TENANT, &id, &key(index), action, String::new()).await
        };
        if let Ok(state) = self.call(review).await? {
            self.world.note(|| format!("{task}/{index} was reviewed: {}", state.word()));
            if final_action {
                self.world.audit(|auditor| auditor.promises().0.decided(task, index, state));
            }
        }
        Some(())
    }

    /// Does what the task waits for.
    async fn help(&self, task: TaskNo) -> Option<()> {
        let view = self.look(task).await?;
        for (index, subtask) in (0..).zip(&view.subtasks) {
            match subtask.row.state {
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

    async fn look(&self, task: TaskNo) -> Option<TaskView> {
        let bare = self.world.draw(|rng| rng.coin());
        let look = move |engine: Engine, id: String| async move { engine.task(TENANT, &id, bare).await };
        let view = self.call(look).await?.ok()?;
        if !bare {
            self.world.audit(|auditor| {
                let promises = auditor.promises().0;
                for (index, subtask) in (0..).zip(&view.subtasks) {
                    promises.shown(task, index, subtask.row.state, &subtask.output.body);
                }
            });
        }
        Some(view)
    }

    async fn execute(&self, mode: Mode, checkpoints: Vec<String>) -> Option<()> {
        let execute = move |engine: Engine, id: String| async move {
            engine.execute(TENANT, &id, mode, &checkpoints).await
        };
        let _ = self.call(execute).await?;
        Some(())
    }

    /// Asks some replica something about the task, which exists.
    async fn call<T, C, F>(&self, call: C) -> Option<Result<T, Failure>>
    where
        T: Send + 'static,
        C: FnOnce(Engine, String) -> F + Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send,
    {
        let (server, id) = (self.cluster.pick()?, self.request.id.clone());
        let answer = server.call(move |engine| call(engine, id)).await;
        if let Err(Failure::NotFound { what, name }) = &answer {
            self.world.fail(format!("`{}` was accepted, and there is no {what} `{name}`", self.request.id));
        }
        Some(answer)
    }

    /// In calm weather: whatever the task waits for is done. True once it is final.
    async fn settle(&self, task: TaskNo) -> bool {
        let Some(view) = self.look(task).await else { return false };
        match view.task.status {
            TaskStatus::Completed | TaskStatus::Failed | TaskStatus::Cancelled => return true,
            TaskStatus::Planning | TaskStatus::Planned | TaskStatus::Paused => {
                self.execute(Mode::Auto, Vec::new()).await;
            }
            TaskStatus::Running | TaskStatus::NeedsReview => {
                self.help(task).await;
            }
        }
        false
    }
}

/// What `plans` calls the subtask.
fn key(index: Index) -> String {
    format!("s{index}")
}
