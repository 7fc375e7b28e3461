//! The demo: an audit of a source tree by a team of worker processes, with a control plane in this process.
//!
//! Everything goes the public way: the task over gRPC, the workers as processes of the stock worker, the
//! results through the database. Nothing here reaches into the control plane.

pub(crate) mod audit;
pub(crate) mod brief;
mod team;
mod timeline;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use downbeat_sdk::{
    Client, Plan, SubmitTask, Subtask,
    proto::{Event, Task},
};
use downbeat_server::{Config, ControlPlane};
use downbeat_store::sqlite::SqliteStore;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use self::{audit::Kind, team::Team};
use crate::{
    board::Board,
    failure::{Failure, Result},
    follow::{self, How},
    json,
    out::Out,
    server::{self, StopSignal},
    term::Paint,
    words,
};

/// Set for the worker whose agent shall stop in the middle, in its first attempt.
pub(crate) const HOLD_ENV: &str = "DOWNBEAT_DEMO_HOLD";
/// What that agent says when it has come so far.
pub(crate) const HOLD_WORDS: &str = "half way, and about to be killed";
/// Who is killed on `--chaos`.
const VICTIM: Kind = Kind::TodoScan;
/// How often the demo looks whether all workers are still there.
const LOOK: Duration = Duration::from_millis(500);

/// What to audit, and how.
#[derive(Debug)]
pub(crate) struct Demo {
    pub(crate) root: PathBuf,
    pub(crate) chaos: bool,
    /// Where everything is kept; `None`: the report alone, in a new temporary directory.
    pub(crate) keep: Option<PathBuf>,
}

impl Demo {
    /// Runs it, and prints the report.
    pub(crate) async fn run(self, out: &mut Out) -> Result {
        let root = fs::canonicalize(&self.root)
            .map_err(|error| Failure::usage(format!("cannot audit {}: {error}", self.root.display())))?;
        let mut stop = StopSignal::new()?;
        let name = format!("downbeat-demo-{}", uuid::Uuid::now_v7().simple());
        let home = self.keep.clone().unwrap_or_else(|| std::env::temp_dir().join(name));
        fs::create_dir_all(&home)
            .map_err(|error| Failure::failed(format!("cannot create {}: {error}", home.display())))?;
        let home = fs::canonicalize(&home)?;
        let done = tokio::select! {
            done = audit(&root, &home, self.chaos, out) => done,
            name = stop.wait() => Err(Failure::failed(format!("stopped by {name}"))),
        };
        if self.keep.is_none() {
            clean(&home, done.is_ok());
        }
        done
    }
}

/// The report stays, since the artifact points to it; the database and the logs go.
fn clean(home: &Path, done: bool) {
    for left in ["data", "logs"] {
        let _ = fs::remove_dir_all(home.join(left));
    }
    if !done {
        // Only when it is empty.
        let _ = fs::remove_dir(home);
    }
}

async fn audit(root: &Path, home: &Path, chaos: bool, out: &mut Out) -> Result {
    let data = home.join("data");
    fs::create_dir_all(&data)?;
    let store =
        SqliteStore::open(data.join("downbeat.db")).map_err(|error| Failure::failed(error.to_string()))?;
    let control_plane = server::start(config(), Arc::new(store)).await?;
    let addr = format!("http://{}", control_plane.grpc);
    let done = play(&addr, root, home, chaos, out).await;
    ControlPlane::shutdown(control_plane).await;
    let played = done?;
    tell(&played, out)?;
    follow::end(&played.board)
}

/// What is left when the last worker has gone.
struct Played {
    board: Board,
    task: Task,
}

