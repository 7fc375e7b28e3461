//! Drains and shutdowns.

use super::*;

#[test]
fn drain_by_the_control_plane_finishes_then_says_goodbye() {
    let mut rig = Rig::running(1, &[1]);
    rig.assign(&[2]);
    rig.drain();
    rig.assign(&[3]);
    rig.pass(Duration::from_secs(3600));
    rig.finish(1, done("1"));
    assert_eq!(rig.actions(), [], "3 came after the drain, 2 has waited too long, 1 was left in peace");
    assert_eq!(rig.sent(), [heartbeat(&[1]), results(vec![result(1, done("1"))])]);
    rig.ack_result(1, Verdict::Accepted);
    assert_eq!(rig.sent(), [goodbye("drained")]);
    assert_eq!(rig.actions(), [Action::End(Ended::Drained)]);
    assert_eq!(rig.session.poll_timeout(), None);
}

#[test]
fn shutdown_asks_for_a_drain_and_finishes() {
    let mut rig = Rig::running(1, &[1]);
    rig.session.handle_shutdown(rig.now, Duration::from_secs(20));
    assert_eq!(rig.actions(), [Action::AskDrain { session_id: 7 }]);
    rig.drain();
    rig.finish(1, done("1"));
    assert_eq!(rig.sent(), [results(vec![result(1, done("1"))])]);
    rig.ack_result(1, Verdict::Accepted);
    assert_eq!(rig.sent(), [goodbye("shutdown")]);
    assert_eq!(rig.actions(), [Action::End(Ended::Shutdown)]);
}

#[test]
fn drain_finishes_what_was_assigned_before_it() {
    let mut rig = Rig::running(1, &[1]);
    rig.assign(&[2]);
    rig.drain();
    rig.finish(1, done("1"));
    assert_eq!(rig.actions(), [start(2)]);
}

#[test]
fn shutdown_takes_what_was_assigned_before_the_control_plane_knew() {
    for refused in [false, true] {
        let mut rig = Rig::running(3, &[1]);
        rig.session.handle_shutdown(rig.now, Duration::from_secs(20));
        rig.actions();
        rig.assign(&[2]);
        assert_eq!(rig.actions(), [start(2)]);
        if refused {
            rig.session.handle_drain_refused();
        } else {
            rig.drain();
        }
        rig.assign(&[3]);
        assert_eq!(rig.actions(), []);
    }
}

#[test]
fn shutdown_that_takes_too_long_takes_nothing_more() {
    let mut rig = Rig::running(1, &[1]);
    rig.assign(&[2]);
    rig.session.handle_shutdown(rig.now, Duration::ZERO);
    rig.actions();
    rig.assign(&[3]);
    rig.finish(1, Outcome::Stopped);
    assert_eq!(rig.actions(), []);
}

#[test]
fn idle_shutdown_says_goodbye_at_once() {
    let mut rig = Rig::up(1);
    rig.session.handle_shutdown(rig.now, Duration::from_secs(20));
    assert_eq!(rig.sent(), [goodbye("shutdown")]);
    assert_eq!(rig.actions(), [Action::End(Ended::Shutdown)]);
}

#[test]
fn shutdown_without_a_stream_and_with_nothing_in_flight_ends_at_once() {
    let mut rig = Rig::new(1);
    rig.session.handle_shutdown(rig.now, Duration::from_secs(20));
    assert_eq!(rig.actions(), [Action::End(Ended::Shutdown)]);
}

#[test]
fn shutdown_while_a_stream_opens_says_goodbye_when_it_is_up() {
    let mut rig = Rig::new(1);
    rig.open();
    rig.session.handle_shutdown(rig.now, Duration::from_secs(20));
    assert_eq!((rig.sent(), rig.actions()), (vec![], vec![]));
    rig.welcome(false, &[]);
    assert_eq!(rig.sent(), [goodbye("shutdown")]);
    assert_eq!(rig.actions(), [Action::End(Ended::Shutdown)]);
}

