//! Style as a test: what ARCHITECTURE.md promises about files and about who imports whom.
//!
//! Each rule is a function from a file to the lines that break it, and each has a snippet that
//! must break it, so that a rule which stopped working is noticed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A source file: its path from the repository's root, and its lines.
struct Source {
    path: String,
    text: String,
}

/// What is wrong where: `path:line: reason`.
type Broken = Vec<String>;

type Rule = fn(&Source) -> Broken;

const RULES: &[Rule] =
    &[says_what_it_owns, is_short, is_clean, is_narrow, is_finished, tells_no_time];

#[test]
fn every_source_file_is_tidy() {
    let sources = sources();
    assert!(sources.len() > 100, "only {} files found", sources.len());
    report(sources.iter().flat_map(|source| RULES.iter().flat_map(|rule| rule(source))).collect());
}

#[test]
fn modules_import_only_what_is_below_them() {
    let sources = sources();
    let mut broken: Broken = sources.iter().flat_map(imports_downwards).collect();
    // A module that is gone must leave the table too, or the table stops describing the tree.
    let modules: BTreeSet<_> = sources.iter().filter_map(|it| module(&it.path)).collect();
    for (name, allowed) in LAYERS {
        for name in [name].into_iter().chain(*allowed) {
            if !modules.contains(name) {
                broken.push(format!("tests/tidy.rs: LAYERS names '{name}', which is no module"));
            }
        }
    }
    report(broken);
}

#[test]
fn every_rule_still_bites() {
    let bites = |rule: Rule, path: &str, text: &str, line: usize| {
        let broken = rule(&Source { path: path.to_owned(), text: text.to_owned() });
        assert_eq!(broken.len(), 1, "{text:?}: {broken:?}");
        assert!(broken[0].starts_with(&format!("{path}:{line}: ")), "{broken:?}");
    };
    let [todo, unfinished, time, unchecked] =
        [["TO", "DO"], ["todo", "!()"], ["Instant", "::now()"], ["uns", "afe { b() }"]]
            .map(|it| it.concat());
    let long = format!("//! A.\n{}", "a();\n".repeat(CODE_LINES_MAX));
    let tests = "a();\n".repeat(FILE_LINES_MAX);
    let with_tests = format!("//! A.\n#[cfg(test)]\nmod tests {{\n{tests}");
    bites(says_what_it_owns, "src/a.rs", "use std::fmt;\n", 1);
    bites(is_short, "src/a.rs", &long, CODE_LINES_MAX + 1);
    bites(is_short, "src/a.rs", &with_tests, FILE_LINES_MAX + 3);
    let tests_elsewhere = format!("//! A.\n#[cfg(test)]\nmod tests;\n{}", &long[7..]);
    bites(is_short, "src/a.rs", &tests_elsewhere, CODE_LINES_MAX + 3);
    bites(is_clean, "src/a.rs", "//! A.\n\tlet a = 1;\n", 2);
    bites(is_clean, "src/a.rs", "//! A.\nlet a = 1; \n", 2);
    bites(is_narrow, "src/a.rs", &format!("//! A.\n// {}\n", "x".repeat(98)), 2);
    bites(is_finished, "src/a.rs", &format!("//! A.\n// {todo}: more\n"), 2);
    bites(is_finished, "src/a.rs", &format!("//! A.\n    {unfinished}\n"), 2);
    bites(tells_no_time, "src/a.rs", &format!("//! A.\nlet now = {time};\n"), 2);
    bites(tells_no_time, "storage/src/a.rs", &format!("//! A.\nlet a = {unchecked};\n"), 2);
    bites(imports_downwards, "src/group/a.rs", "//! A.\nuse crate::net::Session;\n", 2);
    bites(
        imports_downwards,
        "src/rest/a.rs",
        "//! A.\nuse crate::{\n    ingest::{Ingest, x},\n};\n",
        2,
    );
    bites(imports_downwards, "src/new/a.rs", "//! A.\n", 1);
    bites(imports_downwards, "protocol/src/a.rs", "//! A.\nuse tidelog_storage::Log;\n", 2);
    bites(imports_downwards, "storage/src/a.rs", "//! A.\nuse tidelog_protocol::Reader;\n", 2);
}

