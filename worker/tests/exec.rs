//! The exec executor with real processes, behind a scripted control plane.
#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

#[path = "../../sdk/rust/tests/support/mod.rs"]
mod support;

use std::time::Duration;

use downbeat_sdk::{
    Agent,
    proto::{
        Artifact, AttemptError, Brief, Cancel, Dependency, Failed, Result as AttemptResult, SubtaskState,
        Suspended, Welcome, context_answer, result::Outcome, result_ack::Verdict, session_request,
        session_response,
    },
};
use downbeat_worker::{Config, Error, Exec, Executor, worker};
use support::{ControlPlane, Stream, brief, lease, soon, welcome};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::unix::pipe,
    task::JoinHandle,
};

/// A worker that runs `script` with sh for each attempt.
struct Shell {
    stream: Stream,
    _control_plane: ControlPlane,
    worker: JoinHandle<()>,
}

impl Drop for Shell {
    fn drop(&mut self) {
        self.worker.abort();
    }
}

fn config(script: &str) -> Config {
    Config::new(Agent::new("echo"), Executor::Exec(Exec::new("sh", ["-c", script])))
}

async fn shell(script: &str) -> Shell {
    start(config(script)).await
}

async fn start(mut config: Config) -> Shell {
    let mut control_plane = ControlPlane::start().await;
    config.addrs = vec![control_plane.addr.clone()];
    let worker = worker(config).unwrap();
    let worker = tokio::spawn(async move {
        worker.run_until(std::future::pending()).await.unwrap();
    });
    Shell { stream: control_plane.welcome().await, _control_plane: control_plane, worker }
}

impl Shell {
    /// Runs one attempt to its end.
    async fn run(&mut self, brief: Brief) -> AttemptResult {
        self.stream.start(brief).await;
        self.result().await
    }

    /// The next result, whatever progress comes before.
    async fn result(&mut self) -> AttemptResult {
        loop {
            match self.stream.next().await {
                Some(session_request::Message::Results(mut results)) => return results.results.remove(0),
                Some(_) => {}
                None => panic!("expected a result, and the stream ended"),
            }
        }
    }
}

fn output(result: AttemptResult) -> (String, Vec<Artifact>) {
    match result.outcome {
        Some(Outcome::Completed(completed)) => {
            (String::from_utf8(completed.output.to_vec()).unwrap(), completed.artifacts)
        }
        other => panic!("expected an output, got {other:?}"),
    }
}

/// The code and message of a failure, and whether it may be retried.
fn failure(result: AttemptResult) -> (String, String, bool) {
    match result.outcome {
        Some(Outcome::Failed(Failed { error: Some(AttemptError { code, message }), retryable })) => {
            (code, message, retryable)
        }
        other => panic!("expected a failure, got {other:?}"),
    }
}

/// A named pipe: a process that opens it is heard of by the test, and so is its end.
struct Fifo {
    path: std::path::PathBuf,
}

impl Fifo {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("downbeat-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        Self { path }
    }

    fn reader(&self) -> BufReader<pipe::Receiver> {
        BufReader::new(pipe::OpenOptions::new().open_receiver(&self.path).unwrap())
    }
}

