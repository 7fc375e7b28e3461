//! Tables for people: aligned by hand, the last column as wide as it likes.

use crate::term::{Paint, Term, printable, width};

/// A cell: what it says, and how.
pub(crate) type Cell = (Paint, String);

/// A plain cell.
pub(crate) fn cell(text: impl Into<String>) -> Cell {
    (Paint::Plain, text.into())
}

/// Rows with columns of equal width, without trailing space. Lines are cut to the terminal's width.
pub(crate) fn rows(term: &Term, indent: usize, rows: &[Vec<Cell>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let rows: Vec<Vec<Cell>> =
        rows.iter().map(|row| row.iter().map(|(paint, text)| (*paint, printable(text))).collect()).collect();
    let widths: Vec<usize> = (0..columns)
        .map(|at| rows.iter().filter_map(|row| row.get(at)).map(|(_, text)| width(text)).max().unwrap_or(0))
        .collect();
    let room = if term.tty { term.size().0 } else { usize::MAX };
    rows.iter().map(|row| line(term, indent, row, &widths, room)).collect()
}

fn line(term: &Term, indent: usize, row: &[Cell], widths: &[usize], room: usize) -> String {
    let mut text = " ".repeat(indent);
    let mut used = indent;
    let last = row.iter().rposition(|(_, text)| !text.is_empty()).unwrap_or(0);
    for (at, (paint, cell)) in row.iter().enumerate().take(last + 1) {
        if used >= room {
            break;
        }
        let cell = term.clip(cell, room - used);
        let gap = if at == last { 0 } else { widths[at] + 2 - width(&cell).min(widths[at]) };
        text.push_str(&term.paint(*paint, &cell));
        text.push_str(&" ".repeat(gap.min(room.saturating_sub(used + width(&cell)))));
        used += width(&cell) + gap;
    }
    text
}

/// A table with a head.
pub(crate) fn titled(term: &Term, head: &[&str], body: Vec<Vec<Cell>>) -> Vec<String> {
    let head = head.iter().map(|name| (Paint::Dim, name.to_uppercase())).collect();
    let mut all = vec![head];
    all.extend(body);
    rows(term, 0, &all)
}

#[cfg(test)]
mod tests {
    use super::{cell, titled};
    use crate::term::Term;

    #[test]
    fn columns_are_aligned_and_nothing_trails() {
        let body = vec![vec![cell("a"), cell("bb"), cell("")], vec![cell("cccc"), cell(""), cell("d")]];
        assert_eq!(
            titled(&Term::plain(), &["x", "y", "z"], body),
            ["X     Y   Z", "a     bb", "cccc      d"]
        );
    }
}
