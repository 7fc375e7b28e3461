//! The survey: what there is, by language. Its list of files spares the others the walk.

use std::{collections::BTreeMap, path::Path};

use serde_json::{Value, json};

use super::{
    languages,
    walk::{self, SourceFile},
};

/// A longer list is not handed on: an output may have 1 MiB.
const LISTING_BYTES_MAX: usize = 600_000;

pub(crate) fn run(root: &Path, progress: &mut dyn FnMut(&str)) -> Result<Value, String> {
    progress("walking the tree");
    let source = walk::walk(root.to_owned(), progress)?;
    progress(&format!("{} files found", source.files.len()));
    let mut languages: BTreeMap<&str, (u64, u64, u64)> = BTreeMap::new();
    for file in source.files.iter().filter(|file| !file.language.is_empty()) {
        let (files, lines, bytes) = languages.entry(file.language).or_default();
        (*files, *lines, *bytes) = (*files + 1, *lines + file.lines, *bytes + file.bytes);
    }
    let mut languages: Vec<_> = languages.into_iter().collect();
    languages.sort_by_key(|(name, (_, lines, _))| (std::cmp::Reverse(*lines), *name));
    let sum = |count: fn(&SourceFile) -> u64| source.files.iter().map(count).sum::<u64>();
    Ok(json!({
        "root": root,
        "files": source.files.len(),
        "directories": source.directories,
        "bytes": sum(|file| file.bytes),
        "lines": sum(|file| file.lines),
        "binaries": source.binaries,
        "unreadable": source.unreadable,
        "languages": languages.iter().map(|(name, (files, lines, bytes))| json!({
            "language": name,
            "code": languages::is_code(name),
            "files": files,
            "lines": lines,
            "bytes": bytes,
        })).collect::<Vec<_>>(),
        "listing": listing(&source.files),
    }))
}

fn listing(files: &[SourceFile]) -> Option<Value> {
    let bytes: usize = files.iter().map(|file| file.path.len() + 24).sum();
    let entry = |file: &SourceFile| json!([file.path, file.bytes, file.lines]);
    (bytes <= LISTING_BYTES_MAX).then(|| files.iter().map(entry).collect())
}

/// The files of a survey's output, if it lists them.
pub(crate) fn listed(output: &Value) -> Option<Vec<SourceFile>> {
    let listing = output["listing"].as_array()?;
    let file = |entry: &Value| {
        let path = entry[0].as_str()?.to_owned();
        let language = languages::of(&path);
        Some(SourceFile { path, bytes: entry[1].as_u64()?, lines: entry[2].as_u64()?, language })
    };
    listing.iter().map(file).collect()
}
