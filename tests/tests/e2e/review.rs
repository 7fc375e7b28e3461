//! Failing attempts, and what a person does about them: backoff, review, retry, skip, fail, complete; SLA and
//! silence time out.

use std::time::Duration;

use downbeat_proto::v1::{AgentDeclaration, Brief, Hello};
use downbeat_sdk::{
    Client, Plan, SubmitTask, Subtask,
    proto::{Event, Outcome, SubtaskState, TaskStatus, result_ack::Verdict},
};
use downbeat_tests::{
    harness::{
        ControlPlane, Database, Ledger, RawWorker, Watcher,
        plans::{chain, diamond, single},
        raw_worker::{hello, lease_of},
        until,
    },
    on_both_databases,
};

on_both_databases! {
    three_failed_attempts_need_review_and_a_retry_gives_another_round
    skip_goes_on_without_it
    fail_skips_what_depends_on_it
    complete_supplies_the_output
    not_retryable_goes_straight_to_review
    sla_and_silence_use_up_attempts
}

/// A task under way, with a worker that does what the test says.
struct Scene {
    plane: ControlPlane,
    client: Client,
    worker: RawWorker,
    watcher: Watcher,
    ledger: Ledger,
}

async fn scene(database: &Database, task: SubmitTask) -> Scene {
    let plane = ControlPlane::start_patient(database).await;
    let client = plane.client();
    let worker = RawWorker::start(&plane.grpc, &["maker"], 4).await;
    let submitted = client.submit(task).await.unwrap();
    let mut watcher = Watcher::new(&[&plane.grpc]);
    watcher.follow(&submitted.task.task_id);
    client.execute(submitted.task.task_id).await.unwrap();
    Scene { plane, client, worker, watcher, ledger: Ledger::default() }
}

impl Scene {
    /// Takes the next brief.
    async fn begin(&mut self) -> Brief {
        let brief = self.worker.begin().await;
        self.ledger.begin(&brief);
        brief
    }

    /// Takes the next brief and completes it.
    async fn complete_next(&mut self) -> String {
        let brief = self.begin().await;
        self.worker.deliver(&brief).await;
        assert_eq!(self.worker.acks(1).await[0].verdict(), Verdict::Accepted);
        brief.key
    }

    /// Takes the next brief and fails it; gives the attempt.
    async fn fail_next(&mut self, retryable: bool) -> u32 {
        let brief = self.begin().await;
        self.worker.fail(lease_of(&brief), "BROKEN", retryable).await;
        assert_eq!(self.worker.acks(1).await[0].verdict(), Verdict::Accepted);
        brief.attempt
    }

    async fn sees_review(&self, task: &str) {
        self.watcher.sees(task, "needs review", |event| event.kind == "task.needs_review").await;
    }
}

fn of_kind(events: &[Event], kind: &str) -> usize {
    events.iter().filter(|event| event.kind == kind).count()
}

async fn three_failed_attempts_need_review_and_a_retry_gives_another_round(database: Database) {
    let mut scene = scene(&database, chain("r-1", "maker", 2)).await;
    for attempt in 1..=3 {
        assert_eq!(scene.fail_next(true).await, attempt);
    }
    scene.sees_review("r-1").await;
    let task = scene.client.get("r-1").await.unwrap();
    let sub = &task.subtasks[0];
    assert_eq!((task.status(), sub.state()), (TaskStatus::NeedsReview, SubtaskState::NeedsReview));
    assert_eq!(sub.attempts.len(), 3);
    for attempt in &sub.attempts {
        assert_eq!(attempt.outcome(), Outcome::Failed);
        assert_eq!(attempt.error.as_ref().unwrap().code, "BROKEN");
    }
    let waits = sub.attempts.windows(2).map(|pair| pair[1].started_at_ms - pair[0].ended_at_ms);
    // Backoff doubles, with up to a fifth taken off: from 40 and 80 ms on.
    for (wait, least) in waits.zip([40, 80]) {
        assert!(wait >= least, "waited {wait} ms, expected at least {least}");
    }
    let metrics = task.metrics.unwrap();
    assert_eq!((metrics.attempts, metrics.failures), (3, 3));
    let page = scene.client.events("r-1", 0, 0).await.unwrap();
    assert_eq!(of_kind(&page.events, "subtask.backoff"), 2);
    assert_eq!(of_kind(&page.events, "subtask.needs_review"), 1);

    assert_eq!(scene.client.retry_subtask("r-1", "s0").await.unwrap(), SubtaskState::Ready);
    assert_eq!(scene.fail_next(true).await, 4);
    assert_eq!(scene.complete_next().await, "s0");
    assert_eq!(scene.complete_next().await, "s1");
    let task = scene.watcher.verify(&scene.ledger).await.remove(0);
    assert_eq!(task.status(), TaskStatus::Completed);
    let finished = scene.client.retry_subtask("r-1", "s0").await.unwrap_err();
    assert_eq!(finished.reason(), Some("SUBTASK_STATE"));
}

