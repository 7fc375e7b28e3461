//! Reads and writes of the shared context.

use super::*;
use crate::proto::{
    ContextAnswer, ContextEntry, ContextRead, ContextWrite, context_answer::Verdict as Answer,
};

fn write(key: &str) -> Write {
    Write { key: key.into(), value: Some("1".into()), expected_version: Some(3) }
}

fn written(lease_id: i64, request: u64, key: &str) -> session_request::Message {
    let Write { key, value, expected_version } = write(key);
    let lease = Some(lease(lease_id));
    session_request::Message::ContextWrite(ContextWrite { lease, request, key, value, expected_version })
}

fn read(lease_id: i64, request: u64, key: &str) -> session_request::Message {
    let (lease, key) = (Some(lease(lease_id)), key.to_owned());
    session_request::Message::ContextRead(ContextRead { lease, request, key })
}

fn shared(request: u64, answer: Shared) -> Action {
    Action::Shared { request, answer }
}

fn done_with(version: u64) -> Shared {
    Shared::Done { version, entries: Vec::new() }
}

impl Rig {
    fn answer(&mut self, request: u64, verdict: Answer, version: u64, entries: Vec<ContextEntry>) {
        self.receive(session_response::Message::ContextAnswer(ContextAnswer {
            lease: Some(lease(1)),
            request,
            verdict: verdict.into(),
            message: "why".into(),
            version,
            entries,
        }));
    }
}

#[test]
fn writes_and_reads_are_sent_and_answered() {
    let mut rig = Rig::running(1, &[1]);
    assert_eq!(rig.session.handle_write(1, write("a")), Some(1));
    assert_eq!(rig.session.handle_read(1, "b".into()), Some(2));
    assert_eq!(rig.sent(), [written(1, 1, "a"), read(1, 2, "b")]);
    let entry = ContextEntry { key: "b".into(), value: "2".into(), version: 7 };
    rig.answer(2, Answer::Done, 0, vec![entry.clone()]);
    rig.answer(1, Answer::Done, 4, Vec::new());
    let found = Shared::Done { version: 0, entries: vec![entry] };
    assert_eq!(rig.actions(), [shared(2, found), shared(1, done_with(4))]);
    rig.answer(1, Answer::Done, 4, Vec::new());
    assert_eq!(rig.actions(), [], "answered once");
}

#[test]
fn each_verdict_has_its_answer() {
    for (verdict, answer) in [
        (Answer::Done, done_with(5)),
        (Answer::Stale, Shared::LeaseLost),
        (Answer::Conflict, Shared::Conflict { version: 5, message: "why".into() }),
        (Answer::Refused, Shared::Refused("why".into())),
        (Answer::Unspecified, Shared::Refused("it was answered without a verdict".into())),
    ] {
        let mut rig = Rig::running(1, &[1]);
        rig.session.handle_write(1, write("a"));
        rig.answer(1, verdict, 5, Vec::new());
        assert_eq!(rig.actions(), [shared(1, answer)], "{verdict:?}");
        assert_eq!((rig.sent(), rig.in_flight()), (vec![], vec![1]), "an answer leaves the attempt in peace");
    }
}

#[test]
fn a_write_is_sent_again_under_its_number_until_it_is_answered() {
    let mut rig = Rig::running(1, &[1]);
    rig.close();
    rig.session.handle_write(1, write("a"));
    assert_eq!(rig.sent(), []);
    for _ in 0..2 {
        rig.open();
        rig.welcome(true, &[]);
        assert_eq!(rig.sent(), [written(1, 1, "a")]);
        rig.close();
    }
    rig.open();
    rig.welcome(true, &[]);
    rig.answer(1, Answer::Done, 4, Vec::new());
    assert_eq!((rig.actions(), rig.sent()), (vec![shared(1, done_with(4))], vec![]));
    assert_eq!(rig.session.handle_write(1, write("a")), Some(2), "numbers grow");
}

#[test]
fn a_write_goes_out_before_the_result() {
    let mut rig = Rig::running(1, &[1]);
    rig.session.handle_write(1, write("a"));
    rig.finish(1, done("1"));
    assert_eq!(rig.sent(), [written(1, 1, "a"), results(vec![result(1, done("1"))])]);
}

#[test]
fn who_waits_under_a_lease_that_is_over_is_told() {
    let lost: fn(&mut Rig) = |rig| rig.lose(&[1]);
    let cancelled: fn(&mut Rig) = |rig| rig.cancel(&[1]);
    for over in [lost, cancelled] {
        let mut rig = Rig::running(2, &[1, 2]);
        rig.session.handle_write(1, write("a"));
        over(&mut rig);
        assert_eq!(rig.actions()[0], shared(1, Shared::LeaseLost));
        assert_eq!(rig.session.handle_write(1, write("a")), None);
        assert_eq!(rig.session.handle_read(9, String::new()), None);
        assert!(!rig.sent().contains(&written(1, 1, "a")), "what was not sent is not sent any more");
    }
}
