//! Cancels, lost leases, broken streams, deadlines: what becomes of attempts then.

use super::*;

#[test]
fn first_hello_resumes_nothing() {
    let mut rig = Rig::new(3);
    assert_eq!(rig.sent(), [], "nothing goes out without a stream");
    let hello = rig.open();
    assert_eq!((hello.slots, hello.resume), (3, None));
    assert!(!rig.session.is_up());
    rig.welcome(false, &[]);
    assert!(rig.session.is_up());
    assert_eq!(rig.session.session_id(), Some(7));
    assert_eq!(rig.sent(), []);
}

#[test]
fn stopped_handler_is_a_failure_of_its_attempt() {
    let mut rig = Rig::running(1, &[1]);
    rig.finish(1, Outcome::Stopped);
    let expected =
        crate::HandlerError::retryable("HANDLER_STOPPED", "the handler was dropped before it returned");
    assert_eq!(rig.sent(), [results(vec![result(1, Outcome::Failed(expected.into_failed()))])]);
}

#[test]
fn cancel_stops_the_handler_and_is_acknowledged_when_it_has() {
    let mut rig = Rig::running(1, &[1]);
    rig.cancel(&[1]);
    assert_eq!(rig.actions(), [cancelled(1, CancelReason::Cancelled("why".into()))]);
    assert_eq!((rig.sent(), rig.in_flight()), (vec![], vec![1]));
    rig.finish(1, done("too late"));
    assert_eq!(rig.sent(), [cancel_ack(&[1])]);
    assert_eq!(rig.in_flight(), NONE);
}

#[test]
fn handler_that_does_not_stop_is_dropped_after_the_grace() {
    let mut rig = Rig::running(1, &[1]);
    rig.cancel(&[1]);
    rig.actions();
    rig.pass(GRACE);
    assert_eq!(rig.actions(), [Action::Abort { lease_id: 1 }]);
    rig.finish(1, Outcome::Stopped);
    assert!(rig.sent().contains(&cancel_ack(&[1])));
}

#[test]
fn handler_that_stops_in_time_is_not_dropped() {
    let mut rig = Rig::running(1, &[1]);
    rig.cancel(&[1]);
    rig.finish(1, failed());
    rig.actions();
    rig.pass(GRACE * 2);
    assert_eq!(rig.actions(), []);
}

#[test]
fn cancel_of_what_does_not_run_is_acknowledged_at_once() {
    let mut rig = Rig::running(1, &[1]);
    rig.assign(&[2]);
    rig.finish(1, done("1"));
    rig.actions();
    rig.sent();
    rig.cancel(&[1, 3]);
    assert_eq!(rig.sent(), [cancel_ack(&[1, 3])], "1 has a result on its way, 3 was never here");
}

#[test]
fn cancels_of_what_does_not_run_do_not_pile_up_while_nobody_reads() {
    let mut rig = Rig::up(1);
    rig.cancel(&[1, 1]);
    rig.cancel(&[1, 2, 3, 4, 5, 6]);
    assert_eq!(
        rig.sent(),
        [cancel_ack(&[1, 2, 3, 4])],
        "each once, and no more than could have been handed out"
    );
}

#[test]
fn cancel_that_came_before_the_assignment_is_not_acknowledged_while_it_runs() {
    let mut rig = Rig::up(1);
    rig.cancel(&[1]);
    rig.assign(&[1]);
    assert_eq!(rig.actions(), [start(1)]);
    assert_eq!(rig.sent(), [ack(&[1])]);
}

#[test]
fn cancel_of_a_waiting_brief_takes_it_out() {
    let mut rig = Rig::running(1, &[1]);
    rig.assign(&[2]);
    rig.cancel(&[2]);
    rig.finish(1, done("1"));
    assert_eq!(rig.actions(), []);
    assert_eq!(rig.sent(), [results(vec![result(1, done("1"))]), cancel_ack(&[2])]);
}

#[test]
fn slot_of_a_cancelled_handler_is_free_only_when_it_has_stopped() {
    let mut rig = Rig::running(1, &[1]);
    rig.cancel(&[1]);
    rig.actions();
    rig.assign(&[2]);
    assert_eq!(rig.actions(), []);
    rig.finish(1, Outcome::Stopped);
    assert_eq!(rig.actions(), [start(2)]);
}

#[test]
fn lost_lease_stops_the_handler_and_drops_its_result() {
    let mut rig = Rig::running(2, &[1, 2]);
    rig.lose(&[1]);
    assert_eq!(rig.actions(), [cancelled(1, CancelReason::LeaseLost)]);
    assert_eq!(rig.in_flight(), [2]);
    rig.finish(1, done("stale"));
    assert_eq!(rig.sent(), []);
}

#[test]
fn lost_lease_drops_a_result_that_was_not_sent() {
    let mut rig = Rig::running(1, &[1]);
    rig.finish(1, done("1"));
    rig.lose(&[1]);
    assert_eq!((rig.sent(), rig.actions(), rig.in_flight()), (vec![], vec![], vec![]));
}

