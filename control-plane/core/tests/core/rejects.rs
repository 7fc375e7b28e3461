//! Every refusal by name, with the words that the caller reads. That nothing changes is a law of the world.

use downbeat_core::{
    command::{Command, Reply},
    id::TenantNo,
    reject::Reject,
    subtask::SubtaskState,
    task::TaskStatus,
    time::MINTS_MAX,
};

use crate::{
    ask::{
        Ask, agent, block, cancel, complete, deadline, detach, done, drain, execute, expire, fails, forget,
        give_up, hand_back, look, lose, open, open_as, overdue, pause, release, resume, resume_as, resume_at,
        retry, route, silence, sketch, skip, submit, unblock, wake,
    },
    happenings::subject,
    table::{check, given},
    world::{HERE, World},
};

/// The refusal of the last command; what comes before it prepares.
#[track_caller]
fn refused<const N: usize>(world: &mut World, prepare: [Ask; N], ask: Ask) -> Reject {
    given(world, prepare);
    let mut replies = world.ask(ask).replies;
    replies.pop().expect("one command").expect_err("it is refused")
}

#[track_caller]
fn assert_refused(reject: &Reject, code: &str, words: &str) {
    assert_eq!((reject.code(), reject.to_string().as_str()), (code, words));
}

#[test]
fn task_conflict() {
    let again = submit(sketch("t", "a, b").digest(2));
    let reject = refused(&mut World::with("a", 0), [], again);
    assert_eq!(reject, Reject::TaskConflict("t".into()));
    let words = "task `t` exists with a different request; submit it under another task_id";
    assert_refused(&reject, "TASK_CONFLICT", words);
}

#[test]
fn task_unknown() {
    for ask in [
        execute("u"),
        pause("u"),
        cancel("u"),
        retry("u/a"),
        skip("u/a"),
        give_up("u/a"),
        complete("u/a"),
        release("u/a"),
        route("u/a", "coder"),
    ] {
        let reject = refused(&mut World::with("a", 0), [], ask);
        assert_eq!(reject, Reject::TaskUnknown);
        assert_refused(&reject, "TASK_UNKNOWN", "no such task");
    }
}

#[test]
fn task_finished() {
    let completed = || World::with("a", 1);
    for (status, ask) in [(TaskStatus::Completed, pause("t")), (TaskStatus::Completed, cancel("t"))] {
        let reject = refused(&mut completed(), [done("a")], ask);
        assert_eq!(reject, Reject::TaskFinished(status));
        assert_refused(&reject, "TASK_FINISHED", "the task is already completed");
    }
    for ask in [execute("t"), pause("t"), cancel("t")] {
        let reject = refused(&mut completed(), [fails("a"), give_up("a")], ask);
        assert_eq!(reject, Reject::TaskFinished(TaskStatus::Failed));
    }
    for ask in [execute("t"), pause("t")] {
        let reject = refused(&mut completed(), [cancel("t")], ask);
        assert_refused(&reject, "TASK_FINISHED", "the task is already cancelled");
    }
}

#[test]
fn task_not_started() {
    let mut world = World::new();
    let reject = refused(&mut world, [submit(sketch("t", "a"))], pause("t"));
    assert_eq!(reject, Reject::TaskNotStarted(TaskStatus::Planned));
    assert_refused(&reject, "TASK_NOT_STARTED", "the task is planned; execute it first");
    let no = world.task_no("t");
    world.tasks.get_mut(&no).expect("just submitted").status = TaskStatus::Planning;
    for ask in [execute("t"), pause("t")] {
        assert_eq!(refused(&mut world, [], ask), Reject::TaskNotStarted(TaskStatus::Planning));
    }
}

#[test]
fn subtask_unknown() {
    for ask in [retry("z"), skip("z"), give_up("z"), complete("z"), release("z"), route("z", "coder")] {
        let reject = refused(&mut World::with("a", 0), [], ask);
        assert_eq!(reject, Reject::SubtaskUnknown);
        assert_refused(&reject, "SUBTASK_UNKNOWN", "no such subtask");
    }
}

