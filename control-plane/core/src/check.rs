//! The one validator that every plan passes, whether a client, a rule, a template, a worker or a model wrote it.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    draft::{
        Approval, Choice, Compensate, Does, Draft, Loop, Map, OnTimeout, Retry, SignalGate, Then, Timer,
    },
    expr, limits,
};

/// What is wrong with a draft, and where: `plan.subtasks[2].depends_on[0]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub field: String,
    pub issue: String,
}

impl Violation {
    pub fn new(field: impl Into<String>, issue: impl Into<String>) -> Violation {
        Violation { field: field.into(), issue: issue.into() }
    }
}

/// What every expression may name.
const COMMON: [&str; 5] = ["outputs", "states", "input", "context", "item"];

/// Checks a plan and gives every problem at once, each naming its field below `plan`.
///
/// # Errors
/// All violations: duplicate, over-long or malformed keys; unknown, repeated, self-referring or
/// cyclic dependencies; expressions that cannot be read or name what is not there; a limit exceeded, with the
/// limit's name and value. Of what is too many, that is all that is said: a problem weighs far more than an element,
/// and a request may hold millions of those.
pub fn check(drafts: &[Draft]) -> Result<(), Vec<Violation>> {
    check_at("plan.subtasks", drafts, &[])
}

/// As [`check`], of what a worker adds at `path`; `siblings` are keys that it added before.
///
/// # Errors
/// As [`check`].
pub fn check_at(path: &str, drafts: &[Draft], siblings: &[String]) -> Result<(), Vec<Violation>> {
    let mut found = Vec::new();
    let (subtasks, edges, depth) = measure(drafts);
    let mut limit = |value: usize, most: usize, what: &str| {
        if value > most {
            found.push(Violation::new(path, format!("at most {most} {what}, got {value}")));
        }
    };
    limit(subtasks, limits::PLAN_SUBTASKS, "subtasks (PLAN_SUBTASKS)");
    limit(edges, limits::PLAN_DEPENDENCIES, "dependencies (PLAN_DEPENDENCIES)");
    limit(depth, limits::GROUP_DEPTH, "levels of groups (GROUP_DEPTH)");
    if !found.is_empty() {
        return Err(found);
    }
    Scope { path: path.to_owned(), outside: siblings, in_loop: false }.check(drafts, &mut found);
    check_inputs(path, drafts, &mut found);
    if found.is_empty() { Ok(()) } else { Err(found) }
}

/// What is allowed and still looks like a mistake: subtasks that would do the same work twice.
pub fn warnings(drafts: &[Draft]) -> Vec<Violation> {
    let mut found = Vec::new();
    warn("plan.subtasks", drafts, &mut found);
    found
}

fn warn(path: &str, drafts: &[Draft], found: &mut Vec<Violation>) {
    let mut seen: BTreeMap<_, &str> = BTreeMap::new();
    for (i, draft) in drafts.iter().enumerate() {
        if draft.does.is_work() {
            let input = draft.input.as_ref().map_or("", |input| input.get());
            let dependencies: BTreeSet<&str> = draft.depends_on.iter().map(String::as_str).collect();
            let same = (&draft.agent, &draft.capabilities, input, dependencies, &draft.when);
            if let Some(first) = seen.get(&same) {
                let issue = format!(
                    "does the same as `{first}`: same agent, input and dependencies; \
                     give them different inputs, or drop one"
                );
                found.push(Violation::new(format!("{path}[{i}]"), issue));
            } else {
                seen.insert(same, &draft.key);
            }
        }
        if let Some(body) = draft.does.body() {
            warn(&format!("{path}[{i}].{}.subtasks", group_word(&draft.does)), body, found);
        }
    }
}

/// Subtasks, dependencies, and levels of groups, of all bodies together.
fn measure(drafts: &[Draft]) -> (usize, usize, usize) {
    let (mut subtasks, mut edges, mut depth) = (0, 0, 0);
    let mut level: Vec<&[Draft]> = vec![drafts];
    while !level.is_empty() {
        let mut next = Vec::new();
        for draft in level.into_iter().flatten() {
            subtasks += 1;
            edges += draft.depends_on.len();
            next.extend(draft.does.body().map(Vec::as_slice));
        }
        depth += usize::from(!next.is_empty());
        level = next;
    }
    (subtasks, edges, depth)
}

