//! Judges what happened by what clients and workers saw, and by nothing the engine says about itself.
//!
//! A [`Watcher`] follows tasks over raw streams and writes down every event as it comes; a [`Ledger`] holds
//! what workers began. [`Watcher::judge`] puts both beside the final outputs: numbers without gap or double,
//! at most one live lease, each lease run once, each subtask done once and after what it depends on.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use downbeat_proto::v1::{
    Brief, Event, GetTaskRequest, ListEventsRequest, Outcome, SubtaskState, Task, TaskStatus,
    WatchTaskRequest, task_service_client::TaskServiceClient,
};
use downbeat_sdk::is_final;
use serde_json::Value;
use tokio::{sync::watch, task::JoinHandle};
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

use super::{LIMIT, control_plane::channel, sdk_worker::expected, soon};

/// A broken stream is opened again after so long.
const REOPEN: Duration = Duration::from_millis(50);
/// Nobody who is well takes longer to answer a ping; whoever is asked another one loses nothing.
const ALIVE: Duration = Duration::from_secs(5);
/// Large enough for every task here with all its outputs.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// One attempt that a worker began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    pub task: String,
    pub subtask: String,
    pub lease: i64,
    pub attempt: u32,
}

/// What workers began, in the order they did.
pub trait Runs {
    /// All of it, so far.
    fn runs(&self) -> Vec<Run>;
}

/// What workers within the test began.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    runs: Arc<Mutex<Vec<Run>>>,
    count: Arc<watch::Sender<usize>>,
}

impl Ledger {
    /// A worker begins an attempt.
    pub fn begin(&self, brief: &Brief) {
        let run = Run {
            task: brief.task_id.clone(),
            subtask: brief.subtask_id.clone(),
            lease: brief.lease.map_or(0, |lease| lease.lease_id),
            attempt: brief.attempt,
        };
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        runs.push(run);
        self.count.send_replace(runs.len());
    }

    /// Waits until so many attempts have begun.
    pub async fn begun(&self, attempts: usize) {
        let mut count = self.count.subscribe();
        let what = format!("{attempts} attempts begin");
        // The sender is here, so this cannot fail.
        let _ = soon(&what, count.wait_for(|count| *count >= attempts)).await.map(drop);
    }
}

impl Runs for Ledger {
    fn runs(&self) -> Vec<Run> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Follows tasks, over however many streams it takes.
#[derive(Debug)]
pub struct Watcher {
    urls: Vec<String>,
    following: BTreeMap<String, JoinHandle<Result<Vec<Event>, String>>>,
    sight: Sight,
}

/// What was seen so far of the tasks that are followed.
#[derive(Clone, Debug, Default)]
pub struct Sight(Arc<watch::Sender<BTreeMap<String, Vec<Event>>>>);

/// What has come of the tasks that were followed.
#[derive(Debug, Default)]
pub struct Verdict {
    /// As they ended.
    pub tasks: Vec<Task>,
    /// Never seen to end, or not ended when asked for.
    pub lost: Vec<String>,
    /// Subtasks completed, and leases run, more than once.
    pub doubled: Vec<String>,
    /// Everything that is wrong, what is lost and doubled too.
    pub wrong: Vec<String>,
}

impl Watcher {
    /// `urls`: control planes to ask in turn.
    pub fn new(urls: &[&str]) -> Watcher {
        let urls = urls.iter().map(|url| (*url).to_owned()).collect();
        Watcher { urls, following: BTreeMap::new(), sight: Sight::default() }
    }

    /// Begins to follow a task that exists.
    pub fn follow(&mut self, task: &str) {
        let mut urls = self.urls.clone();
        // Not all of them over one replica, which may be the one that stands still.
        let first = self.following.len() % urls.len();
        urls.rotate_left(first);
        let following = tokio::spawn(follow(urls, task.to_owned(), self.sight.clone()));
        self.following.insert(task.to_owned(), following);
    }

    /// What it sees, for others.
    pub fn sight(&self) -> Sight {
        self.sight.clone()
    }

    /// Waits until an event was seen; `which` is asked for every event of the task so far and to come.
    pub async fn sees(&self, task: &str, what: &str, which: impl Fn(&Event) -> bool) -> Event {
        let mut seen = self.sight.0.subscribe();
        let find = |all: &BTreeMap<String, Vec<Event>>| all.get(task)?.iter().find(|e| which(e)).cloned();
        let mut found = None;
        let wait = seen.wait_for(|all| {
            found = find(all);
            found.is_some()
        });
        let _ = soon(&format!("{task}: {what}"), wait).await.map(drop);
        found.expect("waited for it")
    }