async fn skip_goes_on_without_it(database: Database) {
    let mut scene = scene(&database, diamond("r-2", "maker")).await;
    assert_eq!(scene.complete_next().await, "start");
    let pending = scene.client.skip_subtask("r-2", "end", "too early").await.unwrap_err();
    assert_eq!(pending.reason(), Some("SUBTASK_STATE"));
    let brief = scene.begin().await;
    let running = scene.client.skip_subtask("r-2", &brief.key, "a worker has it").await.unwrap_err();
    assert_eq!(running.reason(), Some("SUBTASK_STATE"));
    scene.worker.fail(lease_of(&brief), "BROKEN", false).await;
    scene.worker.acks(1).await;
    scene.sees_review("r-2").await;
    assert_eq!(
        scene.client.skip_subtask("r-2", &brief.key, "not needed").await.unwrap(),
        SubtaskState::Skipped
    );
    scene.complete_next().await;
    let last = scene.begin().await;
    assert_eq!(last.key, "end");
    let skipped = last.dependencies.iter().find(|dependency| dependency.key == brief.key).unwrap();
    assert_eq!((skipped.state(), skipped.output.len()), (SubtaskState::Skipped, 0));
    scene.worker.deliver(&last).await;
    let task = scene.watcher.verify(&scene.ledger).await.remove(0);
    assert_eq!(task.status(), TaskStatus::Completed);
}

async fn fail_skips_what_depends_on_it(database: Database) {
    let mut scene = scene(&database, diamond("r-3", "maker")).await;
    assert_eq!(scene.complete_next().await, "start");
    let failed = scene.begin().await;
    scene.worker.fail(lease_of(&failed), "BROKEN", false).await;
    scene.worker.acks(1).await;
    scene.complete_next().await;
    scene.sees_review("r-3").await;
    assert_eq!(
        scene.client.fail_subtask("r-3", &failed.key, "hopeless").await.unwrap(),
        SubtaskState::Failed
    );
    let task = scene.watcher.verify(&scene.ledger).await.remove(0);
    assert_eq!(task.status(), TaskStatus::Failed);
    assert_eq!(task.subtasks[3].state(), SubtaskState::Skipped);
    assert!(task.subtasks[3].reason.contains(&failed.key), "{}", task.subtasks[3].reason);
}

async fn complete_supplies_the_output(database: Database) {
    let mut scene = scene(&database, chain("r-4", "maker", 2)).await;
    scene.fail_next(false).await;
    scene.sees_review("r-4").await;
    let state = scene.client.complete_subtask("r-4", "s0", &serde_json::json!({"by": "hand"})).await.unwrap();
    assert_eq!(state, SubtaskState::Completed);
    let next = scene.begin().await;
    assert_eq!(&next.dependencies[0].output[..], b"{\"by\":\"hand\"}");
    scene.worker.deliver(&next).await;
    let task = scene.watcher.verify(&scene.ledger).await.remove(0);
    assert_eq!(task.status(), TaskStatus::Completed);
}

async fn not_retryable_goes_straight_to_review(database: Database) {
    let mut scene = scene(&database, single("r-5", "maker")).await;
    assert_eq!(scene.fail_next(false).await, 1);
    scene.sees_review("r-5").await;
    let task = scene.client.get("r-5").await.unwrap();
    assert_eq!((task.subtasks[0].state(), task.subtasks[0].attempts.len()), (SubtaskState::NeedsReview, 1));
    assert_eq!(scene.client.cancel("r-5", "enough").await.unwrap(), TaskStatus::Cancelled);
    scene.watcher.verify(&scene.ledger).await;
    scene.plane.stop().await;
}

async fn sla_and_silence_use_up_attempts(database: Database) {
    let plan = Plan::new()
        .subtask(Subtask::new("slow").agent("maker").sla(Duration::from_secs(1)).max_attempts(1))
        .subtask(Subtask::new("silent").agent("mute").max_attempts(2));
    let mut scene = scene(&database, SubmitTask::new("r-6").title("times out").plan(plan)).await;
    let mute = AgentDeclaration { name: "mute".into(), progress_timeout_ms: 500, ..Default::default() };
    let mute = Hello { agents: vec![mute], ..hello(&[], 1) };
    let mut mute = RawWorker::open(&scene.plane.grpc, mute).await.unwrap();
    let silent = mute.begin().await;
    let slow = scene.begin().await;
    assert!(slow.deadline_ms > 0);
    assert_eq!(scene.worker.cancelled().await, [lease_of(&slow)]);
    scene.worker.free(&[lease_of(&slow)]).await;
    assert_eq!(mute.cancelled().await, [lease_of(&silent)]);
    mute.free(&[lease_of(&silent)]).await;
    // Who keeps talking may take as long as it likes.
    let talking = mute.begin().await;
    scene.ledger.begin(&talking);
    assert_eq!(talking.attempt, 2);
    let since = std::time::Instant::now();
    until("the agent has talked for longer than it may be silent", || async {
        mute.progress(lease_of(&talking), "still here").await;
        (since.elapsed() > Duration::from_millis(1_500)).then_some(())
    })
    .await;
    mute.deliver(&talking).await;
    assert_eq!(mute.acks(1).await[0].verdict(), Verdict::Accepted);
    scene.sees_review("r-6").await;
    let task = scene.client.get("r-6").await.unwrap();
    let timed_out = |sub: &downbeat_sdk::proto::Subtask| {
        let first = &sub.attempts[0];
        (first.outcome(), first.error.as_ref().unwrap().code.clone())
    };
    assert_eq!(timed_out(&task.subtasks[0]), (Outcome::TimedOut, "SLA_TIMEOUT".to_owned()));
    assert_eq!(timed_out(&task.subtasks[1]), (Outcome::TimedOut, "HEARTBEAT_TIMEOUT".to_owned()));
    scene.client.skip_subtask("r-6", "slow", "").await.unwrap();
    let task = scene.watcher.verify(&scene.ledger).await.remove(0);
    assert_eq!(task.status(), TaskStatus::Completed);
}
