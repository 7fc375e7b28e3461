//! A simulated client with a schedule: creates it in the storm, triggers it at times, and sees to its end once it is calm.

use std::sync::Arc;

use bytes::Bytes;
use downbeat_core::{
    command::Action,
    schedule::{Overlap, Schedule, Spec, Starts, Timing},
    subtask::SubtaskState,
    task::TaskStatus,
};
use downbeat_server::{
    engine::{Engine, schedules::ScheduleRequest},
    failure::Failure,
};
use downbeat_store::{ListTasks, TaskSummary};
use serde_json::value::RawValue;

use super::{
    World,
    cluster::{AGENTS, Cluster},
    server::TENANT,
};

/// After the storm it fires for so long.
const CALM_MS: (u64, u64) = (0, 30_000);

/// A client with a schedule.
pub struct Scheduler {
    world: Arc<World>,
    cluster: Arc<Cluster>,
    request: ScheduleRequest,
}

impl Scheduler {
    pub fn new(cluster: Arc<Cluster>, place: u64) -> Scheduler {
        let world = Arc::clone(&cluster.world);
        let request = world.draw(|rng| {
            let seconds =
                |rng: &mut super::rng::Rng, low, high| u32::try_from(rng.between(low, high)).unwrap_or(1);
            let every_seconds = seconds(rng, 2, 20);
            let offset_seconds = seconds(rng, 0, 1);
            let timing = if rng.per_mille(250) {
                Timing::Cron { expression: "* * * * *".into(), time_zone: "Europe/Berlin".into() }
            } else {
                Timing::Interval { every_seconds, offset_seconds }
            };
            let overlap = rng.pick(&Overlap::ALL).copied().unwrap_or_default();
            let catch_up_seconds = seconds(rng, 10, 60);
            let agent = rng.pick(&AGENTS).copied().unwrap_or_default();
            let wait = rng.between(1, 10);
            let plan = format!(
                r#"{{"plan":{{"subtasks":[{{"key":"wait","timer":{{"seconds":{wait}}}}},
                {{"key":"do","agent":"{agent}","depends_on":["wait"],"on_failure":"fail"}}]}}}}"#
            );
            let document = RawValue::from_string(plan).unwrap_or_else(|_| RawValue::NULL.to_owned());
            let starts = serde_json::to_vec(&Starts::Task(document)).unwrap_or_default();
            ScheduleRequest {
                name: format!("every-{place}"),
                spec: Spec { timing, overlap, catch_up_seconds },
                starts: Bytes::from(starts),
            }
        });
        Scheduler { world, cluster, request }
    }

    /// From the creation until every task of it is final.
    pub async fn run(self) {
        self.world.pause(0, self.world.settings.storm_ms / 2).await;
        let request = self.request.clone();
        self.insist(move |engine: Engine| {
            let request = request.clone();
            async move { engine.create_schedule(TENANT, request).await }
        })
        .await;
        while !self.world.is_calm() {
            self.world.pause(1_000, 20_000).await;
            if self.world.draw(|rng| rng.per_mille(200)) {
                self.trigger().await;
            }
        }
        self.world.pause(CALM_MS.0, CALM_MS.1).await;
        let name = self.request.name.clone();
        self.insist(move |engine: Engine| {
            let name = name.clone();
            async move { engine.pause_schedule(TENANT, &name, "sim".into(), "over".into()).await }
        })
        .await;
        while self.read().await.state.order.is_some() {
            self.world.pause(500, 2_000).await;
        }
        while !self.settle().await {
            self.world.pause(500, 2_000).await;
        }
    }

    async fn trigger(&self) {
        let id = format!("now-{}", self.world.number());
        let (name, task) = (self.request.name.clone(), format!("{}-{id}", self.request.name));
        self.world.audit(|auditor| auditor.triggering(task.clone()));
        let started = self
            .insist(move |engine: Engine| {
                let (name, id) = (name.clone(), id.clone());
                async move { engine.trigger_schedule(TENANT, &name, id).await }
            })
            .await;
        if started != task {
            self.world.fail(format!("`{task}` was triggered, and `{started}` started"));
        }
    }

    async fn read(&self) -> Schedule {
        let name = self.request.name.clone();
        self.insist(move |engine: Engine| {
            let name = name.clone();
            async move { engine.schedule(TENANT, &name).await }
        })
        .await
        .schedule
    }

    /// Sees to what needs a person; gives whether every task has ended.
    async fn settle(&self) -> bool {
        let list = ListTasks {
            tenant: TENANT,
            statuses: Vec::new(),
            id_prefix: format!("{}-", self.request.name),
            before: None,
            limit: 1_000,
        };
        let found = self
            .insist(move |engine: Engine| {
                let list = list.clone();
                async move { engine.list(&list).await }
            })
            .await;
        let open: Vec<TaskSummary> =
            found.tasks.into_iter().filter(|task| !task.status.is_terminal()).collect();
        for task in open.iter().filter(|task| task.status == TaskStatus::NeedsReview) {
            let id = task.id.clone();
            let Some(server) = self.cluster.pick() else { continue };
            // What comes of it is seen the next time.
            let _ = server.call(move |engine: Engine| async move { skip(&engine, &id).await }).await;
        }
        open.is_empty()
    }

    /// Asks until there is an answer. Nothing that is asked here is refused.
    async fn insist<T, C, F>(&self, call: C) -> T
    where
        T: Send + 'static,
        C: Fn(Engine) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        loop {
            if let Some(server) = self.cluster.pick() {
                let call = call.clone();
                match server.call(move |engine: Engine| call(engine)).await {
                    Ok(answer) => return answer,
                    Err(Failure::Unavailable { .. }) => {}
                    Err(refusal) => self.world.fail(format!("a schedule was refused: {refusal:?}")),
                }
            }
            self.world.pause(50, 1_000).await;
        }
    }
}

async fn skip(engine: &Engine, id: &str) -> Result<(), Failure> {
    let view = engine.task(TENANT, id, true).await?;
    let in_review = view.subtasks.iter().enumerate();
    for (index, _) in in_review.filter(|(_, sub)| sub.row.state == SubtaskState::NeedsReview) {
        let name = view.record.plan.nodes()[index].id.clone();
        let action = Action::Skip { reason: "simulated".into() };
        match engine.review(TENANT, id, &name, action, String::new()).await {
            Ok(_) | Err(Failure::Reject(_)) => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(())
}
