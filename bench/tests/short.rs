//! Every workload in its short form, on both engines: that everything completes as it should. How fast it was
//! is nobody's business here.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::SystemTime,
};

use serde_json::Value;

const WORKLOADS: [&str; 10] = [
    "fanout",
    "chain",
    "three-steps",
    "diamond",
    "start",
    "mixed",
    "backlog",
    "held-xmin",
    "crowd",
    "replicas",
];

#[test]
fn every_workload_is_right_on_both_engines() {
    let bench = Path::new(env!("CARGO_BIN_EXE_downbeat-bench"));
    let ran = Command::new(bench)
        .args(["--short", "--json", "--downbeat"])
        .arg(downbeat(bench))
        .output()
        .expect("the bench runs");
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{}\n{said}{}", ran.status, String::from_utf8_lossy(&ran.stderr));
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    for engine in ["postgres", "sqlite"] {
        for workload in WORKLOADS {
            let found = lines.iter().any(|line| line["workload"] == workload && line["engine"] == engine);
            assert!(found, "no line of {workload} on {engine}:\n{said}");
        }
    }
}

/// The control plane's binary beside the bench's, built when it is missing or older.
fn downbeat(bench: &Path) -> PathBuf {
    let binary = bench.with_file_name("downbeat");
    if written(&binary) < written(bench) {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(["build", "--locked", "--quiet", "-p", "downbeat"]);
        if bench.parent().is_some_and(|dir| dir.ends_with("release")) {
            command.arg("--release");
        }
        let built = command.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo runs");
        assert!(built.success(), "cannot build the binary `downbeat`: {built}");
    }
    binary
}

fn written(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|file| file.modified()).ok()
}
