//! Where a path stands in the text of an expression: the parser keeps no places.

use cel::parser::pratt_parser::{Lexer, TokenKind};

use super::value::Step;

/// The words of a text, with where each begins. `a['b']` is told as `a.b`.
pub(super) struct Words {
    text: String,
    words: Vec<(usize, String)>,
}

impl Words {
    pub(super) fn of(text: &str) -> Words {
        let mut lexer = Lexer::new(text);
        let mut words: Vec<(usize, String)> = Vec::new();
        for _ in 0..=text.len() {
            let token = lexer.lex();
            let word = text.get(token.start..token.end).unwrap_or_default();
            match token.kind {
                TokenKind::TokEnd | TokenKind::TokError => break,
                TokenKind::TokWhitespace | TokenKind::TokComment => {}
                TokenKind::TokString => {
                    words.push((token.start, format!("'{}", word.trim_matches(['\'', '"']))))
                }
                TokenKind::TokRightBracket => match words.as_mut_slice() {
                    [.., (_, open), (_, name)] if open == "[" && name.starts_with('\'') => {
                        *open = ".".to_owned();
                        name.remove(0);
                    }
                    _ => words.push((token.start, word.to_owned())),
                },
                _ => words.push((token.start, word.to_owned())),
            }
        }
        Words { text: text.to_owned(), words }
    }

    /// Where the last step of a path stands, as `line 1, column 3: `, of those places that `operator` follows where
    /// there is one; empty when it cannot be found.
    pub(super) fn place(&self, root: &str, steps: &[Step], operator: Option<&str>) -> String {
        let mut path = vec![root.to_owned()];
        for step in steps {
            match step {
                Step::Name(name) => path.extend([".".to_owned(), name.clone()]),
                Step::At(at) => path.extend(["[".to_owned(), at.to_string(), "]".to_owned()]),
            }
        }
        let last = match steps.last() {
            None => 0,
            Some(Step::Name(_)) => path.len() - 1,
            Some(Step::At(_)) => path.len() - 2,
        };
        path.extend(operator.map(str::to_owned));
        let found = self.words.windows(path.len()).find(|words| words.iter().map(|(_, word)| word).eq(&path));
        found.map_or_else(String::new, |words| line_and_column(&self.text, words[last].0))
    }
}

/// As `line 1, column 3: `.
pub(super) fn line_and_column(text: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
    format!("line {line}, column {column}: ")
}
