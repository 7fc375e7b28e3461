//! A simulated client: submits a task, drives it about while the storm lasts, and sees to it that it ends.

mod context;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use downbeat_core::{
    check,
    command::{Action, Decision, Sent},
    draft::{Approval, Does, Draft, SignalGate, Timer},
    id::{Index, TaskNo},
    reject::Reject,
    subtask::SubtaskState,
    task::{Mode, Priority, TaskStatus},
};
use downbeat_server::{
    engine::{Engine, Point, RerunRequest, Submission},
    failure::Failure,
    follow::Follower,
    view::TaskView,
};
use futures::future::BoxFuture;
use serde_json::value::RawValue;

use super::{
    Plant, World,
    cluster::{AGENTS, Cluster},
    plans,
    process::lock,
    server::TENANT,
};

/// In calm weather, what is in review is tried again so often; then it is skipped.
const RETRIES: u32 = 2;
/// What was asked for and not answered has happened by then, or never will.
const ECHO_MS: u64 = 60_000;
/// What may follow of one task: it runs again, goes back, or another one goes on from it.
const REPEATS: u32 = 4;

/// A client with one task.
pub struct Client {
    world: Arc<World>,
    cluster: Arc<Cluster>,
    request: Submission,
    subtasks: Index,
    /// Whether somebody reads along.
    follows: bool,
    /// Full ids, in the order of the plan, as far as it was seen.
    names: Mutex<Vec<String>>,
    /// How often what is in review was tried again in calm weather.
    retries: Mutex<BTreeMap<Index, u32>>,
    /// The newest signal, to send it again.
    sent: Mutex<Option<Sent>>,
    /// How often something was to run again.
    repeats: Mutex<u32>,
    /// Something was to run again, and nobody said whether it does.
    unanswered: Mutex<bool>,
    /// Its task goes on from another one.
    forked: bool,
    /// Those who see to tasks that subtasks of its own are.
    inner: Mutex<BTreeMap<String, Arc<Client>>>,
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
            let request = Client::request(&format!("task-{place}"), drafts);
            Submission { digest, priority, deadline, execute: rng.coin(), ..request }
        });
        let drafts = request.plan.as_deref().unwrap_or_default();
        let subtasks = Index::try_from(drafts.len()).unwrap_or(Index::MAX);
        if let Err(violations) = check::check(drafts) {
            world.fail(format!("the simulation made a bad plan: {violations:?}"));
        }
        let follows = world.draw(|rng| rng.per_mille(100));
        Client { follows, ..Client::of(cluster, request, subtasks) }
    }

    fn of(cluster: Arc<Cluster>, request: Submission, subtasks: Index) -> Client {
        Client {
            world: Arc::clone(&cluster.world),
            cluster,
            request,
            subtasks,
            follows: false,
            names: Mutex::default(),
            retries: Mutex::default(),
            sent: Mutex::default(),
            repeats: Mutex::default(),
            unanswered: Mutex::default(),
            forked: false,
            inner: Mutex::default(),
        }
    }

    /// Submits what waits for people, a signal and a time, and leaves it at that.
    pub async fn park(cluster: Arc<Cluster>) {
        let parked = |key: &str, does| Draft { key: key.to_owned(), does, ..Draft::default() };
        let drafts = vec![
            parked("approval", Does::Approval(plans::patient_approval())),
            parked(
                "signal",
                Does::Signal(SignalGate { name: "go".into(), matches: None, timeout_seconds: None }),
            ),
            parked("timer", Does::Timer(Timer::Seconds(100_000))),
        ];
        let client = Client::of(cluster, Client::request("parked", drafts), 3);
        client.submit().await;
    }

    fn request(id: &str, drafts: Vec<Draft>) -> Submission {
        Submission {
            tenant: TENANT,
            id: id.to_owned(),
            digest: [3; 32],
            title: id.to_owned(),
            description: String::new(),
            priority: Priority::default(),
            metadata: Bytes::from_static(b"{}"),
            deadline: None,
            due_at: None,
            plan: Some(drafts),
            workflow: None,
            inside: None,
            goals: Vec::new(),
            execute: true,
        }
    }

    /// From the first submit until the task is final.
    pub async fn run(self) {
        let storm_ms = self.world.settings.storm_ms;
        self.world.pause(0, storm_ms / 2).await;
        let task = self.submit().await;
        while lock(&self.names).is_empty() {
            self.look(task).await;
            self.world.pause(20, 500).await;
        }
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
        loop {
            while !self.settle(task).await {
                self.world.pause(100, 1_000).await;
            }
            if std::mem::take(&mut *lock(&self.unanswered)) {
                self.world.pause(ECHO_MS, ECHO_MS).await;
                continue;
            }
            if !self.world.draw(|rng| rng.per_mille(200)) || *lock(&self.repeats) >= REPEATS {
                return;
            }
            let index = self.draw_index();
            self.rerun(task, index).await;
        }
    }

    fn draw_index(&self) -> Index {
        let total = lock(&self.names).len() as u64;
        Index::try_from(self.world.draw(|rng| rng.below(total))).unwrap_or(0)
    }

    /// Counts up; `None`: enough has been repeated.
    fn repeat(&self, task: TaskNo) -> Option<u32> {
        let mut repeats = lock(&self.repeats);
        let more = (*repeats < REPEATS).then_some(*repeats);
        *repeats += 1;
        self.world.audit(|auditor| auditor.promises().0.repeating(task));
        more
    }

    /// Something is to run again, perhaps with another input.
    async fn rerun(&self, task: TaskNo, index: Index) -> Option<()> {
        self.repeat(task)?;
        let name = self.name(index);
        let mut request = RerunRequest { subtasks: vec![name.clone()], ..RerunRequest::default() };
        if self.world.draw(|rng| rng.per_mille(300)) {
            request.inputs = RawValue::from_string("{\"again\":true}".into())
                .ok()
                .map(|raw| (name, raw))
                .into_iter()
                .collect();
        }
        let rerun = move |engine: Engine, id: String| async move { engine.rerun(TENANT, &id, request).await };
        let answer = self.call(rerun).await?;
        *lock(&self.unanswered) |= answer.is_err();
        self.world.note(|| format!("{task}/{index} is to run again: {answer:?}"));
        Some(())
    }

    /// Marks the present state, or goes back to one that was marked.
    async fn travel(&self, task: TaskNo) -> Option<()> {
        if self.world.draw(|rng| rng.coin()) {
            let name = format!("mark-{}", self.world.number());
            let mark = move |engine: Engine, id: String| async move {
                engine.snapshot(TENANT, &id, &name, String::new()).await
            };
            let _ = self.call(mark).await?;
            return Some(());
        }
        self.repeat(task)?;
        let list = move |engine: Engine, id: String| async move { engine.snapshots(TENANT, &id).await };
        let marks = self.call(list).await?.ok()?;
        let mark = self.world.draw(|rng| rng.pick(&marks).map(|mark| mark.name.clone()))?;
        let restore = move |engine: Engine, id: String| async move {
            match engine.restore(TENANT, &id, &mark, String::new()).await {
                // Nothing has changed since.
                Err(Failure::Invalid(_)) => Ok(None),
                answer => answer.map(Some),
            }
        };
        let answer = self.call(restore).await?;
        *lock(&self.unanswered) |= answer.is_err();
        self.world.note(|| format!("task {task} goes back: {answer:?}"));
        Some(())
    }

    /// Another task goes on from this one; it is driven to its end.
    fn fork(&self, task: TaskNo) -> BoxFuture<'_, Option<()>> {
        Box::pin(self.go_on_elsewhere(task))
    }

    async fn go_on_elsewhere(&self, task: TaskNo) -> Option<()> {
        let new = format!("{}-fork-{}", self.request.id, self.repeat(task)?);
        let forked = loop {
            let (name, execute) = (new.clone(), self.world.draw(|rng| rng.coin()));
            let fork = move |engine: Engine, id: String| async move {
                engine.fork(TENANT, &id, &name, &Point::Event(20), execute).await
            };
            if let Some(answer) = self.call(fork).await {
                match answer {
                    Ok(submitted) => break submitted.view.task.no,
                    Err(Failure::Unavailable { .. }) => {}
                    Err(refusal) => {
                        self.world.fail(format!("a fork was refused: {refusal:?}"));
                        return None;
                    }
                }
            }
            self.world.pause(50, 1_000).await;
        };
        self.world.note(|| format!("task {task} is forked as `{new}`, task {forked}"));
        let request = Submission { id: new, ..self.request.clone() };
        let client = Client {
            forked: true,
            repeats: Mutex::new(REPEATS),
            ..Client::of(Arc::clone(&self.cluster), request, self.subtasks)
        };
        while lock(&client.names).is_empty() {
            client.look(forked).await;
            self.world.pause(20, 500).await;
        }
        client.drive(forked).await;
        Some(())
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
        let index = self.draw_index();
        match self.world.draw(|rng| rng.below(22)) {
            0 | 1 if self.forked => {}
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
                let compensate = self.world.number().is_multiple_of(2);
                let cancel = move |engine: Engine, id: String| async move {
                    engine.cancel(TENANT, &id, reason, compensate).await
                };
                let cancelled = self.call(cancel).await?.is_ok();
                self.world.audit(|auditor| cancelled.then(|| auditor.promises().0.cancelled(task)));
            }
            4 => {
                let agent = self.world.draw(|rng| rng.pick(&AGENTS).copied().unwrap_or_default().to_owned());
                let name = self.name(index);
                let route = move |engine: Engine, id: String| async move {
                    engine.route_subtask(TENANT, &id, &name, &agent).await
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
                    (mode, places.map(|index| self.name(index)).collect::<Vec<String>>())
                });
                self.execute(mode, checkpoints).await?;
            }
            15 => self.signal(task, None).await?,
            16 => {
                let again = lock(&self.sent).clone();
                self.send(again?).await?;
            }
            17 if self.world.draw(|rng| rng.per_mille(300)) => self.rerun(task, index).await?,
            18 if self.world.draw(|rng| rng.per_mille(300)) => self.travel(task).await?,
            19 if self.world.draw(|rng| rng.per_mille(50)) => self.fork(task).await?,
            20 => self.write(task).await?,
            21 => self.read(task).await?,
            _ => {}
        }
        Some(())
    }

    /// What the subtask is called, by its full id: keys repeat.
    fn name(&self, index: Index) -> String {
        lock(&self.names).get(index as usize).cloned().unwrap_or_default()
    }

    /// Says that something happened, perhaps under a name that the same is sent with again.
    async fn signal(&self, task: TaskNo, gate: Option<&SignalGate>) -> Option<()> {
        let unique = self.world.number();
        let sent = self.world.draw(|rng| Sent {
            name: match gate {
                Some(gate) => gate.name.clone(),
                None => rng.pick(&plans::SIGNALS).copied().unwrap_or_default().to_owned(),
            },
            payload: {
                let n = if gate.is_some() { 5 } else { rng.below(6) };
                Bytes::from(format!("{{\"n\":{n},\"unique\":{unique}}}"))
            },
            by: String::new(),
            id: format!("signal-{unique}"),
        });
        self.world.audit(|auditor| auditor.promises().0.signalling(task, sent.payload.clone()));
        *lock(&self.sent) = Some(sent.clone());
        self.send(sent).await
    }

    async fn send(&self, mut sent: Sent) -> Option<()> {
        if self.world.has(Plant::NoKnownSignal) {
            sent.id.clear();
        }
        let _ = self.call(move |engine, id| async move { engine.signal(TENANT, &id, sent).await }).await?;
        Some(())
    }

    /// Somebody decides about an approval, as it was shown; in calm weather all of them.
    async fn decide(&self, task: TaskNo, index: Index, approval: &Approval, digest: &str) -> Option<()> {
        let calm = self.world.is_calm();
        for person in plans::PEOPLE {
            let (option, roles, stale, asked) = self.world.draw(|rng| {
                let any = rng.pick(&approval.options);
                let option = if calm { approval.options.first() } else { any };
                let roles = if rng.per_mille(200) { vec![plans::ROLE.to_owned()] } else { Vec::new() };
                (option.map(|option| option.name.clone()), roles, rng.per_mille(100), rng.coin())
            });
            if !calm && !asked {
                continue;
            }
            let digest = if stale && !calm && !self.world.has(Plant::AnyDigest) {
                "0".repeat(digest.len())
            } else {
                digest.to_owned()
            };
            let (by, option) = (person.to_owned(), option.unwrap_or_default());
            let decision = Decision { by, roles, option, digest, comment: String::new() };
            let vote = (decision.by.clone(), decision.option.clone());
            self.world.audit(|auditor| auditor.promises().0.voting(task, index, vote, !stale || calm));
            let name = self.name(index);
            let decide = move |engine: Engine, id: String| async move {
                engine.decide_subtask(TENANT, &id, &name, decision).await
            };
            let _ = self.call(decide).await?;
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
        let name = self.name(index);
        let review = move |engine: Engine, id: String| async move {
            engine.review(TENANT, &id, &name, action, String::new()).await
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
                SubtaskState::NeedsReview => {
                    let mut retries = self.retries(index);
                    let reason = "simulated".to_owned();
                    // An approval is never skipped by who was not asked.
                    let asks = matches!(view.node(index as usize).does, Does::Approval(_));
                    let action = match retries > RETRIES {
                        false => Action::Retry,
                        true if asks => Action::Fail { reason },
                        true => Action::Skip { reason },
                    };
                    retries += u32::from(self.world.is_calm());
                    lock(&self.retries).insert(index, retries);
                    self.review(task, index, Some(action)).await?;
                }
                SubtaskState::Waiting if subtask.row.held => {
                    self.review(task, index, Some(Action::Release)).await?;
                }
                SubtaskState::Waiting => match &view.node(index as usize).does {
                    Does::Approval(approval) => {
                        let digest = subtask.gate.as_ref().map(|gate| gate.digest.clone());
                        self.decide(task, index, approval, &digest.unwrap_or_default()).await?;
                    }
                    Does::Signal(gate) => self.signal(task, Some(gate)).await?,
                    Does::Workflow(_) if subtask.row.pending > 0 => {
                        self.visit(&view.inner(index as usize)?).await;
                    }
                    Does::Work
                    | Does::Timer(_)
                    | Does::Workflow(_)
                    | Does::Group(_)
                    | Does::Map(_)
                    | Does::Loop(_)
                    | Does::Round => {}
                },
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

    /// Does something for a task that a subtask of this one is.
    fn visit<'c>(&'c self, inner: &str) -> BoxFuture<'c, Option<()>> {
        let client = Arc::clone(lock(&self.inner).entry(inner.to_owned()).or_insert_with(|| {
            let request = Submission { id: inner.to_owned(), ..self.request.clone() };
            Arc::new(Client::of(Arc::clone(&self.cluster), request, 1))
        }));
        Box::pin(async move {
            let look = move |engine: Engine, id: String| async move { engine.task(TENANT, &id, true).await };
            let task = client.call(look).await?.ok()?.task.no;
            let storm = !self.world.is_calm();
            match self.world.draw(|rng| rng.below(10)) {
                0 if storm => {
                    let pause = |engine: Engine, id: String| async move { engine.pause(TENANT, &id).await };
                    let _ = client.call(pause).await?;
                }
                1 if storm => {
                    let reason = String::from("simulated");
                    let compensate = self.world.draw(|rng| rng.coin());
                    let cancel = move |engine: Engine, id: String| async move {
                        engine.cancel(TENANT, &id, reason, compensate).await
                    };
                    let _ = client.call(cancel).await?;
                }
                _ => drop(client.settle(task).await),
            }
            Some(())
        })
    }

    fn retries(&self, index: Index) -> u32 {
        lock(&self.retries).get(&index).copied().unwrap_or(0)
    }

    async fn look(&self, task: TaskNo) -> Option<TaskView> {
        let bare = self.world.draw(|rng| rng.coin());
        let look = move |engine: Engine, id: String| async move { engine.task(TENANT, &id, bare).await };
        let view = self.call(look).await?.ok()?;
        *lock(&self.names) = view.record.plan.nodes().iter().map(|node| node.id.clone()).collect();
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