/// The field in which a group's body stands.
pub fn group_word<B>(does: &Does<B>) -> &'static str {
    match does {
        Does::Work | Does::Approval(_) | Does::Signal(_) | Does::Timer(_) | Does::Round => "",
        Does::Group(_) => "group",
        Does::Map(_) => "map",
        Does::Loop(_) => "loop",
    }
}

/// Subtasks that may depend on each other.
struct Scope<'a> {
    path: String,
    /// Keys that are not among them and can be depended on: in a group, what the group depends on.
    outside: &'a [String],
    in_loop: bool,
}

impl Scope<'_> {
    fn check(&self, drafts: &[Draft], found: &mut Vec<Violation>) {
        if drafts.is_empty() {
            found.push(Violation::new(&self.path, "must hold at least one subtask"));
        }
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        for (i, draft) in drafts.iter().enumerate() {
            self.check_draft(i, draft, found);
            let key = draft.key.escape_debug();
            if let Some(first) = places.get(draft.key.as_str()) {
                let issue = format!("`{key}` is already the key of {}[{first}]", self.path);
                found.push(Violation::new(self.at(i, "key"), issue));
            } else {
                places.insert(&draft.key, i);
            }
            if self.outside.contains(&draft.key) {
                let issue =
                    format!("`{key}` is the key of something that the group depends on; choose another");
                found.push(Violation::new(self.at(i, "key"), issue));
            }
        }
        self.check_prefixes(drafts, found);
        let edges = self.check_dependencies(drafts, &places, found);
        self.check_order(drafts, &edges, found);
    }

    fn at(&self, i: usize, field: &str) -> String {
        format!("{}[{i}].{field}", self.path)
    }

    fn check_draft(&self, i: usize, draft: &Draft, found: &mut Vec<Violation>) {
        if let Some(issue) = name_issue(&draft.key) {
            found.push(Violation::new(self.at(i, "key"), issue));
        }
        self.check_worker(i, draft, found);
        let bytes = draft.input.as_ref().map_or(0, |input| input.get().len());
        if bytes > limits::INPUT_BYTES {
            let issue = format!("at most {} bytes (INPUT_BYTES), got {bytes}", limits::INPUT_BYTES);
            found.push(Violation::new(self.at(i, "input"), issue));
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
        if let Some(when) = &draft.when {
            self.check_expression(i, "when", when, draft, &COMMON, found);
        }
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
            Does::Group(body) => self.check_body(i, draft, body, false, found),
            Does::Map(map) => self.check_map(i, draft, map, found),
            Does::Loop(of) => self.check_loop(i, draft, of, found),
        }
    }

    /// Who does it: somebody, or nobody where no worker is needed.
    fn check_worker(&self, i: usize, draft: &Draft, found: &mut Vec<Violation>) {
        let named = !draft.agent.is_empty() || !draft.capabilities.is_empty();
        if draft.does.is_work() && !named {
            found.push(Violation::new(self.at(i, "agent"), "name an agent, or at least one capability"));
        }
        let attempted = draft.sla_seconds.is_some() || draft.max_attempts.is_some();
        let retried = draft.retry != Retry::default() || !draft.fallback.is_empty();
        if !draft.does.is_work() && (named || attempted || retried) {
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
        if !draft.does.is_work() {
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
            found.push(Violation::new(at("input"), issue));
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
        let known = ["outputs", "states", "input", "context", "item", "iteration"];
        let field = self.at(i, "loop.until");
        check_text(&field, &of.until, &known, found);
        if let Some(members) = expr::members(&of.until, "outputs") {
            let keys: Vec<&str> = of.body.iter().map(|inner| inner.key.as_str()).collect();
            let unknown = members.iter().filter(|name| !keys.contains(&name.as_str()));
            for name in unknown {
                let hint = hint(found, name, || keys.clone());
                let issue = format!("`{name}` is no subtask of the loop, so it has no output here{hint}");
                found.push(Violation::new(&field, issue));
            }
        }
        if !(1..=limits::LOOP_ITERATIONS).contains(&of.max_iterations) {
            let (most, got) = (limits::LOOP_ITERATIONS, of.max_iterations);
            let issue = format!("1 to {most} (LOOP_ITERATIONS), got {got}");
            found.push(Violation::new(self.at(i, "loop.max_iterations"), issue));
        }
        self.check_body(i, draft, &of.body, true, found);
    }

    /// An expression over what the subtask depends on.
    fn check_expression(
        &self,
        i: usize,
        name: &str,
        text: &str,
        draft: &Draft,
        variables: &[&str],
        found: &mut Vec<Violation>,
    ) {
        let field = self.at(i, name);
        check_text(&field, text, variables, found);
        let mut keys: Vec<&str> = draft.depends_on.iter().map(String::as_str).collect();
        if self.in_loop {
            keys.push("previous");
        }
        for root in ["outputs", "states"] {
            for name in expr::members(text, root).unwrap_or_default() {
                if !keys.contains(&name.as_str()) {
                    let hint = hint(found, &name, || keys.clone());
                    let issue = format!("`{root}.{name}`: `{name}` is not in its depends_on{hint}");
                    found.push(Violation::new(&field, issue));
                }
            }
        }
    }

    /// What expands, or is undone, names what comes of it below its own key.
    fn check_prefixes(&self, drafts: &[Draft], found: &mut Vec<Violation>) {
        let grows = |draft: &&Draft| draft.does.body().is_some() || draft.compensate.is_some();
        let groups: BTreeSet<&str> = drafts.iter().filter(grows).map(|d| d.key.as_str()).collect();
        for (i, draft) in drafts.iter().enumerate() {
            let dots = draft.key.match_indices('.').map(|(at, _)| &draft.key[..at]);
            for group in dots.filter(|start| groups.contains(start)) {
                let issue = format!("keys that begin with `{group}.` are those of what comes of `{group}`");
                found.push(Violation::new(self.at(i, "key"), issue));
            }
        }
    }

    fn check_dependencies(
        &self,
        drafts: &[Draft],
        places: &BTreeMap<&str, usize>,
        found: &mut Vec<Violation>,
    ) -> Vec<Vec<usize>> {
        let mut edges = vec![Vec::new(); drafts.len()];
        for (i, draft) in drafts.iter().enumerate() {
            let mut seen = BTreeSet::new();
            for (d, key) in draft.depends_on.iter().enumerate() {
                let known =
                    || places.keys().copied().chain(self.outside.iter().map(String::as_str)).collect();
                let mut refuse = |issue: String| {
                    found.push(Violation::new(format!("{}[{i}].depends_on[{d}]", self.path), issue))
                };
                let shown = key.escape_debug();
                if *key == draft.key {
                    refuse("a subtask cannot depend on itself".into());
                } else if !seen.insert(key) {
                    refuse(format!("`{shown}` is named twice"));
                } else if let Some(&place) = places.get(key.as_str()) {
                    edges[i].push(place);
                } else if !self.outside.contains(key) {
                    let hint = hint(found, key, known);
                    let issue = format!("no subtask of this plan has the key `{shown}`{hint}");
                    found.push(Violation::new(format!("{}[{i}].depends_on[{d}]", self.path), issue));
                }
            }
        }
        edges
    }

    /// Kahn's algorithm, level by level: what is left over is on a cycle or behind one.
    fn check_order(&self, drafts: &[Draft], edges: &[Vec<usize>], found: &mut Vec<Violation>) {
        let mut pending: Vec<usize> = edges.iter().map(Vec::len).collect();
        let mut dependents = vec![Vec::new(); drafts.len()];
        for (i, dependencies) in edges.iter().enumerate() {
            dependencies.iter().for_each(|&d| dependents[d].push(i));
        }
        let mut level: Vec<usize> = (0..drafts.len()).filter(|&i| pending[i] == 0).collect();
        let (mut done, mut depth) = (0, 0);
        while !level.is_empty() {
            done += level.len();
            depth += 1;
            let mut next = Vec::new();
            for &i in level.iter().flat_map(|&i| &dependents[i]) {
                pending[i] -= 1;
                if pending[i] == 0 {
                    next.push(i);
                }
            }
            level = next;
        }
        if done < drafts.len() {
            let cycle = find_cycle(edges, &pending);
            let keys: Vec<&str> = cycle.iter().map(|&i| drafts[i].key.as_str()).collect();
            let at = cycle.first().copied().unwrap_or(0);
            let first = keys.first().unwrap_or(&"");
            let issue = format!("dependencies form a cycle: {} -> {first}", keys.join(" -> "));
            found.push(Violation::new(self.at(at, "depends_on"), issue));
        } else if depth > limits::PLAN_DEPTH {
            let issue =
                format!("a path of at most {} subtasks (PLAN_DEPTH), got {depth}", limits::PLAN_DEPTH);
            found.push(Violation::new(&self.path, issue));
        }
    }
}

/// Whether a text is a name: letters, digits, `.`, `_`, `-`, starting with a letter or digit.
pub fn name_issue(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("must not be empty".into());
    }
    if name.len() > limits::NAME_BYTES {
        return Some(format!("at most {} bytes (NAME_BYTES), got {}", limits::NAME_BYTES, name.len()));
    }
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(inner) {
        return Some(format!(
            "`{}` is not a name: letters, digits, `.`, `_` and `-`, starting with a letter or digit",
            name.escape_debug()
        ));
    }
    None
}

