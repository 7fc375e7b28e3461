//! One subtask: its fields, each within its limits, and what it does.

use std::collections::BTreeSet;

use super::{Code, Scope, Violation, check_capabilities, expressions::COMMON, group_word, name_issue};
use crate::{
    draft::{
        Approval, Call, Choice, Compensate, ContextKeys, Does, Draft, Loop, Map, OnTimeout, Retry,
        SignalGate, Then, Timer,
    },
    expr::schema_issue,
    limits,
};

impl Scope<'_> {
    pub(super) fn check_draft(&self, i: usize, draft: &Draft, found: &mut Vec<Violation>) {
        if let Some(issue) = name_issue(&draft.key) {
            found.push(Violation::new(self.at(i, "key"), issue));
        }
        self.check_worker(i, draft, found);
        let bytes = draft.input.as_ref().map_or(0, |input| input.get().len());
        if bytes > limits::INPUT_BYTES {
            let issue = format!("at most {} bytes (INPUT_BYTES), got {bytes}", limits::INPUT_BYTES);
            found.push(Violation::coded(Code::Limit, self.at(i, "input"), issue));
        }
        let seconds = |field: &str, seconds: Option<u32>, found: &mut Vec<Violation>| {
            if let Some(seconds) = seconds
                && !(1..=limits::SLA_SECONDS).contains(&seconds)
            {
                let issue = format!("1 to {} seconds (SLA_SECONDS), got {seconds}", limits::SLA_SECONDS);
                found.push(Violation::new(self.at(i, field), issue));
            }
        };
        seconds("sla_seconds", draft.sla_seconds, found);
        if let Some(attempts) = draft.max_attempts
            && !(1..=limits::ATTEMPTS).contains(&attempts)
        {
            let issue = format!("1 to {} (ATTEMPTS), got {attempts}", limits::ATTEMPTS);
            found.push(Violation::new(self.at(i, "max_attempts"), issue));
        }
        check_retry(&self.at(i, "retry"), &draft.retry, found);
        if draft.fallback.len() > limits::FALLBACKS {
            let (most, got) = (limits::FALLBACKS, draft.fallback.len());
            found.push(Violation::new(
                self.at(i, "fallback"),
                format!("at most {most} agents (FALLBACKS), got {got}"),
            ));
        }
        for (f, agent) in draft.fallback.iter().take(limits::FALLBACKS).enumerate() {
            let twice = *agent == draft.agent || draft.fallback[..f].contains(agent);
            let issue = name_issue(agent).or_else(|| twice.then(|| format!("`{agent}` is named twice")));
            found
                .extend(issue.map(|issue| Violation::new(format!("{}[{f}]", self.at(i, "fallback")), issue)));
        }
        if let Some(undo) = &draft.compensate {
            self.check_compensation(i, draft, undo, found);
        }
        self.check_context(i, draft, found);
        if let Some(when) = &draft.when {
            self.check_expression(i, "when", when, draft, &COMMON, found);
        }
        self.check_promises(i, draft, found);
        match &draft.does {
            Does::Work | Does::Round => {}
            Does::Approval(approval) => {
                check_approval(&self.at(i, "approval"), approval, found);
                seconds("approval.timeout_seconds", approval.timeout_seconds, found);
            }
            Does::Signal(SignalGate { name, matches, timeout_seconds }) => {
                found.extend(name_issue(name).map(|issue| Violation::new(self.at(i, "signal.name"), issue)));
                if let Some(matches) = matches {
                    let known: Vec<&str> = COMMON.into_iter().chain(["signal"]).collect();
                    self.check_expression(i, "signal.matches", matches, draft, &known, found);
                }
                seconds("signal.timeout_seconds", *timeout_seconds, found);
            }
            Does::Timer(Timer::Seconds(after)) => seconds("timer.seconds", Some(*after), found),
            Does::Timer(Timer::Until(_)) => {}
            Does::Workflow(call) => self.check_workflow(i, draft, call, found),
            Does::Group(body) => self.check_body(i, draft, body, false, found),
            Does::Map(map) => self.check_map(i, draft, map, found),
            Does::Loop(of) => self.check_loop(i, draft, of, found),
        }
    }

    fn check_context(&self, i: usize, draft: &Draft, found: &mut Vec<Violation>) {
        let at = self.at(i, "context");
        if !draft.does.is_work() && draft.context != ContextKeys::Given {
            found.push(Violation::new(&at, "no worker does it, so nobody is handed any context"));
        }
        let ContextKeys::Only(keys) = &draft.context else { return };
        if keys.len() > limits::CONTEXT_KEYS {
            let (most, got) = (limits::CONTEXT_KEYS, keys.len());
            let issue = format!("at most {most} keys (CONTEXT_KEYS), got {got}");
            found.push(Violation::coded(Code::Limit, &at, issue));
        }
        for (k, key) in keys.iter().take(limits::CONTEXT_KEYS).enumerate() {
            found.extend(name_issue(key).map(|issue| Violation::new(format!("{at}[{k}]"), issue)));
        }
    }

    /// What it says that it delivers, and which goals it serves.
    fn check_promises(&self, i: usize, draft: &Draft, found: &mut Vec<Violation>) {
        if let Some(schema) = &draft.output_schema {
            let known = match &draft.does {
                Does::Work | Does::Signal(_) | Does::Workflow(_) => None,
                Does::Approval(_)
                | Does::Timer(_)
                | Does::Group(_)
                | Does::Map(_)
                | Does::Loop(_)
                | Does::Round => Some(
                    "what it delivers is known: only workers, signals and workflows deliver something of their own",
                ),
            };
            let issue = known.map(str::to_owned).or_else(|| check_schema(schema.get()));
            found.extend(issue.map(|issue| Violation::new(self.at(i, "output_schema"), issue)));
        }
        if draft.serves.len() > limits::GOALS {
            let issue = format!("at most {} goals (GOALS), got {}", limits::GOALS, draft.serves.len());
            found.push(Violation::coded(Code::Limit, self.at(i, "serves"), issue));
        }
    }

    /// Who does it: somebody, or nobody where no worker is needed.
    fn check_worker(&self, i: usize, draft: &Draft, found: &mut Vec<Violation>) {
        let named = !draft.agent.is_empty() || !draft.capabilities.is_empty();
        if draft.does.is_work() && !named {
            found.push(Violation::new(self.at(i, "agent"), "name an agent, or at least one capability"));
        }
        // Also of a task as a whole.
        let retried =
            draft.sla_seconds.is_some() || draft.max_attempts.is_some() || draft.retry != Retry::default();
        let attempted = retried && !draft.does.is_workflow() || !draft.fallback.is_empty();
        if !draft.does.is_work() && (named || attempted) {
            let issue = "no worker does it, so it has no agent, capabilities, sla_seconds, max_attempts, retry or fallback";
            found.push(Violation::new(self.at(i, "agent"), issue));
        }
        if !draft.agent.is_empty()
            && let Some(issue) = name_issue(&draft.agent)
        {
            found.push(Violation::new(self.at(i, "agent"), issue));
        }
        check_capabilities(&self.at(i, "capabilities"), &draft.capabilities, found);
    }

    fn check_compensation(&self, i: usize, draft: &Draft, undo: &Compensate, found: &mut Vec<Violation>) {
        let at = |field: &str| self.at(i, &format!("compensate.{field}"));
        if !draft.does.is_work() && !draft.does.is_workflow() {
            found.push(Violation::new(
                self.at(i, "compensate"),
                "no worker does it, so there is nothing to undo",
            ));
        }
        if undo.agent.is_empty() && undo.capabilities.is_empty() {
            found.push(Violation::new(at("agent"), "name an agent, or at least one capability"));
        }
        if let Some(issue) =
            Some(&undo.agent).filter(|agent| !agent.is_empty()).and_then(|agent| name_issue(agent))
        {
            found.push(Violation::new(at("agent"), issue));
        }
        check_capabilities(&at("capabilities"), &undo.capabilities, found);
        let bytes = undo.input.as_ref().map_or(0, |input| input.get().len());
        if bytes > limits::INPUT_BYTES {
            let issue = format!("at most {} bytes (INPUT_BYTES), got {bytes}", limits::INPUT_BYTES);
            found.push(Violation::coded(Code::Limit, at("input"), issue));
        }
    }

    fn check_body(&self, i: usize, group: &Draft, body: &[Draft], in_loop: bool, found: &mut Vec<Violation>) {
        let path = self.at(i, &format!("{}.subtasks", group_word(&group.does)));
        Scope { path, outside: &group.depends_on, in_loop }.check(body, found);
    }

    fn check_map(&self, i: usize, draft: &Draft, map: &Map<Vec<Draft>>, found: &mut Vec<Violation>) {
        self.check_expression(i, "map.over", &map.over, draft, &COMMON, found);
        if map.max_parallel == Some(0) {
            found.push(Violation::new(
                self.at(i, "map.max_parallel"),
                "at least 1; leave it out for all at once",
            ));
        }
        self.check_body(i, draft, &map.body, false, found);
    }

    fn check_loop(&self, i: usize, draft: &Draft, of: &Loop<Vec<Draft>>, found: &mut Vec<Violation>) {
        self.check_until(i, of, found);
        if !(1..=limits::LOOP_ITERATIONS).contains(&of.max_iterations) {
            let (most, got) = (limits::LOOP_ITERATIONS, of.max_iterations);
            let issue = format!("1 to {most} (LOOP_ITERATIONS), got {got}");
            found.push(Violation::new(self.at(i, "loop.max_iterations"), issue));
        }
        self.check_body(i, draft, &of.body, true, found);
    }

    fn check_workflow(&self, i: usize, draft: &Draft, call: &Call, found: &mut Vec<Violation>) {
        let Call { name, version, parameters_from } = call;
        found.extend(name_issue(name).map(|issue| Violation::new(self.at(i, "workflow.name"), issue)));
        if *version == Some(0) {
            let issue = "versions count from 1; leave it out for the newest";
            found.push(Violation::new(self.at(i, "workflow.version"), issue));
        }
        if let Some(text) = parameters_from {
            self.check_expression(i, "workflow.parameters_from", text, draft, &COMMON, found);
        }
        let given = draft.input.as_ref().map_or("null", |input| input.get().trim_start());
        if !given.starts_with(['{', 'n']) {
            found.push(Violation::new(self.at(i, "input"), "must be an object: the workflow's parameters"));
        }
    }
}

