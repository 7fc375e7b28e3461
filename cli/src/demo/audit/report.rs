//! The synthesis: findings of the audits as one Markdown report, kept as a file and handed on by reference.

use std::{fmt::Write, fs, path::Path};

use serde_json::{Value, json};

use super::Kind;
use crate::{demo::brief::Brief, words};

/// Rows of a table; the rest is counted.
const ROWS_MAX: usize = 15;

/// Writes the report where the input says, and names it as an artifact.
pub(crate) fn write(brief: &Brief, progress: &mut dyn FnMut(&str)) -> Result<Value, String> {
    let path = brief.input["report"].as_str().ok_or("the input has no `report`: the file to write")?;
    progress("writing the report");
    let markdown = markdown(brief);
    fs::write(path, &markdown).map_err(|error| format!("cannot write {path}: {error}"))?;
    Ok(json!({
        "markdown": markdown,
        "$artifacts": [{
            "name": "report",
            "uri": file_uri(Path::new(path)),
            "media_type": "text/markdown",
            "size_bytes": markdown.len(),
            "digest": format!("blake3:{}", blake3::hash(markdown.as_bytes()).to_hex()),
        }],
    }))
}

/// A path as a URI, with everything escaped that is not plainly allowed.
fn file_uri(path: &Path) -> String {
    let path = path.to_string_lossy();
    let mut uri = "file://".to_owned();
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => {
                uri.push(char::from(byte))
            }
            _ => {
                let _ = write!(uri, "%{byte:02X}");
            }
        }
    }
    uri
}

fn markdown(brief: &Brief) -> String {
    let survey = brief.output(Kind::Survey.name());
    let mut text = format!("# Audit of {}\n\n", survey["root"].as_str().unwrap_or("a source tree"));
    overview(&mut text, survey);
    todos(&mut text, brief.output(Kind::TodoScan.name()));
    dependencies(&mut text, brief.output(Kind::DependencyAudit.name()));
    tests(&mut text, brief.output(Kind::TestInventory.name()), survey);
    large(&mut text, brief.output(Kind::LargeFiles.name()));
    text
}

fn overview(text: &mut String, survey: &Value) {
    let bytes = words::size(number(&survey["bytes"]));
    let (files, directories, lines) = (&survey["files"], &survey["directories"], &survey["lines"]);
    let _ = writeln!(text, "{files} files in {directories} directories, {lines} lines, {bytes}.");
    if number(&survey["unreadable"]) > 0 {
        let _ = writeln!(text, "{} of them could not be read.", survey["unreadable"]);
    }
    let rows = rows(&survey["languages"]).map(|language| {
        let size = words::size(number(&language["bytes"]));
        vec![word(&language["language"]), plain(&language["files"]), plain(&language["lines"]), size]
    });
    table(text, &["Language", "Files", "Lines", "Size"], rows.collect());
}

fn todos(text: &mut String, todos: &Value) {
    heading(text, "Marks left for later");
    let marks = todos["by_mark"].as_object();
    let counts: Vec<String> =
        marks.into_iter().flatten().map(|(mark, count)| format!("{mark} {count}")).collect();
    let _ = writeln!(text, "{} in {} sources: {}.", todos["total"], todos["files_read"], counts.join(", "));
    let rows = rows(&todos["found"]).map(|found| {
        let place = format!("{}:{}", found["file"].as_str().unwrap_or_default(), found["line"]);
        vec![code(&place), code(found["text"].as_str().unwrap_or_default())]
    });
    table(text, &["Where", "What"], rows.collect());
}

