//! The parser, the JSON Schema and the documentation know the same keys.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use super::TABLES;
use crate::manifest::Manifest;

const SCHEMA: &str = include_str!("../../../schema/ubs.schema.json");
const DOCUMENT: &str = include_str!("../../../docs/manifest.md");

type KeysByPath = BTreeMap<String, BTreeSet<String>>;

fn known() -> KeysByPath {
    let keys = |known: &[&str]| known.iter().map(|key| (*key).to_owned()).collect();
    TABLES
        .iter()
        .map(|table| (table.path.to_owned(), keys(table.known)))
        .collect()
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

/// Every object of the schema with its properties.
fn collect_schema(root: &Value, at: &Value, path: &str, found: &mut KeysByPath) {
    if let Some(reference) = at.get("$ref").and_then(Value::as_str) {
        let target = root.pointer(reference.trim_start_matches('#')).unwrap();
        collect_schema(root, target, path, found);
    }
    if let Some(properties) = at.get("properties").and_then(Value::as_object) {
        assert_eq!(
            at["additionalProperties"], false,
            "{path} lets unknown keys pass"
        );
        let keys = properties.keys().cloned().collect();
        assert_eq!(
            found.insert(path.to_owned(), keys),
            None,
            "{path} stands twice"
        );
        for (key, value) in properties {
            assert!(
                value["description"].is_string(),
                "{path}.{key} has no description"
            );
            collect_schema(root, value, &join(path, key), found);
        }
    } else if let Some(named @ Value::Object(_)) = at.get("additionalProperties") {
        collect_schema(root, named, &join(path, "NAME"), found);
    }
    if let Some(items) = at.get("items") {
        collect_schema(root, items, path, found);
    }
    for choice in at
        .get("anyOf")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        collect_schema(root, choice, path, found);
    }
}

#[test]
fn the_json_schema_has_the_keys_of_the_parser() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let mut found = KeysByPath::new();
    collect_schema(&schema, &schema, "", &mut found);
    assert_eq!(found, known());
}

/// The heading under which a table is documented.
fn heading(path: &str) -> &'static str {
    match path {
        "app" => "`[app]`",
        "python" => "`[python]`",
        "config" => "`[config]`",
        "config.vars.NAME" => "`[config.vars.NAME]`",
        "vault" => "`[vault]`",
        "schema" => "`[[schema]]`",
        "registration" => "`[registration]`",
        "check" => "`[[check]]`",
        "coverage" => "`[coverage]`",
        path if path.starts_with("check.") => "Built-in checks",
        "layer" => "`[[layer]]`",
        "layer.rehearse" => "`rehearse`",
        "layer.service" => "`[[layer.service]]`",
        "layer.service.ready" | "layer.service.live" => "`ready` and `live`",
        "layer.service.restart" => "`restart`",
        "layer.service.stop" => "`stop`",
        "layer.service.env_file" => "`env_file`",
        "layer.service.limits" => "`limits`",
        "heal" => "`[heal]`",
        "heal.policy" => "`heal.policy`",
        "heal.playbook" => "`[[heal.playbook]]`",
        "heal.playbook.match" => "`match` of a playbook",
        "heal.playbook.edits" => "`edits` of a playbook",
        "heal.playbook.sql" => "`sql` of a playbook",
        "heal.playbook.verify" => "`verify` of a playbook",
        "heal.sandbox" => "`heal.sandbox`",
        "heal.sandbox.limits" => "`heal.sandbox.limits`",
        "sandbox" => "`[sandbox]`",
        "validate" => "`[validate]`",
        "api" => "`[api]`",
        "logs" | "layer.service.logs" => "`[logs]`",
        "notify" => "`[[notify]]`",
        _ => panic!("{path} has no heading in docs/manifest.md"),
    }
}

