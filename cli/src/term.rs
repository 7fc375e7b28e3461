//! What a terminal can show: colours, glyphs, widths. Everything that came from elsewhere passes
//! [`printable`] before it is shown, so that no agent can move somebody's cursor.

use std::{
    env,
    io::{self, IsTerminal},
};

use downbeat_sdk::proto::SubtaskState;

/// The terminal behind standard output, if it is one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Term {
    pub(crate) tty: bool,
    colors: bool,
    unicode: bool,
}

/// A way to set off a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paint {
    Plain,
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
    Cyan,
}

impl Term {
    pub(crate) fn of_stdout() -> Term {
        let tty = io::stdout().is_terminal() && env::var("TERM").map_or(true, |term| term != "dumb");
        Term { tty, colors: tty && colors_wanted(), unicode: unicode_wanted() }
    }

    /// Without colours and glyphs.
    #[cfg(test)]
    pub(crate) fn plain() -> Term {
        Term { tty: false, colors: false, unicode: false }
    }

    pub(crate) fn paint(&self, paint: Paint, text: &str) -> String {
        let code = match paint {
            Paint::Bold => "1",
            Paint::Dim => "2",
            Paint::Red => "31",
            Paint::Green => "32",
            Paint::Yellow => "33",
            Paint::Cyan => "36",
            Paint::Plain => "",
        };
        if self.colors && !code.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// One sign for a subtask's state.
    pub(crate) fn glyph(&self, state: SubtaskState) -> &'static str {
        let (glyph, letter) = match state {
            SubtaskState::Unspecified => ("?", "?"),
            SubtaskState::Pending => ("·", "."),
            SubtaskState::Ready => ("○", "o"),
            SubtaskState::Blocked => ("⊘", "#"),
            SubtaskState::Leased => ("▷", ">"),
            SubtaskState::Running => ("▶", ">"),
            SubtaskState::Backoff => ("↻", "~"),
            SubtaskState::Waiting => ("⏸", "|"),
            SubtaskState::NeedsReview => ("!", "!"),
            SubtaskState::Completed => ("✔", "+"),
            SubtaskState::Failed => ("✘", "x"),
            SubtaskState::Skipped => ("↷", "-"),
            SubtaskState::Cancelled => ("■", "x"),
        };
        if self.unicode { glyph } else { letter }
    }

    /// An arrow that points to what is waited for.
    pub(crate) fn after(&self) -> &'static str {
        if self.unicode { "←" } else { "<-" }
    }

    pub(crate) fn dots(&self) -> &'static str {
        if self.unicode { "…" } else { "..." }
    }

    /// Columns and lines; 100 by 40 where nobody knows.
    pub(crate) fn size(&self) -> (usize, usize) {
        let size = if self.tty { terminal_size::terminal_size() } else { None };
        size.map_or((100, 40), |(width, height)| (usize::from(width.0), usize::from(height.0)))
    }

    /// Cuts a text without escapes to so many columns.
    pub(crate) fn clip(&self, text: &str, columns: usize) -> String {
        if width(text) <= columns {
            return text.to_owned();
        }
        let room = columns.saturating_sub(width(self.dots()));
        let mut cut = String::new();
        let mut used = 0;
        for c in text.chars() {
            used += char_width(c);
            if used > room {
                break;
            }
            cut.push(c);
        }
        cut + self.dots()
    }
}

/// See <https://no-color.org>.
pub(crate) fn colors_wanted() -> bool {
    env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn unicode_wanted() -> bool {
    let locale =
        ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| env::var(name).ok().filter(|v| !v.is_empty()));
    locale.is_some_and(|locale| {
        let locale = locale.to_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

/// The text on one line and without control characters.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Columns that a text takes.
pub(crate) fn width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

/// Near enough: East Asian and pictures take two columns, combining marks none.
fn char_width(c: char) -> usize {
    match u32::from(c) {
        0x0300..=0x036F | 0x200B..=0x200F | 0xFE00..=0xFE0F => 0,
        0x1100..=0x115F | 0x2E80..=0xA4CF | 0xAC00..=0xD7A3 | 0xF900..=0xFAFF | 0xFE30..=0xFE4F => 2,
        0xFF00..=0xFF60 | 0xFFE0..=0xFFE6 | 0x1F300..=0x1FAFF | 0x2_0000..=0x3_FFFD => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::{Term, printable, width};

    #[test]
    fn texts_are_cut_by_columns() {
        let term = Term::plain();
        assert_eq!(term.clip("short", 5), "short");
        assert_eq!(term.clip("too long", 6), "too...");
        assert_eq!(width("日本"), 4);
        assert_eq!(term.clip("日本語", 5), "日...");
    }

    #[test]
    fn escapes_do_not_reach_the_terminal() {
        assert_eq!(printable("a\x1b[2Jb\nc\u{9b}d"), "a [2Jb c d");
    }
}