fn check_retry(path: &str, retry: &Retry, found: &mut Vec<Violation>) {
    let Retry { backoff_seconds, max_backoff_seconds, non_retryable } = retry;
    for (field, seconds) in
        [("backoff_seconds", backoff_seconds), ("max_backoff_seconds", max_backoff_seconds)]
    {
        if let Some(seconds) = seconds.filter(|seconds| *seconds > limits::SLA_SECONDS) {
            let issue = format!("at most {} seconds (SLA_SECONDS), got {seconds}", limits::SLA_SECONDS);
            found.push(Violation::new(format!("{path}.{field}"), issue));
        }
    }
    if let (Some(first), Some(most)) = (backoff_seconds, max_backoff_seconds)
        && first > most
    {
        let issue = format!("must not be less than backoff_seconds ({first}), got {most}");
        found.push(Violation::new(format!("{path}.max_backoff_seconds"), issue));
    }
    if non_retryable.len() > limits::CODES {
        let issue = format!("at most {} codes (CODES), got {}", limits::CODES, non_retryable.len());
        found.push(Violation::new(format!("{path}.non_retryable"), issue));
    }
    for (i, code) in non_retryable.iter().take(limits::CODES).enumerate() {
        let field = format!("{path}.non_retryable[{i}]");
        found.extend(name_issue(code).map(|issue| Violation::new(field, issue)));
    }
}

