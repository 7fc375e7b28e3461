//! The order of a board: what belongs to a subtask stands below it, and beside each other, what depends on others below
//! them.

use std::collections::HashMap;

use super::Row;

/// Puts rows in order, and tells each how deep it stands, and how many stand below it.
pub(super) fn sort(rows: Vec<Row>) -> Vec<Row> {
    let named = rows.iter().enumerate().filter(|(_, row)| !row.id.is_empty());
    let places: HashMap<String, usize> = named.map(|(at, row)| (row.id.clone(), at)).collect();
    let mut families: HashMap<Option<usize>, Vec<usize>> = HashMap::new();
    for (at, row) in rows.iter().enumerate() {
        let parent = places.get(&row.parent).copied().filter(|parent| *parent != at);
        families.entry(parent).or_default().push(at);
    }
    for family in families.values_mut() {
        sort_by_depth(&rows, family);
    }
    let mut order = Vec::with_capacity(rows.len());
    let mut todo: Vec<(usize, usize)> = Vec::new();
    let mut push = |todo: &mut Vec<(usize, usize)>, parent: Option<usize>, level: usize| {
        let family = families.remove(&parent).unwrap_or_default();
        todo.extend(family.into_iter().rev().map(|at| (at, level)));
    };
    push(&mut todo, None, 0);
    while let Some((at, level)) = todo.pop() {
        order.push((at, level));
        push(&mut todo, Some(at), level + 1);
    }
    let mut rows: Vec<Option<Row>> = rows.into_iter().map(Some).collect();
    let mut sorted: Vec<Row> = Vec::with_capacity(order.len());
    for (at, level) in order {
        sorted.extend(rows[at].take().map(|row| Row { level, ..row }));
    }
    sorted
}

/// Stable, so that those of one depth stay in their order: elements and rounds as they are numbered, all else as the
/// plan has it.
fn sort_by_depth(rows: &[Row], family: &mut [usize]) {
    let mut places: HashMap<&str, usize> = HashMap::new();
    for (place, &at) in family.iter().enumerate() {
        places.insert(&rows[at].key, place);
        places.entry(rows[at].label()).or_insert(place);
    }
    let depends_on: Vec<Vec<usize>> = family
        .iter()
        .map(|&at| rows[at].depends_on.iter().filter_map(|key| places.get(key.as_str()).copied()).collect())
        .collect();
    let mut dependents = vec![Vec::new(); family.len()];
    let mut pending: Vec<usize> = depends_on.iter().map(Vec::len).collect();
    for (place, dependencies) in depends_on.iter().enumerate() {
        dependencies.iter().for_each(|&dependency| dependents[dependency].push(place));
    }
    let mut depths = vec![0; family.len()];
    let mut level: Vec<usize> = (0..family.len()).filter(|&place| pending[place] == 0).collect();
    let mut depth = 0;
    while !level.is_empty() {
        let mut next = Vec::new();
        for place in level {
            depths[place] = depth;
            for &dependent in &dependents[place] {
                pending[dependent] -= 1;
                if pending[dependent] == 0 {
                    next.push(dependent);
                }
            }
        }
        level = next;
        depth += 1;
    }
    let mut ranked: Vec<(usize, Option<u32>, usize, usize)> =
        family.iter().enumerate().map(|(place, &at)| (depths[place], rows[at].nth, place, at)).collect();
    ranked.sort_unstable();
    for (place, (.., at)) in ranked.into_iter().enumerate() {
        family[place] = at;
    }
}
