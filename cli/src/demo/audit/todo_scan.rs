//! Marks that somebody left for later.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::walk::Source;

const MARKS: [&str; 4] = ["TODO", "FIXME", "HACK", "XXX"];
/// More are counted, and not listed.
const LISTED_MAX: usize = 500;
/// A line's text is cut to so many characters.
const TEXT_MAX: usize = 160;

pub(crate) fn run(source: &Source, progress: &mut dyn FnMut(&str)) -> Value {
    let mut counts: BTreeMap<&str, u64> = MARKS.iter().map(|mark| (*mark, 0)).collect();
    let mut found = Vec::new();
    let sources: Vec<_> = source.files.iter().filter(|file| !file.language.is_empty()).collect();
    for (at, file) in sources.iter().enumerate() {
        if at % 500 == 0 {
            progress(&format!("{at} of {} files", sources.len()));
        }
        let Some(text) = source.text(file) else { continue };
        for (number, line) in text.lines().enumerate() {
            let Some(mark) = mark_in(line) else { continue };
            *counts.entry(mark).or_default() += 1;
            if found.len() < LISTED_MAX {
                let text: String = line.trim().chars().take(TEXT_MAX).collect();
                found.push(json!({"file": file.path, "line": number + 1, "mark": mark, "text": text}));
            }
        }
    }
    let total: u64 = counts.values().sum();
    json!({"total": total, "by_mark": counts, "found": found, "files_read": sources.len()})
}

/// The first mark that stands as a word and is meant: followed by a colon, a bracket, or the end, or after the
/// beginning of a comment. What stands in quotes is talked about, not meant.
fn mark_in(line: &str) -> Option<&'static str> {
    MARKS.into_iter().find(|mark| {
        line.match_indices(mark).any(|(at, _)| {
            let before = line[..at].trim_end();
            let after = &line[at + mark.len()..];
            let word = |c: char| c.is_alphanumeric() || c == '_';
            let whole = !line[..at].ends_with(word) && !after.starts_with(word);
            let comment =
                ["//", "#", "/*", "*", "--", "<!--", ";", "%", "(*"].iter().any(|c| before.ends_with(c));
            let called = after.starts_with(':') || after.starts_with('(');
            let quoted = before.matches('"').count() % 2 == 1;
            whole && !quoted && (comment || (called && before.is_empty()))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::mark_in;

    #[test]
    fn marks_are_words_in_comments() {
        let table = [
            ("// TODO: later", Some("TODO")),
            ("x = 1  # FIXME broken", Some("FIXME")),
            ("  * XXX", Some("XXX")),
            ("TODO(ada): plain text", Some("TODO")),
            ("const TODO: &str = \"\";", None),
            ("let marks = [\"TODO\"];", None),
            ("// TODOS", None),
            ("check(\"// TODO: later\")", None),
            ("the TODO list", None),
        ];
        for (line, expected) in table {
            assert_eq!(mark_in(line), expected, "{line}");
        }
    }
}