/// Checks a list of capability tags; `field` is the list's own path.
pub fn check_capabilities(field: &str, tags: &[String], found: &mut Vec<Violation>) {
    if tags.len() > limits::CAPABILITIES {
        found.push(Violation::new(
            field,
            format!("at most {} tags (CAPABILITIES), got {}", limits::CAPABILITIES, tags.len()),
        ));
    }
    for (i, tag) in tags.iter().take(limits::CAPABILITIES).enumerate() {
        if let Some(issue) = name_issue(tag) {
            found.push(Violation::new(format!("{field}[{i}]"), issue));
        }
    }
}

/// Problems that tell the nearest name: each is looked for among all that are known, of which there may be very many.
const HINTED: usize = 10;

/// As [`nearest`], where it is one of the first problems; `known` is asked only then.
pub fn hint<'a>(found: &[Violation], name: &str, known: impl FnOnce() -> Vec<&'a str>) -> String {
    if found.len() < HINTED { nearest(name, &known()) } else { String::new() }
}

/// `; did you mean ...?` for a name that is nearly one of the known ones, or nothing.
pub fn nearest(name: &str, known: &[&str]) -> String {
    let close = |known: &&&str| name.len() > 2 && distance(name, known) <= (name.len() / 3);
    let best = known.iter().filter(close).min_by_key(|known| (distance(name, known), **known));
    best.map_or_else(String::new, |best| format!("; did you mean `{best}`?"))
}

