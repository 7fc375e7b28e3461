//! What `approve` and `reject` share: an approval is shown as it stands, whoever decides is asked, and what was chosen
//! is sent with the digest of what was shown.

use std::io::{self, BufRead, IsTerminal};

use clap::Args;
use downbeat_sdk::{
    DecideSubtask,
    proto::{Gate, OptionOutcome, Subtask, SubtaskState, Task},
};
use serde_json::json;

use crate::{
    failure::{Exit, Failure, Result},
    json,
    out::Out,
    review::{By, Subject},
    term::{Paint, Term, printable},
    view,
    words::Word,
};

/// So many lines of an input or output are shown; the whole is a command away.
const LINES_MAX: usize = 30;
/// What is no longer than this fits on a line.
const SHORT_BYTES: usize = 80;

/// Which approval, and what is said to it.
#[derive(Debug, Args)]
pub(crate) struct Decision {
    #[command(flatten)]
    subject: Subject,
    /// What is chosen; without it the first option that lets it pass, or refuses it
    #[arg(long, value_name = "NAME")]
    option: Option<String>,
    #[command(flatten)]
    by: By,
    /// A role of whoever decides; may be given several times
    #[arg(long = "role", value_name = "NAME")]
    roles: Vec<String>,
    /// Why, for the history
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    comment: String,
    /// Decide without asking
    #[arg(long)]
    yes: bool,
}

impl Decision {
    /// `then` says what the option shall do that is chosen where none is named.
    pub(crate) async fn run(self, out: &mut Out, then: OptionOutcome) -> Result {
        let Subject { task_id, subtask, connection } = &self.subject;
        if self.by.name().is_empty() {
            return Err(Failure::usage("nobody decides: USER is not set").hint("--by NAME says who does"));
        }
        let asks = !self.yes;
        if asks && (out.json || !out.term.tty || !io::stdin().is_terminal()) {
            return Err(Failure::usage("nobody can be asked: this is no terminal")
                .hint("--yes decides without asking"));
        }
        let client = connection.client().await?;
        let task = client.get(task_id).await?;
        let (subtask, gate) = open(&task, subtask)?;
        let option = self.choose(gate, then)?;
        if !out.json {
            shown(&out.term, &task, subtask, gate).into_iter().try_for_each(|line| out.line(line))?;
        }
        if asks {
            self.confirm(out, &option)?;
        }
        let decision = DecideSubtask::new(task_id, &subtask.subtask_id, &option)
            .digest(&gate.digest)
            .by(self.by.name())
            .comment(&self.comment);
        let decision = self.roles.iter().fold(decision, DecideSubtask::role);
        let state = client.decide(decision).await?;
        let key = &subtask.key;
        let more = if state == SubtaskState::Waiting { "; more people have to choose the same" } else { "" };
        out.either(
            || json!({"task_id": task_id, "subtask": key, "option": option, "state": state.word()}),
            |_| vec![format!("{key} of {task_id} is {}: `{option}` was chosen{more}", state.word())],
        )
    }

    fn choose(&self, gate: &Gate, then: OptionOutcome) -> Result<String> {
        if let Some(option) = &self.option {
            return Ok(option.clone());
        }
        let first = gate.options.iter().find(|option| option.then() == then);
        first.map(|option| option.name.clone()).ok_or_else(|| {
            let known: Vec<&str> = gate.options.iter().map(|option| option.name.as_str()).collect();
            let what = if then == OptionOutcome::Fail { "refuses it" } else { "lets it pass" };
            Failure::usage(format!("no option {what}"))
                .hint(format!("name one with --option: {}", known.join(", ")))
        })
    }

    fn confirm(&self, out: &mut Out, option: &str) -> Result {
        out.text(&format!("choose `{}` as {}? [y/N] ", printable(option), printable(self.by.name())))?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
            return Ok(());
        }
        Err(Failure::failed("nothing was decided"))
    }
}

/// The approval of that name, if it waits for a decision.
fn open<'t>(task: &'t Task, name: &str) -> Result<(&'t Subtask, &'t Gate)> {
    let found = task.subtasks.iter().rev().find(|subtask| subtask.key == name || subtask.subtask_id == name);
    let Some(subtask) = found else {
        return Err(Failure::new(
            Exit::Refused,
            format!("no subtask of {} is called {name:?}", task.task_id),
        )
        .hint(format!("`downbeat status {}` shows the subtasks", task.task_id)));
    };
    match &subtask.gate {
        Some(gate) if subtask.state() == SubtaskState::Waiting => Ok((subtask, gate)),
        _ => {
            let (kind, state) = (subtask.kind().word(), subtask.state().word());
            let waits = format!("{name} of {} waits for no decision: it is {kind}, {state}", task.task_id);
            Err(Failure::new(Exit::Refused, waits)
                .details((!subtask.reason.is_empty()).then(|| subtask.reason.clone())))
        }
    }
}