    /// Waits until so many events of all tasks together were seen that `which` holds for.
    pub async fn counts(&self, what: &str, count: usize, which: impl Fn(&Event) -> bool) {
        self.sight.counts(what, count, which).await;
    }

    /// As [`judge`](Watcher::judge), for whom everything has to be right. The tasks as they ended come back.
    ///
    /// # Panics
    /// With everything that is wrong.
    pub async fn verify(self, ledger: &impl Runs) -> Vec<Task> {
        let Verdict { tasks, wrong, .. } = self.judge(ledger).await;
        assert!(wrong.is_empty(), "{} problems:\n{}", wrong.len(), wrong[..wrong.len().min(40)].join("\n"));
        tasks
    }

    /// Waits until every followed task has ended, and judges all that was seen.
    pub async fn judge(self, ledger: &impl Runs) -> Verdict {
        let mut verdict = Verdict::default();
        let wrong = &mut verdict.wrong;
        let mut stories = Vec::new();
        let mut patience = LIMIT;
        for (id, following) in self.following {
            match tokio::time::timeout(patience, following).await {
                Ok(ended) => match ended.expect("a watcher does not panic") {
                    Ok(events) => stories.push((id, events)),
                    Err(problem) => wrong.push(format!("{id}: {problem}")),
                },
                Err(_) => {
                    wrong.push(format!("{id} does not end; seen of it: {}", self.sight.story(&id)));
                    verdict.lost.push(id);
                    // The others had the same time.
                    patience = Duration::ZERO;
                }
            }
        }
        let runs = ledger.runs();
        verdict.doubled.extend(doubled_leases(&runs));
        let mut by_task: BTreeMap<&str, Vec<&Run>> = BTreeMap::new();
        for run in &runs {
            by_task.entry(&run.task).or_default().push(run);
        }
        let mut client = tasks_client(self.urls.last().expect("at least one control plane"));
        for (id, events) in stories {
            let task = get(&mut client, &id).await;
            let listed = list(&mut client, &id).await;
            if listed != events {
                wrong.push(format!("{id}: the pages of events differ from the stream"));
            }
            if !is_final(task.status()) {
                verdict.lost.push(id.clone());
            }
            verdict
                .doubled
                .extend(doubled_ends(&listed).map(|key| format!("{id}: {key} was completed twice")));
            let of_task = by_task.remove(id.as_str()).unwrap_or_default();
            wrong.extend(judge(&task, &events, &of_task).into_iter().map(|issue| format!("{id}: {issue}")));
            verdict.tasks.push(task);
        }
        wrong.extend(verdict.doubled.iter().cloned());
        verdict
    }
}

impl Sight {
    /// Waits until so many events of all tasks together were seen that `which` holds for.
    pub async fn counts(&self, what: &str, count: usize, which: impl Fn(&Event) -> bool) {
        let mut seen = self.0.subscribe();
        let enough = |all: &BTreeMap<String, Vec<Event>>| {
            all.values().flatten().filter(|event| which(event)).count() >= count
        };
        let _ = soon(&format!("{count} times {what}"), seen.wait_for(enough)).await.map(drop);
    }

    /// Waits until the ends of all these tasks were seen.
    pub async fn ended(&self, tasks: &[String]) {
        let mut seen = self.0.subscribe();
        let all_ended = |all: &BTreeMap<String, Vec<Event>>| tasks.iter().all(|task| has_ended(all, task));
        let ended = tokio::time::timeout(LIMIT, seen.wait_for(all_ended)).await.map(drop);
        if ended.is_err() {
            let open = tasks.iter().find(|task| !has_ended(&self.0.borrow(), task));
            let story = open.map(|task| format!("{task}: {}", self.story(task))).unwrap_or_default();
            panic!("waited {} s in vain for {} tasks to end; {story}", LIMIT.as_secs(), tasks.len());
        }
    }

    /// How many tasks were seen to end.
    pub fn ends(&self) -> usize {
        let all = self.0.borrow();
        all.keys().filter(|task| has_ended(&all, task)).count()
    }