#[test]
fn what_the_rules_allow_passes() {
    let passes = |path: &str, text: &str| {
        let source = Source { path: path.to_owned(), text: text.to_owned() };
        let rules = RULES.iter().chain([&(imports_downwards as Rule)]);
        assert_eq!(rules.flat_map(|rule| rule(&source)).collect::<Broken>(), Broken::new());
    };
    let time = ["Instant", "::now()"].concat();
    passes("src/clock.rs", &format!("//! A.\nlet now = {time};\n"));
    passes("src/net/a.rs", &format!("//! A.\nlet now = tokio::time::{time};\n"));
    passes("src/serve.rs", "//! A.\nuse crate::{console, ingest, net, rest, webhook};\n");
    passes("src/rest/a.rs", "//! A.\nuse crate::http::{ApiError, Json};\n");
    passes("src/id.rs", &format!("//! A.\nlet text = \"{}\";\n", "x".repeat(100)));
    passes("src/id.rs", "//! A.\n#[cfg(test)]\nmod tests {\n    use crate::settings::Layer;\n}\n");
    passes("src/group/tests/a.rs", &format!("//! A.\n{}", "a();\n".repeat(CODE_LINES_MAX)));
    passes("storage/src/a.rs", "//! A.\nuse tidelog_protocol::records::Batch;\n");
}

/// The first line of a file says what it is there for.
fn says_what_it_owns(source: &Source) -> Broken {
    let first = source.text.lines().next().unwrap_or_default();
    // The crate's documentation is a file of its own.
    match first.starts_with("//! ") || first.starts_with("#![doc = include_str!") {
        true => Broken::new(),
        false => vec![format!("{}:1: the first line is not a module doc", source.path)],
    }
}

/// Lines of a file up to its tests, and with them.
const CODE_LINES_MAX: usize = 500;
const FILE_LINES_MAX: usize = 800;

fn is_short(source: &Source) -> Broken {
    let lines = source.text.lines().count();
    let code = code(&source.text).lines().count();
    let mut broken = Broken::new();
    if code > CODE_LINES_MAX && !is_test(&source.path) {
        broken.push(format!("{}:{code}: over {CODE_LINES_MAX} lines of code", source.path));
    } else if lines > FILE_LINES_MAX {
        broken.push(format!("{}:{lines}: over {FILE_LINES_MAX} lines", source.path));
    }
    broken
}

/// A file up to the tests at its end.
fn code(text: &str) -> &str {
    let tests = text.find("\nmod tests {").and_then(|at| text[..at].rfind("#[cfg(test)]"));
    &text[..tests.unwrap_or(text.len())]
}

/// Whether a whole file is tests, which may be longer and put any modules together.
fn is_test(path: &str) -> bool {
    path.contains("tests/") || path.ends_with("tests.rs")
}

fn is_clean(source: &Source) -> Broken {
    matching(source, "a tab or trailing blanks", |line| {
        line.contains('\t') || line.trim_end().len() < line.len()
    })
}

const COLUMNS_MAX: usize = 100;
/// Files whose macros are written as tables.
const MACROS: &[&str] = &["protocol/src/schema.rs", "protocol/src/wire.rs"];

/// rustfmt keeps the width, except where it cannot: in literals, and in macros' bodies.
fn is_narrow(source: &Source) -> Broken {
    if MACROS.contains(&source.path.as_str()) {
        return Broken::new();
    }
    matching(source, "over 100 columns", |line| {
        line.chars().count() > COLUMNS_MAX && !line.contains('"')
    })
}

