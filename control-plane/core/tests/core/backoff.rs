//! The wait between attempts: its bounds, and the jitter that a lease id decides.

use std::collections::BTreeSet;

use downbeat_core::{draft::Retry, policy::Policy};

#[test]
fn waits_double_up_to_the_longest() {
    let policy = Policy { backoff_base_ms: 1_000, backoff_max_ms: 60_000, ..Policy::default() };
    for (failures, full) in [
        (0, 1_000),
        (1, 1_000),
        (2, 2_000),
        (3, 4_000),
        (6, 32_000),
        (7, 60_000),
        (31, 60_000),
        (u16::MAX, 60_000),
    ] {
        for salt in (0..1_000).chain([i64::MIN, -1, i64::MAX]) {
            let wait = policy.backoff_ms(&Retry::default(), failures, salt);
            assert!(
                (full * 4 / 5..=full).contains(&wait),
                "failure {failures}, lease {salt}: {wait} of {full}"
            );
        }
    }
}

#[test]
fn jitter_spreads_neighbouring_leases() {
    let policy = Policy { backoff_base_ms: 10_000, ..Policy::default() };
    let waits: Vec<u64> =
        (4_096..5_096).map(|lease| policy.backoff_ms(&Retry::default(), 1, lease)).collect();
    let distinct: BTreeSet<u64> = waits.iter().copied().collect();
    assert!(distinct.len() > 700, "{} of 1000", distinct.len());
    for fifth in 0..5 {
        let part = 8_000 + fifth * 400..8_400 + fifth * 400;
        let hits = waits.iter().filter(|wait| part.contains(*wait)).count();
        assert!((150..=250).contains(&hits), "{hits} of 1000 in {part:?}");
    }
}

#[test]
fn the_same_lease_always_waits_the_same() {
    let policy = Policy::default();
    assert_eq!(policy.backoff_ms(&Retry::default(), 2, 77), policy.backoff_ms(&Retry::default(), 2, 77));
}

#[test]
fn extreme_policies_do_not_overflow() {
    let policy = Policy { backoff_base_ms: u64::MAX, backoff_max_ms: u64::MAX, ..Policy::default() };
    assert!(policy.backoff_ms(&Retry::default(), u16::MAX, -1) > u64::MAX / 5 * 4);
    let policy = Policy { backoff_base_ms: 0, backoff_max_ms: 0, ..Policy::default() };
    assert_eq!(policy.backoff_ms(&Retry::default(), 3, 1), 0);
}

#[test]
fn a_subtask_may_ask_for_its_own_waits() {
    let policy = Policy { backoff_base_ms: 1_000, backoff_max_ms: 60_000, ..Policy::default() };
    for (backoff, max, failures, full) in [
        (Some(10), None, 1, 10_000),
        (Some(10), None, 3, 40_000),
        (Some(10), None, 9, 60_000),
        (Some(10), Some(15), 2, 15_000),
        (Some(120), None, 1, 120_000),
        (Some(120), None, 2, 120_000),
        (None, Some(3), 5, 3_000),
        (Some(0), None, 5, 0),
    ] {
        let retry = Retry { backoff_seconds: backoff, max_backoff_seconds: max, ..Retry::default() };
        let wait = policy.backoff_ms(&retry, failures, 4_097);
        assert!((full * 4 / 5..=full).contains(&wait), "{retry:?}, failure {failures}: {wait} of {full}");
    }
}
