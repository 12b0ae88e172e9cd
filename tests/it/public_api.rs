//! What the library promises: the public items are those of a committed list, and few.

use std::collections::BTreeSet;
use std::path::Path;

/// More is a decision: each item is a promise.
const ITEMS_MAX: usize = 150;

/// The items that a crate's root re-exports. The root has no public modules (but what is `doc(hidden)`), so these are
/// all that others can name.
fn public_items(root: &str) -> BTreeSet<String> {
    let code: String = root
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect();
    let mut items = BTreeSet::new();
    for statement in code.split(';').map(str::trim) {
        let (hidden, statement) = match statement.strip_prefix("#[doc(hidden)]") {
            Some(rest) => (true, rest.trim()),
            None => (false, statement),
        };
        if let Some(module) = statement.strip_prefix("pub mod ") {
            assert!(hidden, "public module {module}: list its items instead");
        }
        let Some(path) = statement.strip_prefix("pub use ") else {
            continue;
        };
        match path.split_once('{') {
            None => drop(items.insert(path.rsplit("::").next().expect("a name").to_owned())),
            Some((_, list)) => {
                let names = list.trim_end_matches('}').split(',').map(str::trim);
                items.extend(names.filter(|name| !name.is_empty()).map(str::to_owned));
            }
        }
    }
    items
}

#[test]
fn the_public_items_are_those_of_the_committed_list() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let items = public_items(&std::fs::read_to_string(root.join("src/lib.rs")).expect("the root"));
    assert!(items.len() <= ITEMS_MAX, "{} items", items.len());
    let list = std::fs::read_to_string(root.join("docs/public-api.txt")).expect("the list");
    let listed: BTreeSet<String> = list
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(str::to_owned)
        .collect();
    let unlisted: Vec<_> = items.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&items).collect();
    assert!(
        unlisted.is_empty() && gone.is_empty(),
        "docs/public-api.txt: add {unlisted:?}, take out {gone:?}"
    );
}

#[test]
fn an_item_that_is_not_listed_is_seen() {
    let root = "mod a;\n/// Doc; with a semicolon.\npub use a::B;\npub use c::{\n    D,\n    E,\n};\n#[doc(hidden)]\npub mod testing;\n";
    assert_eq!(
        public_items(root).into_iter().collect::<Vec<_>>(),
        ["B", "D", "E"]
    );
}
