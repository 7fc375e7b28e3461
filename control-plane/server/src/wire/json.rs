//! JSON documents that are carried without being looked into: metadata, inputs, outputs.
//!
//! Each is checked once, here: valid UTF-8 and JSON, not nested too deeply, no `\u0000` (databases cannot
//! keep it), no lone surrogates and no numbers that other readers choke on. It goes on as text, so that
//! nothing on the way rounds a number or loses a member.

use std::ops::Range;

use bytes::Bytes;
use downbeat_core::limits;
use serde_json::value::RawValue;

use super::problems::Problems;

/// Problems reported of one document.
const PROBLEMS_MAX: usize = 20;
/// Shorter numbers without an exponent fit into a double.
const PLAIN_NUMBER_BYTES: usize = 300;

/// A checked JSON text.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    /// As it came, without the whitespace between its tokens.
    pub(crate) text: Box<RawValue>,
    /// The same for any whitespace, order of members and way to escape.
    pub(crate) digest: [u8; 32],
}

/// The one JSON value that a text holds.
///
/// # Errors
/// What is wrong, with line and column.
pub fn parse(text: &[u8]) -> Result<&RawValue, String> {
    if let Err(error) = std::str::from_utf8(text) {
        let before = &text[..error.valid_up_to()];
        let line = before.iter().filter(|&&b| b == b'\n').count() + 1;
        let column = before.iter().rev().take_while(|&&b| b != b'\n').count() + 1;
        return Err(format!("invalid UTF-8 at line {line} column {column}"));
    }
    serde_json::from_slice(text).map_err(|error| error.to_string())
}

/// Whether a text is a document that can be carried.
///
/// # Errors
/// What is wrong, and where.
pub fn check(text: &[u8]) -> Result<(), String> {
    let raw = parse(text).map_err(|issue| format!("is not JSON: {issue}"))?;
    let mut problems = Problems::default();
    walk("$", raw, &mut problems);
    match problems.first() {
        None => Ok(()),
        Some(violation) => Err(format!("{} {}", violation.field, violation.issue)),
    }
}

/// Reads a document out of bytes; `None` when there are problems.
pub(crate) fn read(field: &str, text: &[u8], problems: &mut Problems) -> Option<Document> {
    match parse(text) {
        Ok(raw) => document(field, raw, problems),
        Err(issue) => {
            problems.add(field, format!("is not JSON: {issue}"));
            None
        }
    }
}

/// Checks a document that is known to be JSON; `None` when there are problems.
pub(crate) fn document(field: &str, raw: &RawValue, problems: &mut Problems) -> Option<Document> {
    let Forms { compact, canonical } = walk(field, raw, problems)?;
    let digest = *blake3::hash(&canonical).as_bytes();
    match RawValue::from_string(compact) {
        Ok(text) => Some(Document { text, digest }),
        Err(error) => {
            problems.add(field, format!("is not JSON: {error}"));
            None
        }
    }
}

/// A document's text as bytes.
pub(crate) fn bytes_of(text: Box<RawValue>) -> Bytes {
    Bytes::from(String::from(Box::<str>::from(text)))
}

/// A document, written in two ways.
#[derive(Default)]
struct Forms {
    compact: String,
    /// Members sorted and unique (the last one counts), strings with as few escapes as possible, and a
    /// comma after every member and element.
    canonical: Vec<u8>,
}

/// Both forms; `None` when there are problems.
fn walk(field: &str, raw: &RawValue, problems: &mut Problems) -> Option<Forms> {
    let text = raw.get();
    let forms =
        Forms { compact: String::with_capacity(text.len()), canonical: Vec::with_capacity(text.len()) };
    let mut walk = Walk { field, text, at: 0, steps: Vec::new(), forms, found: 0, problems };
    let complete = walk.value().is_ok();
    (complete && walk.found == 0).then_some(walk.forms)
}

/// Too much is wrong to go on.
struct Hopeless;

/// Where in the document the walk is.
#[derive(Clone, Copy)]
enum Step<'a> {
    /// A member, by the text between its quotes.
    Member(&'a str),
    Element(usize),
}

/// One pass over a text that is valid JSON.
struct Walk<'a, 'p> {
    field: &'a str,
    text: &'a str,
    at: usize,
    steps: Vec<Step<'a>>,
    forms: Forms,
    found: usize,
    problems: &'p mut Problems,
}

