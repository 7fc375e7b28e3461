//! What a client does in a workload: submits tasks, starts them, learns when they have ended, and checks that
//! every one is what it should be.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use downbeat_sdk::{
    Client, ListTasks, Plan, SubmitTask, Subtask,
    proto::{self, Outcome, Priority, SubtaskState, TaskStatus},
};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::{sync::watch, task::JoinHandle};

use crate::worker::{Brief, Stamp};

/// How often the list of unfinished tasks is looked at, by who wants to know soon that one has ended.
pub(crate) const LOOK: Duration = Duration::from_millis(20);
const PAGE: u32 = 500;
/// Tasks that are checked beside each other.
const CHECKS: usize = 8;

/// Submits a task and starts it.
///
/// # Errors
/// The control plane's.
pub(crate) async fn start(client: &Client, id: &str, plan: Plan) -> Result<()> {
    client.submit(SubmitTask::new(id).plan(plan).execute()).await?;
    Ok(())
}

/// Follows a task until it has ended.
///
/// # Errors
/// When it does not complete.
pub(crate) async fn follow(client: &Client, id: &str) -> Result<()> {
    let mut last = TaskStatus::Unspecified;
    let mut events = client.watch(id, 0);
    while let Some(event) = events.try_next().await? {
        if event.task_status() != TaskStatus::Unspecified {
            last = event.task_status();
        }
    }
    ensure!(last == TaskStatus::Completed, "task {id} ended as {}", last.as_str_name());
    Ok(())
}

/// `count` subtasks that need nothing of each other.
pub(crate) fn wide(agent: &str, count: usize) -> Plan {
    Plan::new().subtasks((0..count).map(|n| Subtask::new(format!("s{n}")).agent(agent)))
}

/// `count` subtasks, each after the one before.
pub(crate) fn chain(agent: &str, count: usize) -> Plan {
    let subtask = |n: usize| {
        let subtask = Subtask::new(format!("s{n}")).agent(agent);
        if n == 0 { subtask } else { subtask.depends_on([format!("s{}", n - 1)]) }
    };
    Plan::new().subtasks((0..count).map(subtask))
}

/// One, then three beside each other, then one. `input` says what each is given.
pub(crate) fn diamond(agents: [&str; 3], input: impl Fn(usize) -> Option<Brief>) -> Plan {
    let given = |n: usize, subtask: Subtask| match input(n) {
        Some(brief) => subtask.input(&brief),
        None => subtask,
    };
    let [first, middle, last] = agents;
    let middle = |n: usize| given(n, Subtask::new(format!("part{n}")).agent(middle).depends_on(["plan"]));
    Plan::new()
        .subtask(given(0, Subtask::new("plan").agent(first)))
        .subtasks((1..=3).map(middle))
        .subtask(given(4, Subtask::new("join").agent(last).depends_on(["part1", "part2", "part3"])))
}

/// Looks which tasks have not ended yet, for many who wait for theirs.
pub(crate) struct Lookout {
    seen: watch::Receiver<Seen>,
    looking: JoinHandle<()>,
}

#[derive(Clone)]
struct Seen {
    /// When the look began: what had been started by then is in it.
    at: Instant,
    unfinished: Result<Arc<HashSet<String>>, String>,
}

impl Lookout {
    /// Looks so often at tasks whose id begins so, until it is dropped.
    pub(crate) fn new(client: Client, prefix: String, every: Duration) -> Lookout {
        let (sender, seen) = watch::channel(Seen { at: Instant::now(), unfinished: Ok(Arc::default()) });
        let looking = tokio::spawn(async move {
            loop {
                let at = Instant::now();
                let unfinished = unfinished(&client, &prefix).await;
                let unfinished = unfinished.map(Arc::new).map_err(|error| format!("{error:#}"));
                if sender.send(Seen { at, unfinished }).is_err() {
                    return;
                }
                tokio::time::sleep(every).await;
            }
        });
        Lookout { seen, looking }
    }

    /// Waits until a task that was started has ended.
    ///
    /// # Errors
    /// When any task waits for a person, or the control plane does not answer.
    pub(crate) async fn ended(&self, id: &str) -> Result<()> {
        let started = Instant::now();
        let mut seen = self.seen.clone();
        let ended = |seen: &Seen| match &seen.unfinished {
            Ok(unfinished) => seen.at > started && !unfinished.contains(id),
            Err(_) => true,
        };
        let seen = seen.wait_for(ended).await.context("nobody looks any more")?.clone();
        seen.unfinished.map(drop).map_err(anyhow::Error::msg)
    }
}

