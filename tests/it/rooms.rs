//! Which room may import which. The compiler does not hold this; this table does.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Every room, with the rooms that it may name as `crate::ROOM`. A new edge is a decision: change the table, the room's
/// header and `docs/architecture.md` together.
const MAY_IMPORT: [(&str, &[&str]); 17] = [
    ("kernel", &["domain", "manifest"]),
    ("manifest", &[]),
    ("source", &["manifest"]),
    ("domain", &[]),
    ("http", &["manifest"]),
    ("init", &["manifest", "source", "domain"]),
    ("log", &["domain", "kernel"]),
    ("database", &["domain", "http", "kernel", "manifest"]),
    ("sandbox", &["domain", "kernel", "manifest"]),
    ("supervise", &["domain", "http", "kernel", "manifest"]),
    ("control", &["domain", "kernel", "log"]),
    ("notify", &["domain", "http", "log", "manifest"]),
    (
        "checks",
        &[
            "database", "domain", "http", "kernel", "manifest", "sandbox", "source",
        ],
    ),
    (
        "fix",
        &[
            "checks", "database", "domain", "kernel", "log", "manifest", "sandbox",
        ],
    ),
    (
        "engine",
        &[
            "checks",
            "control",
            "database",
            "domain",
            "fix",
            "kernel",
            "log",
            "manifest",
            "notify",
            "supervise",
        ],
    ),
    (
        "cli",
        &[
            "control",
            "domain",
            "engine",
            "fix",
            "init",
            "kernel",
            "log",
            "manifest",
            "sandbox",
            "supervise",
        ],
    ),
    ("testing", &["checks", "domain", "manifest", "sandbox"]),
];

/// The first edge of a file that the table does not have: the edge, and where.
fn forbidden_edge(room: &str, file: &str, text: &str) -> Option<String> {
    let (_, allowed) = MAY_IMPORT.iter().find(|(name, _)| *name == room)?;
    // What only tests use is not part of the house.
    let code = text
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or(text);
    let lines = code.lines().enumerate();
    lines
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .flat_map(|(at, line)| line.split("crate::").skip(1).map(move |rest| (at, rest)))
        .map(|(at, rest)| {
            (
                at,
                rest.split(|c: char| !c.is_alphanumeric() && c != '_')
                    .next()
                    .unwrap_or(""),
            )
        })
        .find(|(_, to)| {
            let is_room = MAY_IMPORT.iter().any(|(name, _)| name == to);
            is_room && *to != room && !allowed.contains(to)
        })
        .map(|(at, to)| format!("{room} -> {to} in {file}:{}", at + 1))
}

pub(crate) fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir)
        .expect("a directory of sources")
        .flatten()
    {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_test = name.starts_with("test") || name.ends_with("_tests.rs");
        if path.is_dir() && !is_test {
            sources(&path, found);
        } else if name.ends_with(".rs") && !is_test {
            found.push(path);
        }
    }
}

#[test]
fn rooms_import_downwards_only() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    assert!(files.len() > 200, "{} files", files.len());
    let mut rooms = BTreeSet::new();
    let mut forbidden = Vec::new();
    for path in &files {
        let file = path
            .strip_prefix(&src)
            .expect("below src")
            .display()
            .to_string();
        let Some((room, _)) = file.split_once('/') else {
            continue;
        };
        rooms.insert(room.to_owned());
        let text = std::fs::read_to_string(path).expect("a source file");
        forbidden.extend(forbidden_edge(room, &file, &text));
    }
    assert_eq!(forbidden, [""; 0]);
    let unlisted: Vec<_> = rooms
        .iter()
        .filter(|room| !MAY_IMPORT.iter().any(|(name, _)| name == room))
        .collect();
    assert!(
        unlisted.is_empty(),
        "rooms without a line in the table: {unlisted:?}"
    );
}

#[test]
fn a_planted_edge_is_named_with_its_file() {
    let planted = "//! Pure.\n// crate::log in a comment is no edge.\nuse crate::domain::ids;\nuse crate::cli::run;\n";
    assert_eq!(
        forbidden_edge("domain", "domain/boot/next.rs", planted).as_deref(),
        Some("domain -> cli in domain/boot/next.rs:4")
    );
    assert_eq!(
        forbidden_edge("cli", "cli/boot.rs", "use crate::engine::Boot;"),
        None
    );
    let in_tests = "fn a() {}\n#[cfg(test)]\nmod tests {\n    use crate::fix::Worker;\n}\n";
    assert_eq!(forbidden_edge("log", "log/queue.rs", in_tests), None);
}