    fn story(&self, task: &str) -> String {
        let all = self.0.borrow();
        let events = all.get(task).map(Vec::as_slice).unwrap_or_default();
        let told = events.iter().map(|event| format!("{} {}{}", event.number, event.kind, of_key(event)));
        told.collect::<Vec<_>>().join(", ")
    }
}

fn of_key(event: &Event) -> String {
    if event.key.is_empty() { String::new() } else { format!(" ({})", event.key) }
}

fn has_ended(all: &BTreeMap<String, Vec<Event>>, task: &str) -> bool {
    all.get(task).and_then(|events| events.last()).is_some_and(|last| is_final(last.task_status()))
}

async fn follow(urls: Vec<String>, task: String, sight: Sight) -> Result<Vec<Event>, String> {
    let mut clients: Vec<_> = urls.iter().map(|url| attentive_client(url)).collect();
    let mut events: Vec<Event> = Vec::new();
    for turn in 0.. {
        let after = events.last().map_or(0, |event| event.number);
        let count = clients.len();
        let request = WatchTaskRequest { task_id: task.clone(), after };
        if let Ok(stream) = clients[turn % count].watch_task(request).await {
            let mut stream = stream.into_inner();
            let mut due = after + 1;
            while let Ok(Some(message)) = stream.message().await {
                let event = message.event.ok_or("a message without an event")?;
                if event.number != due {
                    return Err(format!(
                        "event {} came where {due} was due (asked after {after})",
                        event.number
                    ));
                }
                due += 1;
                let last = is_final(event.task_status());
                sight.0.send_modify(|all| all.entry(task.clone()).or_default().push(event.clone()));
                events.push(event);
                if last {
                    return match stream.message().await {
                        Ok(Some(more)) => Err(format!("more came after the final event: {more:?}")),
                        Ok(None) | Err(_) => Ok(events),
                    };
                }
            }
        }
        tokio::time::sleep(REOPEN).await;
    }
    unreachable!("the turns do not end")
}

/// One that leaves whoever stands still.
fn attentive_client(url: &str) -> TaskServiceClient<Channel> {
    let endpoint = Endpoint::from_shared(url.to_owned()).expect("a URL");
    let endpoint = endpoint.http2_keep_alive_interval(ALIVE).keep_alive_timeout(ALIVE).connect_timeout(ALIVE);
    TaskServiceClient::new(endpoint.connect_lazy())
}

fn tasks_client(url: &str) -> TaskServiceClient<Channel> {
    TaskServiceClient::new(channel(url)).max_decoding_message_size(ANSWER_BYTES_MAX)
}

async fn get(client: &mut TaskServiceClient<Channel>, id: &str) -> Task {
    let request = GetTaskRequest { task_id: id.to_owned(), ..GetTaskRequest::default() };
    let answer = client.get_task(request).await.expect("the task");
    answer.into_inner().task.expect("the task")
}

async fn list(client: &mut TaskServiceClient<Channel>, id: &str) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    loop {
        let after = events.last().map_or(0, |event| event.number);
        let request = ListEventsRequest { task_id: id.to_owned(), after, page_size: 7 };
        let page = client.list_events(request).await.map_err(|status: Status| status.to_string());
        let page = page.expect("a page of events").into_inner();
        events.extend(page.events);
        if page.next_after == 0 {
            return events;
        }
    }
}

/// A lease is the right to one attempt: nobody may have begun two under it.
fn doubled_leases(runs: &[Run]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let twice = runs.iter().filter(|run| !seen.insert(run.lease));
    twice.map(|run| format!("lease {} was run twice ({})", run.lease, run.subtask)).collect()
}

/// The subtasks that events tell of as completed more than once.
fn doubled_ends(events: &[Event]) -> impl Iterator<Item = &str> {
    let mut seen = BTreeSet::new();
    let completed = events.iter().filter(|event| event.subtask_state() == SubtaskState::Completed);
    completed.map(|event| event.key.as_str()).filter(move |key| !seen.insert(*key))
}

/// What one subtask's events add up to.
#[derive(Default)]
struct Story {
    live: Option<i64>,
    newest: i64,
    leased: BTreeSet<i64>,
    returned: usize,
    end: Option<SubtaskState>,
    /// The lease it was completed under; 0: by hand.
    completed_by: Option<i64>,
    wrong: Vec<String>,
}

impl Story {
    fn tell(&mut self, event: &Event) {
        let (number, kind, lease) = (event.number, event.kind.as_str(), event.lease_id);
        if self.end.is_some() {
            self.wrong.push(format!("event {number} {kind} comes after its end"));
        }
        let ends_attempt = event.outcome() != Outcome::Unspecified;
        if kind == "subtask.leased" {
            if let Some(live) = self.live {
                self.wrong.push(format!("event {number}: lease {lease} is given while {live} lives"));
            }
            if lease <= self.newest {
                self.wrong.push(format!("event {number}: lease {lease} is not above {}", self.newest));
            }
            (self.live, self.newest) = (Some(lease), lease);
            self.leased.insert(lease);
        } else if kind == "subtask.returned" || ends_attempt {
            if self.live.take() != Some(lease) {
                self.wrong.push(format!("event {number} {kind} ends lease {lease}, which does not live"));
            }
            self.returned += usize::from(kind == "subtask.returned");
        } else if kind == "subtask.running" && self.live.is_none() {
            self.wrong.push(format!("event {number}: running without a lease"));
        }
        let state = event.subtask_state();
        if matches!(
            state,
            SubtaskState::Completed | SubtaskState::Failed | SubtaskState::Skipped | SubtaskState::Cancelled
        ) {
            self.end = Some(state);
            if state == SubtaskState::Completed {
                self.completed_by = Some(lease);
            }
            if let Some(live) = self.live {
                self.wrong.push(format!("event {number} {kind} leaves lease {live} alive"));
            }
        }
    }
}