async fn play(addr: &str, root: &Path, home: &Path, chaos: bool, out: &mut Out) -> Result<Played> {
    let client = Client::connect(addr).await?;
    let mut team = Team::new(addr.to_owned(), &home.join("logs"))?;
    for kind in Kind::ALL {
        team.hire(kind.name(), kind, chaos && kind == VICTIM)?;
    }
    team.assembled(&client).await?;
    let task = task(root, home);
    let task_id = client.submit(task).await?.task.task_id;
    client.execute(task_id.as_str()).await?;
    let (killer, orders) = mpsc::unbounded_channel();
    let mut seen = |event: &Event| {
        // The lease is held now: the agent itself said so, under that lease.
        if chaos && event.key == VICTIM.name() && event.message.contains(HOLD_WORDS) {
            let _ = killer.send(());
        }
    };
    let how = How { after: Some(0), wait: false };
    let board = {
        let watch = follow::watch(&client, out, &task_id, how, &mut seen);
        tokio::select! {
            board = watch => board?,
            failure = disturb(&mut team, orders) => return Err(failure),
        }
    };
    let task = client.get(&task_id).await?;
    team.dismiss(&client).await;
    Ok(Played { board, task })
}

/// Kills the victim when it is time, and hires another in its place. Returns only when that fails, or when a
/// worker ends by itself.
async fn disturb(team: &mut Team, mut orders: mpsc::UnboundedReceiver<()>) -> Failure {
    let mut looks = tokio::time::interval(LOOK);
    let mut killed = false;
    loop {
        tokio::select! {
            Some(()) = orders.recv(), if !killed => {
                killed = true;
                if let Err(failure) = replace_victim(team).await {
                    return failure;
                }
            }
            _ = looks.tick() => {
                if let Some(failure) = team.deserted() {
                    return failure;
                }
            }
        }
    }
}

async fn replace_victim(team: &mut Team) -> Result {
    let name = VICTIM.name();
    team.kill(name).await?;
    team.hire(&format!("{name}-2"), VICTIM, false)
}

/// The graph: a survey, four audits beside each other, a synthesis.
fn task(root: &Path, home: &Path) -> SubmitTask {
    let input = json!({"root": root});
    let subtask = |kind: Kind| {
        Subtask::new(kind.name()).agent(kind.name()).capability("audit").sla(Duration::from_secs(600))
    };
    let audits = Kind::AUDITS.map(|kind| subtask(kind).depends_on([Kind::Survey.name()]).input(&input));
    let report = json!({"report": home.join("report.md")});
    let joined = [Kind::Survey.name()].into_iter().chain(Kind::AUDITS.map(Kind::name));
    let synthesis = subtask(Kind::Synthesis).depends_on(joined).input(&report);
    let plan = Plan::new().subtask(subtask(Kind::Survey).input(&input)).subtasks(audits).subtask(synthesis);
    // Another one each time: `--keep` may name a directory that was used before.
    let number = uuid::Uuid::now_v7().simple().to_string();
    let task_id = format!("audit-{}", &number[number.len() - 8..]);
    SubmitTask::new(task_id).title(format!("Audit of {}", root.display())).plan(plan)
}

/// Free ports, and a lost worker noticed in moments: everything is on one machine.
fn config() -> Config {
    let mut config =
        Config { http: ([127, 0, 0, 1], 0).into(), grpc: ([127, 0, 0, 1], 0).into(), ..Config::default() };
    config.policy.grace_ms = 1_000;
    config.liveness.heartbeat_interval_ms = 1_000;
    config.liveness.lease_ms = 10_000;
    config.liveness.report_ms = 100;
    config.tick_ms = 500;
    config
}

fn tell(played: &Played, out: &mut Out) -> Result {
    let synthesis = played.task.subtasks.iter().find(|subtask| subtask.key == Kind::Synthesis.name());
    let output = synthesis.map(|subtask| json::parse(&subtask.output)).unwrap_or(Value::Null);
    let artifact = played.task.artifacts.iter().find_map(|named| named.artifact.as_ref());
    if out.json {
        return out.json(&json!({
            "report": output["markdown"],
            "artifact": artifact.map(json::artifact),
            "timeline": timeline::document(&played.task),
            "task": json::task(&played.task),
        }));
    }
    if let Some(markdown) = output["markdown"].as_str() {
        out.line(format!("\n{}", markdown.trim_end()))?;
    }
    out.line(format!("\n{}", out.term.paint(Paint::Bold, "Timeline")))?;
    for line in timeline::lines(&out.term, &played.task) {
        out.line(line)?;
    }
    if let Some(artifact) = artifact {
        let size = words::size(artifact.size_bytes);
        out.line(format!("\nreport  {}  {size}  {}", artifact.uri, artifact.digest))?;
    }
    Ok(())
}
