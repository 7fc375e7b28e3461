//! A walk through a source tree: every file that belongs to it, in the order of names.

use std::{
    fs::{self, DirEntry, File},
    io::Read,
    path::{Path, PathBuf},
};

use super::{ignore::Ignore, languages};

/// Never part of a source tree, whether ignored or not.
const SKIPPED: [&str; 8] =
    [".git", ".hg", "target", "node_modules", ".venv", "venv", "__pycache__", ".downbeat"];
/// A tree with more files is told to be too large, before it fills the memory.
const FILES_MAX: usize = 200_000;
/// Directories deeper than this are left out.
const DEPTH_MAX: usize = 64;
/// Longer files are counted by bytes alone.
const READ_MAX: u64 = 4 * 1024 * 1024;
/// A NUL in so many first bytes: binary.
const BINARY_PROBE: usize = 8 * 1024;
/// Files between two reports of progress.
const PROGRESS_EVERY: usize = 2_000;

/// A file of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SourceFile {
    /// From the root, with slashes.
    pub(crate) path: String,
    pub(crate) bytes: u64,
    /// 0 for what is not text.
    pub(crate) lines: u64,
    pub(crate) language: &'static str,
}

/// A tree.
#[derive(Debug, Default)]
pub(crate) struct Source {
    pub(crate) root: PathBuf,
    pub(crate) files: Vec<SourceFile>,
    pub(crate) directories: u64,
    pub(crate) binaries: u64,
    pub(crate) unreadable: u64,
}

impl Source {
    /// The text of a file; `None` when it is too long, not text, or gone.
    pub(crate) fn text(&self, file: &SourceFile) -> Option<String> {
        read(&self.root.join(&file.path)).ok().flatten()
    }
}

/// Walks the tree at `root`. Symbolic links are not followed.
pub(crate) fn walk(root: PathBuf, progress: &mut dyn FnMut(&str)) -> Result<Source, String> {
    if !root.is_dir() {
        return Err(format!("{} is not a directory", root.display()));
    }
    let mut source = Source { root: root.clone(), ..Source::default() };
    let mut walker = Walker { source: &mut source, ignores: Vec::new(), progress };
    walker.enter(&root, "", 0)?;
    Ok(source)
}

struct Walker<'a> {
    source: &'a mut Source,
    /// The `.gitignore` of each directory above, with its path.
    ignores: Vec<(String, Ignore)>,
    progress: &'a mut dyn FnMut(&str),
}

impl Walker<'_> {
    fn enter(&mut self, directory: &Path, path: &str, depth: usize) -> Result<(), String> {
        let Ok(entries) = fs::read_dir(directory) else {
            self.source.unreadable += 1;
            return Ok(());
        };
        self.source.directories += 1;
        let ignore = fs::read_to_string(directory.join(".gitignore")).map(|text| Ignore::parse(&text));
        self.ignores.push((path.to_owned(), ignore.unwrap_or_default()));
        let mut entries: Vec<DirEntry> = entries.filter_map(Result::ok).collect();
        entries.sort_by_key(DirEntry::file_name);
        for entry in entries {
            self.look_at(&entry, path, depth)?;
        }
        self.ignores.pop();
        Ok(())
    }

    fn look_at(&mut self, entry: &DirEntry, above: &str, depth: usize) -> Result<(), String> {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if above.is_empty() { name.clone() } else { format!("{above}/{name}") };
        let Ok(kind) = entry.file_type() else { return Ok(()) };
        if SKIPPED.contains(&name.as_str()) || self.is_ignored(&path, kind.is_dir()) {
            return Ok(());
        }
        if kind.is_dir() {
            return if depth < DEPTH_MAX { self.enter(&entry.path(), &path, depth + 1) } else { Ok(()) };
        }
        if kind.is_file() {
            self.add(&entry.path(), path)?;
        }
        Ok(())
    }

    fn add(&mut self, at: &Path, path: String) -> Result<(), String> {
        if self.source.files.len() >= FILES_MAX {
            return Err(format!("the tree has more than {FILES_MAX} files; name a directory below it"));
        }
        let bytes = at.metadata().map(|meta| meta.len()).unwrap_or(0);
        let lines = match read(at) {
            Ok(Some(text)) => text.lines().count() as u64,
            Ok(None) => {
                self.source.binaries += u64::from(bytes <= READ_MAX);
                0
            }
            Err(_) => {
                self.source.unreadable += 1;
                0
            }
        };
        let language = languages::of(&path);
        self.source.files.push(SourceFile { path, bytes, lines, language });
        let count = self.source.files.len();
        if count.is_multiple_of(PROGRESS_EVERY) {
            (self.progress)(&format!("{count} files"));
        }
        Ok(())
    }

    /// The deepest file that says something decides.
    fn is_ignored(&self, path: &str, directory: bool) -> bool {
        let verdict = self.ignores.iter().rev().find_map(|(above, ignore)| {
            let below = path.strip_prefix(above.as_str())?.trim_start_matches('/');
            ignore.verdict(below, directory)
        });
        verdict.unwrap_or(false)
    }
}

/// The text of a file, or `None` for a long or binary one.
fn read(path: &Path) -> std::io::Result<Option<String>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(READ_MAX + 1).read_to_end(&mut bytes)?;
    let probe = &bytes[..bytes.len().min(BINARY_PROBE)];
    if bytes.len() as u64 > READ_MAX || probe.contains(&0) {
        return Ok(None);
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}