fn is_finished(source: &Source) -> Broken {
    // In two halves, so that this file does not find itself.
    let marks = [("TO", "DO"), ("FIX", "ME"), ("X", "XX"), ("todo", "!("), ("#[ign", "ore")];
    let marks = marks.map(|(head, tail)| format!("{head}{tail}"));
    matching(source, "something is left to do", |line| {
        marks.iter().any(|mark| line.contains(mark.as_str()))
            || line.contains(&["unimplemented", "!("].concat())
    })
}

/// Files that read a clock or wait on one; everything else is told the time.
const CLOCKS: &[&str] = &[
    "src/clock.rs",
    "storage/src/clock.rs",
    "tests/support/wait.rs",
    "benches/partitions.rs",
    "tests/clients/differential/src/clock.rs",
    "tests/clients/rust/src/clock.rs",
];
/// Files with code the compiler cannot check.
const UNSAFE: &[&str] = &["storage/src/mmap.rs"];

fn tells_no_time(source: &Source) -> Broken {
    let reads = [("Instant", "::now"), ("SystemTime", "::now"), ("thread", "::sleep")];
    let reads = reads.map(|(head, tail)| format!("{head}{tail}"));
    let path = source.path.as_str();
    let clock = matching(source, "reads a clock; time is an argument", |line| {
        // Tokio's clock is the runtime's timer, which tests can pause.
        let line = line.replace("tokio::time::Instant", "");
        !CLOCKS.contains(&path) && reads.iter().any(|read| line.contains(read.as_str()))
    });
    let word = ["un", "safe"].concat();
    let checked = matching(source, "code the compiler cannot check", |line| {
        let code = line.split("//").next().unwrap_or_default();
        !UNSAFE.contains(&path)
            && path != "tests/tidy.rs"
            && code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|it| it == word)
    });
    [clock, checked].concat()
}

fn matching(source: &Source, reason: &str, is_broken: impl Fn(&str) -> bool) -> Broken {
    let lines = source.text.lines().enumerate().filter(|(_, line)| is_broken(line));
    lines.map(|(index, _)| format!("{}:{}: {reason}", source.path, index + 1)).collect()
}

/// What each module of the broker may import from its siblings: only what is below it. The front
/// ends (`cli`, `console`, `ingest`, `manage`, `rest`, `webhook`) import none of each other.
const LAYERS: &[(&str, &[&str])] = &[
    // Leaves.
    ("clock", &[]),
    ("iterations", &[]),
    ("http_client", &[]),
    ("task", &[]),
    ("pace", &[]),
    ("room", &[]),
    ("id", &["clock"]),
    ("settings", &["topic"]),
    ("tls", &["settings", "task"]),
    // What is stored.
    ("control", &[]),
    ("state", &["room"]),
    // The broker's state machines.
    ("account", &["clock", "control", "id"]),
    ("topic", &["clock", "control", "id", "task"]),
    ("producer_ids", &["control"]),
    ("group", &["clock", "state", "task"]),
    (
        "cluster",
        &[
            "account",
            "control",
            "group",
            "room",
            "settings",
            "state",
            "task",
            "producer_ids",
            "topic",
        ],
    ),
    (
        "broker",
        &[
            "account",
            "cluster",
            "control",
            "group",
            "id",
            "room",
            "settings",
            "state",
            "task",
            "producer_ids",
            "topic",
        ],
    ),
    ("retention", &["broker", "clock", "cluster", "topic"]),
    ("scrub", &["broker", "clock"]),
    ("consumer", &["clock", "cluster", "group", "id", "room", "task", "topic"]),
    // The Kafka listener.
    (
        "api",
        &[
            "account", "broker", "clock", "cluster", "group", "id", "room", "settings", "task",
            "topic",
        ],
    ),
    ("net", &["api", "broker", "pace", "room", "tls"]),
    // The front ends, and what they stand on.
    ("http", &["broker", "pace", "room", "tls", "topic"]),
    ("manage", &["account", "api", "http", "id", "topic"]),
    ("metrics", &["consumer", "http", "ingest"]),
    (
        "ingest",
        &[
            "broker", "clock", "cluster", "consumer", "control", "http", "id", "room", "state",
            "task", "topic",
        ],
    ),
    ("rest", &["broker", "clock", "cluster", "consumer", "group", "http", "room", "task", "topic"]),
    (
        "webhook",
        &[
            "broker",
            "clock",
            "cluster",
            "consumer",
            "control",
            "group",
            "http",
            "http_client",
            "id",
            "task",
            "topic",
        ],
    ),
    ("console", &[]),
    ("cli", &["broker", "clock", "http_client", "id", "serve", "settings"]),
];

