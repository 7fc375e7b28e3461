//! What was measured, and how it is printed: JSON lines for programs, a table for people.

use std::io::Write;

use anyhow::Result;
use serde::Serialize;

use crate::{bed::Usage, database::Table, lab::Engine};

/// One line of the report. Absent is what a workload does not measure. Rates are per second, times in
/// milliseconds, processor times in microseconds per subtask.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Figures {
    pub(crate) workload: &'static str,
    /// What differs between the lines of one workload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) variant: Option<String>,
    pub(crate) engine: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) subtasks: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) subtasks_per_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tasks_per_s: Option<f64>,
    /// Subtasks a second of the bare database, measured just before and just after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ceiling_per_s: Option<f64>,
    /// `subtasks_per_s` to `ceiling_per_s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ratio: Option<f64>,
    /// Throughput to that of the same run without what the workload is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ratio_to_base: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hop_ms_p50: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hop_ms_p99: Option<f64>,
    /// `hop_ms_p50` to one bare commit and one loopback round trip.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hop_ratio: Option<f64>,
    /// One bare commit of one row, median.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) commit_ms: Option<f64>,
    /// One empty gRPC call on loopback, median.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) round_trip_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) task_ms_p50: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) task_ms_p95: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) start_ms_p50: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) start_ms_p99: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session_kib: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session_kib_without_leases: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) database_writes_per_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) disk_bytes_per_s: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tables: Vec<Table>,
    #[serde(flatten)]
    pub(crate) cost: Option<Cost>,
    /// The machine's load average before the workload.
    pub(crate) load: f64,
}

/// What one subtask cost, everything of its run included.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Cost {
    pub(crate) server_cpu_us: f64,
    pub(crate) worker_cpu_us: f64,
    pub(crate) client_cpu_us: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) database_cpu_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) commits: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) log_bytes: Option<f64>,
}

impl Figures {
    pub(crate) fn new(workload: &'static str, engine: Engine) -> Figures {
        Figures { workload, engine: engine.to_string(), load: crate::proc::load(), ..Figures::default() }
    }

    /// Sets the throughput, and its ratio to the ceiling.
    pub(crate) fn throughput(&mut self, subtasks: u64, seconds: f64, ceiling_per_s: f64) {
        let per_s = subtasks as f64 / seconds;
        self.subtasks = Some(subtasks);
        self.seconds = Some(seconds);
        self.subtasks_per_s = Some(per_s);
        self.ceiling_per_s = Some(ceiling_per_s);
        self.ratio = Some(per_s / ceiling_per_s);
    }

    /// Sets the median and the 99th percentile of the hops; gives the median.
    pub(crate) fn hops(&mut self, hops_ms: Vec<f64>) -> f64 {
        let hops = sorted(hops_ms);
        let median = quantile(&hops, 0.5);
        self.hop_ms_p50 = Some(median);
        self.hop_ms_p99 = Some(quantile(&hops, 0.99));
        median
    }
}

impl Cost {
    /// Per subtask, between two looks.
    pub(crate) fn between(before: &Usage, after: &Usage, subtasks: u64) -> Cost {
        let each = |amount: f64| amount / subtasks.max(1) as f64;
        let counted = before.counters.zip(after.counters);
        Cost {
            server_cpu_us: each((after.server_s - before.server_s) * 1e6),
            worker_cpu_us: each((after.workers_s - before.workers_s) * 1e6),
            client_cpu_us: each((after.client_s - before.client_s) * 1e6),
            database_cpu_us: before.database_s.zip(after.database_s).map(|(b, a)| each((a - b) * 1e6)),
            commits: counted.map(|(b, a)| each((a.commits - b.commits) as f64)),
            log_bytes: counted.map(|(b, a)| each((a.log_bytes - b.log_bytes) as f64)),
        }
    }
}

/// Lines so far.
pub(crate) struct Report {
    json: bool,
}

impl Report {
    pub(crate) fn new(json: bool) -> Report {
        Report { json }
    }

