//! Plans that a client may come up with: chains, fans, diamonds, layers, and what has no shape at all.

use downbeat_core::{draft::Draft, task::Priority};

use super::{
    cluster::{AGENTS, TAGS},
    rng::Rng,
};

const SUBTASKS_MAX: u64 = 30;

/// The drafts of one plan.
pub fn draft(rng: &mut Rng) -> Vec<Draft> {
    // Mostly small ones: more of them fit into a seed.
    let most = if rng.per_mille(200) { SUBTASKS_MAX } else { 8 };
    let total = usize::try_from(rng.between(1, most)).unwrap_or(1);
    let shape = rng.below(5);
    let mut drafts = Vec::with_capacity(total);
    for i in 0..total {
        let depends_on = dependencies(rng, shape, i, total);
        drafts.push(node(rng, i, depends_on));
    }
    drafts
}

fn dependencies(rng: &mut Rng, shape: u64, i: usize, total: usize) -> Vec<usize> {
    let last = i + 1 == total;
    match shape {
        // A chain.
        0 => i.checked_sub(1).into_iter().collect(),
        // A fan-out and a join.
        1 if i == 0 => Vec::new(),
        1 if last => (1..i.max(1)).chain((i == 1).then_some(0)).collect(),
        1 => vec![0],
        // Diamonds, one after the other.
        2 => match i % 3 {
            _ if i == 0 => Vec::new(),
            0 => vec![i - 1, i - 2],
            1 => vec![i - 1],
            _ => vec![i - 2],
        },
        // Layers of three, each on all of the one before.
        3 => (0..3).filter_map(|d| (i / 3 * 3).checked_sub(d + 1)).collect(),
        // Anything that points back.
        _ => (0..i).filter(|_| rng.below(i as u64 + 1) < 2).collect(),
    }
}

fn node(rng: &mut Rng, i: usize, depends_on: Vec<usize>) -> Draft {
    let name = |of: &[&str], rng: &mut Rng| rng.pick(of).copied().unwrap_or_default().to_owned();
    let (agent, capabilities) = match rng.below(8) {
        0 | 1 => (String::new(), vec![name(&TAGS, rng)]),
        2 => (name(&AGENTS, rng), vec![name(&TAGS, rng)]),
        3 => (
            String::new(),
            TAGS.iter().filter(|tag| **tag != TAGS[i % 3]).map(|tag| (*tag).to_owned()).collect(),
        ),
        _ => (name(&AGENTS, rng), Vec::new()),
    };
    let sla_seconds = rng.per_mille(250).then(|| u32::try_from(rng.between(3, 20)).unwrap_or(3));
    let max_attempts = rng.per_mille(300).then(|| u16::try_from(rng.between(1, 4)).unwrap_or(1));
    let priority = rng.per_mille(200).then(|| rng.pick(&Priority::ALL).copied().unwrap_or_default());
    Draft {
        key: format!("s{i}"),
        agent,
        capabilities,
        depends_on: depends_on.into_iter().map(|d| format!("s{d}")).collect(),
        sla_seconds,
        max_attempts,
        priority,
        ..Draft::default()
    }
}