/// Where everything is put together; it may know everything.
const ROOTS: &[&str] = &["lib", "main", "serve"];

fn imports_downwards(source: &Source) -> Broken {
    let path = &source.path;
    let outside = |reason: &str, crates: &[&str], except: &str| {
        matching(source, reason, |line| {
            let line = line.split("//").next().unwrap_or_default();
            crates.iter().any(|name| line.replace(except, "").contains(name))
        })
    };
    if path.starts_with("protocol/src/") {
        return outside("protocol knows nothing of ours", &["tidelog_storage", "tidelog::"], "-");
    }
    if path.starts_with("storage/src/") {
        let reason = "storage knows record batches and nothing else of ours";
        return outside(reason, &["tidelog_protocol", "tidelog::"], "tidelog_protocol::records");
    }
    let Some(from) = module(path).filter(|from| !ROOTS.contains(from) && !is_test(path)) else {
        return Broken::new();
    };
    let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == from) else {
        return vec![format!("{path}:1: '{from}' is not in the table of layers")];
    };
    let upwards = |(_, to): &(usize, String)| *to != from && !allowed.contains(&to.as_str());
    // Tests at a file's end may put any modules together, like those in files of their own.
    let broken = imports(code(&source.text)).into_iter().filter(upwards);
    broken.map(|(line, to)| format!("{path}:{line}: {from} may not import {to}")).collect()
}

/// The top-level module a file of `src` belongs to.
fn module(path: &str) -> Option<&str> {
    let first = path.strip_prefix("src/")?.split('/').next()?;
    Some(first.strip_suffix(".rs").unwrap_or(first))
}

/// The siblings that a file names, in `use` lines and in paths, with the line of each.
fn imports(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (start, _) in text.match_indices("crate::") {
        let in_word =
            text[..start].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$');
        let line = text[..start].matches('\n').count() + 1;
        let comment = text[..start].rsplit('\n').next().is_some_and(|it| it.contains("//"));
        if in_word || comment {
            continue;
        }
        let rest = &text[start + "crate::".len()..];
        let names = match rest.strip_prefix('{') {
            Some(list) => first_segments(list),
            None => vec![word(rest)],
        };
        found.extend(names.into_iter().map(|name| (line, name.to_owned())));
    }
    found
}

/// The first segments in `a::{b, c}, d, e::f}`: `a`, `d` and `e`.
fn first_segments(list: &str) -> Vec<&str> {
    let (mut names, mut depth, mut start) = (Vec::new(), 0, 0);
    for (index, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                names.push(word(list[start..index].trim_start()));
                start = index + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

fn word(text: &str) -> &str {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = BTreeMap::new();
    for dir in ["src", "protocol", "storage", "tests", "benches", "fuzz"] {
        gather(&root.join(dir), &mut paths);
    }
    let name = |path: &Path| path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
    paths.into_iter().map(|(path, text)| Source { path: name(&path), text }).collect()
}

fn gather(dir: &Path, into: &mut BTreeMap<PathBuf, String>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && !["target", "node_modules"].contains(&name) {
            gather(&path, into);
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(&path).unwrap();
            into.insert(path, text);
        }
    }
}

fn report(broken: Broken) {
    assert!(broken.is_empty(), "{} broken:\n{}", broken.len(), broken.join("\n"));
}
