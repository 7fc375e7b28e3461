//! Languages by the names of files.

/// The language of a file, or `""` for what is no source.
pub(crate) fn of(path: &str) -> &'static str {
    let name = path.rsplit('/').next().unwrap_or(path);
    match name {
        "Makefile" | "makefile" | "GNUmakefile" => return "Make",
        "Dockerfile" | "Containerfile" => return "Dockerfile",
        "CMakeLists.txt" => return "CMake",
        _ => {}
    }
    let Some((stem, extension)) = name.rsplit_once('.') else { return "" };
    if stem.is_empty() {
        return "";
    }
    match extension {
        "rs" => "Rust",
        "py" | "pyi" => "Python",
        "js" | "mjs" | "cjs" | "jsx" => "JavaScript",
        "ts" | "mts" | "cts" | "tsx" => "TypeScript",
        "go" => "Go",
        "java" => "Java",
        "kt" | "kts" => "Kotlin",
        "scala" => "Scala",
        "c" | "h" => "C",
        "cc" | "cpp" | "cxx" | "hpp" | "hh" | "hxx" => "C++",
        "cs" => "C#",
        "swift" => "Swift",
        "rb" => "Ruby",
        "php" => "PHP",
        "ex" | "exs" => "Elixir",
        "erl" => "Erlang",
        "hs" => "Haskell",
        "lua" => "Lua",
        "zig" => "Zig",
        "sh" | "bash" | "zsh" => "Shell",
        "sql" => "SQL",
        "proto" => "Protobuf",
        "html" | "htm" => "HTML",
        "css" | "scss" | "less" => "CSS",
        "vue" => "Vue",
        "svelte" => "Svelte",
        "md" | "markdown" | "rst" | "adoc" => "Text",
        "json" => "JSON",
        "yaml" | "yml" => "YAML",
        "toml" => "TOML",
        "xml" => "XML",
        _ => "",
    }
}

/// Whether it is code that people write and read, and not data or prose.
pub(crate) fn is_code(language: &str) -> bool {
    !matches!(language, "" | "Text" | "JSON" | "YAML" | "TOML" | "XML")
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn languages_are_told_by_names() {
        let table = [
            ("src/main.rs", "Rust"),
            ("a.b/Makefile", "Make"),
            ("x/.rs", ""),
            ("logo.png", ""),
            ("LICENSE", ""),
            ("web/app.tsx", "TypeScript"),
        ];
        for (path, expected) in table {
            assert_eq!(of(path), expected, "{path}");
        }
    }
}
