//! Tests: which files hold them, and how many there are, by language.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::walk::{Source, SourceFile};

/// Files listed, those with most tests first.
const LISTED_MAX: usize = 20;

#[derive(Default)]
struct Count {
    files: u64,
    tests: u64,
    skipped: u64,
}

pub(crate) fn run(source: &Source, progress: &mut dyn FnMut(&str)) -> Value {
    let mut languages: BTreeMap<&str, Count> = BTreeMap::new();
    let mut files: Vec<(u64, &SourceFile)> = Vec::new();
    let mut code_lines: BTreeMap<&str, u64> = BTreeMap::new();
    let counted: Vec<&SourceFile> =
        source.files.iter().filter(|file| rules(file.language).is_some()).collect();
    for (at, file) in counted.iter().enumerate() {
        if at % 500 == 0 {
            progress(&format!("{at} of {} files", counted.len()));
        }
        *code_lines.entry(file.language).or_default() += file.lines;
        let Some(text) = source.text(file) else { continue };
        let (tests, skipped) = count(file.language, &text);
        if tests > 0 {
            let count = languages.entry(file.language).or_default();
            count.files += 1;
            count.tests += tests;
            count.skipped += skipped;
            files.push((tests, file));
        }
    }
    files.sort_by_key(|(tests, file)| (std::cmp::Reverse(*tests), file.path.as_str()));
    let untested: Vec<&str> =
        code_lines.keys().filter(|name| !languages.contains_key(*name)).copied().collect();
    json!({
        "tests": languages.values().map(|count| count.tests).sum::<u64>(),
        "skipped": languages.values().map(|count| count.skipped).sum::<u64>(),
        "files": files.len(),
        "languages": languages.iter().map(|(name, count)| json!({
            "language": name,
            "files": count.files,
            "tests": count.tests,
            "skipped": count.skipped,
            "lines_of_language": code_lines.get(name),
        })).collect::<Vec<_>>(),
        "without_tests": untested,
        "largest": files.iter().take(LISTED_MAX)
            .map(|(tests, file)| json!({"file": file.path, "tests": tests})).collect::<Vec<_>>(),
    })
}

/// Whether a line begins a test, and whether it skips one.
type Rule = fn(&str) -> (bool, bool);

/// How a test, and a skipped one, begins in a language; `None` for languages that are not counted.
fn rules(language: &str) -> Option<Rule> {
    let rule: Rule = match language {
        "Rust" => |line| {
            let attribute = line.strip_prefix("#[").unwrap_or_default();
            let name = attribute.split([']', '(']).next().unwrap_or_default();
            (
                name == "test" || name.ends_with("::test") || name == "rstest",
                name == "ignore" || attribute.starts_with("ignore"),
            )
        },
        "Python" => |line| {
            let test = line.strip_prefix("async ").unwrap_or(line).starts_with("def test");
            (test, line.starts_with("@pytest.mark.skip") || line.starts_with("@unittest.skip"))
        },
        "JavaScript" | "TypeScript" => |line| {
            let starts = |names: &[&str]| names.iter().any(|name| line.starts_with(name));
            let skipped = starts(&["it.skip(", "test.skip(", "xit(", "xtest("]);
            (skipped || starts(&["it(", "test(", "it.each(", "test.each("]), skipped)
        },
        "Go" => |line| {
            (line.starts_with("func Test") || line.starts_with("func Fuzz"), line.starts_with("t.Skip"))
        },
        "Java" | "Kotlin" => |line| {
            let word = line.split(['(', ' ']).next().unwrap_or_default();
            (matches!(word, "@Test" | "@ParameterizedTest"), matches!(word, "@Disabled" | "@Ignore"))
        },
        "C#" => |line| {
            (["[Fact", "[Theory", "[Test"].iter().any(|name| line.starts_with(name)), line.contains("Skip ="))
        },
        "Ruby" => |line| (line.starts_with("it ") || line.starts_with("def test_"), line.starts_with("xit ")),
        _ => return None,
    };
    Some(rule)
}

fn count(language: &str, text: &str) -> (u64, u64) {
    let Some(rule) = rules(language) else { return (0, 0) };
    text.lines()
        .map(|line| rule(line.trim_start()))
        .fold((0, 0), |(tests, skipped), (test, skip)| (tests + u64::from(test), skipped + u64::from(skip)))
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn tests_are_counted_by_language() {
        let table = [
            ("Rust", "#[test]\nfn a() {}\n  #[tokio::test(flavor = \"x\")]\n#[ignore]\n#[test]\n", (3, 1)),
            ("Rust", "#[cfg(test)]\nmod tests {}\n// #[test]\n", (0, 0)),
            ("Python", "def test_a():\n    async def test_b():\n@pytest.mark.skip\ndef helper():\n", (2, 1)),
            ("TypeScript", "it('a', () => {\n  test.skip('b')\nsubmit('c')\n", (2, 1)),
            ("Go", "func TestA(t *testing.T) {\nfunc Helper() {\n", (1, 0)),
        ];
        for (language, text, expected) in table {
            assert_eq!(count(language, text), expected, "{language}");
        }
    }
}
