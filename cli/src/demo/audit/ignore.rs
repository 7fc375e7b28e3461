//! The common part of `.gitignore`: names and paths with `*`, `?` and `**`, directories by a slash at the end,
//! exceptions by `!`. The last rule that fits wins.

/// The rules of one file, for paths below its directory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ignore {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
struct Rule {
    pattern: String,
    keep: bool,
    directories_only: bool,
    /// Against the path from the directory of the file, not the last name alone.
    anchored: bool,
}

impl Ignore {
    pub(crate) fn parse(text: &str) -> Ignore {
        let rules = text.lines().filter_map(|line| {
            let line = line.trim_end();
            let (keep, line) = line.strip_prefix('!').map_or((false, line), |rest| (true, rest));
            let (directories_only, line) = line.strip_suffix('/').map_or((false, line), |rest| (true, rest));
            if line.is_empty() || line.starts_with('#') {
                return None;
            }
            let anchored = line.contains('/');
            let pattern = line.trim_start_matches('/').to_owned();
            Some(Rule { pattern, keep, directories_only, anchored })
        });
        Ignore { rules: rules.collect() }
    }

    /// What these rules say of a path below their directory; `None`: nothing.
    pub(crate) fn verdict(&self, path: &str, directory: bool) -> Option<bool> {
        let name = path.rsplit('/').next().unwrap_or(path);
        let fits = |rule: &&Rule| {
            (directory || !rule.directories_only)
                && fits(rule.pattern.as_bytes(), if rule.anchored { path } else { name }.as_bytes())
        };
        self.rules.iter().rev().find(fits).map(|rule| !rule.keep)
    }
}

/// `*` and `?` stay within a name, `**` does not.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    match pattern {
        [] => text.is_empty(),
        [b'*', b'*', b'/', rest @ ..] => {
            fits(rest, text)
                || text.iter().enumerate().any(|(at, byte)| *byte == b'/' && fits(rest, &text[at + 1..]))
        }
        [b'*', b'*', rest @ ..] => (0..=text.len()).any(|at| fits(rest, &text[at..])),
        [b'*', rest @ ..] => {
            let name = text.iter().position(|byte| *byte == b'/').unwrap_or(text.len());
            (0..=name).any(|at| fits(rest, &text[at..]))
        }
        [b'?', rest @ ..] => text.first().is_some_and(|byte| *byte != b'/') && fits(rest, &text[1..]),
        [byte, rest @ ..] => text.first() == Some(byte) && fits(rest, &text[1..]),
    }
}

#[cfg(test)]
mod tests {
    use super::Ignore;

    #[test]
    fn paths_are_ignored_as_git_does() {
        let ignore =
            Ignore::parse("# comment\n\ntarget/\n*.log\n!keep.log\n/build\ndocs/*.pdf\n**/gen/*.rs\n");
        let table = [
            ("target", true, Some(true)),
            ("target", false, None),
            ("a/target", true, Some(true)),
            ("a/b.log", false, Some(true)),
            ("keep.log", false, Some(false)),
            ("build", false, Some(true)),
            ("a/build", false, None),
            ("docs/x.pdf", false, Some(true)),
            ("docs/a/x.pdf", false, None),
            ("a/gen/x.rs", false, Some(true)),
            ("gen/x.rs", false, Some(true)),
            ("main.rs", false, None),
        ];
        for (path, directory, expected) in table {
            assert_eq!(ignore.verdict(path, directory), expected, "{path}");
        }
    }
}
