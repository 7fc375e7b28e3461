//! Many workers that are busy for long: what a session costs in memory, and what liveness costs the database.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use downbeat_sdk::Client;

use crate::{
    bed::{Bed, Crew},
    database::STATISTICS_DELAY,
    figures::Figures,
    lab::Lab,
    proc, run,
};

const PROCESSES: usize = 4;
const LEASES_A_SESSION: usize = 5;
/// How long leases may take to be given out.
const LEASED: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(100);

pub(super) async fn run(lab: &Lab) -> Result<Vec<Figures>> {
    let mut figures = Figures::new("crowd", lab.engine);
    let sessions = lab.pick(2_000, 40);
    let leases = sessions * LEASES_A_SESSION;
    let mut bed = Bed::start(lab, 1, &[]).await?;
    let client = bed.client()?;
    // What every server has in memory once it has worked.
    client.workers("").await?;
    let empty = rss(&bed)?;
    let crew = Crew {
        processes: PROCESSES,
        sessions: sessions / PROCESSES,
        slots: LEASES_A_SESSION,
        agents: &["noop"],
        hold: true,
    };
    bed.hire(&crew).await?;
    let connected = rss(&bed)?;
    let tasks = run::ids("crowd", leases.div_ceil(1_000));
    for id in &tasks {
        run::start(&client, id, run::wide("noop", leases / tasks.len())).await?;
    }
    tokio::time::timeout(LEASED, all_busy(&client, leases)).await.context("leases are missing")??;
    let leased = rss(&bed)?;

    let window = lab.pick(Duration::from_secs(60), Duration::from_secs(3));
    tokio::time::sleep(lab.pick(STATISTICS_DELAY, Duration::from_secs(1))).await;
    let (rows, disk) = (bed.database.counters().await?, proc::written_bytes(bed.server_pid()));
    let begin = Instant::now();
    tokio::time::sleep(window).await;
    let seconds = begin.elapsed().as_secs_f64();
    let after = (bed.database.counters().await?, proc::written_bytes(bed.server_pid()));
    ensure!(busy(&client).await? == leases, "leases were lost while nothing happened");
    for id in &tasks {
        let task = client.get_without_outputs(id).await?;
        ensure!(task.subtasks.iter().all(|subtask| subtask.attempts.len() == 1), "{id} has other attempts");
    }
    bed.stop().await?;

    let each = |kib: u64| kib.saturating_sub(empty) as f64 / sessions as f64;
    figures.session_kib = Some(each(leased));
    figures.session_kib_without_leases = Some(each(connected));
    figures.seconds = Some(seconds);
    figures.database_writes_per_s =
        rows.zip(after.0).map(|(before, after)| (after.rows_written - before.rows_written) as f64 / seconds);
    figures.disk_bytes_per_s = match rows.zip(after.0) {
        Some((before, after)) => Some((after.log_bytes - before.log_bytes) as f64 / seconds),
        None => disk.zip(after.1).map(|(before, after)| (after - before) as f64 / seconds),
    };
    Ok(vec![figures])
}

fn rss(bed: &Bed<'_>) -> Result<u64> {
    proc::rss_kib(bed.server_pid()).context("the memory of a process is in /proc")
}

async fn all_busy(client: &Client, leases: usize) -> Result<()> {
    while busy(client).await? != leases {
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

async fn busy(client: &Client) -> Result<usize> {
    let workers = client.workers("").await?;
    Ok(workers.iter().map(|worker| worker.busy as usize).sum())
}
