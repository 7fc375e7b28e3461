//! Hello, Welcome, heartbeats.

use super::*;

#[test]
fn no_welcome_in_time_opens_another_stream() {
    let mut rig = Rig::new(1);
    rig.open();
    rig.next_timeout();
    assert_eq!(rig.actions(), [Action::Reconnect { problem: "no welcome came" }]);
    assert_eq!(rig.session.poll_timeout(), None);
}

#[test]
fn anything_before_the_welcome_opens_another_stream() {
    let mut rig = Rig::new(1);
    rig.open();
    rig.assign(&[1]);
    assert_eq!(rig.actions(), [Action::Reconnect { problem: "the first message was not a welcome" }]);
    assert_eq!(rig.in_flight(), NONE);
}

#[test]
fn second_welcome_opens_another_stream() {
    let mut rig = Rig::up(1);
    rig.welcome(false, &[]);
    assert_eq!(rig.actions(), [Action::Reconnect { problem: "a second welcome came" }]);
}

#[test]
fn message_of_a_later_version_is_ignored() {
    let mut rig = Rig::up(1);
    rig.session.handle_message(rig.now, rig.wall, SessionResponse { message: None });
    assert_eq!((rig.sent(), rig.actions()), (vec![], vec![]));
}

#[test]
fn heartbeat_tells_what_is_in_flight() {
    let mut rig = Rig::running(3, &[1, 2, 3]);
    rig.finish(1, done("1"));
    assert_eq!(rig.sent(), [results(vec![result(1, done("1"))])]);
    rig.next_timeout();
    assert_eq!(rig.sent(), [heartbeat(&[1, 2, 3])], "a result on its way is in flight");
    rig.ack_result(1, Verdict::Accepted);
    rig.next_timeout();
    assert_eq!(rig.sent(), [heartbeat(&[2, 3])]);
}

#[test]
fn heartbeats_do_not_pile_up_while_the_stream_is_full() {
    let mut rig = Rig::up(1);
    rig.pass(HEARTBEAT * 5);
    assert_eq!(rig.sent(), [heartbeat(&[])]);
}

#[test]
fn heartbeat_goes_before_results() {
    let mut rig = Rig::running(1, &[1]);
    rig.finish(1, done("1"));
    rig.next_timeout();
    assert_eq!(rig.sent(), [heartbeat(&[1]), results(vec![result(1, done("1"))])]);
}
