//! What the documents say of the program is what the program does. `UPDATE=1` writes the parts
//! that are made from code.

use crate::support::http::Http;
use crate::support::process::Tidelog;
use std::fmt::Write;
use std::path::{Path, PathBuf};

const START: &str = "<!-- made by tests/docs.rs: start -->\n";
const END: &str = "<!-- made by tests/docs.rs: end -->\n";
/// Longer documents are not read.
const LINES_MAX: usize = 280;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap()
}

#[test]
fn the_readme_lists_the_apis_that_are_served() {
    let mut table = String::from("| Key | API | Versions |\n|---:|---|---|\n");
    for (key, versions) in tidelog::api::served() {
        let (number, name) = (key as i16, key.name());
        let (first, last) = (versions.start(), versions.end());
        writeln!(table, "| {number} | {name} | {first}\u{2013}{last} |").unwrap();
    }
    let readme = read("README.md");
    let (before, rest) = readme.split_once(START).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let expected = format!("{before}{START}{table}{END}{after}");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path("README.md"), &expected).unwrap();
    }
    assert!(read("README.md") == expected, "README.md is behind the code; UPDATE=1 writes it");
}

#[test]
fn the_management_api_lists_the_apis_that_are_served() {
    let dir = tempfile::tempdir().unwrap();
    let tidelog = Tidelog::dev(dir.path());
    let row = |(key, versions): (tidelog_protocol::ApiKey, std::ops::RangeInclusive<i16>)| {
        serde_json::json!({
            "key": key as i16,
            "name": key.name(),
            "min_version": versions.start(),
            "max_version": versions.end(),
        })
    };
    let served: Vec<_> = tidelog::api::served().map(row).collect();
    let listed = Http::nobody(&tidelog.ready).get("/v1/kafka/apis").json();
    assert_eq!(listed, serde_json::Value::from(served));
}

#[test]
fn documents_are_short_enough_to_be_read() {
    for name in ["README.md", "src/ARCHITECTURE.md"] {
        let lines = read(name).lines().count();
        assert!(lines <= LINES_MAX, "{name} has {lines} lines, over {LINES_MAX}");
    }
}

#[test]
fn files_that_documents_point_to_are_there() {
    for name in ["README.md", "src/ARCHITECTURE.md"] {
        let text = read(name);
        for quoted in text.split('`').skip(1).step_by(2) {
            let is_path = quoted.contains('/') && !quoted.contains([' ', '<', '{', '*', ':', '$']);
            let in_tree = ["src/", "protocol/", "storage/", "tests/", "benches/", ".ci/"];
            if is_path && in_tree.iter().any(|dir| quoted.starts_with(dir)) {
                assert!(path(quoted).exists(), "{name} points to {quoted}, which is not there");
            }
        }
    }
}

#[test]
fn the_code_map_has_every_module() {
    let map = read("src/ARCHITECTURE.md");
    let modules = std::fs::read_dir(path("src")).unwrap().map(|it| it.unwrap().file_name());
    for module in modules.map(|it| it.into_string().unwrap()) {
        let Some(name) = module.strip_suffix(".rs") else { continue };
        let mapped = ["", "/", ".rs"].map(|end| format!("`src/{name}{end}`"));
        let is_root = ["lib", "main", "iterations"].contains(&name);
        assert!(is_root || mapped.iter().any(|it| map.contains(it)), "no {name} in the code map");
    }
}