#[test]
fn every_key_is_documented_and_every_documented_key_is_known() {
    let mut documented: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut section = "";
    for line in DOCUMENT.lines() {
        if line.starts_with('#') {
            section = line.trim_start_matches('#').trim();
        } else if let Some(row) = line.strip_prefix("| `") {
            let key = row.split('`').next().unwrap();
            documented.entry(section).or_default().insert(key);
        }
    }
    let mut expected: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for table in TABLES {
        match table.path {
            // The tables themselves have a section each; the entries have a sentence.
            "" => table.known.iter().for_each(|key| {
                assert!(DOCUMENT.contains(&format!("[{key}]")), "[{key}]");
            }),
            "registration.services" => assert!(DOCUMENT.contains("In `services`, `prefix` is")),
            path => expected
                .entry(heading(path))
                .or_default()
                .extend(table.known),
        }
        for later in table.later {
            let (_, refused) = DOCUMENT.split_once("## Not supported").unwrap();
            assert!(
                refused.contains(&format!("{later}`")) || refused.contains(&format!("[{later}]")),
                "{later}"
            );
        }
    }
    assert_eq!(documented, expected);
}

fn example() -> &'static str {
    let (_, rest) = DOCUMENT.split_once("```toml\n").unwrap();
    rest.split_once("```").unwrap().0
}

fn collect_toml(item: &toml_edit::Item, path: &str, found: &mut KeysByPath) {
    if let Some(table) = item.as_table_like() {
        for (key, value) in table.iter() {
            if path == "config.vars" {
                collect_toml(value, "config.vars.NAME", found);
                continue;
            }
            found
                .entry(path.to_owned())
                .or_default()
                .insert(key.to_owned());
            collect_toml(value, &join(path, key), found);
        }
    } else if let Some(tables) = item.as_array_of_tables() {
        for table in tables {
            collect_toml(&toml_edit::Item::Table(table.clone()), path, found);
        }
    } else if let Some(array) = item.as_array() {
        for value in array {
            collect_toml(&toml_edit::Item::Value(value.clone()), path, found);
        }
    }
}

#[test]
fn the_documented_example_is_right_and_has_every_key() {
    let manifest = Manifest::parse(example(), Path::new("ubs.toml")).unwrap();
    assert_eq!(manifest.layers.len(), 3);
    let document = toml_edit::Document::parse(example()).unwrap();
    let mut found = KeysByPath::new();
    collect_toml(document.as_item(), "", &mut found);
    // A probe tests one thing.
    let probes = |path: &str| -> BTreeSet<String> { known()[path].clone() };
    for path in [
        "layer.service.ready",
        "layer.service.live",
        "heal.playbook.verify",
    ] {
        let keys = found.get_mut(path).unwrap();
        assert!(keys.is_subset(&probes(path)));
        let kinds = [
            "http", "tcp", "exec", "file", "log", "notify", "sql", "socket", "ports",
        ];
        let kinds = kinds
            .into_iter()
            .filter(|kind| known()[path].contains(*kind));
        keys.extend(kinds.map(str::to_owned));
    }
    // A vault is of one kind, and has the keys of that kind.
    let vault = found.get_mut("vault").unwrap();
    assert!(vault.is_subset(&known()["vault"]));
    for (kind, keys) in crate::manifest::vault::KINDS {
        if kind != "hashicorp" {
            vault.extend(keys.iter().map(|key| (*key).to_owned()));
        }
    }
    // A token is in a variable or in a file.
    vault.insert("token_file".to_owned());
    found.get_mut("api").unwrap().insert("token_env".to_owned());
    found.remove("layer.service.env");
    found.remove("layer.service.needs");
    found.remove("layer.service.ready.headers");
    found.remove("layer.service.live.headers");
    // A certificate is in a file or at a server.
    let certificate = found.get_mut("check.certificate").unwrap();
    certificate.extend(["server", "ca_file"].map(str::to_owned));
    // The former name of `reset_after`.
    let restart = found.get_mut("layer.service.restart").unwrap();
    restart.insert("window".to_owned());
    assert_eq!(found, known());
}

#[test]
fn the_manifests_of_the_examples_are_right() {
    let pattern = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/*/ubs.toml");
    for path in glob::glob(pattern).unwrap() {
        let path = path.unwrap();
        if let Err(error) = Manifest::load(&path) {
            panic!("{}", crate::manifest::problem::tests::render(&error));
        }
    }
}
