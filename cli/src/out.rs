//! Standard output and standard error: the only places of this crate that write to them.

use std::io::{self, Write};

use serde_json::Value;

use crate::{failure::Result, term::Term};

/// Standard output, for people or for programs.
#[derive(Debug)]
pub(crate) struct Out {
    /// Programs read: only JSON may be written.
    pub(crate) json: bool,
    pub(crate) term: Term,
}

impl Out {
    pub(crate) fn new(json: bool) -> Out {
        Out { json, term: Term::of_stdout() }
    }

    /// One line for people.
    pub(crate) fn line(&mut self, line: impl AsRef<str>) -> Result {
        self.text(&format!("{}\n", line.as_ref()))
    }

    /// Text as it is, at once.
    pub(crate) fn text(&mut self, text: &str) -> Result {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        Ok(stdout.flush()?)
    }

    /// One JSON document on a line of its own.
    pub(crate) fn json(&mut self, document: &Value) -> Result {
        self.text(&format!("{document}\n"))
    }

    /// The document for programs, or the lines for people.
    pub(crate) fn either(
        &mut self,
        document: impl FnOnce() -> Value,
        lines: impl FnOnce(&Term) -> Vec<String>,
    ) -> Result {
        if self.json {
            return self.json(&document());
        }
        let lines = lines(&self.term);
        self.text(&lines.iter().map(|line| format!("{line}\n")).collect::<String>())
    }
}

/// Writes to standard error. When that is gone too, nobody is left to be told.
pub(crate) fn complain(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
