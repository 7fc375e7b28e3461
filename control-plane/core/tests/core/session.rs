//! A worker's session: opened, resumed, detached, expired, drained, forgotten.

use downbeat_core::{
    id::{ReplicaNo, TenantNo},
    session::SessionState,
};

use crate::{
    ask::{
        agent, detach, detach_from, done, drain, expire, forget, hand_back, hand_back_behind, look, lose,
        open, open_as, open_at, overdue, resume, resume_as, resume_at, token,
    },
    table::{check, given},
    world::{HERE, World},
};

const ELSEWHERE: ReplicaNo = ReplicaNo(2);

#[test]
fn opening_writes_the_session_and_its_agents() {
    let mut world = World::new();
    let outcome = world.ask(open_as("w1", 3, &[agent("coder"), agent("painter")]));
    let names: Vec<&str> = outcome.changes.agents.iter().map(|seen| seen.declaration.name.as_str()).collect();
    assert_eq!(names, ["coder", "painter"]);
    assert!(
        outcome.changes.agents.iter().all(|seen| seen.at == world.now && seen.tenant == TenantNo::DEFAULT)
    );
    let row = &world.sessions[&world.session_no("w1")];
    assert_eq!((row.state, row.replica, row.token), (SessionState::Open, HERE, token("w1")));
    assert_eq!((row.opened_at, row.wake_at, row.declaration.slots), (world.now, None, 3));
}

#[test]
fn every_opening_is_a_new_session() {
    let mut world = World::new();
    given(&mut world, [open("w1", 1).and(open("w1", 1)), open("w1", 1)]);
    assert_eq!(world.sessions.len(), 3);
}

#[test]
fn a_dropped_stream_keeps_its_leases_through_the_grace_time() {
    let mut world = World::with("a", 1);
    check(
        &mut world,
        [
            (detach("w1"), "done | w1 detached | | wake w1 +15000"),
            (detach("w1"), "done"),
            (overdue("w1").later(14_999), "done"),
            (resume("w1"), "session w1 | w1 open"),
            (overdue("w1").later(1_000_000), "done"),
            (done("a"), "accepted | t completed, a completed | a completed(1), t completed"),
        ],
    );
    assert_eq!(world.sessions[&world.session_no("w1")].wake_at, None);
}

#[test]
fn a_detached_session_may_still_deliver() {
    let mut world = World::with("a", 1);
    given(&mut world, [detach("w1")]);
    let told = "accepted | t completed, a completed | a completed(1), t completed | gone w1";
    check(&mut world, [(done("a"), told)]);
}

#[test]
fn when_the_grace_time_is_over_the_session_expires() {
    let mut world = World::with("a", 1);
    check(
        &mut world,
        [
            (detach("w1"), "done | w1 detached | | wake w1 +15000"),
            (overdue("w1").later(15_000), "done | w1 expired"),
            (overdue("w1"), "done"),
            (expire("w1"), "done"),
            (resume("w1"), "SESSION_UNKNOWN"),
            (detach("w1"), "done"),
            (lose("a"), "done | a ready | a lost(1) | revoke a w1, queued a"),
            (forget("w1"), "done | w1 forgotten | | gone session 4096, queued a"),
            (forget("w1"), "done"),
            (resume("w1"), "SESSION_UNKNOWN"),
        ],
    );
}

#[test]
fn an_open_session_is_never_overdue() {
    let mut world = World::new();
    given(&mut world, [open("w1", 1)]);
    check(
        &mut world,
        [(overdue("w1").later(1_000_000), "done"), (expire("w1"), "done | w1 expired | | gone w1")],
    );
}

#[test]
fn only_an_expired_session_is_forgotten() {
    let mut world = World::new();
    given(&mut world, [open("w1", 1)]);
    check(
        &mut world,
        [
            (forget("w1"), "done"),
            (detach("w1"), "done | w1 detached | | wake w1 +15000, gone w1"),
            (forget("w1"), "done"),
            (resume("w1"), "session w1 | w1 open"),
            (drain("w1"), "done | w1 draining | | gone w1"),
            (forget("w1"), "done"),
            (
                expire("w1").and(forget("w1")).and(forget("w1")).and(resume("w1")),
                "done; done; done; SESSION_UNKNOWN | w1 forgotten",
            ),
        ],
    );
}

