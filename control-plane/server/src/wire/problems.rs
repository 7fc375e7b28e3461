//! Collecting what is wrong with a request: everything at once, each with its field, and never more than an
//! answer can carry, however long the request.

use std::collections::HashSet;

use downbeat_core::check::Violation;

use crate::failure::Failure;

/// Problems listed in one answer: more than anybody reads, and well below a megabyte.
pub(crate) const LISTED_MAX: usize = 1_000;
/// The field that a problem of a whole body is about.
pub(crate) const WHOLE_BODY: &str = "body";
/// Bytes shown of a field's path or of an issue, which may quote what the client sent.
const SHOWN_BYTES_MAX: usize = 500;

/// What was found so far.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    /// One more than is listed at most, so that it can be told that there are more.
    found: Vec<Violation>,
}

impl Problems {
    pub(crate) fn add(&mut self, field: impl AsRef<str>, issue: impl AsRef<str>) {
        self.push(&Violation::new(field.as_ref(), issue.as_ref()));
    }

    fn push(&mut self, found: &Violation) {
        if self.found.len() <= LISTED_MAX {
            self.found.push(short(found));
        }
    }

    /// How many were found, as far as they are kept.
    pub(crate) fn count(&self) -> usize {
        self.found.len()
    }

    pub(crate) fn first(&self) -> Option<&Violation> {
        self.found.first()
    }

    /// Adds what a later check found, except about fields that could not even be read: those were left
    /// empty, and that they are is not the client's problem.
    pub(crate) fn merge(&mut self, later: Vec<Violation>) {
        if later.is_empty() {
            return;
        }
        let known: HashSet<String> = self.found.iter().map(|violation| violation.field.clone()).collect();
        for violation in later {
            if !with_ancestors(&violation.field).any(|field| known.contains(field)) {
                self.push(&violation);
            }
        }
    }

    /// Takes in what was found in a part of the request, which stands at `path`.
    pub(crate) fn adopt(&mut self, path: &str, found: Vec<Violation>) {
        for Violation { code, field, issue } in found {
            let field = if field == WHOLE_BODY { path.to_owned() } else { format!("{path}.{field}") };
            self.push(&Violation::coded(code, field, issue));
        }
    }

    /// Runs a later check; see [`merge`](Problems::merge).
    pub(crate) fn check(&mut self, later: impl FnOnce(&mut Vec<Violation>)) {
        let mut found = Vec::new();
        later(&mut found);
        self.merge(found);
    }

    /// The value, when nothing is wrong.
    ///
    /// # Errors
    /// `Invalid` with everything that is.
    pub(crate) fn finish<T>(self, value: T) -> Result<T, Failure> {
        if self.found.is_empty() { Ok(value) } else { Err(Failure::Invalid(self.found)) }
    }
}

/// Violations as an answer shows them: at most `max`, each cut to a readable length, and a last line about
/// the rest.
pub(crate) fn listed(violations: &[Violation], max: usize) -> Vec<Violation> {
    let mut list: Vec<Violation> = violations.iter().take(max).map(short).collect();
    if violations.len() > max {
        list.push(Violation::new("request", format!("{} not listed", more(violations.len(), max))));
    }
    list
}

fn short(violation: &Violation) -> Violation {
    Violation::coded(violation.code, shown(&violation.field), shown(&violation.issue))
}

/// A list in one line: many clients show nothing else.
pub(crate) fn summary(violations: &[Violation]) -> String {
    let line = |violation: &Violation| shown(&format!("{}: {}", violation.field, violation.issue));
    match violations {
        [] => "the request is not valid".into(),
        [only] => line(only),
        [first, ..] => format!("{} (and {})", line(first), more(violations.len(), 1)),
    }
}

/// A text that may come from a client, cut to what fits into one line of an answer.
pub(crate) fn shown(text: &str) -> String {
    cut(text, SHOWN_BYTES_MAX)
}

/// The longest beginning of a text within so many bytes, marked where it was cut.
pub(crate) fn cut(text: &str, bytes_max: usize) -> String {
    const MARK: &str = "…";
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(bytes_max.saturating_sub(MARK.len()));
    format!("{}{MARK}", &text[..end])
}

/// How many problems there are beside those that are told.
fn more(all: usize, told: usize) -> String {
    if all > LISTED_MAX { "many more".into() } else { format!("{} more", all - told) }
}

/// `a.b[2].c`, `a.b[2]`, `a.b`, `a`, and the body itself.
fn with_ancestors(field: &str) -> impl Iterator<Item = &str> {
    let path = std::iter::successors(Some(field), |path| path.rfind(['.', '[']).map(|end| &path[..end]));
    path.chain([WHOLE_BODY])
}

/// Asserts that a request is refused with exactly these problems.
#[cfg(test)]
#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(result: Result<T, Failure>, expected: &[(&str, &str)], of: &str) {
    let Err(Failure::Invalid(found)) = result else { panic!("{of}: expected problems, got {result:?}") };
    let found: Vec<(&str, &str)> = found.iter().map(|v| (v.field.as_str(), v.issue.as_str())).collect();
    assert_eq!(found, expected, "{of}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_check_says_nothing_about_unreadable_fields() {
        let mut problems = Problems::default();
        problems.add("plan.subtasks[2]", "must be an object");
        problems.merge(vec![
            Violation::new("plan.subtasks[2].key", "must not be empty"),
            Violation::new("plan.subtasks[20].key", "must not be empty"),
        ]);
        let expected = vec![
            Violation::new("plan.subtasks[2]", "must be an object"),
            Violation::new("plan.subtasks[20].key", "must not be empty"),
        ];
        assert_eq!(problems.finish(()), Err(Failure::Invalid(expected)));
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let found = |count: usize| {
            let mut problems = Problems::default();
            (0..count).for_each(|i| problems.add(format!("f{i}"), "bad"));
            let Err(Failure::Invalid(found)) = problems.finish(()) else { panic!("expected violations") };
            found
        };
        for (count, max, last, line) in [
            (1, 10, "bad", "f0: bad"),
            (3, 2, "1 more not listed", "f0: bad (and 2 more)"),
            (LISTED_MAX, LISTED_MAX, "bad", "f0: bad (and 999 more)"),
            (LISTED_MAX + 1, LISTED_MAX, "many more not listed", "f0: bad (and many more)"),
            (LISTED_MAX * 9, 2, "many more not listed", "f0: bad (and many more)"),
        ] {
            let found = found(count);
            let list = listed(&found, max);
            assert_eq!(list.len(), if count > max { max + 1 } else { count });
            assert_eq!(list.last().map(|violation| violation.issue.as_str()), Some(last));
            assert_eq!(summary(&found), line);
        }
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(cut("grün", 10), "grün");
        assert_eq!(cut("grüüüüün", 6), "gr…");
        assert_eq!(cut("grüüüüün", 7), "grü…");
        assert!(shown(&"x".repeat(10_000)).len() <= SHOWN_BYTES_MAX);
    }
}
