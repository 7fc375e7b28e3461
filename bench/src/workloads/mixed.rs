//! An ordinary day: diamonds that arrive steadily at half of what the installation can do, one subtask in ten
//! fails at first, payloads of 1 KiB. Shows how long hops take, and what the database keeps.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use downbeat_sdk::Plan;
use futures::{StreamExt, TryStreamExt, stream};

use super::diamond::AGENTS;
use crate::{
    bed::{Bed, Crew},
    database::{STATISTICS_DELAY, Table},
    figures::{Cost, Figures},
    lab::Lab,
    run,
    worker::Brief,
};

const SUBTASKS: usize = 5;
const SLOTS: usize = 600;
/// Tasks at the same time while the capacity is measured.
const AT_ONCE: usize = 200;
/// And the most later on.
const UNFINISHED_MAX: usize = 10_000;
const PAYLOAD_BYTES: usize = 1024;
/// Of these, one fails.
const FAILS: usize = 10;
/// Tasks that are read back in full, evenly spread; of the others only the status is.
const CHECKED: usize = 3_000;
/// Times are short beside the run.
const BRISK: [&str; 2] = ["--backoff-ms", "200"];

pub(super) async fn run(lab: &Lab) -> Result<Vec<Figures>> {
    let mut figures = Figures::new("mixed", lab.engine);
    let ceiling = lab.ceiling().await?;
    let before = ceiling.per_s().await?;
    let mut bed = Bed::start(lab, 1, &BRISK).await?;
    bed.hire(&Crew { agents: &AGENTS, ..Crew::idle(SLOTS) }).await?;
    let client = bed.client()?;

    // Without failures: waiting for a second attempt takes time, and says nothing about capacity.
    let trial = run::ids("trial", lab.pick(2_000, 100));
    let seconds = run::closed(std::slice::from_ref(&client), &trial, AT_ONCE, |_| plan(None)).await?;
    let tasks_per_s = trial.len() as f64 / seconds / 2.0;

    let length = lab.pick(Duration::from_secs(300), Duration::from_secs(3));
    let tables = bed.database.tables().await?;
    let began = bed.usage().await?;
    let ids = run::ids("mixed", (tasks_per_s * length.as_secs_f64()).ceil() as usize);
    let seconds = arrive(&client, &ids, tasks_per_s).await?;
    let subtasks = (ids.len() * SUBTASKS) as u64;
    figures.cost = Some(Cost::between(&began, &bed.usage().await?, subtasks));
    tokio::time::sleep(lab.pick(STATISTICS_DELAY, Duration::from_secs(1))).await;
    figures.tables = growth(&tables, bed.database.tables().await?);

    let sample: Vec<String> = ids.iter().step_by(ids.len().div_ceil(CHECKED)).cloned().collect();
    let hops = run::check(&client, &sample).await?.hops_ms;
    run::check_ended(&client, "mixed-", ids.len()).await?;
    bed.stop().await?;
    figures.throughput(subtasks, seconds, (before + ceiling.per_s().await?) / 2.0);
    ceiling.close().await?;
    figures.tasks_per_s = Some(ids.len() as f64 / seconds);
    figures.hops(hops);
    Ok(vec![figures])
}

/// The failures are spread over tasks (by their number) and places, the same in every run.
fn plan(task: Option<usize>) -> Plan {
    let brief = |n: usize| Brief {
        fail: task.is_some_and(|task| (task * SUBTASKS + n) % FAILS == task / FAILS % FAILS),
        payload: "x".repeat(PAYLOAD_BYTES),
        ..Brief::default()
    };
    run::diamond(AGENTS, |n| Some(brief(n)))
}

/// Starts tasks at a steady rate, whatever becomes of the earlier ones; gives the seconds until all have ended.
async fn arrive(client: &downbeat_sdk::Client, ids: &[String], per_s: f64) -> Result<f64> {
    let lookout = run::Lookout::new(client.clone(), "mixed-".to_owned(), run::LOOK);
    let begin = Instant::now();
    let one = |(n, id): (usize, &String)| {
        let (due, lookout, id) = (begin + Duration::from_secs_f64(n as f64 / per_s), &lookout, id.clone());
        async move {
            tokio::time::sleep_until(due.into()).await;
            run::start(client, &id, plan(Some(n))).await?;
            lookout.ended(&id).await
        }
    };
    stream::iter(ids.iter().enumerate().map(one))
        .buffer_unordered(UNFINISHED_MAX)
        .try_collect::<()>()
        .await?;
    let seconds = begin.elapsed().as_secs_f64();
    ensure!(seconds >= (ids.len() - 1) as f64 / per_s, "tasks came too early");
    Ok(seconds)
}

fn growth(before: &[Table], after: Vec<Table>) -> Vec<Table> {
    let grown = |table: Table| {
        let was = before.iter().find(|was| was.name == table.name).map_or(0, |was| was.bytes);
        Table { bytes: table.bytes - was, ..table }
    };
    after.into_iter().map(grown).collect()
}