#[test]
fn lease_lost_after_a_cancel_is_not_acknowledged() {
    let mut rig = Rig::running(1, &[1]);
    rig.cancel(&[1]);
    rig.actions();
    rig.lose(&[1]);
    assert_eq!(rig.actions(), [], "it was asked to stop already");
    rig.finish(1, Outcome::Stopped);
    assert_eq!(rig.sent(), []);
}

#[test]
fn resume_sends_unacknowledged_results_again() {
    let mut rig = Rig::running(3, &[1, 2, 3]);
    rig.finish(1, done("1"));
    rig.finish(2, done("2"));
    rig.sent();
    rig.ack_result(2, Verdict::Accepted);
    rig.close();
    let resume = rig.open().resume.expect("a session to resume");
    assert_eq!((resume.session_id, &*resume.token, resume.connection), (7, "token", 2));
    assert_eq!(resume.in_flight, leases(&[1, 3]));
    rig.welcome(true, &[]);
    assert_eq!(rig.sent(), [results(vec![result(1, done("1"))])]);
    assert_eq!(rig.actions(), [], "3 runs on");
}

#[test]
fn what_finishes_while_the_stream_is_down_is_sent_after_the_resume() {
    let mut rig = Rig::running(1, &[1]);
    rig.close();
    rig.report(1, "almost");
    rig.finish(1, done("1"));
    assert_eq!(rig.sent(), []);
    rig.open();
    rig.welcome(true, &[]);
    assert_eq!(rig.sent(), [progress(1, "almost"), results(vec![result(1, done("1"))])]);
}

#[test]
fn resume_stops_what_is_lost_and_keeps_the_rest() {
    let mut rig = Rig::running(3, &[1, 2, 3]);
    rig.finish(3, done("3"));
    rig.sent();
    rig.close();
    rig.open();
    rig.welcome(true, &[1, 3]);
    assert_eq!(rig.actions(), [cancelled(1, CancelReason::LeaseLost)]);
    assert_eq!((rig.sent(), rig.in_flight()), (vec![], vec![2]));
}

#[test]
fn new_session_instead_of_a_resumed_one_loses_everything() {
    let mut rig = Rig::running(2, &[1, 2]);
    rig.finish(2, done("2"));
    rig.sent();
    rig.close();
    rig.open();
    rig.welcome(false, &[]);
    assert_eq!(rig.actions(), [cancelled(1, CancelReason::LeaseLost)]);
    assert_eq!((rig.sent(), rig.in_flight()), (vec![], vec![]));
}

#[test]
fn closed_stream_voids_acknowledgements_and_waiting_briefs() {
    let mut rig = Rig::up(1);
    rig.assign(&[1, 2]);
    rig.close();
    rig.actions();
    assert_eq!(
        rig.open().resume.unwrap().in_flight,
        leases(&[1]),
        "being in flight acknowledges 1; 2 was never"
    );
    rig.welcome(true, &[]);
    assert_eq!(rig.sent(), []);
    rig.finish(1, done("1"));
    assert_eq!(rig.actions(), []);
}

#[test]
fn cancel_ack_survives_a_closed_stream() {
    let mut rig = Rig::running(1, &[1]);
    rig.cancel(&[1]);
    rig.close();
    rig.finish(1, Outcome::Stopped);
    rig.open();
    rig.welcome(true, &[]);
    assert_eq!(rig.sent(), [cancel_ack(&[1])]);
}

#[test]
fn deadline_is_the_control_planes_while_the_stream_is_up_and_ours_while_it_is_down() {
    let mut rig = Rig::up(2);
    let at = rig.wall + Duration::from_secs(60);
    let deadline_ms = i64::try_from(at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis()).unwrap();
    let briefs = vec![Brief { deadline_ms, ..brief(1) }, Brief { deadline_ms: 1, ..brief(2) }];
    rig.receive(session_response::Message::Assign(Assign { briefs }));
    rig.actions();
    rig.pass(Duration::from_secs(61));
    assert_eq!(rig.actions(), []);
    rig.close();
    rig.next_timeout();
    let overdue = [cancelled(1, CancelReason::Overdue)];
    assert_eq!(rig.actions(), overdue, "2 came with a deadline long past: the clocks differ");
    rig.pass(GRACE);
    assert_eq!(rig.actions(), [Action::Abort { lease_id: 1 }]);
    rig.finish(1, Outcome::Stopped);
    rig.open();
    rig.welcome(true, &[]);
    let sent = rig.sent();
    let [session_request::Message::Results(Results { results })] = &sent[..] else { panic!("{sent:?}") };
    let Some(ResultOutcome::Failed(Failed { error: Some(error), .. })) = &results[0].outcome else {
        panic!()
    };
    assert_eq!(error.code, "DEADLINE_EXCEEDED");
}
