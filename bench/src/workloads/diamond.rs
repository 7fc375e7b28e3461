//! Throughput with dependencies: plan, three in parallel, join; each kind an agent of its own.

use anyhow::{Result, ensure};

use crate::{
    bed::{Bed, Crew},
    figures::{Cost, Figures},
    lab::Lab,
    run,
};

pub(super) const AGENTS: [&str; 3] = ["plan", "part", "join"];
const SUBTASKS: usize = 5;
const AT_ONCE: usize = 200;
const SLOTS: usize = 600;

pub(super) async fn run(lab: &Lab) -> Result<Vec<Figures>> {
    let mut figures = Figures::new("diamond", lab.engine);
    let ceiling = lab.ceiling().await?;
    let before = ceiling.per_s().await?;
    let mut bed = Bed::start(lab, 1, &[]).await?;
    bed.hire(&Crew { agents: &AGENTS, ..Crew::idle(SLOTS) }).await?;
    let clients = bed.clients()?;
    let plan = |_| run::diamond(AGENTS, |_| None);
    run::closed(&clients, &run::ids("warm", lab.pick(200, 5)), AT_ONCE, plan).await?;

    let ids = run::ids("diamond", lab.pick(2_000, 50));
    let began = bed.usage().await?;
    let seconds = run::closed(&clients, &ids, AT_ONCE, plan).await?;
    let subtasks = (ids.len() * SUBTASKS) as u64;
    figures.cost = Some(Cost::between(&began, &bed.usage().await?, subtasks));
    let checked = run::check(&clients[0], &ids).await?;
    ensure!(checked.subtasks as u64 == subtasks, "{} subtasks were found", checked.subtasks);
    let hops = checked.hops_ms;
    bed.stop().await?;
    figures.throughput(subtasks, seconds, (before + ceiling.per_s().await?) / 2.0);
    ceiling.close().await?;
    figures.tasks_per_s = Some(ids.len() as f64 / seconds);
    figures.hops(hops);
    Ok(vec![figures])
}
