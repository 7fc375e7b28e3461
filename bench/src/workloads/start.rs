//! How long an idle worker waits for new work: from before the submission (and the call that starts the task)
//! to the entry of the handler.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::{
    bed::{Bed, Crew},
    figures::{Cost, Figures, quantile, sorted},
    lab::Lab,
    run,
    worker::now_us,
};

/// Everything is idle again before the next.
const PAUSE: Duration = Duration::from_millis(5);

pub(super) async fn run(lab: &Lab) -> Result<Vec<Figures>> {
    let mut figures = Figures::new("start", lab.engine);
    let mut bed = Bed::start(lab, 1, &[]).await?;
    bed.hire(&Crew::idle(4)).await?;
    let client = bed.client()?;
    let mut took = Vec::new();
    let (warm, measured) = lab.pick((50, 1_000), (1, 20));
    let began = bed.usage().await?;
    for id in run::ids("start", warm + measured) {
        let begin = now_us();
        run::start(&client, &id, run::wide("noop", 1)).await?;
        run::follow(&client, &id).await?;
        let started = run::check(&client, std::slice::from_ref(&id)).await?.starts_us;
        ensure!(started.len() == 1 && started[0] >= begin, "{id} began at {started:?}, submitted at {begin}");
        took.push((started[0] - begin) as f64 / 1e3);
        tokio::time::sleep(PAUSE).await;
    }
    figures.cost = Some(Cost::between(&began, &bed.usage().await?, took.len() as u64));
    let took = sorted(took.split_off(warm));
    figures.subtasks = Some(took.len() as u64);
    figures.start_ms_p50 = Some(quantile(&took, 0.5));
    figures.start_ms_p99 = Some(quantile(&took, 0.99));
    bed.stop().await?;
    Ok(vec![figures])
}