fn dependencies(text: &mut String, audit: &Value) {
    heading(text, "Dependencies");
    let manifests = audit["manifests"].as_array().map_or(0, Vec::len);
    let locks = audit["lock_files"].as_array().map_or(0, Vec::len);
    let _ = writeln!(
        text,
        "{} declared ({} distinct) in {manifests} manifests, {locks} lock files. Unpinned {}, from git {}, from \
         paths {}.",
        audit["declared"],
        audit["distinct"],
        audit["unpinned"]["count"],
        audit["git"]["count"],
        audit["path"]["count"]
    );
    let odd = ["unpinned", "git"].into_iter().flat_map(|issue| {
        rows(&audit[issue]["listed"]).map(move |found| {
            let requirement = found["requirement"].as_str().unwrap_or_default();
            vec![word(&found["name"]), issue.to_owned(), code(requirement), word(&found["manifest"])]
        })
    });
    table(text, &["Dependency", "Issue", "Requirement", "Manifest"], odd.collect());
    let differing =
        rows(&audit["differing"]).map(|found| vec![word(&found["name"]), list(&found["requirements"])]);
    table(text, &["Required differently", "Requirements"], differing.collect());
    let twice =
        rows(&audit["locked_twice"]).map(|found| vec![word(&found["name"]), list(&found["versions"])]);
    table(text, &["Locked more than once", "Versions"], twice.collect());
    for found in rows(&audit["unreadable"]) {
        let _ = writeln!(text, "\nCannot read {}: {}", word(&found["file"]), word(&found["error"]));
    }
}

fn tests(text: &mut String, inventory: &Value, survey: &Value) {
    heading(text, "Tests");
    let _ = writeln!(
        text,
        "{} tests in {} files, {} of them skipped.",
        inventory["tests"], inventory["files"], inventory["skipped"]
    );
    let by_language = rows(&inventory["languages"]).map(|language| {
        let (tests, lines) = (number(&language["tests"]), number(&language["lines_of_language"]));
        let density =
            if lines > 0 { format!("{:.1}", tests as f64 * 1e3 / lines as f64) } else { "-".to_owned() };
        vec![word(&language["language"]), plain(&language["tests"]), plain(&language["files"]), density]
    });
    table(text, &["Language", "Tests", "Files", "Per 1,000 lines"], by_language.collect());
    let without = rows(&inventory["without_tests"]).filter(|name| {
        // A few lines of glue need no tests.
        let language = rows(&survey["languages"]).find(|language| language["language"] == **name);
        language.is_some_and(|language| number(&language["lines"]) >= 200)
    });
    let without: Vec<String> = without.map(word).collect();
    if !without.is_empty() {
        let _ = writeln!(text, "\nWithout any test: {}.", without.join(", "));
    }
}

fn large(text: &mut String, large: &Value) {
    heading(text, "Large files");
    let _ = writeln!(
        text,
        "{} of {} sources have more than {} lines; the median is {}.",
        large["long_sources"], large["sources"], large["long_means_lines"], large["median_lines"]
    );
    let longest = rows(&large["longest"])
        .map(|file| vec![code(file["file"].as_str().unwrap_or_default()), plain(&file["lines"])]);
    table(text, &["Longest source", "Lines"], longest.collect());
    let largest = rows(&large["largest"]).map(|file| {
        vec![code(file["file"].as_str().unwrap_or_default()), words::size(number(&file["bytes"]))]
    });
    table(text, &["Largest file", "Size"], largest.collect());
}

fn heading(text: &mut String, title: &str) {
    let _ = writeln!(text, "\n## {title}\n");
}

/// A table with its head; nothing without rows.
fn table(text: &mut String, head: &[&str], rows: Vec<Vec<String>>) {
    if rows.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n| {} |\n|{}", head.join(" | "), " --- |".repeat(head.len()));
    for row in rows.iter().take(ROWS_MAX) {
        let _ = writeln!(text, "| {} |", row.join(" | "));
    }
    if rows.len() > ROWS_MAX {
        let _ = writeln!(text, "\nand {} more.", rows.len() - ROWS_MAX);
    }
}

fn rows(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

fn plain(value: &Value) -> String {
    if value.is_null() { "-".to_owned() } else { value.to_string() }
}

fn word(value: &Value) -> String {
    escape(value.as_str().unwrap_or_default())
}

fn list(value: &Value) -> String {
    rows(value).map(word).collect::<Vec<_>>().join(", ")
}

/// As code within a table: what stands in sources must not become Markdown.
fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{}`", text.replace('`', "'").replace('|', "\\|")) }
}

fn escape(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{code, file_uri};

    #[test]
    fn paths_become_uris() {
        assert_eq!(file_uri(Path::new("/tmp/a b/ü.md")), "file:///tmp/a%20b/%C3%BC.md");
    }

    #[test]
    fn sources_do_not_become_markdown() {
        assert_eq!(code("a `b` | c"), "`a 'b' \\| c`");
    }
}
