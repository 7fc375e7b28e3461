//! The rules of the house that no compiler checks: which crate may know which, what must be absent, how long
//! a file may get. STYLE.md gives the reasons.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// What each crate may depend on inside the workspace. Arrows that are not here are walls.
const ARROWS: &[(&str, &[&str])] = &[
    ("proto", &[]),
    ("control-plane/core", &[]),
    ("control-plane/store", &["downbeat-core"]),
    ("control-plane/server", &["downbeat-core", "downbeat-store", "downbeat-proto"]),
    ("sdk/rust", &["downbeat-proto"]),
    ("worker", &["downbeat-sdk"]),
    ("cli", &["downbeat-server", "downbeat-store", "downbeat-sdk", "downbeat-worker"]),
];

/// All that the core may use from elsewhere: no async, no clock, no randomness, no IO.
const CORE_DEPENDENCIES: &[&str] =
    &["blake3", "bytes", "cel", "croner", "jiff", "serde", "serde_json", "thiserror"];

/// Where one looks for a second idea in a room.
const FILE_LINES_MAX: usize = 650;

fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("tests/ lies in the workspace").to_owned()
}

/// Every file that git tracks or would track, with its path from the root.
fn files(endings: &[&str]) -> BTreeMap<String, String> {
    let listed = std::process::Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git lists the files");
    assert!(listed.status.success(), "git ls-files failed: {}", String::from_utf8_lossy(&listed.stderr));
    let names = String::from_utf8(listed.stdout).expect("paths are UTF-8");
    names
        .lines()
        .filter(|name| endings.iter().any(|ending| name.ends_with(ending)))
        .filter_map(|name| Some((name.to_owned(), fs::read_to_string(root().join(name)).ok()?)))
        .collect()
}

/// The names in a manifest's `[dependencies]`.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    manifest
        .lines()
        .skip_while(|line| line.trim() != "[dependencies]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split(['.', '=', ' ']).next())
        .filter(|name| !name.is_empty() && !name.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

fn check(problems: &[String]) {
    assert!(problems.is_empty(), "{} problem(s):\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn crates_know_only_whom_they_may() {
    let mut problems = Vec::new();
    for (path, allowed) in ARROWS {
        let manifest = fs::read_to_string(root().join(path).join("Cargo.toml")).expect("the crate is there");
        let ours = dependencies(&manifest).into_iter().filter(|name| name.starts_with("downbeat"));
        problems.extend(
            ours.filter(|name| !allowed.contains(&name.as_str()))
                .map(|name| format!("{path} must not depend on {name}")),
        );
    }
    check(&problems);
}

#[test]
fn the_core_depends_on_a_closed_list() {
    let manifest =
        fs::read_to_string(root().join("control-plane/core/Cargo.toml")).expect("the core is there");
    let extra: Vec<String> = dependencies(&manifest)
        .into_iter()
        .filter(|name| !CORE_DEPENDENCIES.contains(&name.as_str()))
        .map(|name| format!("the core must not depend on {name}"))
        .collect();
    check(&extra);
}

#[test]
fn only_wire_knows_both_proto_and_core() {
    // The faces hold services and streams; what a message means stands in wire/.
    let mut problems = Vec::new();
    for (name, text) in files(&[".rs"]) {
        let engine = name.starts_with("control-plane/server/src/")
            && !["wire/", "grpc/"].iter().any(|part| name.contains(part));
        if engine && text.contains("downbeat_proto") {
            problems.push(format!("{name} names downbeat_proto"));
        }
    }
    check(&problems);
}

#[test]
fn files_stay_short() {
    let long = files(&[".rs", ".py", ".ts"])
        .into_iter()
        .filter(|(name, _)| !name.contains("/tests/"))
        .map(|(name, text)| (name, text.lines().count()))
        .filter(|(_, lines)| *lines > FILE_LINES_MAX)
        .map(|(name, lines)| format!("{name}: {lines} lines, at most {FILE_LINES_MAX}: split it by noun"));
    check(&long.collect::<Vec<_>>());
}

#[test]
fn every_module_says_what_lives_there() {
    let silent = files(&[".rs"])
        .into_iter()
        .filter(|(_, text)| !text.trim_start().starts_with("//!"))
        .map(|(name, _)| format!("{name} does not open with //!"));
    check(&silent.collect::<Vec<_>>());
}

#[test]
fn nothing_is_left_unfinished() {
    let marks = [
        ["TO", "DO"].concat(),
        ["FIX", "ME"].concat(),
        ["#[ign", "ore"].concat(),
        ["todo", "!("].concat(),
        ["unimplemented", "!("].concat(),
    ];
    let mut problems = Vec::new();
    for (name, text) in files(&[".rs", ".sql", ".proto", ".sh"]) {
        // The demo's auditors look for these marks in other people's trees, so they have to name them.
        if name.starts_with("cli/") {
            continue;
        }
        for (number, line) in (1..).zip(text.lines()) {
            if marks.iter().any(|mark| line.contains(mark.as_str())) {
                problems.push(format!("{name}:{number}: {}", line.trim()));
            }
        }
    }
    check(&problems);
}

#[test]
fn nothing_names_the_machine_it_was_written_on() {
    let homes = ["work", "root", "home"].map(|folder| format!("/{folder}/"));
    let mut problems = Vec::new();
    for (name, text) in
        files(&[".rs", ".sql", ".proto", ".md", ".toml", ".yaml", ".yml", "Makefile", ".json"])
    {
        for (number, line) in (1..).zip(text.lines()) {
            let named = |home: &str| {
                line.match_indices(home).any(|(at, _)| {
                    let before = line[..at].chars().next_back();
                    !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '}'))
                })
            };
            if homes.iter().any(|home| named(home)) {
                problems.push(format!("{name}:{number}: {}", line.trim()));
            }
        }
    }
    check(&problems);
}

#[test]
fn both_dialects_have_the_same_migrations_and_statements() {
    let names = |folder: &str| -> BTreeSet<String> {
        fs::read_dir(root().join(folder))
            .unwrap_or_else(|error| panic!("{folder}: {error}"))
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
            .collect()
    };
    assert_eq!(names("migrations/postgres"), names("migrations/sqlite"));
}

#[test]
fn a_sql_file_holds_one_statement() {
    let mut problems = Vec::new();
    for (name, text) in files(&[".sql"]) {
        if name.starts_with("migrations/") {
            continue;
        }
        let code: String = text.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
        // A script, not a statement: DDL takes no parameters, and sets its own lock time-out first.
        let script = name.ends_with("/create_partition.sql");
        if !script && code.trim_end().trim_end_matches(';').contains(';') {
            problems.push(format!("{name} holds more than one statement"));
        }
        if code.to_lowercase().contains("now()") {
            problems.push(format!("{name} asks SQL for the time: Now is given"));
        }
    }
    check(&problems);
}
