//! Every kept input of every fuzz target, once: no nightly, no libFuzzer. `make fuzz` looks for new ones.

use std::{
    fs,
    path::{Path, PathBuf},
};

use downbeat_tests::fuzz::TARGETS;

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace").join("fuzz/corpus")
}

fn names(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut names: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    names.sort();
    names
}

fn replay(target: &str) {
    let (_, run) = TARGETS.iter().find(|(name, _)| *name == target).expect("a target");
    let inputs = names(&corpora().join(target));
    assert!(!inputs.is_empty(), "the corpus of {target} is empty");
    for input in inputs {
        // Told only when the test fails.
        println!("{}", input.display());
        run(&fs::read(&input).expect("a kept input can be read"));
    }
}

#[test]
fn plan() {
    replay("plan");
}

#[test]
fn replica() {
    replay("replica");
}

#[test]
fn rules() {
    replay("rules");
}

#[test]
fn session() {
    replay("session");
}

#[test]
fn wire() {
    replay("wire");
}

#[test]
fn each_target_has_a_corpus_and_each_corpus_a_target() {
    let targets: Vec<PathBuf> = TARGETS.iter().map(|(name, _)| corpora().join(name)).collect();
    assert_eq!(names(&corpora()), targets);
}