#[test]
fn shutdown_waits_for_a_stream_to_bring_results_home() {
    let mut rig = Rig::running(1, &[1]);
    rig.close();
    rig.session.handle_shutdown(rig.now, Duration::from_secs(20));
    rig.finish(1, done("1"));
    assert_eq!(rig.actions(), []);
    rig.open();
    rig.welcome(true, &[]);
    assert_eq!(
        rig.actions(),
        [Action::AskDrain { session_id: 7 }],
        "the control plane knows nothing of it yet"
    );
    rig.sent();
    rig.ack_result(1, Verdict::Accepted);
    assert_eq!(rig.sent(), [goodbye("shutdown")]);
}

#[test]
fn shutdown_that_takes_too_long_stops_what_runs() {
    let mut rig = Rig::running(3, &[1, 2, 3]);
    rig.session.handle_shutdown(rig.now, Duration::from_secs(20));
    rig.actions();
    rig.pass(Duration::from_secs(20));
    let stop = |id| cancelled(id, CancelReason::Shutdown);
    assert_eq!(rig.actions(), [stop(1), stop(2), stop(3)]);
    rig.finish(1, done("just in time"));
    rig.finish(2, failed());
    rig.pass(GRACE);
    assert_eq!(rig.actions(), [Action::Abort { lease_id: 3 }]);
    rig.finish(3, Outcome::Stopped);
    let sent = rig.sent();
    assert!(sent.contains(&results(vec![result(1, done("just in time"))])), "an output counts: {sent:?}");
    rig.ack_result(1, Verdict::Accepted);
    assert_eq!(rig.sent(), [goodbye("shutdown")], "a failure that we caused ourselves is not reported");
    assert_eq!(rig.actions(), [Action::End(Ended::TimedOut { unfinished: 2 })]);
}

#[test]
fn shutdown_does_not_wait_for_a_handler_that_blocks() {
    let mut rig = Rig::running(1, &[1]);
    rig.session.handle_shutdown(rig.now, Duration::ZERO);
    rig.pass(Duration::from_secs(60));
    assert_eq!(rig.actions().last(), Some(&Action::End(Ended::TimedOut { unfinished: 1 })));
}

#[test]
fn shutdown_and_handlers_may_be_waited_for_without_a_limit() {
    let mut rig = Rig::new(1);
    let hello = rig.session.hello();
    rig.session = Session::new(Settings { hello, cancel_grace: Duration::MAX });
    rig.open();
    rig.welcome(false, &[]);
    rig.assign(&[1]);
    rig.session.handle_shutdown(rig.now, Duration::MAX);
    rig.cancel(&[1]);
    rig.actions();
    rig.pass(Duration::from_secs(24 * 3600));
    assert_eq!(rig.actions(), []);
    rig.session.handle_shutdown(rig.now, Duration::ZERO);
    rig.finish(1, Outcome::Stopped);
    rig.sent();
    assert_eq!(rig.actions().last(), Some(&Action::End(Ended::Shutdown)));
}

#[test]
fn second_shutdown_hastens_the_first_and_a_drain() {
    for by_server in [false, true] {
        let mut rig = Rig::running(1, &[1]);
        if by_server {
            rig.drain();
        } else {
            rig.session.handle_shutdown(rig.now, Duration::from_secs(3600));
        }
        rig.session.handle_shutdown(rig.now, Duration::ZERO);
        assert!(rig.actions().contains(&cancelled(1, CancelReason::Shutdown)));
    }
}

#[test]
fn goodbye_that_the_stream_does_not_take_is_given_up() {
    let mut rig = Rig::up(1);
    rig.drain();
    rig.pass(Duration::from_secs(1));
    assert_eq!(rig.actions(), [Action::End(Ended::Drained)]);
    assert_eq!(rig.sent(), []);
}

#[test]
fn drained_worker_whose_stream_breaks_at_the_goodbye_has_ended() {
    let mut rig = Rig::up(1);
    rig.drain();
    rig.close();
    assert_eq!(rig.actions(), [Action::End(Ended::Drained)]);
}
