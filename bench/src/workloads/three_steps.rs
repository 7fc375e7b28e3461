//! Small tasks as a caller sees them: three no-op subtasks in a row, from the submission to the last event.

use std::time::Instant;

use anyhow::Result;
use futures::{StreamExt, TryStreamExt, stream};

use crate::{
    bed::{Bed, Crew},
    figures::{Cost, Figures, quantile, sorted},
    lab::Lab,
    run,
};

const STEPS: usize = 3;
/// Tasks at the same time, and how many of them all together.
const LOADS: [(usize, usize); 3] = [(1, 500), (10, 3_000), (100, 6_000)];
const SLOTS: usize = 400;

pub(super) async fn run(lab: &Lab) -> Result<Vec<Figures>> {
    let ceiling = lab.ceiling().await?;
    let mut all = Vec::new();
    for (at_once, tasks) in LOADS {
        let mut figures = Figures::new("three-steps", lab.engine);
        figures.variant = Some(at_once.to_string());
        let before = ceiling.per_s().await?;
        let mut bed = Bed::start(lab, 1, &[]).await?;
        bed.hire(&Crew::idle(SLOTS)).await?;
        let client = bed.client()?;
        let one = |id: String| {
            let client = client.clone();
            async move {
                let begin = Instant::now();
                run::start(&client, &id, run::chain("noop", STEPS)).await?;
                run::follow(&client, &id).await?;
                anyhow::Ok(begin.elapsed().as_secs_f64() * 1e3)
            }
        };
        let many = |ids: Vec<String>| stream::iter(ids.into_iter().map(one)).buffer_unordered(at_once);
        many(run::ids("warm", at_once)).try_collect::<Vec<f64>>().await?;

        let ids = run::ids("steps", lab.pick(tasks, at_once.max(20)));
        let began = bed.usage().await?;
        let begin = Instant::now();
        let took = sorted(many(ids.clone()).try_collect().await?);
        let seconds = begin.elapsed().as_secs_f64();
        let subtasks = (ids.len() * STEPS) as u64;
        figures.cost = Some(Cost::between(&began, &bed.usage().await?, subtasks));
        let checked = run::check(&client, &ids).await?;
        let hops = checked.hops_ms;
        bed.stop().await?;
        figures.throughput(subtasks, seconds, (before + ceiling.per_s().await?) / 2.0);
        figures.tasks_per_s = Some(ids.len() as f64 / seconds);
        figures.task_ms_p50 = Some(quantile(&took, 0.5));
        figures.task_ms_p95 = Some(quantile(&took, 0.95));
        figures.hops(hops);
        all.push(figures);
    }
    ceiling.close().await?;
    Ok(all)
}
