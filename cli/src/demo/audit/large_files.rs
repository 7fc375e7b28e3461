//! What is large: files by bytes, sources by lines.

use std::cmp::Reverse;

use serde_json::{Value, json};

use super::{
    languages,
    walk::{Source, SourceFile},
};

const LISTED_MAX: usize = 10;
/// Sources above this many lines are counted: perhaps a second idea lives in the same room.
const LONG_LINES: u64 = 600;

pub(crate) fn run(source: &Source) -> Value {
    let code: Vec<&SourceFile> =
        source.files.iter().filter(|file| languages::is_code(file.language)).collect();
    let mut by_bytes: Vec<&SourceFile> = source.files.iter().collect();
    by_bytes.sort_by_key(|file| (Reverse(file.bytes), file.path.as_str()));
    let mut by_lines = code.clone();
    by_lines.sort_by_key(|file| (Reverse(file.lines), file.path.as_str()));
    let mut lines: Vec<u64> = code.iter().map(|file| file.lines).collect();
    lines.sort_unstable();
    json!({
        "largest": by_bytes.iter().take(LISTED_MAX)
            .map(|file| json!({"file": file.path, "bytes": file.bytes})).collect::<Vec<_>>(),
        "longest": by_lines.iter().take(LISTED_MAX)
            .map(|file| json!({"file": file.path, "lines": file.lines, "language": file.language}))
            .collect::<Vec<_>>(),
        "sources": code.len(),
        "median_lines": lines.get(lines.len() / 2),
        "long_sources": lines.iter().filter(|lines| **lines > LONG_LINES).count(),
        "long_means_lines": LONG_LINES,
    })
}
