//! Pages of lists: sizes within bounds, and tokens that say where the next page begins.
//!
//! A token is opaque: which list it belongs to, the last entry of that, and a sum that tells a token apart from
//! anything else, all in hexadecimal.

use downbeat_core::id::TaskNo;

use super::{check, problems::Problems};

/// Tasks on one page, unless asked otherwise.
pub(crate) const TASKS_DEFAULT: u32 = 50;
/// The most tasks on one page.
pub(crate) const TASKS_MAX: u32 = 500;
/// Events on one page, unless asked otherwise.
pub(crate) const EVENTS_DEFAULT: u32 = 200;
/// The most events on one page.
pub(crate) const EVENTS_MAX: u32 = 1_000;

const SUM_BYTES: usize = 4;

/// Which list a token belongs to, and in which version of it.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Of {
    Tasks = 1,
    Workflows = 2,
    WorkflowVersions = 3,
    Schedules = 4,
}

/// A list that goes by names.
#[derive(Clone, Copy)]
pub(crate) enum Names {
    Workflows,
    Schedules,
}

impl From<Names> for Of {
    fn from(names: Names) -> Of {
        match names {
            Names::Workflows => Of::Workflows,
            Names::Schedules => Of::Schedules,
        }
    }
}

/// A page's size in a proto request, where 0 asks for the default.
pub(crate) fn size(asked: u32, default: u32, max: u32, problems: &mut Problems) -> u32 {
    if asked == 0 {
        return default;
    }
    check::number("page_size", &asked.to_string(), 1..=u64::from(max), "", problems).unwrap_or(default)
}

/// The token of the page after this task.
pub(crate) fn token(last: TaskNo) -> String {
    sealed(Of::Tasks, &last.0.to_be_bytes())
}

/// Where the page begins; an empty token asks for the first one.
pub(crate) fn before(token: &str, problems: &mut Problems) -> Option<TaskNo> {
    opened(Of::Tasks, token, problems, |bytes| Some(TaskNo(i64::from_be_bytes(bytes.try_into().ok()?))))
}

/// The token of the page after this name.
pub(crate) fn name_token(of: Names, last: &str) -> String {
    sealed(of.into(), last.as_bytes())
}

/// The name after which the page begins; empty for the first one.
pub(crate) fn after_name(of: Names, token: &str, problems: &mut Problems) -> String {
    opened(of.into(), token, problems, |bytes| String::from_utf8(bytes.to_vec()).ok()).unwrap_or_default()
}

/// The token of the page after this version.
pub(crate) fn version_token(last: u32) -> String {
    sealed(Of::WorkflowVersions, &last.to_be_bytes())
}

/// The version before which the page begins; above all for the first one.
pub(crate) fn before_version(token: &str, problems: &mut Problems) -> u32 {
    let number = |bytes: &[u8]| Some(u32::from_be_bytes(bytes.try_into().ok()?));
    opened(Of::WorkflowVersions, token, problems, number).unwrap_or(u32::MAX)
}

fn sealed(of: Of, place: &[u8]) -> String {
    let mut bytes = vec![of as u8];
    bytes.extend(place);
    let sum = sum(&bytes);
    bytes.extend(sum);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn opened<T>(
    of: Of,
    token: &str,
    problems: &mut Problems,
    read: impl FnOnce(&[u8]) -> Option<T>,
) -> Option<T> {
    if token.is_empty() {
        return None;
    }
    let place = unsealed(of, token).and_then(|bytes| read(&bytes));
    if place.is_none() {
        problems.add("page_token", "is not a token of this list; give `next_page_token` of the page before");
    }
    place
}

fn unsealed(of: Of, token: &str) -> Option<Vec<u8>> {
    if !token.len().is_multiple_of(2) || !token.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let starts = (0..token.len()).step_by(2);
    let bytes: Vec<u8> =
        starts.map(|at| u8::from_str_radix(&token[at..at + 2], 16)).collect::<Result<_, _>>().ok()?;
    let (signed, given) = bytes.split_at_checked(bytes.len().checked_sub(SUM_BYTES)?)?;
    let (list, place) = signed.split_first()?;
    (*list == of as u8 && given == sum(signed)).then(|| place.to_vec())
}

fn sum(bytes: &[u8]) -> [u8; SUM_BYTES] {
    let hash = blake3::derive_key("downbeat 2026 page token", bytes);
    std::array::from_fn(|i| hash[i])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Failure;

    #[test]
    fn tokens_come_back() {
        for number in [0, 1, 4_096, i64::MAX] {
            let mut problems = Problems::default();
            assert_eq!(before(&token(TaskNo(number)), &mut problems), Some(TaskNo(number)));
            assert_eq!(problems.finish(()), Ok(()));
        }
    }

    #[test]
    fn each_list_has_tokens_of_its_own() {
        let mut problems = Problems::default();
        for of in [Names::Workflows, Names::Schedules] {
            assert_eq!(after_name(of, &name_token(of, "release"), &mut problems), "release");
        }
        assert_eq!(before_version(&version_token(7), &mut problems), 7);
        assert_eq!(
            (after_name(Names::Workflows, "", &mut problems).as_str(), before_version("", &mut problems)),
            ("", u32::MAX)
        );
        assert_eq!(problems.finish(()), Ok(()));
        for of in [Names::Workflows, Names::Schedules] {
            let mut problems = Problems::default();
            assert_eq!(before(&name_token(of, "8 bytes!"), &mut problems), None);
            assert!(problems.finish(()).is_err());
        }
        let mut problems = Problems::default();
        assert_eq!(after_name(Names::Workflows, &name_token(Names::Schedules, "nightly"), &mut problems), "");
        assert!(problems.finish(()).is_err());
    }

    #[test]
    fn other_texts_are_refused() {
        let good = token(TaskNo(77));
        let flipped = good.replacen('4', "5", 1);
        for bad in ["1", "zz", &good[1..], &flipped, &format!("{good}00"), &"é".repeat(13)] {
            let mut problems = Problems::default();
            assert_eq!(before(bad, &mut problems), None);
            let Err(Failure::Invalid(found)) = problems.finish(()) else { panic!("{bad} was accepted") };
            assert_eq!(found[0].field, "page_token");
        }
    }

    #[test]
    fn sizes_have_a_default_and_a_bound() {
        let mut problems = Problems::default();
        assert_eq!(size(0, TASKS_DEFAULT, TASKS_MAX, &mut problems), TASKS_DEFAULT);
        assert_eq!(size(500, TASKS_DEFAULT, TASKS_MAX, &mut problems), 500);
        assert_eq!(problems.finish(()), Ok(()));
        let mut problems = Problems::default();
        size(501, TASKS_DEFAULT, TASKS_MAX, &mut problems);
        let expected = Failure::invalid("page_size", "must be a whole number from 1 to 500, got 501");
        assert_eq!(problems.finish(()), Err(expected));
    }
}
