//! The dependencies that manifests declare: Cargo.toml, package.json, pyproject.toml, requirements files, go.mod.
//! Nothing is asked of a registry; what is judged is what stands there.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::walk::{Source, SourceFile};

/// Findings of one kind that are listed.
const LISTED_MAX: usize = 100;

/// One dependency of one manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Dependency {
    ecosystem: &'static str,
    manifest: String,
    name: String,
    /// As written; empty when nothing stands there.
    requirement: String,
    /// `git`, `path`, `unpinned`, or nothing to say.
    issue: Option<&'static str>,
}

pub(crate) fn run(source: &Source, progress: &mut dyn FnMut(&str)) -> Value {
    let mut all: Vec<Dependency> = Vec::new();
    let mut manifests = Vec::new();
    let mut unreadable = Vec::new();
    for file in &source.files {
        let Some((ecosystem, read)) = reader(&file.path) else { continue };
        progress(&file.path);
        let Some(text) = source.text(file) else { continue };
        match read(&text) {
            Ok(found) => {
                manifests
                    .push(json!({"file": file.path, "ecosystem": ecosystem, "dependencies": found.len()}));
                all.extend(found.into_iter().map(|(name, requirement, issue)| Dependency {
                    ecosystem,
                    manifest: file.path.clone(),
                    name,
                    requirement,
                    issue,
                }));
            }
            Err(error) => unreadable.push(json!({"file": file.path, "error": error})),
        }
    }
    let of = |issue: &str| {
        let found = all.iter().filter(|dependency| dependency.issue == Some(issue));
        let found: Vec<Value> = found.map(describe).collect();
        json!({"count": found.len(), "listed": &found[..found.len().min(LISTED_MAX)]})
    };
    let distinct: BTreeSet<(&str, &str)> = all.iter().map(|d| (d.ecosystem, d.name.as_str())).collect();
    json!({
        "manifests": manifests,
        "declared": all.len(),
        "distinct": distinct.len(),
        "unpinned": of("unpinned"),
        "git": of("git"),
        "path": of("path"),
        "differing": differing(&all),
        "lock_files": lock_files(source),
        "locked_twice": locked_twice(source),
        "unreadable": unreadable,
    })
}

fn describe(dependency: &Dependency) -> Value {
    json!({"manifest": dependency.manifest, "name": dependency.name, "requirement": dependency.requirement})
}

/// One name, several requirements.
fn differing(all: &[Dependency]) -> Vec<Value> {
    let mut requirements: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for dependency in all.iter().filter(|dependency| !dependency.requirement.is_empty()) {
        let key = (dependency.ecosystem, dependency.name.as_str());
        requirements.entry(key).or_default().insert(&dependency.requirement);
    }
    let several = requirements.into_iter().filter(|(_, requirements)| requirements.len() > 1);
    several
        .take(LISTED_MAX)
        .map(|((_, name), requirements)| json!({"name": name, "requirements": requirements}))
        .collect()
}

fn lock_files(source: &Source) -> Vec<&str> {
    const NAMES: [&str; 9] = [
        "Cargo.lock",
        "package-lock.json",
        "npm-shrinkwrap.json",
        "yarn.lock",
        "pnpm-lock.yaml",
        "poetry.lock",
        "uv.lock",
        "Pipfile.lock",
        "go.sum",
    ];
    source.files.iter().filter(|file| NAMES.contains(&name(file))).map(|file| file.path.as_str()).collect()
}

/// Packages that a Cargo.lock holds in several versions.
fn locked_twice(source: &Source) -> Vec<Value> {
    let mut found = Vec::new();
    for file in source.files.iter().filter(|file| name(file) == "Cargo.lock") {
        let Some(lock) = source.text(file).and_then(|text| text.parse::<toml::Table>().ok()) else {
            continue;
        };
        let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for package in lock.get("package").and_then(toml::Value::as_array).into_iter().flatten() {
            if let (Some(name), Some(version)) = (package["name"].as_str(), package["version"].as_str()) {
                versions.entry(name).or_default().insert(version);
            }
        }
        let twice = versions.into_iter().filter(|(_, versions)| versions.len() > 1);
        found.extend(
            twice.map(|(name, versions)| json!({"lock_file": file.path, "name": name, "versions": versions})),
        );
    }
    found.truncate(LISTED_MAX);
    found
}

fn name(file: &SourceFile) -> &str {
    file.path.rsplit('/').next().unwrap_or(&file.path)
}

