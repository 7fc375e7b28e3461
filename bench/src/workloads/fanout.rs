//! Throughput without dependencies: tasks of 1,000 no-op subtasks; alone, with a million subtasks in line,
//! beside an old open transaction, and over several replicas.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use downbeat_sdk::{
    ExecuteTask, ListTasks, SubmitTask,
    proto::{Priority, TaskStatus},
};
use futures::TryStreamExt;

use crate::{
    bed::{Bed, Crew},
    figures::{Cost, Figures},
    lab::{Engine, Lab},
    run,
};

/// Attempts at the same time, over all workers.
const SLOTS: usize = 1_000;
/// Tasks at the same time: there is always more to do than slots.
const AT_ONCE: usize = 8;
/// In line while `backlog` runs, in tasks of the largest plan.
const BACKLOG_TASKS: usize = 100;
const BACKLOG_SUBTASKS: usize = 10_000;
/// Beside an old snapshot the list of running tasks takes long, and is not what is measured.
const LOOK: Duration = Duration::from_millis(100);
/// Nothing in line is to be looked at for want of a worker.
const PATIENT: [&str; 2] = ["--schedule-to-start-ms", "86400000"];

/// How much of it.
#[derive(Clone, Copy)]
struct Amount {
    tasks: usize,
    subtasks: usize,
}

fn amount(lab: &Lab) -> Amount {
    lab.pick(Amount { tasks: 100, subtasks: 1_000 }, Amount { tasks: 3, subtasks: 100 })
}

/// As it says.
pub(super) async fn plain(lab: &Lab) -> Result<Vec<Figures>> {
    Ok(vec![on_replicas(lab, "fanout", 1, 1).await?])
}

/// On one, two and three replicas, with as many workers each time.
pub(super) async fn replicas(lab: &Lab) -> Result<Vec<Figures>> {
    let most = if lab.engine == Engine::Sqlite { 1 } else { 3 };
    let mut all: Vec<Figures> = Vec::new();
    for replicas in 1..=most {
        let mut figures = on_replicas(lab, "replicas", replicas, 3).await?;
        figures.variant = Some(replicas.to_string());
        let alone = all.first().and_then(|first| first.subtasks_per_s).or(figures.subtasks_per_s);
        figures.ratio_to_base = figures.subtasks_per_s.zip(alone).map(|(rate, alone)| rate / alone);
        all.push(figures);
    }
    Ok(all)
}

async fn on_replicas(lab: &Lab, name: &'static str, replicas: usize, workers: usize) -> Result<Figures> {
    let mut figures = Figures::new(name, lab.engine);
    let ceiling = lab.ceiling().await?;
    let before = ceiling.per_s().await?;
    let mut bed = Bed::start(lab, replicas, &[]).await?;
    bed.hire(&Crew { processes: workers, ..Crew::idle(SLOTS / workers) }).await?;
    let clients = bed.clients()?;
    warm_up(lab, &clients).await?;

    let Amount { tasks, subtasks } = amount(lab);
    let ids = run::ids("fanout", tasks);
    let began = bed.usage().await?;
    let seconds = run::closed(&clients, &ids, AT_ONCE, |_| run::wide("noop", subtasks)).await?;
    let count = (tasks * subtasks) as u64;
    figures.cost = Some(Cost::between(&began, &bed.usage().await?, count));
    let checked = run::check(&clients[0], &ids).await?;
    ensure!(checked.subtasks == tasks * subtasks, "{} subtasks were found", checked.subtasks);
    bed.stop().await?;
    figures.throughput(count, seconds, (before + ceiling.per_s().await?) / 2.0);
    ceiling.close().await?;
    Ok(figures)
}

/// Caches are filled and connections made before anything is measured.
async fn warm_up(lab: &Lab, clients: &[downbeat_sdk::Client]) -> Result<()> {
    let ids = run::ids("warm", lab.pick(5, 1) * clients.len());
    run::closed(clients, &ids, AT_ONCE, |_| run::wide("noop", 200)).await.map(drop)
}

/// Tasks come first by their priority, and whatever slot they leave goes to the million behind them. Both count.
pub(super) async fn backlog(lab: &Lab) -> Result<Vec<Figures>> {
    let base = beside(lab, "backlog", "empty", Beside::Nothing).await?;
    let full = beside(lab, "backlog", "full", Beside::Backlog).await?;
    Ok(compared(base, full))
}