impl<'a> Walk<'a, '_> {
    fn value(&mut self) -> Result<(), Hopeless> {
        match self.peek() {
            b'{' | b'[' if self.steps.len() >= limits::JSON_DEPTH => {
                let issue = format!("nested more than {} levels deep (JSON_DEPTH)", limits::JSON_DEPTH);
                self.problems.add(self.field, issue);
                Err(Hopeless)
            }
            b'{' => self.object(),
            b'[' => self.list(),
            b'"' => self.string().map(drop),
            _ => self.scalar(),
        }
    }

    fn object(&mut self) -> Result<(), Hopeless> {
        let start = self.forms.canonical.len() + 1;
        let mut members: Vec<(Range<usize>, Range<usize>)> = Vec::new();
        self.punctuation(b'{');
        while self.peek() != b'}' {
            if !members.is_empty() {
                self.separator();
            }
            let from = self.forms.canonical.len();
            let name = self.string()?;
            let named = self.forms.canonical.len();
            self.punctuation(b':');
            self.steps.push(Step::Member(name));
            self.value()?;
            self.steps.pop();
            self.forms.canonical.push(b',');
            members.push((from..named, from..self.forms.canonical.len()));
        }
        self.sort(start, members);
        self.punctuation(b'}');
        Ok(())
    }

    /// Puts the members of an object into their canonical order.
    fn sort(&mut self, start: usize, mut members: Vec<(Range<usize>, Range<usize>)>) {
        let name = |member: &(Range<usize>, Range<usize>)| &self.forms.canonical[member.0.clone()];
        if members.is_sorted_by(|a, b| name(a) < name(b)) {
            return;
        }
        members.sort_by(|a, b| name(a).cmp(name(b)));
        let mut sorted = Vec::with_capacity(self.forms.canonical.len() - start);
        for (i, member) in members.iter().enumerate() {
            let again = members.get(i + 1).is_some_and(|next| name(next) == name(member));
            if !again {
                sorted.extend_from_slice(&self.forms.canonical[member.1.clone()]);
            }
        }
        self.forms.canonical.truncate(start);
        self.forms.canonical.append(&mut sorted);
    }

    fn list(&mut self) -> Result<(), Hopeless> {
        self.punctuation(b'[');
        for index in 0.. {
            if self.peek() == b']' {
                break;
            }
            if index > 0 {
                self.separator();
            }
            self.steps.push(Step::Element(index));
            self.value()?;
            self.steps.pop();
            self.forms.canonical.push(b',');
        }
        self.punctuation(b']');
        Ok(())
    }

    /// A string, given back as it stands between its quotes.
    fn string(&mut self) -> Result<&'a str, Hopeless> {
        self.peek();
        let start = self.at;
        let bytes = self.text.as_bytes();
        let mut end = start + 1;
        while bytes[end] != b'"' {
            end += if bytes[end] == b'\\' { 2 } else { 1 };
        }
        self.at = end + 1;
        let quoted = &self.text[start..=end];
        self.forms.compact.push_str(quoted);
        if quoted.contains('\\') {
            self.unescape(quoted)?;
        } else {
            self.forms.canonical.extend_from_slice(quoted.as_bytes());
        }
        Ok(&self.text[start + 1..end])
    }

    fn unescape(&mut self, quoted: &str) -> Result<(), Hopeless> {
        match serde_json::from_str::<String>(quoted) {
            Ok(plain) if plain.contains('\0') => self.problem("must not hold \\u0000"),
            Ok(plain) => {
                let canonical = serde_json::to_vec(&plain);
                self.forms.canonical.extend_from_slice(&canonical.unwrap_or_default());
                Ok(())
            }
            Err(_) => self.problem("holds an escaped surrogate without its other half"),
        }
    }

    fn scalar(&mut self) -> Result<(), Hopeless> {
        let rest = &self.text[self.at..];
        let len = rest.find([',', ']', '}', ' ', '\t', '\n', '\r']).unwrap_or(rest.len());
        let token = &rest[..len];
        self.at += len;
        self.forms.compact.push_str(token);
        self.forms.canonical.extend_from_slice(token.as_bytes());
        let suspect = token.len() > PLAIN_NUMBER_BYTES || token.contains(['e', 'E']);
        if suspect && token.parse::<f64>().is_ok_and(f64::is_infinite) {
            return self.problem("holds a number out of range (64-bit floating point)");
        }
        Ok(())
    }

    /// The first byte after any whitespace.
    fn peek(&mut self) -> u8 {
        let bytes = self.text.as_bytes();
        while matches!(bytes.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        bytes.get(self.at).copied().unwrap_or_default()
    }

    fn punctuation(&mut self, byte: u8) {
        self.peek();
        self.at += 1;
        self.forms.compact.push(char::from(byte));
        self.forms.canonical.push(byte);
    }

    /// A comma; the canonical form has its own.
    fn separator(&mut self) {
        self.peek();
        self.at += 1;
        self.forms.compact.push(',');
    }

    fn problem(&mut self, issue: &str) -> Result<(), Hopeless> {
        let mut path = self.field.to_owned();
        for step in &self.steps {
            match step {
                Step::Member(name) => path.extend([".", name]),
                Step::Element(index) => path.push_str(&format!("[{index}]")),
            }
        }
        self.problems.add(path, issue);
        self.found += 1;
        if self.found < PROBLEMS_MAX { Ok(()) } else { Err(Hopeless) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Failure;

    fn read_one(text: &[u8]) -> Result<Document, Vec<(String, String)>> {
        let mut problems = Problems::default();
        let document = read("input", text, &mut problems);
        match problems.finish(()) {
            Ok(()) => Ok(document.expect("a document without problems is read")),
            Err(Failure::Invalid(found)) => {
                assert!(document.is_none(), "a document with problems is not used");
                Err(found.into_iter().map(|v| (v.field, v.issue)).collect())
            }
            Err(other) => panic!("unexpected {other}"),
        }
    }

    #[test]
    fn text_is_kept_but_for_whitespace() {
        for (text, compact) in [
            (" null ", "null"),
            ("[ 1 , 2.50, 12345678901234567890123 ]", "[1,2.50,12345678901234567890123]"),
            (r#"{ "b" : "x y\n" , "a" : { } }"#, r#"{"b":"x y\n","a":{}}"#),
            (r#""\"quoted \\""#, r#""\"quoted \\""#),
            ("[[],{},[ ]]", "[[],{},[]]"),
        ] {
            assert_eq!(read_one(text.as_bytes()).map(|d| d.text.get().to_owned()), Ok(compact.to_owned()));
        }
    }

    #[test]
    fn digest_sees_meaning_and_nothing_else() {
        let digest = |text: &str| read_one(text.as_bytes()).map(|d| d.digest).expect("valid");
        for (a, b) in [
            (
                r#"{"a":1,"b":[true,{"d":2,"c":"é"}]}"#,
                "{ \"b\": [true, {\"c\": \"\\u00e9\", \"d\": 2}], \"a\": 1 }",
            ),
            (r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
            (r#"{"\u0061":"\/"}"#, r#"{"a":"/"}"#),
        ] {
            assert_eq!(digest(a), digest(b), "{a} and {b} are the same");
        }
        for (a, b) in [
            ("[1,2]", "[2,1]"),
            ("[[1],2]", "[[1,2]]"),
            ("12345678901234567890123", "12345678901234567890124"),
            (r#"{"a":1}"#, r#"{"a":"1"}"#),
            (r#"["a,b"]"#, r#"["a","b"]"#),
            ("{}", "[]"),
            ("null", "\"null\""),
        ] {
            assert_ne!(digest(a), digest(b), "{a} and {b} differ");
        }
    }

    #[test]
    fn problems_name_their_place() {
        let deep = format!("{}1{}", "[".repeat(101), "]".repeat(101));
        let huge = format!("[1{}]", "0".repeat(400));
        let rows: &[(&[u8], &str, &str)] = &[
            (b"{\"a\": tru}", "input", "is not JSON: expected ident at line 1 column 10"),
            (b"", "input", "is not JSON: EOF while parsing a value at line 1 column 0"),
            (b"1 2", "input", "is not JSON: trailing characters at line 1 column 3"),
            (b"[\"a\",\n\"\xff\"]", "input", "is not JSON: invalid UTF-8 at line 2 column 2"),
            (br#"{"a":[0,{"b":"x\u0000"}]}"#, "input.a[1].b", "must not hold \\u0000"),
            (br#"{"a":{"\u0000":1}}"#, "input.a", "must not hold \\u0000"),
            (br#"["\ud800"]"#, "input[0]", "holds an escaped surrogate without its other half"),
            (b"{\"n\":-1e999}", "input.n", "holds a number out of range (64-bit floating point)"),
            (huge.as_bytes(), "input[0]", "holds a number out of range (64-bit floating point)"),
            (deep.as_bytes(), "input", "nested more than 100 levels deep (JSON_DEPTH)"),
        ];
        for (text, field, issue) in rows {
            let expected = vec![((*field).to_owned(), (*issue).to_owned())];
            assert_eq!(read_one(text).err(), Some(expected), "{text:?}");
        }
    }

    #[test]
    fn a_check_tells_the_first_problem() {
        assert_eq!(check(br#"{"a":[1]}"#), Ok(()));
        assert_eq!(check(br#"{"a":["\u0000"]}"#), Err("$.a[0] must not hold \\u0000".into()));
        assert_eq!(check(b"nul"), Err("is not JSON: EOF while parsing a value at line 1 column 3".into()));
    }

    #[test]
    fn a_hundred_levels_are_fine_and_a_million_do_no_harm() {
        let levels = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(read_one(levels(100).as_bytes()).is_ok());
        assert!(read_one(levels(101).as_bytes()).is_err());
        assert!(read_one(levels(1_000_000).as_bytes()).is_err());
    }

    #[test]
    fn a_hopeless_document_is_not_listed_to_its_end() {
        let text = format!("[{}0]", r#""\u0000","#.repeat(1_000));
        assert_eq!(read_one(text.as_bytes()).err().map(|found| found.len()), Some(PROBLEMS_MAX));
    }
}