impl Drop for Lookout {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

async fn unfinished(client: &Client, prefix: &str) -> Result<HashSet<String>> {
    let filter = ListTasks::new().prefix(prefix).page_size(PAGE).status(TaskStatus::Running);
    let filter =
        filter.status(TaskStatus::Planned).status(TaskStatus::NeedsReview).status(TaskStatus::Paused);
    let mut found = HashSet::new();
    let mut tasks = client.list_all(filter);
    while let Some(task) = tasks.try_next().await? {
        if task.status() == TaskStatus::NeedsReview {
            bail!("task {} waits for a person", task.task_id);
        }
        found.insert(task.task_id);
    }
    Ok(found)
}

/// Runs tasks, so many at any time, each by the next client in turn; gives the seconds it took.
///
/// # Errors
/// The first that any of them meets.
pub(crate) async fn closed(
    clients: &[Client],
    ids: &[String],
    at_once: usize,
    plan: impl Fn(usize) -> Plan,
) -> Result<f64> {
    closed_at(Priority::Normal, LOOK, clients, ids, at_once, plan).await
}

/// As [`closed`], with tasks of that priority, looking so often which of them have ended.
///
/// # Errors
/// The first that any of them meets.
pub(crate) async fn closed_at(
    priority: Priority,
    look: Duration,
    clients: &[Client],
    ids: &[String],
    at_once: usize,
    plan: impl Fn(usize) -> Plan,
) -> Result<f64> {
    let prefix = common_prefix(ids);
    let lookout = Lookout::new(clients[0].clone(), prefix, look);
    let begin = Instant::now();
    let one = |(n, id): (usize, &String)| {
        let (client, lookout, id) = (&clients[n % clients.len()], &lookout, id.clone());
        let task = SubmitTask::new(&id).priority(priority).plan(plan(n)).execute();
        async move {
            client.submit(task).await?;
            lookout.ended(&id).await
        }
    };
    stream::iter(ids.iter().enumerate().map(one)).buffer_unordered(at_once).try_collect::<()>().await?;
    Ok(begin.elapsed().as_secs_f64())
}

/// Names for tasks of one run.
pub(crate) fn ids(run: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{run}-{n}")).collect()
}

fn common_prefix(ids: &[String]) -> String {
    ids.first().and_then(|id| id.rsplit_once('-')).map(|(run, _)| format!("{run}-")).unwrap_or_default()
}

/// What the outputs of checked tasks say.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    /// From the last handler entry among the dependencies to the entry of a first attempt, in milliseconds.
    pub(crate) hops_ms: Vec<f64>,
    /// Handler entries of the subtasks without dependencies, in microseconds since the Unix epoch.
    pub(crate) starts_us: Vec<u64>,
    pub(crate) subtasks: usize,
}

/// Reads tasks back and checks each: completed, every subtask with as many attempts as it should have, and
/// with the output that only the outputs of all its dependencies give.
///
/// # Errors
/// The first task that is not so.
pub(crate) async fn check(client: &Client, ids: &[String]) -> Result<Checked> {
    let get = |id: String| async move { client.get(&id).await };
    let read = stream::iter(ids.to_owned()).map(get).buffered(CHECKS);
    read.map_err(anyhow::Error::from)
        .try_fold(Checked::default(), |mut checked, task| async move {
            check_task(&task, &mut checked).with_context(|| format!("task {}", task.task_id))?;
            Ok(checked)
        })
        .await
}

fn check_task(task: &proto::Task, into: &mut Checked) -> Result<()> {
    ensure!(task.status() == TaskStatus::Completed, "it is {}", task.status().as_str_name());
    let mut stamps: BTreeMap<&str, (Stamp, bool)> = BTreeMap::new();
    for subtask in &task.subtasks {
        let stamp = check_subtask(subtask).with_context(|| format!("subtask {}", subtask.key))?;
        stamps.insert(&subtask.key, (stamp, subtask.attempts.len() == 1));
    }
    for subtask in &task.subtasks {
        let (stamp, first_attempt) = &stamps[subtask.key.as_str()];
        let dependencies = subtask.depends_on.iter().filter_map(|key| stamps.get(key.as_str()));
        let (value, last) =
            dependencies.fold((1, None), |(value, last), (s, _)| (value + s.value, last.max(Some(s.at))));
        ensure!(stamp.value == value, "{} delivered {}, expected {value}", subtask.key, stamp.value);
        match last {
            None => into.starts_us.push(stamp.at),
            Some(last) => {
                ensure!(stamp.at >= last, "{} began before its dependencies", subtask.key);
                if *first_attempt {
                    into.hops_ms.push((stamp.at - last) as f64 / 1e3);
                }
            }
        }
    }
    into.subtasks += task.subtasks.len();
    Ok(())
}

fn check_subtask(subtask: &proto::Subtask) -> Result<Stamp> {
    ensure!(subtask.state() == SubtaskState::Completed, "it is {}", subtask.state().as_str_name());
    let brief = match &subtask.input[..] {
        b"" | b"null" => Brief::default(),
        json => serde_json::from_slice(json)?,
    };
    let attempts = 1 + usize::from(brief.fail);
    ensure!(subtask.attempts.len() == attempts, "{} attempts, expected {attempts}", subtask.attempts.len());
    let completed = subtask.attempts.iter().filter(|attempt| attempt.outcome() == Outcome::Completed).count();
    ensure!(completed == 1, "{completed} of its attempts completed");
    let stamp: Stamp = serde_json::from_slice(&subtask.output).context("the output")?;
    ensure!(stamp.payload == brief.payload, "the payload is another one");
    Ok(stamp)
}

/// Checks by the list of tasks that there are so many, and that each has completed with all its subtasks.
///
/// # Errors
/// The first task that is not so.
pub(crate) async fn check_ended(client: &Client, prefix: &str, expected: usize) -> Result<()> {
    let mut tasks = client.list_all(ListTasks::new().prefix(prefix).page_size(PAGE));
    let mut count = 0;
    while let Some(task) = tasks.try_next().await? {
        let finished =
            task.status() == TaskStatus::Completed && task.subtasks_finished == task.subtasks_total;
        ensure!(finished, "task {} is {}", task.task_id, task.status().as_str_name());
        count += 1;
    }
    ensure!(count == expected, "{count} tasks are listed, expected {expected}");
    Ok(())
}