/// Name, requirement, and what is odd about it.
type Found = (String, String, Option<&'static str>);
type Reader = fn(&str) -> Result<Vec<Found>, String>;

fn reader(path: &str) -> Option<(&'static str, Reader)> {
    let name = path.rsplit('/').next().unwrap_or(path);
    match name {
        "Cargo.toml" => Some(("cargo", cargo)),
        "package.json" => Some(("npm", npm)),
        "pyproject.toml" => Some(("python", pyproject)),
        "go.mod" => Some(("go", go)),
        _ if name.starts_with("requirements") && name.ends_with(".txt") => Some(("python", requirements)),
        _ => None,
    }
}

fn cargo(text: &str) -> Result<Vec<Found>, String> {
    let manifest: toml::Table = text.parse().map_err(|error: toml::de::Error| error.message().to_owned())?;
    let mut tables = vec![&manifest];
    tables.extend(manifest.get("workspace").and_then(toml::Value::as_table));
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    tables.extend(targets.into_iter().flat_map(toml::Table::values).filter_map(toml::Value::as_table));
    let kinds = ["dependencies", "dev-dependencies", "build-dependencies"];
    let sections =
        tables.iter().flat_map(|table| kinds.iter().filter_map(|kind| table.get(*kind)?.as_table()));
    Ok(sections.flatten().filter_map(|(name, value)| cargo_one(name, value)).collect())
}

/// What is inherited from the workspace stands there.
fn cargo_one(name: &str, value: &toml::Value) -> Option<Found> {
    let text = |key: &str| value.get(key).and_then(toml::Value::as_str);
    if value.get("workspace").is_some() {
        return None;
    }
    let requirement = value.as_str().or_else(|| text("version")).unwrap_or_default();
    let issue = match () {
        () if text("git").is_some() => Some("git"),
        () if text("path").is_some() => Some("path"),
        () if requirement.is_empty() || requirement == "*" => Some("unpinned"),
        () => None,
    };
    let name = text("package").unwrap_or(name);
    let place = text("git").or_else(|| text("path"));
    Some((name.to_owned(), place.unwrap_or(requirement).to_owned(), issue))
}

fn npm(text: &str) -> Result<Vec<Found>, String> {
    let manifest: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let kinds = ["dependencies", "devDependencies", "optionalDependencies", "peerDependencies"];
    let sections = kinds.iter().filter_map(|kind| manifest[*kind].as_object());
    Ok(sections
        .flatten()
        .map(|(name, value)| {
            let requirement = value.as_str().unwrap_or_default().to_owned();
            let starts = |heads: &[&str]| heads.iter().any(|head| requirement.starts_with(head));
            let issue = match requirement.as_str() {
                "" | "*" | "latest" | "x" => Some("unpinned"),
                _ if starts(&["git", "github:", "http:", "https:"]) => Some("git"),
                _ if starts(&["file:", "link:"]) => Some("path"),
                _ if starts(&[">"]) && !requirement.contains('<') => Some("unpinned"),
                _ => None,
            };
            (name.clone(), requirement, issue)
        })
        .collect())
}

fn pyproject(text: &str) -> Result<Vec<Found>, String> {
    let manifest: toml::Table = text.parse().map_err(|error: toml::de::Error| error.message().to_owned())?;
    let project = manifest.get("project").and_then(toml::Value::as_table);
    let mut lists: Vec<&toml::Value> =
        project.and_then(|project| project.get("dependencies")).into_iter().collect();
    let groups =
        [project.and_then(|project| project.get("optional-dependencies")), manifest.get("dependency-groups")];
    lists
        .extend(groups.into_iter().flatten().filter_map(toml::Value::as_table).flat_map(toml::Table::values));
    let texts = lists.into_iter().filter_map(toml::Value::as_array).flatten().filter_map(toml::Value::as_str);
    let mut found: Vec<Found> = texts.filter_map(python_one).collect();
    let poetry = manifest.get("tool").and_then(|tool| tool.get("poetry")?.get("dependencies")?.as_table());
    let named = poetry.into_iter().flatten().filter(|(name, _)| name.as_str() != "python");
    found.extend(named.filter_map(|(name, value)| cargo_one(name, value)));
    Ok(found)
}

fn requirements(text: &str) -> Result<Vec<Found>, String> {
    Ok(text.lines().filter_map(python_one).collect())
}

/// One requirement of PEP 508, or one line of a requirements file.
fn python_one(line: &str) -> Option<Found> {
    let line = line.split(" #").next().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let editable = line.strip_prefix("-e ").map(str::trim);
    if line.is_empty() || line.starts_with('#') || (line.starts_with('-') && editable.is_none()) {
        return None;
    }
    let line = editable.unwrap_or(line);
    let end = line.find(|c: char| !(c.is_alphanumeric() || "._-".contains(c))).unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    let rest = rest.trim_start();
    let rest = if rest.starts_with('[') { rest.split_once(']').map_or(rest, |(_, rest)| rest) } else { rest };
    let requirement = rest.trim().trim_start_matches('@').trim();
    let issue = match requirement {
        _ if line.contains("git+") => Some("git"),
        _ if line.starts_with(['.', '/']) || requirement.starts_with("file:") => Some("path"),
        _ if requirement.contains("==") || requirement.contains("~=") || requirement.contains('<') => None,
        _ if requirement.starts_with("http") => Some("git"),
        _ => Some("unpinned"),
    };
    let name = if name.is_empty() || line.starts_with(['.', '/']) { line } else { name };
    Some((name.to_owned(), requirement.to_owned(), issue))
}

fn go(text: &str) -> Result<Vec<Found>, String> {
    let mut found = Vec::new();
    let mut block = "";
    for line in text.lines() {
        let line = line.split("//").next().unwrap_or_default().trim();
        let words: Vec<&str> = line.split_whitespace().collect();
        match (block, words.as_slice()) {
            (_, [")"]) => block = "",
            ("", [directive @ ("require" | "replace"), "("]) => block = directive,
            ("", ["require", name, version]) | ("require", [name, version]) => {
                found.push(((*name).to_owned(), (*version).to_owned(), None));
            }
            ("", ["replace", name, .., target]) | ("replace", [name, .., target])
                if target.starts_with(['.', '/']) =>
            {
                found.push(((*name).to_owned(), (*target).to_owned(), Some("path")));
            }
            _ => {}
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::{cargo, go, npm, pyproject, requirements};

    fn shown(found: Result<Vec<super::Found>, String>) -> Vec<String> {
        let found = found.unwrap().into_iter();
        found
            .map(|(name, requirement, issue)| format!("{name} {requirement} {}", issue.unwrap_or("-")))
            .collect()
    }

    #[test]
    fn cargo_manifests_are_read() {
        let text = "[dependencies]\na = \"1\"\nb = \"*\"\nc = { workspace = true }\nd.workspace = true\n\
                    e = { git = \"https://example.com/e\" }\n[target.'cfg(unix)'.dev-dependencies]\n\
                    f = { path = \"../f\" }\n[workspace.dependencies]\ng = { package = \"gg\", version = \"2\" }\n";
        assert_eq!(
            shown(cargo(text)),
            ["a 1 -", "b * unpinned", "e https://example.com/e git", "gg 2 -", "f ../f path"]
        );
        assert!(cargo("[dependencies\n").is_err());
    }

    #[test]
    fn npm_manifests_are_read() {
        let text = r#"{"dependencies": {"a": "^1.0", "b": "latest", "c": "file:../c"},
            "devDependencies": {"d": "github:o/d", "e": ">=2"}}"#;
        assert_eq!(
            shown(npm(text)),
            ["a ^1.0 -", "b latest unpinned", "c file:../c path", "d github:o/d git", "e >=2 unpinned"]
        );
    }

    #[test]
    fn python_manifests_are_read() {
        let text = "a==1.0 # pinned\n\n# comment\n-r other.txt\nb[extra]>=2\nc @ git+https://example.com/c\n-e .\nd~=1.1 ; python_version > '3'\n";
        assert_eq!(
            shown(requirements(text)),
            ["a ==1.0 -", "b >=2 unpinned", "c git+https://example.com/c git", ".  path", "d ~=1.1 -"]
        );
        let text = "[project]\ndependencies = [\"a>=1,<2\", \"b\"]\n[project.optional-dependencies]\nx = [\"c==1\"]\n\
                    [tool.poetry.dependencies]\npython = \"^3\"\nd = \"^1\"\n";
        assert_eq!(shown(pyproject(text)), ["a >=1,<2 -", "b  unpinned", "c ==1 -", "d ^1 -"]);
    }

    #[test]
    fn go_manifests_are_read() {
        let text = "module m\nrequire example.com/a v1.0.0\nrequire (\n\texample.com/b v2.0.0 // indirect\n)\n\
                    replace example.com/b => ../b\n";
        assert_eq!(
            shown(go(text)),
            ["example.com/a v1.0.0 -", "example.com/b v2.0.0 -", "example.com/b ../b path"]
        );
    }
}
