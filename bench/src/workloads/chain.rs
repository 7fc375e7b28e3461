//! The time of one hop on an idle machine: 100 no-op subtasks, one after the other.

use anyhow::{Context, Result, ensure};
use std::time::Instant;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::{
    bed::{Bed, Crew, Usage},
    figures::{Cost, Figures, quantile, sorted},
    lab::Lab,
    run,
};

const LENGTH: usize = 100;
const CALLS: usize = 500;

pub(super) async fn run(lab: &Lab) -> Result<Vec<Figures>> {
    let mut figures = Figures::new("chain", lab.engine);
    let mut bed = Bed::start(lab, 1, &[]).await?;
    bed.hire(&Crew::idle(4)).await?;
    let client = bed.client()?;
    let ceiling = lab.ceiling().await?;
    let commit_ms = ceiling.commit_ms().await?;
    let round_trip_ms = round_trip_ms(bed.grpc()).await?;

    run::closed(std::slice::from_ref(&client), &run::ids("warm", 1), 1, |_| run::chain("noop", LENGTH))
        .await?;
    let ids = run::ids("chain", lab.pick(30, 1));
    let began: Usage = bed.usage().await?;
    run::closed(std::slice::from_ref(&client), &ids, 1, |_| run::chain("noop", LENGTH)).await?;
    let ended = bed.usage().await?;
    let checked = run::check(&client, &ids).await?;
    ensure!(checked.hops_ms.len() == ids.len() * (LENGTH - 1), "{} hops were found", checked.hops_ms.len());
    let median = figures.hops(checked.hops_ms);
    figures.subtasks = Some(checked.subtasks as u64);
    figures.commit_ms = Some(commit_ms);
    figures.round_trip_ms = Some(round_trip_ms);
    figures.hop_ratio = Some(median / (commit_ms + round_trip_ms));
    figures.cost = Some(Cost::between(&began, &ended, checked.subtasks as u64));
    bed.stop().await?;
    ceiling.close().await?;
    Ok(vec![figures])
}

/// The median of the cheapest calls there are, in milliseconds.
async fn round_trip_ms(grpc: &str) -> Result<f64> {
    let channel =
        tonic::transport::Endpoint::from_shared(grpc.to_owned())?.tcp_nodelay(true).connect().await?;
    let mut health = HealthClient::new(channel);
    let mut took = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        let start = Instant::now();
        health.check(HealthCheckRequest { service: String::new() }).await.context("a health check")?;
        took.push(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(quantile(&sorted(took), 0.5))
}