/// What is to be approved, and by whom.
fn shown(term: &Term, task: &Task, subtask: &Subtask, gate: &Gate) -> Vec<String> {
    let mut lines =
        vec![term.paint(Paint::Bold, &printable(&format!("{} of {}", subtask.key, task.task_id)))];
    lines.extend(gate.message.lines().map(|line| format!("  {}", printable(line))));
    if !subtask.input.is_empty() {
        document(&mut lines, "input", &subtask.input, "");
    }
    for name in &subtask.depends_on {
        let Some(on) = resolve(task, subtask, name) else { continue };
        let rest = format!("downbeat output {} {}", task.task_id, on.key);
        if on.state() == SubtaskState::Completed {
            document(&mut lines, &format!("output of {}", on.key), &on.output, &rest);
        } else {
            lines.push(format!("{}: {}", printable(&on.key), on.state().word()));
        }
    }
    let quorum =
        if gate.quorum > 1 { format!("; {} have to choose the same", gate.quorum) } else { String::new() };
    lines.push(printable(&format!("decided by {}{quorum}", view::approvers(gate))));
    for option in &gate.options {
        let votes: Vec<&str> = gate
            .votes
            .iter()
            .filter(|vote| vote.option == option.name)
            .map(|vote| vote.by.as_str())
            .collect();
        let votes =
            if votes.is_empty() { String::new() } else { format!(", chosen by {}", votes.join(", ")) };
        let then = match option.then() {
            OptionOutcome::Complete | OptionOutcome::Unspecified => "goes on",
            OptionOutcome::Fail => "fails",
            OptionOutcome::Skip => "is skipped",
        };
        lines.push(printable(&format!("option `{}`: it {then}{votes}", option.name)));
    }
    lines
}

/// On one line where it is short.
fn document(lines: &mut Vec<String>, name: &str, text: &[u8], rest: &str) {
    let document = json::parse(text);
    let short = document.to_string();
    if short.len() <= SHORT_BYTES {
        return lines.push(printable(&format!("{name}: {short}")));
    }
    lines.push(printable(&format!("{name}:")));
    let text = format!("{document:#}");
    let mut shown = text.lines();
    lines.extend(shown.by_ref().take(LINES_MAX).map(|line| format!("  {}", printable(line))));
    let more = shown.count();
    if more > 0 {
        let rest = if rest.is_empty() { String::new() } else { format!(": `{rest}`") };
        lines.push(printable(&format!("  and {more} more lines{rest}")));
    }
}

/// What a subtask calls `name`: beside it, or beside what it belongs to.
fn resolve<'t>(task: &'t Task, subtask: &Subtask, name: &str) -> Option<&'t Subtask> {
    let find = |key: &str| task.subtasks.iter().rev().find(|other| other.key == key);
    let mut around = subtask.key.as_str();
    while let Some((outer, _)) = around.rsplit_once('.') {
        if let Some(found) = find(&format!("{outer}.{name}")) {
            return Some(found);
        }
        around = outer;
    }
    find(name)
}

#[cfg(test)]
mod tests {
    use downbeat_sdk::proto::{ApprovalOption, Approvers, SubtaskKind, Vote};

    use super::*;

    fn task() -> Task {
        let option =
            |name: &str, then: OptionOutcome| ApprovalOption { name: name.into(), then: then.into() };
        let gate = Gate {
            message: "Release it?\nTo everybody.".into(),
            approvers: vec![Approvers { names: vec!["ada".into()], roles: vec!["boss".into()] }],
            quorum: 2,
            options: vec![option("yes", OptionOutcome::Complete), option("no", OptionOutcome::Fail)],
            votes: vec![Vote { by: "bob".into(), option: "yes".into(), ..Vote::default() }],
            ..Gate::default()
        };
        let go = Subtask {
            subtask_id: "go::t::1".into(),
            key: "part.go".into(),
            kind: SubtaskKind::Approval.into(),
            state: SubtaskState::Waiting.into(),
            input: r#"{"n": 1}"#.into(),
            depends_on: vec!["build".into(), "list".into()],
            gate: Some(gate),
            ..Subtask::default()
        };
        let done = |key: &str, output: &str| Subtask {
            key: key.into(),
            state: SubtaskState::Completed.into(),
            output: output.to_owned().into(),
            ..Subtask::default()
        };
        let long = format!("[{}]", vec!["1"; 50].join(","));
        let subtasks = vec![done("part.build", "\"built\""), done("build", "0"), done("list", &long), go];
        Task { task_id: "t".into(), subtasks, ..Task::default() }
    }

    #[test]
    fn what_is_to_be_approved_is_shown() {
        let task = task();
        let (subtask, gate) = open(&task, "part.go").unwrap();
        let lines = shown(&Term::plain(), &task, subtask, gate);
        assert_eq!(
            lines[..5],
            [
                "part.go of t",
                "  Release it?",
                "  To everybody.",
                "input: {\"n\":1}",
                "output of part.build: \"built\"",
            ]
        );
        assert_eq!(
            lines[lines.len() - 4..],
            [
                "  and 22 more lines: `downbeat output t list`",
                "decided by ada, role boss; 2 have to choose the same",
                "option `yes`: it goes on, chosen by bob",
                "option `no`: it fails",
            ]
        );
    }

    #[test]
    fn what_waits_for_no_decision_is_refused() {
        let mut task = task();
        assert!(open(&task, "nope").is_err() && open(&task, "list").is_err());
        task.subtasks[3].set_state(SubtaskState::Completed);
        assert!(open(&task, "go::t::1").is_err());
    }
}
