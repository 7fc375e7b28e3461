//! Pages of lists: sizes within bounds, and tokens that say where the next page begins.
//!
//! A token is opaque: a version, the number of the last task listed, and a sum that tells a token apart from
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

const VERSION: u8 = 1;
const SUM_BYTES: usize = 4;
const TOKEN_BYTES: usize = 1 + 8 + SUM_BYTES;

/// A page's size in a proto request, where 0 asks for the default.
pub(crate) fn size(asked: u32, default: u32, max: u32, problems: &mut Problems) -> u32 {
    if asked == 0 {
        return default;
    }
    check::number("page_size", &asked.to_string(), 1..=u64::from(max), "", problems).unwrap_or(default)
}

/// The token of the page after this task.
pub(crate) fn token(last: TaskNo) -> String {
    let mut bytes = vec![VERSION];
    bytes.extend(last.0.to_be_bytes());
    let sum = sum(&bytes);
    bytes.extend(sum);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Where the page begins; an empty token asks for the first one.
pub(crate) fn before(token: &str, problems: &mut Problems) -> Option<TaskNo> {
    if token.is_empty() {
        return None;
    }
    let read = read(token);
    if read.is_none() {
        problems.add("page_token", "is not a token of this list; give `next_page_token` of the page before");
    }
    read
}

fn read(token: &str) -> Option<TaskNo> {
    let is_hex = token.len() == TOKEN_BYTES * 2 && token.bytes().all(|b| b.is_ascii_hexdigit());
    if !is_hex {
        return None;
    }
    let starts = (0..token.len()).step_by(2);
    let bytes: Vec<u8> =
        starts.map(|at| u8::from_str_radix(&token[at..at + 2], 16)).collect::<Result<_, _>>().ok()?;
    let (signed, given) = bytes.split_at(TOKEN_BYTES - SUM_BYTES);
    let (version, number) = signed.split_first()?;
    let is_ours = *version == VERSION && given == sum(signed);
    is_ours.then_some(TaskNo(i64::from_be_bytes(number.try_into().ok()?)))
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