impl Drop for Fifo {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The next line; empty at the end, when the last process that had the pipe open is gone.
async fn line(reader: &mut BufReader<pipe::Receiver>) -> String {
    let mut line = String::new();
    soon(reader.read_line(&mut line)).await.unwrap();
    line.trim().to_owned()
}

#[tokio::test]
async fn only_the_plan_names_secrets() {
    let mut shell = shell("echo ran").await;
    let input = r#"{"token":{"$secret":"NOBODY_HAS_IT"}}"#;
    let (code, message, retryable) = failure(shell.run(brief(1, input)).await);
    assert_eq!((code.as_str(), retryable), ("SECRET_MISSING", false));
    assert!(message.contains("DOWNBEAT_SECRET_NOBODY_HAS_IT"), "{message}");
    // An element of a map that stands for the input is what another agent said.
    let mut shell = self::shell("sed 's/.*\"input\":\\(.*\\),\"item\".*/\\1/'").await;
    let element = Brief { item: input.into(), ..brief(2, input) };
    assert_eq!(output(shell.run(element).await).0, input);
}

#[tokio::test]
async fn hands_over_the_brief_and_the_environment() {
    let script = r#"printf '[%s,"%s","%s",%s,%s]' "$(cat)" "$DOWNBEAT_TASK_ID" "$DOWNBEAT_SUBTASK_ID" \
        "$DOWNBEAT_LEASE_ID" "$DOWNBEAT_ATTEMPT""#;
    let mut shell = shell(script).await;
    let artifact = Artifact { name: "a".into(), uri: "s3://a".into(), ..Default::default() };
    let dependency = Dependency {
        key: "d".into(),
        subtask_id: "t/d".into(),
        state: SubtaskState::Completed.into(),
        output: "[1.50]".into(),
        artifacts: vec![artifact],
        ..Default::default()
    };
    let brief = Brief {
        dependencies: vec![dependency],
        context: r#"{"c":1}"#.into(),
        context_versions: [("c".to_owned(), 3)].into(),
        deadline_ms: 4_102_444_800_000,
        title: "T".into(),
        ..brief(9, r#"{"n": 1e2}"#)
    };
    let (output, _) = output(shell.run(brief).await);
    let expected = concat!(
        r#"[{"task_id":"t","subtask_id":"t/s","key":"s","agent":"echo","attempt":1,"lease_id":9,"title":"T","#,
        r#""description":"","input":{"n": 1e2},"item":null,"nth":null,"dependencies":{"d":{"state":"completed","output":[1.50],"#,
        r#""artifacts":[{"name":"a","uri":"s3://a","media_type":"","size_bytes":0,"digest":""}]}},"children":{},"#,
        r#""context":{"c":1},"context_versions":{"c":3},"deadline":"2100-01-01T00:00:00Z"},"t","t/s",9,1]"#,
    );
    assert_eq!(output, expected);
}

#[tokio::test]
async fn stdout_is_the_output_and_artifacts_are_taken_out() {
    for (stdout, text, artifacts) in [
        (r#" {"b": 1.0, "a": "\u00e9"} "#, r#"{"b": 1.0, "a": "\u00e9"}"#, 0),
        ("12", "12", 0),
        ("", "", 0),
        (r#"{"r": 1.0, "$artifacts": [{"name": "n", "uri": "u", "size_bytes": 3}]}"#, r#"{"r":1.0}"#, 1),
    ] {
        let mut shell = shell(&format!("printf '%s' '{stdout}'")).await;
        let (output, found) = output(shell.run(brief(1, "")).await);
        assert_eq!((&*output, found.len()), (text, artifacts));
    }
}

#[tokio::test]
async fn children_are_added_and_the_subtask_given_back() {
    let stdout = r#"{"$spawn": [{"key": "a", "agent": "writer", "input": {"n": 1}}, {"key": "b", "agent": "joiner", "depends_on": ["a"]}], "$suspend": true}"#;
    let mut shell = shell(&format!("cat > /dev/null; printf '%s' '{stdout}'")).await;
    shell.stream.start(brief(1, "")).await;
    let spawn = shell.stream.spawn().await;
    let keys: Vec<&str> = spawn.children.iter().map(|child| child.key.as_str()).collect();
    assert_eq!((spawn.lease, keys), (Some(lease(1)), vec!["a", "b"]));
    assert_eq!((&*spawn.children[0].input, &*spawn.children[1].depends_on[0]), (&br#"{"n":1}"#[..], "a"));
    shell.stream.ack_spawn(&spawn, Verdict::Accepted, "").await;
    assert_eq!(shell.result().await.outcome, Some(Outcome::Suspended(Suspended {})));
}

#[tokio::test]
async fn subtask_that_runs_again_finds_its_children_and_its_item() {
    let mut shell = shell("cat").await;
    let child = Dependency {
        key: "a".into(),
        state: SubtaskState::Completed.into(),
        output: "[1.50]".into(),
        ..Default::default()
    };
    let (output, _) = output(
        shell.run(Brief { children: vec![child], item: r#""x""#.into(), nth: Some(2), ..brief(1, "") }).await,
    );
    assert!(output.contains(r#""item":"x","nth":2"#), "{output}");
    assert!(
        output.contains(r#""children":{"a":{"state":"completed","output":[1.50],"artifacts":[]}}"#),
        "{output}"
    );
}

#[tokio::test]
async fn children_may_be_added_beside_an_output() {
    let stdout = r#"{"r": 1.0, "$suspend": false, "$spawn": [{"key": "a", "agent": "writer"}]}"#;
    let mut shell = shell(&format!("printf '%s' '{stdout}'")).await;
    shell.stream.start(brief(1, "")).await;
    let spawn = shell.stream.spawn().await;
    shell.stream.ack_spawn(&spawn, Verdict::Duplicate, "").await;
    assert_eq!(output(shell.result().await).0, r#"{"r":1.0}"#);
}

#[tokio::test]
async fn children_that_are_refused_fail_the_attempt_for_good() {
    let mut shell = shell(r#"printf '%s' '{"$spawn": [{"key": "a", "agent": "writer"}]}'"#).await;
    shell.stream.start(brief(1, "")).await;
    let spawn = shell.stream.spawn().await;
    shell.stream.ack_spawn(&spawn, Verdict::Refused, "too many").await;
    let expected = ("SPAWN_REFUSED".to_owned(), "too many".to_owned(), false);
    assert_eq!(failure(shell.result().await), expected);
}

#[tokio::test]
async fn the_context_is_written_before_the_result() {
    let stdout = r#"{"$context": [{"key": "a", "value": [1.0], "expected_version": 2}, {"key": "b", "value": null}, {"key": "c", "delete": true}], "r": 1}"#;
    let mut shell = shell(&format!("printf '%s' '{stdout}'")).await;
    shell.stream.start(brief(1, "")).await;
    for (key, value, expected_version) in
        [("a", Some("[1.0]"), Some(2)), ("b", Some("null"), None), ("c", None, None)]
    {
        let write = shell.stream.write().await;
        assert_eq!((write.key.as_str(), write.value.as_deref()), (key, value.map(str::as_bytes)));
        assert_eq!((write.lease, write.expected_version), (Some(lease(1)), expected_version));
        shell.stream.answer_write(&write, context_answer::Verdict::Done, 3).await;
    }
    assert_eq!(output(shell.result().await).0, r#"{"r":1}"#);
}

#[tokio::test]
async fn a_write_that_somebody_else_was_faster_with_fails_the_attempt() {
    let stdout = r#"{"$context": [{"key": "a", "value": 1, "expected_version": 2}]}"#;
    for (verdict, code, retryable) in [
        (context_answer::Verdict::Conflict, "VERSION_CONFLICT", true),
        (context_answer::Verdict::Refused, "CONTEXT_REFUSED", false),
    ] {
        let mut shell = shell(&format!("printf '%s' '{stdout}'")).await;
        shell.stream.start(brief(1, "")).await;
        let write = shell.stream.write().await;
        shell.stream.answer_write(&write, verdict, 5).await;
        let (found, message, may) = failure(shell.result().await);
        assert_eq!((found.as_str(), may), (code, retryable), "{message}");
    }
}

#[tokio::test]
async fn what_is_not_json_fails_with_advice() {
    for (stdout, problem) in [
        ("done", "expected value"),
        (r#"{"a": 1} trailing"#, "trailing characters"),
        (
            r#"{"$artifacts": [{"uri": "u"}]}"#,
            "\"$artifacts\" is not a list of artifacts: missing field `name`",
        ),
        (r#"{"$spawn": [{"key": "a", "agnt": "x"}]}"#, "$spawn[0].agnt: unknown field"),
        (r#"{"$spawn": 3}"#, "$spawn: expected a list of subtasks, got 3"),
        (r#"{"$suspend": 1}"#, "\"$suspend\": expected true or false, got 1"),
        (r#"{"$suspend": true, "r": 1}"#, "expected only \"$spawn\" and \"$context\" beside it, got \"r\""),
        (r#"{"$context": {"a": 1}}"#, "\"$context\" is not a list of writes"),
        (r#"{"$context": [{"key": "a"}]}"#, "$context[0]: expected either \"value\" or \"delete\": true"),
        (r#"{"$context": [{"key": "a", "value": 1, "delete": true}]}"#, "$context[0]: expected either"),
        (r#"{"$context": [{"key": "a", "valeu": 1}]}"#, "unknown field `valeu`"),
    ] {
        let mut shell = shell(&format!("echo '{stdout}'")).await;
        let (code, message, retryable) = failure(shell.run(brief(1, "")).await);
        assert_eq!((&*code, retryable), ("INVALID_OUTPUT", true));
        assert!(message.contains(problem), "{message}");
        assert!(message.contains("write logs to stderr"), "{message}");
    }
}

#[tokio::test]
async fn exit_status_tells_how_it_failed() {
    for (script, code, message, retryable) in [
        ("echo first >&2; echo last >&2; exit 3", "EXIT_3", "the command exited with 3: first\nlast", true),
        ("echo bad input >&2; exit 65", "EXIT_65", "the command exited with 65: bad input", false),
        ("exit 1", "EXIT_1", "the command exited with 1 and wrote nothing to stderr", true),
        ("kill -9 $$", "SIGNAL_9", "the command was ended by signal 9 and wrote nothing to stderr", true),
    ] {
        let result = shell(script).await.run(brief(1, "")).await;
        assert_eq!(failure(result), (code.to_owned(), message.to_owned(), retryable));
    }
}

#[tokio::test]
async fn only_the_last_of_stderr_is_told() {
    let mut shell = shell("i=0; while [ $i -lt 2000 ]; do echo line $i >&2; i=$((i+1)); done; exit 1").await;
    let (_, message, _) = failure(shell.run(brief(1, "")).await);
    assert!(message.ends_with("line 1998\nline 1999"), "{message}");
    assert!(message.len() <= 4096 && message.len() > 3900, "{}", message.len());
}

#[tokio::test]
async fn lines_on_stderr_are_progress() {
    let mut shell = shell("printf 'one\\n\\nhalf' >&2; cat >/dev/null; echo 1").await;
    shell.stream.start(brief(1, "")).await;
    let mut messages = Vec::new();
    loop {
        match shell.stream.next().await {
            Some(session_request::Message::Progress(progress)) => messages.push(progress.message),
            Some(session_request::Message::Results(_)) => break,
            _ => {}
        }
    }
    assert_eq!(
        messages.last().map(String::as_str),
        Some("half"),
        "of several the newest is sent: {messages:?}"
    );
}

#[tokio::test]
async fn command_that_does_not_read_its_input_is_fine() {
    let mut shell = shell("exec 0<&-; echo 1").await;
    let large = format!("\"{}\"", "x".repeat(1 << 20));
    assert_eq!(output(shell.run(brief(1, &large)).await).0, "1");
}

#[tokio::test]
async fn output_over_the_limit_ends_the_command_at_once() {
    let mut shell = shell("while :; do echo 0123456789; done").await;
    let (code, message, retryable) = failure(shell.run(brief(1, "")).await);
    assert_eq!((&*code, retryable), ("OUTPUT_TOO_LARGE", false));
    assert!(message.contains("more than 1024 bytes"), "{message}");
}

#[tokio::test]
async fn cancel_asks_the_whole_group_to_end() {
    let fifo = Fifo::new("cancel");
    let mut reader = fifo.reader();
    // The child of the shell holds the pipe, too: the end of the pipe is the end of both.
    let script = format!(
        "exec 3>{}; trap 'echo asked >&3; exit 0' TERM; sleep 1000 & echo ready >&3; wait",
        fifo.path.display()
    );
    let mut shell = shell(&script).await;
    shell.stream.start(brief(1, "")).await;
    assert_eq!(line(&mut reader).await, "ready");
    cancel(&mut shell).await;
    assert_eq!(line(&mut reader).await, "asked");
    assert_eq!(line(&mut reader).await, "");
}

#[tokio::test]
async fn descendant_has_its_grace_when_the_command_ends_before_it() {
    let fifo = Fifo::new("descendant");
    let mut reader = fifo.reader();
    let descendant = "trap 'echo cleaned up >&3; exit 0' TERM; echo ready >&3; while :; do sleep 1000; done";
    let mut shell = shell(&format!("exec 3>{}; ({descendant}) & wait", fifo.path.display())).await;
    shell.stream.start(brief(1, "")).await;
    assert_eq!(line(&mut reader).await, "ready");
    cancel(&mut shell).await;
    assert_eq!(line(&mut reader).await, "cleaned up");
    assert_eq!(line(&mut reader).await, "");
}

#[tokio::test]
async fn command_that_does_not_end_is_killed_after_the_grace() {
    let fifo = Fifo::new("kill");
    let mut reader = fifo.reader();
    let script =
        format!("exec 3>{}; trap '' TERM; echo ready >&3; while :; do sleep 1000; done", fifo.path.display());
    let exec = Exec { kill_grace: Duration::ZERO, ..Exec::new("sh", ["-c", &script]) };
    let mut shell = start(Config::new(Agent::new("echo"), Executor::Exec(exec))).await;
    shell.stream.start(brief(1, "")).await;
    assert_eq!(line(&mut reader).await, "ready");
    cancel(&mut shell).await;
    assert_eq!(line(&mut reader).await, "");
}

/// Cancels the attempt under lease 1 and sees it confirmed.
async fn cancel(shell: &mut Shell) {
    let cancel = Cancel { leases: vec![lease(1)], reason: String::new() };
    shell.stream.send(session_response::Message::Cancel(cancel)).await;
    loop {
        match shell.stream.next().await {
            Some(session_request::Message::CancelAck(ack)) => return assert_eq!(ack.leases, [lease(1)]),
            Some(_) => {}
            None => panic!("expected a cancel ack, and the stream ended"),
        }
    }
}

#[tokio::test]
async fn what_is_left_running_ends_with_the_attempt() {
    let fifo = Fifo::new("left");
    let mut reader = fifo.reader();
    let script = format!("exec 3>{}; sleep 1000 & echo 1; echo ready >&3", fifo.path.display());
    let mut shell = shell(&script).await;
    assert_eq!(output(shell.run(brief(1, "")).await).0, "1");
    assert_eq!(line(&mut reader).await, "ready");
    assert_eq!(line(&mut reader).await, "");
}

#[tokio::test]
async fn command_does_not_outlive_the_worker() {
    let fifo = Fifo::new("outlive");
    let mut reader = fifo.reader();
    let script = format!("exec 3>{}; trap '' TERM; echo ready >&3; sleep 1000", fifo.path.display());
    let exec = Exec { kill_grace: Duration::ZERO, ..Exec::new("sh", ["-c", &script]) };
    let mut shell = start(Config::new(Agent::new("echo"), Executor::Exec(exec))).await;
    shell.stream.start(brief(1, "")).await;
    assert_eq!(line(&mut reader).await, "ready");
    shell.worker.abort();
    assert_eq!(line(&mut reader).await, "");
}

#[tokio::test]
async fn limit_of_the_executor_stands_in_for_one_that_was_not_told() {
    let mut control_plane = ControlPlane::start().await;
    let mut config = config("while :; do echo 0123456789; done");
    config.addrs = vec![control_plane.addr.clone()];
    let worker = tokio::spawn(worker(config).unwrap().run_until(std::future::pending()));
    let (mut stream, _) = control_plane.accept().await;
    let welcome = Welcome { output_bytes_max: 0, ..welcome() };
    stream.send(session_response::Message::Welcome(welcome)).await;
    stream.start(brief(1, "")).await;
    let (_, message, _) = failure(stream.result().await);
    assert!(message.contains("more than 4194304 bytes"), "{message}");
    worker.abort();
}

#[test]
fn command_that_does_not_exist_is_told_at_the_start() {
    for command in ["no-such-command-here", "./no/such/file", "/etc/passwd", "/"] {
        let exec = Exec::new(command, [""; 0]);
        let error = worker(Config::new(Agent::new("echo"), Executor::Exec(exec))).unwrap_err();
        assert!(matches!(error, Error::CommandNotFound { .. }), "{command}: {error}");
        assert!(error.to_string().starts_with(&format!("cannot find the command {command:?}")), "{error}");
    }
}
