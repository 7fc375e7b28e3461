//! The table of workloads, and what they share.

mod chain;
mod crowd;
mod diamond;
mod fanout;
mod graph;
mod mixed;
mod parked;
mod start;
mod three_steps;

use anyhow::Result;
use futures::future::BoxFuture;

use crate::{figures::Figures, lab::Lab};

/// One workload.
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) run: for<'a> fn(&'a Lab) -> BoxFuture<'a, Result<Vec<Figures>>>,
}

/// All of them, in the order in which they run.
pub(crate) const WORKLOADS: &[Workload] = &[
    Workload { name: "fanout", run: |lab| Box::pin(fanout::plain(lab)) },
    Workload { name: "chain", run: |lab| Box::pin(chain::run(lab)) },
    Workload { name: "three-steps", run: |lab| Box::pin(three_steps::run(lab)) },
    Workload { name: "diamond", run: |lab| Box::pin(diamond::run(lab)) },
    Workload { name: "map", run: |lab| Box::pin(graph::map(lab)) },
    Workload { name: "everything", run: |lab| Box::pin(graph::everything(lab)) },
    Workload { name: "parked", run: |lab| Box::pin(parked::run(lab)) },
    Workload { name: "start", run: |lab| Box::pin(start::run(lab)) },
    Workload { name: "mixed", run: |lab| Box::pin(mixed::run(lab)) },
    Workload { name: "backlog", run: |lab| Box::pin(fanout::backlog(lab)) },
    Workload { name: "held-xmin", run: |lab| Box::pin(fanout::held_xmin(lab)) },
    Workload { name: "crowd", run: |lab| Box::pin(crowd::run(lab)) },
    Workload { name: "replicas", run: |lab| Box::pin(fanout::replicas(lab)) },
];
