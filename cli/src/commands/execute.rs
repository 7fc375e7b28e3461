//! `downbeat execute`.

use std::collections::BTreeMap;

use downbeat_sdk::{
    ExecuteTask,
    proto::{BlockedSubtask, Subtask, SubtaskState, Task},
};
use serde_json::json;

use crate::{
    args::Connection,
    failure::Result,
    follow::{self, How},
    json,
    out::Out,
    words::Word,
};

/// Start a planned task, or resume a paused one
///
/// Subtasks that no live worker can do are named; they go on by themselves as soon as one connects.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  downbeat execute feature-1087
  downbeat execute feature-1087 --follow
  downbeat execute feature-1087 --checkpoint release     stop before it: `downbeat release` lets it go on
  downbeat execute feature-1087 --manual                 each subtask waits to be released")]
pub(crate) struct Args {
    /// The task's id
    #[arg(value_name = "TASK")]
    task_id: String,
    /// Hold every subtask until it is released
    #[arg(long)]
    manual: bool,
    /// A subtask to stop before, by key or id; may be given several times
    #[arg(long = "checkpoint", value_name = "SUBTASK")]
    checkpoints: Vec<String>,
    /// Follow it until it ends
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    connection: Connection,
}

impl Args {
    pub(crate) async fn run(self, out: &mut Out) -> Result {
        let client = self.connection.client().await?;
        let mut execution = ExecuteTask::new(&self.task_id).hold_before(self.checkpoints);
        if self.manual {
            execution = execution.manual();
        }
        let answer = client.execute(execution).await?;
        if out.json {
            let document = json!({
                "task_id": answer.task_id,
                "status": answer.status().word(),
                "blocked": json::blocked(&answer.blocked),
            });
            out.json(&if self.follow { json!({"execution": document}) } else { document })?;
        } else {
            if !self.follow {
                out.line(format!("{} is {}", answer.task_id, answer.status().word()))?;
            }
            tell_blocked(out, &answer.blocked)?;
        }
        if self.follow {
            return follow::follow(&client, out, &self.task_id, How { after: Some(0), ..How::default() })
                .await;
        }
        Ok(())
    }
}

/// The subtasks that no live worker can do.
pub(crate) fn blocked(task: &Task) -> Vec<BlockedSubtask> {
    let blocked = |subtask: &&Subtask| subtask.state() == SubtaskState::Blocked;
    let name = |subtask: &Subtask| BlockedSubtask {
        subtask_id: subtask.subtask_id.clone(),
        key: subtask.key.clone(),
        agent: subtask.agent.clone(),
        capabilities: subtask.capabilities.clone(),
    };
    task.subtasks.iter().filter(blocked).map(name).collect()
}

/// Says which subtasks wait for a worker that can do them, and what would be one.
pub(crate) fn tell_blocked(out: &mut Out, blocked: &[BlockedSubtask]) -> Result {
    let mut needs: BTreeMap<(&str, &[String]), Vec<&str>> = BTreeMap::new();
    for BlockedSubtask { key, agent, capabilities, .. } in blocked {
        needs.entry((agent, capabilities)).or_default().push(key);
    }
    for ((agent, capabilities), keys) in needs {
        let waits = match keys.as_slice() {
            [key] => format!("{key} waits"),
            keys => format!("{} and {} more wait", keys[0], keys.len() - 1),
        };
        let tags: String = capabilities.iter().map(|tag| format!(" --capability {tag}")).collect();
        let agent = if agent.is_empty() { "NAME" } else { agent };
        let worker = format!("downbeat worker --agent {agent}{tags} -- COMMAND");
        out.line(format!("{waits}: no live worker can do it; start one with `{worker}`"))?;
    }
    Ok(())
}
