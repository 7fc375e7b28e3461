//! Query parameters of REST, read into what the engine takes.

use downbeat_core::{id::TenantNo, limits, task::TaskStatus};
use downbeat_store::ListTasks;

use super::{
    check, context,
    filter::AgentFilter,
    page::{self, Names},
    problems::Problems,
    schedule,
    words::Word,
};
use crate::{engine::ContextChange, failure::Failure};

/// The parameters of one request, each taken out as it is read: what is left is unknown.
#[derive(Debug)]
pub struct Query {
    pairs: Vec<(String, String)>,
    problems: Problems,
}

/// A page of a task's events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventsQuery {
    pub after: u64,
    pub limit: u32,
}

/// How much of a task to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShowTask {
    pub omit_outputs: bool,
    /// Also what ran again since.
    pub replaced: bool,
}

impl Query {
    pub fn new(pairs: Vec<(String, String)>) -> Query {
        Query { pairs, problems: Problems::default() }
    }

    /// For routes that take no parameters.
    ///
    /// # Errors
    /// `Invalid` with every parameter.
    pub fn none(self) -> Result<(), Failure> {
        self.finish(())
    }

    /// `?outputs=&replaced=`.
    ///
    /// # Errors
    /// `Invalid` with every problem.
    pub fn task(mut self) -> Result<ShowTask, Failure> {
        let omit_outputs = !self.flag("outputs", true);
        let replaced = self.flag("replaced", false);
        self.finish(ShowTask { omit_outputs, replaced })
    }

    fn flag(&mut self, name: &str, default: bool) -> bool {
        match self.take(name).as_deref() {
            None => default,
            Some("true") => true,
            Some("false") => false,
            Some(other) => {
                let issue = format!("must be `true` or `false`, got `{}`", other.escape_debug());
                self.problems.add(name, issue);
                default
            }
        }
    }

    /// `?status=&prefix=&page_size=&page_token=`; `status` may be repeated, or hold several with commas.
    ///
    /// # Errors
    /// `Invalid` with every problem.
    pub fn tasks(mut self, tenant: TenantNo) -> Result<ListTasks, Failure> {
        let mut statuses = Vec::new();
        while let Some(words) = self.take("status") {
            for word in words.split(',').filter(|word| !word.is_empty()) {
                match TaskStatus::from_word(word) {
                    Some(status) if statuses.contains(&status) => {}
                    Some(status) => statuses.push(status),
                    None => self.refuse_word::<TaskStatus>("status", word),
                }
            }
        }
        let id_prefix = self.take("prefix").unwrap_or_default();
        self.problems.check(|found| check::prefix("prefix", &id_prefix, found));
        let limit = self.page_size(page::TASKS_DEFAULT, page::TASKS_MAX);
        let token = self.take("page_token").unwrap_or_default();
        let before = page::before(&token, &mut self.problems);
        self.finish(ListTasks { tenant, statuses, id_prefix, before, limit })
    }

    /// `?after=&page_size=`.
    ///
    /// # Errors
    /// `Invalid` with every problem.
    pub fn events(mut self) -> Result<EventsQuery, Failure> {
        let after = self.number("after", check::EVENT_MAX).unwrap_or(0);
        let limit = self.page_size(page::EVENTS_DEFAULT, page::EVENTS_MAX);
        self.finish(EventsQuery { after, limit })
    }

    /// `?count=` of due times.
    ///
    /// # Errors
    /// `Invalid` with every problem.
    pub fn preview(mut self) -> Result<u32, Failure> {
        let count = self.take("count").and_then(|token| {
            let range = 1..=limits::PREVIEW.into();
            check::number("count", &token, range, " (PREVIEW)", &mut self.problems)
        });
        self.finish(count.unwrap_or(schedule::PREVIEW_DEFAULT))
    }

    /// `?domain=&capability=&health=`.
    ///
    /// # Errors
    /// `Invalid` with every problem.
    pub fn agents(mut self) -> Result<AgentFilter, Failure> {
        let domain = self.take("domain").unwrap_or_default();
        let capability = self.take("capability").unwrap_or_default();
        let word = self.take("health").filter(|word| !word.is_empty());
        let health = word.and_then(|word| {
            let health = Word::from_word(&word);
            if health.is_none() {
                self.refuse_word::<crate::view::Health>("health", &word);
            }
            health
        });
        self.finish(AgentFilter { domain, capability, health })
    }

    /// `?page_size=&page_token=` of a list by names: the one after which the page begins, and its size.
    ///
    /// # Errors
    /// `Invalid` with every problem.
    pub(crate) fn names(mut self, of: Names) -> Result<(String, u32), Failure> {
        let limit = self.page_size(page::TASKS_DEFAULT, page::TASKS_MAX);
        let token = self.take("page_token").unwrap_or_default();
        let after = page::after_name(of, &token, &mut self.problems);
        self.finish((after, limit))
    }

    /// `?page_size=&page_token=` of versions: the one before which the page begins, and its size.
    ///
    /// # Errors
    /// `Invalid` with every problem.
    pub fn workflow_versions(mut self) -> Result<(u32, u32), Failure> {
        let limit = self.page_size(page::TASKS_DEFAULT, page::TASKS_MAX);
        let token = self.take("page_token").unwrap_or_default();
        let before = page::before_version(&token, &mut self.problems);
        self.finish((before, limit))
    }