/// Everything that is wrong with one task.
fn judge(task: &Task, events: &[Event], runs: &[&Run]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (event, due) in events.iter().zip(1..) {
        if event.number != due {
            wrong.push(format!("event {} stands where {due} belongs", event.number));
        }
    }
    let finals = events.iter().filter(|event| is_final(event.task_status())).count();
    if finals != 1 || events.last().is_none_or(|last| last.task_status() != task.status()) {
        wrong.push(format!("{finals} final events, and the task is {}", task.status().as_str_name()));
    }
    if task.last_event != events.len() as u64 {
        wrong.push(format!("{} events were seen, the task counts {}", events.len(), task.last_event));
    }
    let dependencies: BTreeMap<&str, BTreeSet<&str>> = task
        .subtasks
        .iter()
        .map(|sub| (sub.key.as_str(), sub.depends_on.iter().map(String::as_str).collect()))
        .collect();
    let mut stories: BTreeMap<&str, Story> = BTreeMap::new();
    for event in events.iter().filter(|event| !event.key.is_empty()) {
        if event.kind == "subtask.leased" {
            let open = |key: &&&str| stories.get(**key).is_none_or(|story| story.end.is_none());
            if let Some(early) = dependencies.get(event.key.as_str()).and_then(|keys| keys.iter().find(open))
            {
                wrong.push(format!("event {}: {} starts before {early}", event.number, event.key));
            }
        }
        stories.entry(&event.key).or_default().tell(event);
    }
    for sub in &task.subtasks {
        let story = stories.remove(sub.key.as_str()).unwrap_or_default();
        let runs: Vec<&&Run> = runs.iter().filter(|run| run.subtask == sub.subtask_id).collect();
        let issues = judge_subtask(task, sub, &story, &runs);
        wrong.extend(story.wrong.iter().chain(&issues).map(|issue| format!("{}: {issue}", sub.key)));
    }
    wrong.extend(stories.keys().map(|key| format!("events of a subtask that is not there: {key}")));
    wrong
}

fn judge_subtask(
    task: &Task,
    sub: &downbeat_proto::v1::Subtask,
    story: &Story,
    runs: &[&&Run],
) -> Vec<String> {
    let mut wrong = Vec::new();
    if story.end != Some(sub.state()) {
        wrong.push(format!("its events end with {:?}, it is {}", story.end, sub.state().as_str_name()));
    }
    if let Some(live) = story.live {
        wrong.push(format!("lease {live} never ended"));
    }
    let attempts = story.leased.len() - story.returned;
    if sub.attempts.len() != attempts {
        wrong.push(format!("{} attempts are shown, its events tell of {attempts}", sub.attempts.len()));
    }
    wrong.extend(
        runs.iter()
            .filter(|run| !story.leased.contains(&run.lease))
            .map(|run| format!("a worker ran lease {}, which no event tells of", run.lease)),
    );
    let Some(lease) = story.completed_by.filter(|lease| *lease != 0) else { return wrong };
    let accepted = runs.iter().filter(|run| run.lease == lease).count();
    if accepted != 1 {
        wrong.push(format!("completed under lease {lease}, which workers ran {accepted} times"));
    }
    let output: Value = serde_json::from_slice(&sub.output).unwrap_or_default();
    if output["lease"] != lease {
        wrong.push(format!("completed under lease {lease}, and its output is {output}"));
    }
    let value_of = |key: &String| {
        let dependency = task.subtasks.iter().find(|other| other.key == *key)?;
        serde_json::from_slice::<Value>(&dependency.output).ok()?["value"].as_u64()
    };
    let inputs: Option<Vec<u64>> = sub.depends_on.iter().map(value_of).collect();
    if let (Some(value), Some(inputs)) = (output["value"].as_u64(), inputs)
        && value != expected(&inputs)
    {
        wrong.push(format!("delivered {value} from {inputs:?}"));
    }
    wrong
}