/// Dead rows cannot be cleaned up while somebody might still see them.
pub(super) async fn held_xmin(lab: &Lab) -> Result<Vec<Figures>> {
    let base = beside(lab, "held-xmin", "free", Beside::Nothing).await?;
    let held = beside(lab, "held-xmin", "held", Beside::Snapshot).await?;
    Ok(compared(base, held))
}

fn compared(base: Figures, mut with: Figures) -> Vec<Figures> {
    with.ratio_to_base = with.subtasks_per_s.zip(base.subtasks_per_s).map(|(with, base)| with / base);
    vec![base, with]
}

#[derive(Clone, Copy, PartialEq)]
enum Beside {
    Nothing,
    Backlog,
    Snapshot,
}

/// `fanout` for some time, with something beside it.
async fn beside(lab: &Lab, name: &'static str, variant: &str, beside: Beside) -> Result<Figures> {
    let mut figures = Figures::new(name, lab.engine);
    figures.variant = Some(variant.to_owned());
    let ceiling = lab.ceiling().await?;
    let before = ceiling.per_s().await?;
    let mut bed = Bed::start(lab, 1, &PATIENT).await?;
    let mut behind = 0;
    if beside == Beside::Backlog {
        // Somebody serves the agent, so that everything in line is ready; it takes one of them.
        bed.hire(&Crew { hold: true, ..Crew::idle(1) }).await?;
        behind = fill(lab, &bed).await?;
        bed.database.settle().await?;
    }
    bed.hire(&Crew::idle(SLOTS)).await?;
    let client = bed.client()?;
    let snapshot = match beside {
        Beside::Snapshot => Some(bed.database.hold_snapshot().await?),
        Beside::Nothing | Beside::Backlog => None,
    };

    let length = match beside {
        Beside::Snapshot => lab.pick(Duration::from_secs(300), Duration::ZERO),
        Beside::Nothing | Beside::Backlog => lab.pick(Duration::from_secs(30), Duration::ZERO),
    };
    let Amount { subtasks, .. } = amount(lab);
    let began = bed.usage().await?;
    let finished_before = finished(&client).await?;
    let (begin, mut rounds, mut ids) = (Instant::now(), 0, Vec::new());
    loop {
        let more = run::ids(&format!("{name}{rounds}"), lab.pick(20, 2));
        // Ahead of everything else in line.
        let clients = std::slice::from_ref(&client);
        run::closed_at(Priority::High, LOOK, clients, &more, AT_ONCE, |_| run::wide("noop", subtasks))
            .await?;
        ids.extend(more);
        rounds += 1;
        if begin.elapsed() >= length {
            break;
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    let count = finished(&client).await? - finished_before;
    figures.cost = Some(Cost::between(&began, &bed.usage().await?, count));
    drop(snapshot);
    let checked = run::check(&client, &ids).await?;
    let expected = ids.len() * subtasks;
    ensure!(checked.subtasks == expected, "{} subtasks were found, expected {expected}", checked.subtasks);
    ensure!(expected as u64 <= count, "{count} subtasks count as finished, and {expected} are");
    ensure!(behind == 0 || count - (expected as u64) < behind, "the backlog ran empty");
    bed.stop().await?;
    figures.throughput(count, seconds, (before + ceiling.per_s().await?) / 2.0);
    ceiling.close().await?;
    Ok(figures)
}

/// Puts subtasks in line that are ready and wait; gives how many.
async fn fill(lab: &Lab, bed: &Bed<'_>) -> Result<u64> {
    let (tasks, subtasks) = lab.pick((BACKLOG_TASKS, BACKLOG_SUBTASKS), (2, 10_000));
    let client = bed.client()?;
    for id in run::ids("behind", tasks) {
        let task = SubmitTask::new(&id).priority(Priority::Low).plan(run::wide("noop", subtasks));
        client.submit(task).await?;
        let started = client.execute(ExecuteTask::new(&id)).await?;
        ensure!(started.blocked.is_empty(), "{} of {id} are blocked", started.blocked.len());
    }
    Ok((tasks * subtasks) as u64)
}

/// Finished subtasks of all tasks.
async fn finished(client: &downbeat_sdk::Client) -> Result<u64> {
    let mut tasks = client.list_all(ListTasks::new().page_size(500));
    let mut count = 0;
    while let Some(task) = tasks.try_next().await? {
        ensure!(task.status() != TaskStatus::NeedsReview, "task {} waits for a person", task.task_id);
        count += u64::from(task.subtasks_finished);
    }
    Ok(count)
}