#[test]
fn subtask_state() {
    let unheld = "wait until its worker is done, or cancel the task";
    let retriable = "only one that needs review or backs off can be retried";
    type Make = fn(&str) -> Ask;
    let rows: [(SubtaskState, Make, &'static str, &'static str); 11] = [
        (SubtaskState::Pending, skip, "skip", "its dependencies come first"),
        (SubtaskState::Pending, give_up, "fail", "its dependencies come first"),
        (SubtaskState::Pending, complete, "complete", "its dependencies come first"),
        (SubtaskState::Leased, skip, "skip", unheld),
        (SubtaskState::Running, give_up, "fail", unheld),
        (SubtaskState::Running, complete, "complete", unheld),
        (SubtaskState::Leased, |it| route(it, "coder"), "route", unheld),
        (SubtaskState::Completed, complete, "complete", "that is final"),
        (SubtaskState::Skipped, skip, "skip", "that is final"),
        (SubtaskState::Ready, retry, "retry", retriable),
        (SubtaskState::Ready, release, "release", "only one that is held can be released"),
    ];
    for (state, make, action, hint) in rows {
        let reject = refused(&mut subject(state), [], make("it"));
        assert_eq!(reject, Reject::SubtaskState { action, state, hint });
        let words = format!("cannot {action} a subtask that is {}; {hint}", state.word());
        assert_refused(&reject, "SUBTASK_STATE", &words);
    }
}

#[test]
fn session_unknown() {
    let other = TenantNo(2);
    let rows: Vec<(Vec<Ask>, Ask)> = vec![
        (vec![], resume("nobody")),
        (vec![], drain("nobody")),
        (vec![], resume_as("w1", TenantNo::DEFAULT, "w2", HERE)),
        (vec![], resume_as("w1", other, "w1", HERE)),
        (vec![expire("w1")], resume("w1")),
        (vec![expire("w1")], drain("w1")),
        (vec![detach("w1")], drain("w1")),
        (vec![expire("w1"), forget("w1")], resume("w1")),
    ];
    for (prepare, ask) in rows {
        let mut world = World::new();
        given(&mut world, [open("w1", 1)]);
        for ask in prepare {
            given(&mut world, [ask]);
        }
        let reject = refused(&mut world, [], ask);
        assert_eq!(reject, Reject::SessionUnknown);
        assert_refused(&reject, "SESSION_UNKNOWN", "the session is gone; open a new one");
    }
}

#[test]
fn session_taken() {
    let mut world = World::new();
    let reject = refused(&mut world, [open("w1", 1), resume_at("w1", 3, HERE)], resume_at("w1", 2, HERE));
    assert_eq!(reject, Reject::SessionTaken { connection: 3, got: 2 });
    let words = "connection 3 of this session is taken up; connect with a higher number, got 2";
    assert_refused(&reject, "SESSION_TAKEN", words);
}

#[test]
fn batch_full() {
    let mut world = World::with("a", 0);
    let mut filler = look();
    for _ in 0..MINTS_MAX {
        filler = filler.and(open_as("w", 0, &[agent("nobody")]));
    }
    let batch = filler.and(open("v", 1)).and(submit(sketch("u", "a"))).and(submit(sketch("t", "a")));
    let replies = world.ask(batch).replies;
    let (filled, rest) = replies.split_at(MINTS_MAX as usize);
    assert!(filled.iter().all(Result::is_ok));
    assert_eq!(rest[..2], [Err(Reject::BatchFull), Err(Reject::BatchFull)]);
    assert!(matches!(rest[2], Ok(Reply::Submitted { existed: true, .. })), "a repeat needs no id");
    assert_refused(&Reject::BatchFull, "BATCH_FULL", "the batch ran out of ids; try again");
    check(&mut world, [(submit(sketch("u", "a")), "submitted planned | u planned | u planned")]);
}

/// Nothing is refused where the caller cannot help it: what timers and sessions say too late means nothing.
#[test]
fn timers_and_sessions_are_never_refused() {
    let mut world = World::with("a", 0);
    check(
        &mut world,
        [
            (deadline("u"), "done"),
            (wake("u/a"), "done"),
            (wake("z"), "done"),
            (block("u/a"), "done"),
            (unblock("z"), "done"),
            (hand_back("z"), "done"),
            (lose("u/a"), "done"),
            (silence("z"), "done"),
            (detach("nobody"), "done"),
            (expire("nobody"), "done"),
            (overdue("nobody"), "done"),
            (forget("nobody"), "done"),
        ],
    );
    let no = world.task_no("t");
    let command = Command::Cancel { task: no, reason: String::new(), compensate: false };
    assert!(world.run(HERE, &[command.clone(), command]).replies.iter().all(Result::is_ok));
}