#[test]
fn who_resumes_must_prove_to_be_the_same() {
    let mut world = World::new();
    given(&mut world, [open("w1", 1), detach("w1")]);
    check(
        &mut world,
        [
            (resume_as("w1", TenantNo::DEFAULT, "w2", HERE), "SESSION_UNKNOWN"),
            (resume_as("w1", TenantNo(2), "w1", HERE), "SESSION_UNKNOWN"),
            (resume_as("w1", TenantNo::DEFAULT, "w1", HERE), "session w1 | w1 open"),
            (resume("w1"), "session w1"),
        ],
    );
}

#[test]
fn a_session_moves_and_its_old_replica_is_not_heard() {
    let mut world = World::with("a", 1);
    check(
        &mut world,
        [
            (resume_as("w1", TenantNo::DEFAULT, "w1", ELSEWHERE), "session w1"),
            (detach_from("w1", HERE), "done"),
            (detach_from("w1", ELSEWHERE), "done | w1 detached | | wake w1 +15000"),
            (detach_from("w1", HERE), "done"),
        ],
    );
    assert_eq!(world.sessions[&world.session_no("w1")].replica, ELSEWHERE);
}

/// A worker gave up one stream and opened another, and the replicas write them down in the other order.
#[test]
fn of_two_streams_the_one_that_the_worker_opened_later_stays() {
    let mut world = World::with("a", 1);
    check(
        &mut world,
        [
            (resume_at("w1", 2, ELSEWHERE), "session w1"),
            (resume_at("w1", 1, HERE), "SESSION_TAKEN"),
            (resume_at("w1", 2, HERE), "SESSION_TAKEN"),
            (resume_at("w1", 2, ELSEWHERE), "session w1"),
            (detach_from("w1", ELSEWHERE), "done | w1 detached | | wake w1 +15000"),
            (resume_at("w1", 1, HERE), "SESSION_TAKEN"),
            (resume_at("w1", 2, ELSEWHERE), "session w1 | w1 open"),
            (resume_at("w1", 3, HERE), "session w1"),
        ],
    );
    let row = &world.sessions[&world.session_no("w1")];
    assert_eq!((row.replica, row.connection), (HERE, 3));
}

#[test]
fn only_who_has_the_present_stream_hands_a_lease_back() {
    let mut world = World::with("a", 1);
    check(
        &mut world,
        [
            (resume_at("w1", 2, ELSEWHERE), "session w1"),
            (hand_back_behind("a", 1), "done"),
            (hand_back_behind("a", 2), "done"),
            (hand_back("a"), "done | a ready | a returned | revoke a w1, queued a"),
        ],
    );
}

#[test]
fn a_draining_session_keeps_draining_when_it_moves() {
    let mut world = World::with("a", 1);
    check(
        &mut world,
        [
            (drain("w1"), "done | w1 draining"),
            (drain("w1"), "done"),
            (resume_as("w1", TenantNo::DEFAULT, "w1", ELSEWHERE), "session w1"),
        ],
    );
    assert_eq!(world.sessions[&world.session_no("w1")].state, SessionState::Draining);
}

/// An operator was told that the worker drains. Its row is all that remembers once the stream breaks, since
/// the message to the worker may be lost with it.
#[test]
fn a_draining_session_keeps_draining_when_its_stream_breaks() {
    let mut world = World::with("a, b", 1);
    check(
        &mut world,
        [
            (drain("w1"), "done | w1 draining"),
            (detach("w1"), "done | | | wake w1 +15000"),
            (detach("w1").later(5_000), "done"),
            (drain("w1"), "done"),
            (resume("w1"), "session w1"),
            (done("a"), "accepted | a completed | a completed(1) | gone w1, queued b"),
            (overdue("w1").later(1_000_000), "done"),
            (detach("w1"), "done | | | wake w1 +15000"),
            (overdue("w1").later(14_999), "done"),
            (overdue("w1").later(1), "done | w1 expired"),
        ],
    );
}

#[test]
fn a_session_lives_on_the_replica_that_opened_it() {
    let mut world = World::with("a", 0);
    given(&mut world, [open_at("w1", 1, &[agent("coder")], ELSEWHERE)]);
    check(&mut world, [(look(), ""), (look().at(2), "| a leased | a leased(1) | assign a w1")]);
}
