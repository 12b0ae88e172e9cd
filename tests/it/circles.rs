//! No circle of files: what a file imports never leads back to it. A file that only declares modules and re-exports
//! is no stop on the way; what it passes on is followed to where it lies.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::LazyLock;

use regex::Regex;

use crate::rooms::sources;

static COMMENT: LazyLock<Regex> = LazyLock::new(|| pattern("//[^\n]*"));
static ITEM: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?m)^(pub(\([^)]*\))? )?(fn|struct|enum|impl|trait|const|static|type)\b")
});
static IMPORT: LazyLock<Regex> = LazyLock::new(|| pattern(r"\buse ([^;]+);"));
static RENAMED: LazyLock<Regex> = LazyLock::new(|| pattern(r"\s+as\s+\w+"));
static INLINE: LazyLock<Regex> = LazyLock::new(|| pattern(r"\b(?:crate|super)(?:::\w+)+"));

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a pattern")
}

/// The files of a crate by the path of their module: `checks::schema`, the root as an empty text.
struct Files(BTreeMap<String, String>);

impl Files {
    fn of(files: impl IntoIterator<Item = (String, String)>) -> Self {
        let modules = files.into_iter().map(|(file, text)| {
            let code = text
                .split("#[cfg(test)]\nmod tests {")
                .next()
                .expect("a first part");
            let path = file.trim_end_matches(".rs").trim_end_matches("/mod");
            let path = if path == "lib" { "" } else { path };
            (
                path.replace('/', "::"),
                COMMENT.replace_all(code, "").into_owned(),
            )
        });
        Self(modules.collect())
    }

    fn only_passes_on(&self, module: &str) -> bool {
        !ITEM.is_match(&self.0[module])
    }

    /// The paths that a module names, from the root of the crate.
    fn names(&self, module: &str) -> Vec<Vec<String>> {
        let text = &self.0[module];
        let mut paths = Vec::new();
        for found in IMPORT.captures_iter(text) {
            let written: String = RENAMED.replace_all(&found[1], "").into();
            expand(&written.split_whitespace().collect::<String>(), &mut paths);
        }
        let rest = IMPORT.replace_all(text, "");
        paths.extend(INLINE.find_iter(&rest).map(|path| path.as_str().to_owned()));
        paths
            .iter()
            .filter_map(|path| self.whole_path(module, path))
            .collect()
    }

    fn whole_path(&self, module: &str, path: &str) -> Option<Vec<String>> {
        let mut base: Vec<&str> = module.split("::").filter(|part| !part.is_empty()).collect();
        let mut parts: Vec<&str> = path.split("::").collect();
        match parts[0] {
            "crate" => {
                base.clear();
                parts.remove(0);
            }
            "self" => drop(parts.remove(0)),
            "super" => {
                while parts.first() == Some(&"super") {
                    base.pop();
                    parts.remove(0);
                }
            }
            first => {
                let child = [base.as_slice(), &[first]].concat().join("::");
                self.0.get(&child)?;
            }
        }
        Some(
            [base, parts]
                .concat()
                .into_iter()
                .map(str::to_owned)
                .collect(),
        )
    }

    /// The module that has what a path names.
    fn home(&self, path: &[String], passed: &mut BTreeSet<(String, String)>) -> Option<String> {
        let at = (0..=path.len()).rev();
        let (module, rest) = at
            .map(|n| (path[..n].join("::"), &path[n..]))
            .find(|(module, _)| self.0.contains_key(module))?;
        if let Some(name) = rest.first()
            && self.only_passes_on(&module)
            && passed.insert((module.clone(), name.clone()))
        {
            let names = self.names(&module);
            if let Some(further) = names.iter().find(|path| path.last() == Some(name)) {
                return self.home(further, passed);
            }
        }
        Some(module)
    }

    /// A way that ends where it began.
    fn circle(&self) -> Option<Vec<String>> {
        let stops: Vec<&String> = self.0.keys().filter(|m| !self.only_passes_on(m)).collect();
        let edges: BTreeMap<&String, BTreeSet<String>> = stops
            .iter()
            .map(|module| {
                let names = self.names(module);
                let homes = names
                    .iter()
                    .filter_map(|p| self.home(p, &mut BTreeSet::new()));
                (*module, homes.filter(|home| home != *module).collect())
            })
            .collect();
        let mut done = BTreeSet::new();
        stops
            .iter()
            .find_map(|start| walk(start, &edges, &mut Vec::new(), &mut done))
    }
}

fn walk(
    module: &String,
    edges: &BTreeMap<&String, BTreeSet<String>>,
    way: &mut Vec<String>,
    done: &mut BTreeSet<String>,
) -> Option<Vec<String>> {
    if let Some(at) = way.iter().position(|passed| passed == module) {
        return Some(way[at..].to_vec());
    }
    if done.contains(module) {
        return None;
    }
    way.push(module.clone());
    let targets = edges.get(module).into_iter().flatten();
    let found = targets
        .into_iter()
        .find_map(|to| walk(to, edges, way, done));
    way.pop();
    done.insert(module.clone());
    found
}

/// `a::{b, c::{d, e}}` as `a::b`, `a::c::d`, `a::c::e`.
fn expand(path: &str, paths: &mut Vec<String>) {
    let Some((before, list)) = path.split_once('{') else {
        paths.push(path.to_owned());
        return;
    };
    let (mut depth, mut start) = (0, 0);
    let list = list.strip_suffix('}').unwrap_or(list);
    for (at, c) in list.char_indices().chain([(list.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if start < at {
                    expand(&format!("{before}{}", &list[start..at]), paths);
                }
                start = at + 1;
            }
            _ => {}
        }
    }
}

#[test]
fn no_file_imports_what_imports_it() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    sources(&src, &mut paths);
    let files = paths.iter().map(|path| {
        let file = path.strip_prefix(&src).expect("below src").display();
        let text = std::fs::read_to_string(path).expect("a source file");
        (file.to_string(), text)
    });
    assert_eq!(Files::of(files).circle(), None);
}

#[test]
fn a_planted_circle_is_named() {
    let circle = |files: &[(&str, &str)]| {
        let owned = files
            .iter()
            .map(|(f, t)| ((*f).to_owned(), (*t).to_owned()));
        Files::of(owned).circle()
    };
    let parent = ("a/mod.rs", "mod b;\nmod c;\npub use b::{B, x as y};\n");
    let child = (
        "a/c.rs",
        "// crate::a::C in a comment\nuse super::B;\npub struct C;\n",
    );
    assert_eq!(
        circle(&[parent, child, ("a/b.rs", "pub struct B;\n")]),
        None
    );
    assert_eq!(
        circle(&[
            parent,
            child,
            ("a/b.rs", "use crate::a::{c::{C}, d};\npub struct B;\n")
        ]),
        Some(vec!["a::b".to_owned(), "a::c".to_owned()])
    );
    assert_eq!(
        circle(&[
            ("a.rs", "mod b;\nuse b::B;\nfn f() {}\n"),
            ("a/b.rs", "struct B(super::A);\n")
        ]),
        Some(vec!["a".to_owned(), "a::b".to_owned()])
    );
}
