//! From a brief to its acknowledged result.

use super::*;

#[test]
fn assign_starts_and_acknowledges_in_one_message() {
    let mut rig = Rig::up(3);
    rig.assign(&[1]);
    rig.assign(&[2, 3]);
    assert_eq!(rig.actions(), [start(1), start(2), start(3)]);
    assert_eq!(rig.sent(), [ack(&[1, 2, 3])]);
}

#[test]
fn assign_beyond_the_slots_waits_unacknowledged() {
    let mut rig = Rig::running(1, &[1]);
    rig.assign(&[2]);
    assert_eq!((rig.sent(), rig.actions()), (vec![], vec![]));
    rig.finish(1, done("1"));
    assert_eq!(rig.actions(), [start(2)]);
    assert_eq!(rig.sent(), [ack(&[2]), results(vec![result(1, done("1"))])]);
}

#[test]
fn assign_that_waited_too_long_is_not_started() {
    let mut rig = Rig::running(1, &[1]);
    rig.assign(&[2]);
    rig.pass(ASSIGN_ACK);
    rig.finish(1, done("1"));
    assert_eq!(rig.actions(), [], "the control plane has taken it back");
}

#[test]
fn assign_beyond_twice_the_slots_is_dropped() {
    let mut rig = Rig::running(1, &[1]);
    rig.assign(&[2, 3]);
    rig.finish(1, done("1"));
    rig.finish(2, done("2"));
    assert_eq!(rig.actions(), [start(2)], "3 goes back to the queue, for want of an acknowledgement");
}

#[test]
fn assign_is_dropped_while_too_many_results_are_unacknowledged() {
    let mut rig = Rig::up(1);
    for id in 1..=5 {
        rig.assign(&[id]);
        rig.finish(id, done("x"));
    }
    assert_eq!(rig.actions(), [start(1), start(2), start(3), start(4)]);
    rig.ack_result(1, Verdict::Accepted);
    rig.assign(&[6]);
    assert_eq!(rig.actions(), [start(6)]);
}

#[test]
fn assign_sent_twice_while_it_waits_is_started_once() {
    let mut rig = Rig::running(2, &[1, 2]);
    rig.assign(&[3, 3]);
    rig.finish(1, done("1"));
    rig.finish(2, done("2"));
    assert_eq!(rig.actions(), [start(3)]);
}

#[test]
fn assign_sent_again_while_nobody_reads_is_acknowledged_once() {
    let mut rig = Rig::up(1);
    rig.assign(&[1]);
    rig.assign(&[1, 1]);
    assert_eq!(rig.sent(), [ack(&[1])]);
}

#[test]
fn assign_sent_twice_is_acknowledged_twice_and_started_once() {
    let mut rig = Rig::running(2, &[1]);
    rig.assign(&[1]);
    assert_eq!(rig.sent(), [ack(&[1])]);
    assert_eq!(rig.actions(), []);
}

#[test]
fn brief_without_a_lease_is_dropped() {
    let mut rig = Rig::up(1);
    rig.receive(session_response::Message::Assign(Assign { briefs: vec![Brief::default()] }));
    assert_eq!((rig.sent(), rig.actions()), (vec![], vec![]));
}

#[test]
fn results_that_are_ready_together_go_together() {
    let mut rig = Rig::running(3, &[1, 2, 3]);
    rig.finish(2, done("2"));
    rig.finish(1, failed());
    rig.finish(3, done("3"));
    let expected = vec![result(2, done("2")), result(1, failed()), result(3, done("3"))];
    assert_eq!(rig.sent(), [results(expected)]);
}

#[test]
fn large_results_are_split_over_messages() {
    let mut rig = Rig::new(3);
    rig.open();
    rig.receive(session_response::Message::Welcome(Welcome::default()));
    rig.assign(&[1, 2, 3]);
    let large = || Completed { output: vec![b'1'; BATCH_BYTES_MAX * 2 / 3].into(), artifacts: Vec::new() };
    for id in 1..=3 {
        rig.finish(id, Outcome::Completed(large()));
    }
    let sizes: Vec<usize> = rig
        .sent()
        .iter()
        .map(|message| match message {
            session_request::Message::Results(results) => results.results.len(),
            _ => 0,
        })
        .collect();
    assert_eq!(sizes, [0, 1, 1, 1]);
}

#[test]
fn accepted_duplicate_stale_and_refused_results_are_settled() {
    for verdict in
        [Verdict::Accepted, Verdict::Duplicate, Verdict::Stale, Verdict::Refused, Verdict::Unspecified]
    {
        let mut rig = Rig::running(1, &[1]);
        rig.finish(1, done("1"));
        rig.sent();
        assert_eq!(rig.in_flight(), [1]);
        rig.ack_result(1, verdict);
        assert_eq!(rig.in_flight(), NONE, "{verdict:?}");
    }
}

#[test]
fn ack_of_a_running_attempt_is_ignored() {
    let mut rig = Rig::running(1, &[1]);
    rig.ack_result(1, Verdict::Stale);
    assert_eq!((rig.in_flight(), rig.actions()), (vec![1], vec![]));
}

#[test]
fn output_over_the_limit_becomes_a_failure_that_is_not_retried() {
    let mut rig = Rig::running(1, &[1]);
    let output = vec![b'1'; OUTPUT_BYTES_MAX + 1].into();
    rig.finish(1, Outcome::Completed(Completed { output, artifacts: Vec::new() }));
    let sent = rig.sent();
    let [session_request::Message::Results(Results { results })] = &sent[..] else { panic!("{sent:?}") };
    let Some(ResultOutcome::Failed(Failed { error: Some(error), retryable })) = &results[0].outcome else {
        panic!("{results:?}")
    };
    assert_eq!(error.code, "OUTPUT_TOO_LARGE");
    assert!(error.message.contains("65 bytes, and the limit is 64"), "{}", error.message);
    assert!(!retryable);
}

#[test]
fn first_progress_goes_at_once_and_the_newest_of_the_next_later() {
    let mut rig = Rig::running(2, &[1, 2]);
    rig.report(1, "a");
    assert_eq!(rig.sent(), [progress(1, "a")]);
    rig.report(1, "b");
    rig.report(1, "c");
    rig.report(2, "x");
    assert_eq!(rig.sent(), []);
    rig.next_timeout();
    assert_eq!(rig.sent(), [progress(1, "c"), progress(2, "x")]);
}

#[test]
fn last_progress_goes_before_the_result() {
    let mut rig = Rig::running(1, &[1]);
    rig.report(1, "a");
    rig.report(1, "b");
    rig.finish(1, done("1"));
    assert_eq!(rig.sent(), [progress(1, "a"), progress(1, "b"), results(vec![result(1, done("1"))])]);
}

#[test]
fn progress_of_what_is_not_running_is_dropped() {
    let mut rig = Rig::running(2, &[1]);
    rig.report(9, "unknown");
    rig.cancel(&[1]);
    rig.report(1, "cancelled");
    assert_eq!(rig.sent(), []);
}
