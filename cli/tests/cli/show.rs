//! `downbeat demo` on a small tree.

use std::{fs, path::Path};

use serde_json::Value;

use crate::house::{Answer, binary, scratch};

fn tree() -> std::path::PathBuf {
    let root = scratch("tree");
    fs::create_dir_all(root.join("src/generated")).unwrap();
    fs::create_dir_all(root.join("target")).unwrap();
    let source = "// TODO: more\n#[test]\nfn works() {}\n";
    fs::write(root.join("src/lib.rs"), source).unwrap();
    fs::write(root.join("src/generated/x.rs"), "// FIXME: not ours\n").unwrap();
    fs::write(root.join("target/y.rs"), "// FIXME: not ours\n").unwrap();
    fs::write(root.join(".gitignore"), "generated/\n").unwrap();
    fs::write(root.join("Cargo.toml"), "[dependencies]\nserde = \"1\"\nodd = \"*\"\n").unwrap();
    root
}

fn demo(args: &[&str], root: &Path) -> Answer {
    let keep = scratch("demo");
    let mut command = binary();
    command.arg("demo").arg(root).args(["--json", "--keep"]).arg(keep).args(args);
    Answer::of(command.output().unwrap())
}

fn last(answer: &Answer) -> Value {
    answer.lines().pop().unwrap()
}

#[test]
fn a_tree_is_audited() {
    let done = last(&demo(&[], &tree()).ok());
    let report = done["report"].as_str().unwrap();
    for expected in [
        "TODO 1",
        "FIXME 0",
        "`src/lib.rs:1`",
        "2 declared (2 distinct) in 1 manifests",
        "| odd | unpinned | `*` | Cargo.toml |",
        "1 tests in 1 files",
    ] {
        assert!(report.contains(expected), "expected {expected:?} in:\n{report}");
    }
    let artifact = &done["artifact"];
    let path = artifact["uri"].as_str().unwrap().strip_prefix("file://").unwrap();
    assert_eq!(fs::read_to_string(path).unwrap(), report);
    assert_eq!(artifact["size_bytes"].as_u64(), Some(report.len() as u64));
    let workers: Vec<&str> =
        done["timeline"].as_array().unwrap().iter().map(|row| row["worker"].as_str().unwrap()).collect();
    assert_eq!((workers.len(), workers[0], workers[5]), (6, "survey", "synthesis"));
}

#[test]
fn a_killed_worker_costs_no_task() {
    let done = last(&demo(&["--chaos"], &tree()).ok());
    assert_eq!(done["task"]["status"], "completed");
    let timeline = done["timeline"].as_array().unwrap().iter();
    let victim: Vec<(&str, &str)> = timeline
        .filter(|row| row["subtask"] == "todo-scan")
        .map(|row| (row["worker"].as_str().unwrap(), row["outcome"].as_str().unwrap()))
        .collect();
    assert_eq!(victim, [("todo-scan", "lost"), ("todo-scan-2", "completed")]);
    assert!(done["report"].as_str().unwrap().contains("TODO 1"));
}

#[test]
fn what_is_no_tree_is_told() {
    demo(&[], Path::new("/no/such/tree")).exits(2).complains("/no/such/tree");
}
