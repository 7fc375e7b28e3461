//! Many tasks that wait for people and times: what that costs the database, and how late each goes on, also when the
//! replica that parked it is gone.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use downbeat_sdk::{Approval, Client, Plan, Subtask, Timer, proto::TaskStatus};
use futures::{StreamExt, TryStreamExt, stream};

use crate::{
    bed::Bed,
    database::STATISTICS_DELAY,
    figures::{Figures, quantile, sorted},
    lab::{Engine, Lab},
    run,
};

/// Tasks that are submitted, or looked at, beside each other.
const AT_ONCE: usize = 50;

struct Amount {
    /// Of each kind.
    tasks: usize,
    /// From the first submission to the first time.
    ahead: Duration,
    /// Over which the times are spread.
    spread: Duration,
    /// How long is counted.
    window: Duration,
}

pub(super) async fn run(lab: &Lab) -> Result<Vec<Figures>> {
    let full = Amount {
        tasks: 5_000,
        ahead: Duration::from_secs(75),
        spread: Duration::from_secs(30),
        window: Duration::from_secs(20),
    };
    let short = Amount {
        tasks: 20,
        ahead: Duration::from_secs(10),
        spread: Duration::from_secs(1),
        window: Duration::from_secs(2),
    };
    let Amount { tasks, ahead, spread, window } = lab.pick(full, short);
    let mut figures = Figures::new("parked", lab.engine);
    let replicas = if lab.engine == Engine::Sqlite { 1 } else { 2 };
    let mut bed = Bed::start(lab, replicas, &[]).await?;
    let idle = commits_per_s(lab, &bed, window).await?;

    let client = bed.client()?;
    let first = SystemTime::now() + ahead;
    let due = |n: usize| first + spread.mul_f64(n as f64 / tasks as f64);
    let (asked, timed) = (run::ids("asked", tasks), run::ids("timed", tasks));
    let mut all: Vec<(String, Subtask)> = Vec::with_capacity(2 * tasks);
    for (n, (asked, timed)) in asked.iter().zip(&timed).enumerate() {
        all.push((asked.clone(), Subtask::approval("go", Approval::new())));
        all.push((timed.clone(), Subtask::timer("wait", Timer::until(due(n)))));
    }
    let submit = |(id, subtask): (String, Subtask)| {
        let client = client.clone();
        async move { run::start(&client, &id, Plan::new().subtask(subtask)).await }
    };
    stream::iter(all.into_iter().map(submit)).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    let parked = commits_per_s(lab, &bed, window).await?;
    ensure!(SystemTime::now() < first, "it took too long to park them: the first one goes on already");
    if replicas > 1 {
        bed.kill_first().await?;
    }
    let client = bed.client()?;
    tokio::time::sleep((first + spread).duration_since(SystemTime::now()).unwrap_or_default()).await;
    let late = |(n, id): (usize, String)| lateness(client.clone(), id, due(n));
    let late: Vec<f64> =
        stream::iter(timed.into_iter().enumerate().map(late)).buffer_unordered(AT_ONCE).try_collect().await?;
    let waiting = client.get_without_outputs(&asked[0]).await?;
    ensure!(waiting.status() == TaskStatus::Running, "an approval did not wait");
    bed.stop().await?;
    let late = sorted(late);
    figures.subtasks = Some(2 * tasks as u64);
    figures.task_ms_p50 = Some(quantile(&late, 0.5));
    figures.task_ms_p95 = Some(quantile(&late, 1.0));
    figures.database_writes_per_s = parked;
    figures.ratio_to_base = parked.zip(idle).map(|(parked, idle)| parked / idle);
    Ok(vec![figures])
}

/// Transactions a second while nothing is asked; `None` where that is not counted.
async fn commits_per_s(lab: &Lab, bed: &Bed<'_>, window: Duration) -> Result<Option<f64>> {
    tokio::time::sleep(lab.pick(STATISTICS_DELAY, Duration::from_secs(1))).await;
    let before = bed.database.counters().await?;
    let begin = Instant::now();
    tokio::time::sleep(window).await;
    let after = bed.database.counters().await?;
    let seconds = begin.elapsed().as_secs_f64();
    Ok(before.zip(after).map(|(before, after)| (after.commits - before.commits) as f64 / seconds))
}

/// By how many milliseconds the task ended after its time.
async fn lateness(client: Client, id: String, due: SystemTime) -> Result<f64> {
    run::follow(&client, &id).await?;
    let task = client.get_without_outputs(&id).await?;
    let due = due.duration_since(SystemTime::UNIX_EPOCH).context("times are after 1970")?.as_millis();
    Ok(task.ended_at_ms as f64 - due as f64)
}
