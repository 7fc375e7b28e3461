//! A task as it was at an earlier point of its history: what stood in its plan then, and what was completed. From this
//! a task is restored or forked. Pure: events and a plan in, places out.

use std::collections::{BTreeMap, BTreeSet};

use downbeat_core::{
    event::{Event, What},
    id::Index,
    plan::{Node, Plan},
    subtask::SubtaskState,
};

/// What stood alone in the plan then, without what belonged to groups.
#[derive(Debug)]
pub(crate) struct Past {
    /// In the order of the plan, each with whether it was completed, and not undone since. What undoes is none of them.
    tops: Vec<(Index, bool)>,
}

/// What a restoration does.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Restoration {
    /// What runs again.
    pub(crate) from: BTreeSet<Index>,
    /// Those of them that take over what another node delivered before.
    pub(crate) restored: BTreeMap<Index, Index>,
    /// Those that had another input then, with the node that had it.
    pub(crate) inputs_of: BTreeMap<Index, Index>,
}

/// The plan of a fork: nodes that depend on each other by place, and which old node each one is from.
#[derive(Debug)]
pub(crate) struct Fork {
    pub(crate) nodes: Vec<Node>,
    /// By the place of the new one, the old one whose output it takes over.
    pub(crate) done: BTreeMap<Index, Index>,
}

/// The states of the subtasks that were there right after the event with that number. One that had not yet been handed
/// out since it was added or came back is `pending`.
pub(crate) fn states(plan: &Plan, events: &[Event], number: u64) -> BTreeMap<Index, SubtaskState> {
    let grown_after = |event: &Event| match event.what {
        What::Grown { first, .. } if event.number > number => Some(first),
        _ => None,
    };
    let len = events.iter().filter_map(grown_after).min().unwrap_or(plan.len());
    let mut states: BTreeMap<Index, SubtaskState> =
        (0..len).map(|index| (index, SubtaskState::Pending)).collect();
    for event in events.iter().filter(|event| event.number <= number) {
        match event.what {
            What::Subtask { index, state, .. } | What::Ended { index, state, .. } => {
                states.insert(index, state);
            }
            What::Leased { index, .. } => drop(states.insert(index, SubtaskState::Leased)),
            What::Returned { index, .. } => drop(states.insert(index, SubtaskState::Ready)),
            _ => {}
        }
    }
    states
}

impl Past {
    /// The state right after the event with that number. `events` is the whole history.
    pub(crate) fn at(plan: &Plan, events: &[Event], number: u64) -> Past {
        let undoes = |index: &Index| plan.node(*index).and_then(|node| node.compensates);
        let (mut completed, mut undone) = (BTreeSet::new(), BTreeSet::new());
        let mut len = plan.len();
        for event in events {
            match &event.what {
                // What was undone, also later and perhaps in part, is done no more.
                What::Leased { index, .. } | What::Subtask { index, state: SubtaskState::Completed, .. }
                    if undoes(index).is_some() =>
                {
                    undone.extend(undoes(index).map(|of| plan.outermost(of)));
                }
                What::Grown { first, .. } if event.number > number => {
                    len = len.min(*first);
                }
                What::Subtask { index, state: SubtaskState::Completed, .. }
                | What::Ended { index, state: SubtaskState::Completed, .. }
                    if event.number <= number =>
                {
                    completed.insert(*index);
                }
                _ => {}
            }
        }
        let nodes = || (0..len).filter_map(|index| Some((index, plan.node(index)?)));
        let replaced: BTreeSet<Index> = nodes().filter_map(|(_, node)| node.replaces).collect();
        let tops = nodes()
            .filter(|(index, node)| node.stands_alone() && !replaced.contains(index))
            .map(|(index, _)| (index, completed.contains(&index) && !undone.contains(&index)));
        Past { tops: tops.collect() }
    }