/// Letters to change, add, leave out or swap: optimal string alignment. Long names are compared at their beginning.
fn distance(a: &str, b: &str) -> usize {
    let cut = |text: &str| text.bytes().take(limits::NAME_BYTES).collect::<Vec<u8>>();
    let (a, b) = (cut(a), cut(b));
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = change.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

fn check_text(field: &str, text: &str, variables: &[&str], found: &mut Vec<Violation>) {
    if let Err(issue) = expr::check(text, variables) {
        found.push(Violation::new(field, issue));
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

fn check_inputs(path: &str, drafts: &[Draft], found: &mut Vec<Violation>) {
    let (mut bytes, mut todo): (usize, Vec<&Draft>) = (0, drafts.iter().collect());
    while let Some(draft) = todo.pop() {
        let undo = draft.compensate.as_ref().and_then(|undo| undo.input.as_ref());
        bytes += draft.input.iter().chain(undo).map(|input| input.get().len()).sum::<usize>();
        todo.extend(draft.does.body().into_iter().flatten());
    }
    if bytes > limits::REQUEST_BYTES {
        let issue = format!(
            "inputs of at most {} bytes together (REQUEST_BYTES), got {bytes}",
            limits::REQUEST_BYTES
        );
        found.push(Violation::new(path, issue));
    }
}

/// One cycle among the nodes that Kahn's algorithm left: each of them has an unfinished dependency, so
/// following those must come back.
fn find_cycle(edges: &[Vec<usize>], pending: &[usize]) -> Vec<usize> {
    let mut seen: BTreeMap<usize, usize> = BTreeMap::new();
    let mut path = Vec::new();
    let mut at = pending.iter().position(|&n| n > 0).unwrap_or(0);
    loop {
        if let Some(&start) = seen.get(&at) {
            return path.split_off(start);
        }
        seen.insert(at, path.len());
        path.push(at);
        match edges[at].iter().find(|&&d| pending[d] > 0) {
            Some(&d) => at = d,
            None => return path,
        }
    }
}