    /// What the next lines were measured on.
    ///
    /// # Errors
    /// When standard output is closed.
    pub(crate) fn preface(&mut self, about: &str) -> Result<()> {
        if !self.json {
            let mut out = std::io::stdout().lock();
            writeln!(out, "\n{about}\n")?;
            writeln!(out, "{:<24} {:<8} {:>10} {:>6}  more", "workload", "engine", "subtasks/s", "ratio")?;
        }
        Ok(())
    }

    /// # Errors
    /// When standard output is closed.
    pub(crate) fn add(&mut self, figures: Figures) -> Result<()> {
        let mut out = std::io::stdout().lock();
        if self.json {
            writeln!(out, "{}", serde_json::to_string(&figures)?)?;
        } else {
            writeln!(out, "{}", line(&figures))?;
        }
        Ok(out.flush()?)
    }
}

fn line(figures: &Figures) -> String {
    let name = [Some(figures.workload), figures.variant.as_deref()];
    let name = name.into_iter().flatten().collect::<Vec<_>>().join(" ");
    let rate = figures.subtasks_per_s.map(|rate| format!("{rate:.0}")).unwrap_or_default();
    let ratio = figures.ratio.map(|ratio| format!("{ratio:.3}")).unwrap_or_default();
    let more = more(figures).join(", ");
    format!("{name:<24} {:<8} {rate:>10} {ratio:>6}  {more}", figures.engine)
}

fn more(figures: &Figures) -> Vec<String> {
    let mut more = Vec::new();
    let mut say = |value: Option<f64>, text: &dyn Fn(f64) -> String| more.extend(value.map(text));
    let pair = |a: Option<f64>, b: Option<f64>| a.zip(b);
    say(figures.tasks_per_s, &|v| format!("{v:.0} tasks/s"));
    say(figures.ratio_to_base, &|v| format!("{v:.2} of the run without"));
    if let Some((p50, p99)) = pair(figures.hop_ms_p50, figures.hop_ms_p99) {
        say(Some(p50), &|v| format!("hop {v:.2} ms (p99 {p99:.2})"));
    }
    say(figures.hop_ratio, &|v| format!("{v:.1} x commit + round trip"));
    say(figures.commit_ms, &|v| format!("commit {v:.2} ms"));
    say(figures.round_trip_ms, &|v| format!("round trip {v:.2} ms"));
    if let Some((p50, p95)) = pair(figures.task_ms_p50, figures.task_ms_p95) {
        say(Some(p50), &|v| format!("task {v:.2} ms (p95 {p95:.2})"));
    }
    if let Some((p50, p99)) = pair(figures.start_ms_p50, figures.start_ms_p99) {
        say(Some(p50), &|v| format!("start {v:.2} ms (p99 {p99:.2})"));
    }
    if let Some((all, bare)) = pair(figures.session_kib, figures.session_kib_without_leases) {
        say(Some(all), &|v| format!("{v:.0} KiB a session ({bare:.0} without leases)"));
    }
    say(figures.database_writes_per_s, &|v| format!("{v:.2} rows written/s"));
    say(figures.disk_bytes_per_s, &|v| format!("{v:.0} bytes to disk/s"));
    for table in figures.tables.iter().filter(|table| table.bytes > 0) {
        more.push(format!("{} +{} KiB, {} dead", table.name, table.bytes / 1024, table.dead_rows));
    }
    if let Some(cost) = &figures.cost {
        let database = cost.database_cpu_us.map(|us| format!(" + database {us:.0}")).unwrap_or_default();
        let Cost { server_cpu_us, worker_cpu_us, client_cpu_us, .. } = cost;
        more.push(format!(
            "cpu us: server {server_cpu_us:.0}{database} + worker {worker_cpu_us:.0} + client {client_cpu_us:.0}"
        ));
        more.extend(cost.commits.map(|commits| format!("{commits:.3} commits")));
        more.extend(cost.log_bytes.map(|bytes| format!("{bytes:.0} WAL bytes")));
    }
    more
}

/// The value at a share (0 to 1) of sorted values; 0 of none.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    let at = (last as f64 * share).round() as usize;
    sorted.get(at).copied().unwrap_or(0.0)
}

/// Sorted, for [`quantile`].
pub(crate) fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}