/// The statuses of the task that its events tell of, in their order.
pub fn statuses(events: &[Event]) -> Vec<TaskStatus> {
    let statuses = events.iter().map(Event::task_status);
    statuses.filter(|status| *status != TaskStatus::Unspecified).collect()
}

#[cfg(test)]
mod tests {
    use downbeat_proto::v1::{Attempt, Subtask};

    use super::*;

    fn event(number: u64, kind: &str, lease_id: i64) -> Event {
        let mut event = Event { number, kind: kind.into(), lease_id, ..Default::default() };
        match kind {
            "task.completed" => event.set_task_status(TaskStatus::Completed),
            "task.running" => event.set_task_status(TaskStatus::Running),
            _ => event.key = "a".into(),
        }
        match kind {
            "subtask.leased" => event.set_subtask_state(SubtaskState::Leased),
            "subtask.ready" => {
                event.set_subtask_state(SubtaskState::Ready);
                event.set_outcome(Outcome::Lost);
            }
            "subtask.completed" => {
                event.set_subtask_state(SubtaskState::Completed);
                event.set_outcome(Outcome::Completed);
            }
            _ => {}
        }
        event
    }

    /// Lost once under lease 7, completed under lease 9.
    fn good() -> (Task, Vec<Event>, Vec<Run>) {
        let kinds = [
            ("task.running", 0),
            ("subtask.leased", 7),
            ("subtask.ready", 7),
            ("subtask.leased", 9),
            ("subtask.completed", 9),
            ("task.completed", 0),
        ];
        let events: Vec<Event> =
            kinds.iter().zip(1..).map(|((kind, lease), n)| event(n, kind, *lease)).collect();
        let mut sub = Subtask {
            subtask_id: "x::t::1".into(),
            key: "a".into(),
            output: "{\"lease\":9,\"value\":1}".into(),
            attempts: vec![Attempt::default(); 2],
            ..Default::default()
        };
        sub.set_state(SubtaskState::Completed);
        let mut task = Task { subtasks: vec![sub], last_event: 6, ..Default::default() };
        task.set_status(TaskStatus::Completed);
        let run = |lease| Run { task: "t".into(), subtask: "x::t::1".into(), lease, attempt: 1 };
        (task, events, vec![run(7), run(9)])
    }

    fn wrong(spoil: impl FnOnce(&mut Task, &mut Vec<Event>, &mut Vec<Run>)) -> Vec<String> {
        let (mut task, mut events, mut runs) = good();
        spoil(&mut task, &mut events, &mut runs);
        let mut found = doubled_leases(&runs);
        found.extend(doubled_ends(&events).map(|key| format!("{key} was completed twice")));
        found.extend(judge(&task, &events, &runs.iter().collect::<Vec<_>>()));
        found
    }

    #[test]
    fn good_history_is_good() {
        assert_eq!(wrong(|_, _, _| {}), [""; 0]);
    }

    #[test]
    fn every_kind_of_wrong_is_found() {
        type Spoil = fn(&mut Task, &mut Vec<Event>, &mut Vec<Run>);
        let rows: [(&str, Spoil, &str); 13] = [
            ("a gap", |_, events, _| drop(events.remove(2)), "stands where"),
            ("a doubled event", |_, events, _| events.insert(3, events[2].clone()), "stands where"),
            ("an event that was never seen", |task, _, _| task.last_event = 7, "the task counts 7"),
            ("no end", |_, events, _| drop(events.pop()), "0 final events"),
            ("two live leases", |_, events, _| events[2].lease_id = 8, "does not live"),
            ("a smaller lease", |_, events, _| events[3].lease_id = 5, "is not above"),
            (
                "completed twice",
                |_, events, _| events.insert(5, event(6, "subtask.completed", 9)),
                "comes after its end",
            ),
            (
                "told twice",
                |_, events, _| events.insert(5, event(6, "subtask.completed", 9)),
                "was completed twice",
            ),
            ("run twice", |_, _, runs| runs.push(runs[1].clone()), "run twice"),
            ("run by nobody", |_, _, runs| drop(runs.pop()), "workers ran 0 times"),
            ("an invented lease", |_, _, runs| runs[0].lease = 8, "no event tells of"),
            (
                "another's output",
                |task, _, _| task.subtasks[0].output = "{\"lease\":7}".into(),
                "its output is",
            ),
            (
                "a forgotten attempt",
                |task, _, _| drop(task.subtasks[0].attempts.pop()),
                "1 attempts are shown",
            ),
        ];
        for (name, spoil, expected) in rows {
            let found = wrong(spoil);
            assert!(found.iter().any(|issue| issue.contains(expected)), "{name}: {found:?}");
        }
    }
}