    /// How the present plan comes back to this state.
    pub(crate) fn restoration(&self, plan: &Plan) -> Restoration {
        let was: BTreeMap<Index, bool> = self.tops.iter().copied().collect();
        let mut restoration = Restoration::default();
        let present = (0..plan.len()).filter(|&index| {
            plan.node(index).is_some_and(|node| node.stands_alone()) && !plan.is_replaced(index)
        });
        for index in present {
            let mut line = std::iter::successors(Some(index), |at| plan.node(*at)?.replaces);
            let then = line.find(|at| was.contains_key(at));
            match then.map(|old| (old, was[&old])) {
                Some((old, true)) if old == index => {}
                Some((old, done)) => {
                    restoration.from.insert(index);
                    restoration.restored.extend(done.then_some((index, old)));
                    restoration.inputs_of.extend((old != index).then_some((index, old)));
                }
                None => {
                    restoration.from.insert(index);
                }
            }
        }
        restoration
    }

    /// A plan of its own that goes on from this state.
    pub(crate) fn fork(&self, plan: &Plan) -> Fork {
        let places: BTreeMap<Index, Index> = self.tops.iter().map(|(old, _)| *old).zip(0..).collect();
        let nodes = self.tops.iter().filter_map(|(old, _)| {
            let node = plan.node(*old)?;
            Some(Node {
                id: String::new(),
                depends_on: node.depends_on.iter().filter_map(|on| places.get(on).copied()).collect(),
                replaces: None,
                ..node.clone()
            })
        });
        let done = self.done(plan).into_iter().map(|old| (places[&old], old));
        Fork { nodes: nodes.collect(), done: done.collect() }
    }

