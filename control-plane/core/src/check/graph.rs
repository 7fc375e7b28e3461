//! The graph: keys, what depends on what, and that there is an order to do it in.

use std::collections::{BTreeMap, BTreeSet};

use super::{Code, Scope, Violation, hint};
use crate::{draft::Draft, limits};

impl Scope<'_> {
    /// What expands, or is undone, names what comes of it below its own key.
    pub(super) fn check_prefixes(&self, drafts: &[Draft], found: &mut Vec<Violation>) {
        let grows = |draft: &&Draft| draft.does.body().is_some() || draft.compensate.is_some();
        let groups: BTreeSet<&str> = drafts.iter().filter(grows).map(|d| d.key.as_str()).collect();
        for (i, draft) in drafts.iter().enumerate() {
            let dots = draft.key.match_indices('.').map(|(at, _)| &draft.key[..at]);
            for group in dots.filter(|start| groups.contains(start)) {
                let issue = format!("keys that begin with `{group}.` are those of what comes of `{group}`");
                found.push(Violation::coded(Code::KeyTaken, self.at(i, "key"), issue));
            }
        }
    }

    pub(super) fn check_dependencies(
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
                let mut refuse = |code: Code, issue: String| {
                    found.push(Violation::coded(code, format!("{}[{i}].depends_on[{d}]", self.path), issue))
                };
                let shown = key.escape_debug();
                if *key == draft.key {
                    refuse(Code::Cycle, "a subtask cannot depend on itself".into());
                } else if !seen.insert(key) {
                    refuse(Code::Field, format!("`{shown}` is named twice"));
                } else if let Some(&place) = places.get(key.as_str()) {
                    edges[i].push(place);
                } else if !self.outside.contains(key) {
                    let hint = hint(found, key, known);
                    let issue = format!("no subtask of this plan has the key `{shown}`{hint}");
                    let field = format!("{}[{i}].depends_on[{d}]", self.path);
                    found.push(Violation::coded(Code::DependencyUnknown, field, issue));
                }
            }
        }
        edges
    }

    /// Kahn's algorithm, level by level: what is left over is on a cycle or behind one.
    pub(super) fn check_order(&self, drafts: &[Draft], edges: &[Vec<usize>], found: &mut Vec<Violation>) {
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
            found.push(Violation::coded(Code::Cycle, self.at(at, "depends_on"), issue));
        } else if depth > limits::PLAN_DEPTH {
            let issue =
                format!("a path of at most {} subtasks (PLAN_DEPTH), got {depth}", limits::PLAN_DEPTH);
            found.push(Violation::coded(Code::Limit, &self.path, issue));
        }
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
