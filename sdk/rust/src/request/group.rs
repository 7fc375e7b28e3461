//! Bodies that run more than once: for each element of a list, or until something holds.

use super::plan::{Subtask, bodies};
use crate::{
    Error,
    proto::{self, OnLimit, map::Failures},
};

/// One run of a body for each element of a list. Each finds the element as `item`, and as its input where it has none.
#[derive(Debug)]
#[must_use = "a map does nothing until it is part of a plan"]
pub struct Map {
    pub(super) map: proto::Map,
    pub(super) problem: Option<Error>,
}

impl Map {
    /// For each element of the list that this CEL expression gives: at most 10,000. All at the same time, and the first
    /// failure cancels the others.
    pub fn over(expression: impl Into<String>) -> Self {
        let map = proto::Map { over: expression.into(), ..Default::default() };
        Self { map, problem: None }
    }

    /// So many elements at the same time.
    pub fn max_parallel(mut self, elements: u32) -> Self {
        self.map.max_parallel = elements;
        self
    }

    /// So many elements may fail.
    pub fn tolerate(mut self, failures: u32) -> Self {
        self.map.failures = Some(Failures::Tolerate(failures));
        self
    }

    /// Any number of elements may fail.
    pub fn continue_on_failure(mut self) -> Self {
        self.map.failures = Some(Failures::Continue(true));
        self
    }

    /// Adds a subtask to the body.
    pub fn subtask(self, subtask: Subtask) -> Self {
        self.subtasks([subtask])
    }

    /// Adds subtasks to the body; they may depend on each other, and on what the map depends on.
    pub fn subtasks(mut self, subtasks: impl IntoIterator<Item = Subtask>) -> Self {
        self.map.subtasks.extend(bodies(subtasks, &mut self.problem));
        self
    }
}

/// A body that runs again and again. Those that begin a round find the outputs of the one before as the dependency
/// `previous`.
#[derive(Debug)]
#[must_use = "a loop does nothing until it is part of a plan"]
pub struct Loop {
    pub(super) of: proto::Loop,
    pub(super) problem: Option<Error>,
}

impl Loop {
    /// Until this CEL expression holds, over `outputs` and `states` of the round by key, and `iteration` from 1; at most
    /// `max_iterations` rounds (1 to 1,000), and then it has failed.
    pub fn until(expression: impl Into<String>, max_iterations: u32) -> Self {
        let of = proto::Loop { until: expression.into(), max_iterations, ..Default::default() };
        Self { of, problem: None }
    }

    /// What follows when the last round has ended and the expression does not hold.
    pub fn on_limit(mut self, on_limit: OnLimit) -> Self {
        self.of.set_on_limit(on_limit);
        self
    }

    /// Adds a subtask to the body.
    pub fn subtask(self, subtask: Subtask) -> Self {
        self.subtasks([subtask])
    }

    /// Adds subtasks to the body; they may depend on each other, and on what the loop depends on.
    pub fn subtasks(mut self, subtasks: impl IntoIterator<Item = Subtask>) -> Self {
        self.of.subtasks.extend(bodies(subtasks, &mut self.problem));
        self
    }
}
