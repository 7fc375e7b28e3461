//! Names: what is one, and which known name a wrong one is nearest to.

use super::Violation;
use crate::limits;

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
