//! Children that attempts add, and attempts that wait for them.

use super::*;
use crate::proto::{PlannedSubtask, Spawn, SpawnAck};

fn children(keys: &[&str]) -> Vec<PlannedSubtask> {
    keys.iter().map(|key| PlannedSubtask { key: (*key).to_owned(), ..Default::default() }).collect()
}

fn spawn(lease_id: i64, request: u64, keys: &[&str]) -> session_request::Message {
    let children = children(keys);
    session_request::Message::Spawn(Spawn { lease: Some(lease(lease_id)), request, children })
}

fn spawned(request: u64, answer: Spawned) -> Action {
    Action::Spawned { request, answer }
}

fn added(ids: &[&str]) -> Spawned {
    Spawned::Added(ids.iter().map(|id| (*id).to_owned()).collect())
}

impl Rig {
    fn spawn(&mut self, lease_id: i64, keys: &[&str]) -> Option<u64> {
        self.session.handle_spawn(lease_id, children(keys))
    }

    fn ack_spawn(&mut self, request: u64, verdict: Verdict, ids: &[&str]) {
        self.receive(session_response::Message::SpawnAck(SpawnAck {
            lease: Some(lease(1)),
            request,
            verdict: verdict.into(),
            message: "why".into(),
            subtask_ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        }));
    }
}

#[test]
fn children_are_sent_and_answered() {
    let mut rig = Rig::running(1, &[1]);
    assert_eq!(rig.spawn(1, &["a", "b"]), Some(1));
    assert_eq!(rig.sent(), [spawn(1, 1, &["a", "b"])]);
    rig.ack_spawn(1, Verdict::Accepted, &["x", "y"]);
    assert_eq!(rig.actions(), [spawned(1, added(&["x", "y"]))]);
    rig.ack_spawn(1, Verdict::Duplicate, &["x", "y"]);
    assert_eq!(rig.actions(), [], "answered once");
    assert_eq!(rig.spawn(1, &["c"]), Some(2));
}

#[test]
fn each_verdict_has_its_answer() {
    for (verdict, answer) in [
        (Verdict::Accepted, added(&["x"])),
        (Verdict::Duplicate, added(&["x"])),
        (Verdict::Stale, Spawned::LeaseLost),
        (Verdict::Refused, Spawned::Refused("why".into())),
        (Verdict::Unspecified, Spawned::Refused("it was answered without a verdict".into())),
    ] {
        let mut rig = Rig::running(1, &[1]);
        rig.spawn(1, &["a"]);
        rig.ack_spawn(1, verdict, &["x"]);
        assert_eq!(rig.actions(), [spawned(1, answer)], "{verdict:?}");
        assert_eq!((rig.sent(), rig.in_flight()), (vec![], vec![1]), "an answer leaves the attempt in peace");
    }
}

#[test]
fn heartbeats_go_on_while_children_are_not_answered() {
    let mut rig = Rig::running(1, &[1]);
    rig.spawn(1, &["a"]);
    assert_eq!(rig.sent(), [spawn(1, 1, &["a"])]);
    for _ in 0..3 {
        rig.next_timeout();
        assert_eq!(rig.sent(), [heartbeat(&[1])]);
    }
}

#[test]
fn heartbeat_goes_before_children_and_children_before_results() {
    let mut rig = Rig::running(2, &[1, 2]);
    rig.finish(2, done("2"));
    rig.spawn(1, &["a"]);
    rig.finish(1, done("1"));
    rig.next_timeout();
    let both = vec![result(2, done("2")), result(1, done("1"))];
    assert_eq!(rig.sent(), [heartbeat(&[1, 2]), spawn(1, 1, &["a"]), results(both)]);
}

#[test]
fn children_are_sent_again_until_they_are_answered() {
    let mut rig = Rig::running(2, &[1, 2]);
    rig.spawn(1, &["a"]);
    rig.spawn(2, &["b"]);
    rig.sent();
    rig.ack_spawn(2, Verdict::Accepted, &["x"]);
    rig.close();
    rig.open();
    rig.welcome(true, &[]);
    assert_eq!(rig.sent(), [spawn(1, 1, &["a"])]);
    rig.ack_spawn(1, Verdict::Duplicate, &["y"]);
    assert_eq!(rig.actions(), [spawned(2, added(&["x"])), spawned(1, added(&["y"]))]);
    rig.close();
    rig.open();
    rig.welcome(true, &[]);
    assert_eq!(rig.sent(), []);
}

#[test]
fn children_wait_for_a_stream() {
    let mut rig = Rig::running(1, &[1]);
    rig.close();
    assert_eq!(rig.spawn(1, &["a"]), Some(1));
    assert_eq!(rig.sent(), []);
    rig.open();
    assert_eq!(rig.sent(), []);
    rig.welcome(true, &[]);
    assert_eq!(rig.sent(), [spawn(1, 1, &["a"])]);
}

#[test]
fn lost_lease_is_told_to_who_waits_for_children() {
    let mut rig = Rig::running(2, &[1, 2]);
    rig.spawn(1, &["a"]);
    rig.sent();
    rig.lose(&[1]);
    assert_eq!(rig.actions(), [spawned(1, Spawned::LeaseLost), cancelled(1, CancelReason::LeaseLost)]);
    assert_eq!(rig.sent(), []);
    assert_eq!((rig.spawn(1, &["a"]), rig.spawn(9, &["a"])), (None, None));
}

#[test]
fn cancel_is_told_to_who_waits_for_children() {
    let mut rig = Rig::running(1, &[1]);
    rig.spawn(1, &["a"]);
    rig.cancel(&[1]);
    let stop = cancelled(1, CancelReason::Cancelled("why".into()));
    assert_eq!(rig.actions(), [spawned(1, Spawned::LeaseLost), stop]);
    assert_eq!(rig.sent(), [], "what was not sent is not sent any more");
    assert_eq!(rig.spawn(1, &["a"]), None);
}

#[test]
fn children_of_what_has_ended_are_forgotten() {
    let mut rig = Rig::running(1, &[1]);
    rig.spawn(1, &["a"]);
    rig.finish(1, done("1"));
    rig.sent();
    rig.ack_result(1, Verdict::Accepted);
    assert_eq!(rig.actions(), [spawned(1, Spawned::LeaseLost)]);
    rig.close();
    rig.open();
    rig.welcome(true, &[]);
    assert_eq!(rig.sent(), []);
}

#[test]
fn suspended_attempt_frees_its_slot_and_is_told_until_acknowledged() {
    let mut rig = Rig::running(1, &[1]);
    rig.finish(1, Outcome::Suspended);
    assert_eq!(rig.sent(), [results(vec![result(1, Outcome::Suspended)])]);
    rig.assign(&[2]);
    assert_eq!(rig.actions(), [start(2)]);
    rig.close();
    rig.open();
    rig.welcome(true, &[]);
    assert_eq!(rig.sent(), [results(vec![result(1, Outcome::Suspended)])]);
    rig.ack_result(1, Verdict::Accepted);
    assert_eq!(rig.in_flight(), [2]);
}

#[test]
fn attempt_that_suspends_while_the_worker_ends_counts_as_finished() {
    let mut rig = Rig::running(1, &[1]);
    rig.session.handle_shutdown(rig.now, Duration::ZERO);
    rig.actions();
    rig.finish(1, Outcome::Suspended);
    assert!(rig.sent().contains(&results(vec![result(1, Outcome::Suspended)])));
    rig.ack_result(1, Verdict::Accepted);
    assert_eq!(rig.sent(), [goodbye("shutdown")]);
    assert_eq!(rig.actions(), [Action::End(Ended::Shutdown)]);
}