    /// `?version=`.
    ///
    /// # Errors
    /// `Invalid` with every problem.
    pub fn workflow(mut self) -> Result<Option<u32>, Failure> {
        let version = self.version("version");
        self.finish(version)
    }

    /// `?from=&to=`, both versions.
    ///
    /// # Errors
    /// `Invalid` with every problem.
    pub fn workflow_diff(mut self) -> Result<(Option<u32>, Option<u32>), Failure> {
        let versions = (self.version("from"), self.version("to"));
        self.finish(versions)
    }

    fn version(&mut self, name: &str) -> Option<u32> {
        let token = self.take(name)?;
        check::number(name, &token, 1..=i32::MAX.unsigned_abs().into(), "", &mut self.problems)
    }

    /// `?expected_version=&by=` of the key that is deleted.
    ///
    /// # Errors
    /// `Invalid` with every problem.
    pub fn deletion(mut self, key: String) -> Result<ContextChange, Failure> {
        let expected_version = self.number("expected_version", context::VERSION_MAX);
        let by = self.take("by").unwrap_or_default();
        let problems = self.left();
        context::deletion(key, expected_version, by, problems)
    }

    /// `?to=`: a snapshot, or nothing.
    ///
    /// # Errors
    /// `Invalid` with every problem.
    pub fn to(mut self) -> Result<String, Failure> {
        let to = self.take("to").unwrap_or_default();
        self.finish(to)
    }

    /// `?agent=`.
    ///
    /// # Errors
    /// `Invalid` with every problem.
    pub fn workers(mut self) -> Result<String, Failure> {
        let agent = self.take("agent").unwrap_or_default();
        self.finish(agent)
    }

    fn page_size(&mut self, default: u32, max: u32) -> u32 {
        let Some(token) = self.take("page_size") else { return default };
        check::number("page_size", &token, 1..=u64::from(max), "", &mut self.problems).unwrap_or(default)
    }

    fn number(&mut self, name: &str, max: u64) -> Option<u64> {
        let token = self.take(name)?;
        check::number(name, &token, 0..=max, "", &mut self.problems)
    }

    fn refuse_word<T: Word>(&mut self, field: &str, word: &str) {
        self.problems.add(field, format!("must be {}, got `{}`", T::choice(), word.escape_debug()));
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let at = self.pairs.iter().position(|(found, _)| found == name)?;
        Some(self.pairs.remove(at).1)
    }

    fn finish<T>(self, value: T) -> Result<T, Failure> {
        self.left().finish(value)
    }

    fn left(mut self) -> Problems {
        for (name, _) in &self.pairs {
            self.problems.add(name, "unknown query parameter, or given more than once");
        }
        self.problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::problems::refused;

    const TENANT: TenantNo = TenantNo::DEFAULT;

    fn query(pairs: &[(&str, &str)]) -> Query {
        Query::new(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn lists_of_tasks() {
        let pairs = [("status", "running,paused"), ("status", "failed"), ("prefix", "feature-")];
        let list = query(&pairs).tasks(TENANT).expect("accepted");
        assert_eq!((list.statuses.len(), list.id_prefix.as_str(), list.limit), (3, "feature-", 50));
        refused(
            query(&[("status", "done"), ("page_size", "0"), ("page_token", "x"), ("foo", "1")]).tasks(TENANT),
            &[
                (
                    "status",
                    "must be `planning`, `planned`, `running`, `paused`, `needs_review`, `completed`, `failed` or \
                     `cancelled`, got `done`",
                ),
                ("page_size", "must be a whole number from 1 to 500, got 0"),
                ("page_token", "is not a token of this list; give `next_page_token` of the page before"),
                ("foo", "unknown query parameter, or given more than once"),
            ],
            "tasks",
        );
    }

    #[test]
    fn pages_of_events() {
        let events = query(&[("after", "7")]).events();
        assert_eq!(events, Ok(EventsQuery { after: 7, limit: page::EVENTS_DEFAULT }));
        refused(
            query(&[("after", "-1"), ("page_size", "1001")]).events(),
            &[
                ("after", "must be a whole number from 0 to 9223372036854775807, got -1"),
                ("page_size", "must be a whole number from 1 to 1000, got 1001"),
            ],
            "events",
        );
    }

    #[test]
    fn filters_and_switches() {
        refused(
            query(&[("health", "well"), ("domain", "a"), ("domain", "b")]).agents(),
            &[
                ("health", "must be `healthy`, `degraded` or `offline`, got `well`"),
                ("domain", "unknown query parameter, or given more than once"),
            ],
            "agents",
        );
        let shown = |omit_outputs, replaced| Ok(ShowTask { omit_outputs, replaced });
        assert_eq!(query(&[("outputs", "false"), ("replaced", "true")]).task(), shown(true, true));
        assert_eq!(query(&[]).task(), shown(false, false));
        let outputs = query(&[("outputs", "0")]).task();
        refused(outputs, &[("outputs", "must be `true` or `false`, got `0`")], "outputs");
        let none = query(&[("a", "")]).none();
        refused(none, &[("a", "unknown query parameter, or given more than once")], "none");
    }
}