    /// What was completed and need not run again: what does takes along all that depends on it.
    fn done(&self, plan: &Plan) -> BTreeSet<Index> {
        let of = |completed: bool| self.tops.iter().filter(move |top| top.1 == completed).map(|top| top.0);
        let mut done: BTreeSet<Index> = of(true).collect();
        let mut again: Vec<Index> = of(false).collect();
        while let Some(index) = again.pop() {
            again.extend(plan.dependents(index).iter().filter(|dependent| done.remove(dependent)));
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use downbeat_core::{
        draft::Draft,
        id::{LeaseId, RouteNo},
        task::Priority,
        time::Time,
    };

    use super::*;

    fn plan() -> Plan {
        let draft = |key: &str, on: &[&str]| Draft {
            key: key.into(),
            agent: "coder".into(),
            depends_on: on.iter().map(|key| (*key).to_owned()).collect(),
            ..Draft::default()
        };
        let drafts = [draft("a", &[]), draft("b", &["a"]), draft("c", &["b"])];
        Plan::build("t", Priority::Normal, 3, &drafts, |_| RouteNo(1))
    }

    /// `b` and `c` run again: 3 and 4 take their places.
    fn again(plan: &Plan) -> Plan {
        let mut plan = plan.clone();
        let copy = |index: Index, on: Index| Node {
            depends_on: vec![on],
            replaces: Some(index),
            ..plan.node(index).expect("drawn").clone()
        };
        let nodes = vec![copy(1, 0), copy(2, 3)];
        plan.grow("t", nodes);
        plan
    }

    fn completed(number: u64, index: Index) -> Event {
        let (state, reason, code, by) =
            (SubtaskState::Completed, String::new(), String::new(), String::new());
        Event { number, at: Time(1), what: What::Subtask { index, state, reason, code, by } }
    }

    fn grown(number: u64) -> Event {
        let (reason, by) = (String::new(), String::new());
        Event { number, at: Time(1), what: What::Grown { index: None, first: 3, count: 2, reason, by } }
    }

    fn history() -> Vec<Event> {
        vec![completed(1, 0), completed(2, 1), completed(3, 2), grown(4), completed(5, 3), completed(6, 4)]
    }

    #[test]
    fn the_past_knows_what_was_completed_and_what_stood_there() {
        let plan = again(&plan());
        for (number, tops) in [
            (0, vec![(0, false), (1, false), (2, false)]),
            (2, vec![(0, true), (1, true), (2, false)]),
            (3, vec![(0, true), (1, true), (2, true)]),
            (4, vec![(0, true), (3, false), (4, false)]),
            (6, vec![(0, true), (3, true), (4, true)]),
        ] {
            assert_eq!(Past::at(&plan, &history(), number).tops, tops, "at {number}");
        }
    }

    #[test]
    fn the_past_knows_the_states_of_what_was_there() {
        let plan = again(&plan());
        let mut history = history();
        let (index, attempt, lease, worker) = (4, 1, LeaseId(7), String::new());
        history.insert(
            5,
            Event { number: 6, at: Time(1), what: What::Leased { index, attempt, lease, worker } },
        );
        history[6].number = 7;
        use SubtaskState::{Completed, Leased, Pending};
        for (number, expected) in [
            (0, vec![Pending; 3]),
            (2, vec![Completed, Completed, Pending]),
            (4, vec![Completed, Completed, Completed, Pending, Pending]),
            (6, vec![Completed, Completed, Completed, Completed, Leased]),
            (7, vec![Completed; 5]),
        ] {
            let found: Vec<SubtaskState> = states(&plan, &history, number).into_values().collect();
            assert_eq!(found, expected, "at {number}");
        }
    }

    #[test]
    fn what_was_completed_is_restored_and_all_else_runs_again() {
        let plan = again(&plan());
        for (number, from, restored, inputs_of) in [
            (0, vec![0, 3, 4], vec![], vec![(3, 1), (4, 2)]),
            (2, vec![3, 4], vec![(3, 1)], vec![(3, 1), (4, 2)]),
            (3, vec![3, 4], vec![(3, 1), (4, 2)], vec![(3, 1), (4, 2)]),
            (5, vec![4], vec![], vec![]),
            (6, vec![], vec![], vec![]),
        ] {
            let inputs_of = inputs_of.into_iter().collect();
            let (from, restored) = (from.into_iter().collect(), restored.into_iter().collect());
            let expected = Restoration { from, restored, inputs_of };
            assert_eq!(Past::at(&plan, &history(), number).restoration(&plan), expected, "at {number}");
        }
    }

    #[test]
    fn a_fork_runs_again_what_depends_on_something_that_does() {
        let fork = Past::at(&plan(), &[completed(1, 0), completed(2, 2)], 2).fork(&plan());
        assert_eq!(fork.done, BTreeMap::from([(0, 0)]));
    }

    #[test]
    fn what_was_undone_is_done_no_more() {
        let mut plan = plan();
        let undo = Node {
            key: "b.compensation".into(),
            depends_on: vec![1],
            compensates: Some(1),
            ..plan.node(1).expect("drawn").clone()
        };
        plan.grow("t", vec![undo]);
        let undone = Event {
            number: 4,
            at: Time(1),
            what: What::Leased { index: 3, attempt: 1, lease: LeaseId(1), worker: "w".into() },
        };
        let history = [completed(1, 0), completed(2, 1), completed(3, 2), undone, completed(5, 3)];
        for number in [3, 5] {
            let past = Past::at(&plan, &history, number);
            assert_eq!(past.tops, [(0, true), (1, false), (2, true)], "at {number}");
            let fork = past.fork(&plan);
            assert_eq!((fork.nodes.len(), fork.done), (3, BTreeMap::from([(0, 0)])));
            assert_eq!(past.restoration(&plan).from, BTreeSet::from([1]));
        }
    }

    #[test]
    fn a_fork_has_its_own_places() {
        let plan = again(&plan());
        let fork = Past::at(&plan, &history(), 5).fork(&plan);
        let keys: Vec<&str> = fork.nodes.iter().map(|node| node.key.as_str()).collect();
        let edges: Vec<&[Index]> = fork.nodes.iter().map(|node| &node.depends_on[..]).collect();
        assert_eq!((keys, edges), (vec!["a", "b", "c"], vec![&[][..], &[0], &[1]]));
        assert_eq!(fork.done, BTreeMap::from([(0, 0), (1, 3)]));
    }
}