/// Why a text is no JSON Schema that may be kept; `None`: it is one.
pub fn check_schema(schema: &str) -> Option<String> {
    if schema.len() > limits::SCHEMA_BYTES {
        return Some(format!("at most {} bytes (SCHEMA_BYTES), got {}", limits::SCHEMA_BYTES, schema.len()));
    }
    schema_issue(schema)
}

/// Checks an approval; `path` is its own.
pub fn check_approval(path: &str, approval: &Approval, found: &mut Vec<Violation>) {
    let Approval { message, approvers, quorum, options, on_timeout, timeout_seconds } = approval;
    let at = |field: &str| format!("{path}.{field}");
    if message.len() > limits::MESSAGE_BYTES {
        let issue = format!("at most {} bytes (MESSAGE_BYTES), got {}", limits::MESSAGE_BYTES, message.len());
        found.push(Violation::new(at("message"), issue));
    }
    if approvers.len() > limits::APPROVER_LEVELS {
        let issue =
            format!("at most {} levels (APPROVER_LEVELS), got {}", limits::APPROVER_LEVELS, approvers.len());
        found.push(Violation::new(at("approvers"), issue));
    }
    for (i, level) in approvers.iter().take(limits::APPROVER_LEVELS).enumerate() {
        let people = level.names.len() + level.roles.len();
        if !(1..=limits::APPROVERS).contains(&people) {
            let issue = format!("1 to {} names and roles (APPROVERS), got {people}", limits::APPROVERS);
            found.push(Violation::new(format!("{path}.approvers[{i}]"), issue));
        }
        let roleless = level.roles.is_empty() && (level.names.len() as u64) < u64::from(*quorum);
        if i == 0 && roleless && people > 0 && timeout_seconds.is_none() {
            let issue = format!("{quorum} have to agree, and only {} may decide", level.names.len());
            found.push(Violation::new(at("quorum"), issue));
        }
    }
    if approvers.len() > 1 && timeout_seconds.is_none() {
        let issue = "is required where there is more than one level: the next one is asked when it is over";
        found.push(Violation::new(at("timeout_seconds"), issue));
    }
    if !(1..=limits::QUORUM).contains(quorum) {
        found.push(Violation::new(at("quorum"), format!("1 to {} (QUORUM), got {quorum}", limits::QUORUM)));
    }
    if !(1..=limits::OPTIONS).contains(&options.len()) {
        let issue = format!("1 to {} options (OPTIONS), got {}", limits::OPTIONS, options.len());
        found.push(Violation::new(at("options"), issue));
    }
    let mut seen = BTreeSet::new();
    for (i, Choice { name, .. }) in options.iter().enumerate().take(limits::OPTIONS) {
        let field = format!("{path}.options[{i}].name");
        if let Some(issue) = name_issue(name) {
            found.push(Violation::new(field, issue));
        } else if !seen.insert(name) {
            found.push(Violation::new(field, format!("`{name}` is named twice")));
        }
    }
    let needs = match on_timeout {
        OnTimeout::Fail => None,
        OnTimeout::Approve => Some(Then::Complete),
        OnTimeout::Reject => Some(Then::Fail),
    };
    if let Some(then) = needs.filter(|then| !options.iter().any(|option| option.then == *then)) {
        let issue = format!("`{}` needs an option that says `then: {}`", on_timeout.word(), then.word());
        found.push(Violation::new(at("on_timeout"), issue));
    }
}
