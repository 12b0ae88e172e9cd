//! Reads `[vault]`: where the application's secrets come from, and which must be there.
//!
//! The manifest never holds a secret itself: tokens and keys are named by a variable or a file.

use super::command::{require_argv, split};
use super::interpolate::require_sound;
use super::keys::VAULT;
use super::problem::{Fault, shown};
use super::section::{Section, Spanned};
use super::types::{Vault, VaultFormat, VaultKey, VaultKind};
use super::words::{inside_or_absolute_path, one_of};

/// Most keys of a vault: each is a request.
const KEYS_MAX: usize = 200;
/// Longest path or name of a key.
const KEY_BYTES_MAX: usize = 512;
/// Time for everything that a vault is asked, if the manifest does not say.
const TIMEOUT_MS_DEFAULT: u64 = 5_000;
/// Shorter, and no connection over a network could be made.
const TIMEOUT_MS_MIN: u64 = 10;
/// Where the key-value engine is mounted in a vault that nobody configured.
const MOUNT_DEFAULT: &str = "secret";
const ADDRESS_DEFAULT: &str = "${VAULT_ADDR}";
const TOKEN_DEFAULT: &str = "${VAULT_TOKEN}";

/// Word of a kind, and the keys that mean something to it.
pub(super) const KINDS: [(&str, &[&str]); 3] = [
    (
        "hashicorp",
        &[
            "address",
            "token",
            "token_file",
            "namespace",
            "mount",
            "kv",
            "ca_file",
        ],
    ),
    ("file", &["path", "format", "key", "key_file"]),
    ("command", &["command"]),
];

const FORMATS: [(&str, VaultFormat); 2] =
    [("fernet", VaultFormat::Fernet), ("json", VaultFormat::Json)];

/// `[vault]`, if there is one.
pub(super) fn read_vault(root: &Section<'_>) -> Option<Vault> {
    let section = root.section("vault", &VAULT)?;
    if !section.has("kind") {
        section.missing("kind", "\"hashicorp\"");
    }
    let words = KINDS.map(|(word, _)| (word, word));
    let kind = section.parse("kind", |text| one_of(text, &words))?;
    for (other, keys) in KINDS.iter().filter(|(other, _)| *other != kind) {
        for key in keys.iter().filter(|key| section.has(key)) {
            section.faults().report(
                section.key_span(key),
                Fault::new(
                    "of another kind",
                    format!("`{key}` means something for `kind = \"{other}\"` only"),
                    "take it out, or change `kind`",
                ),
            );
        }
    }
    section.one_only("token", "token_file", "token");
    section.one_only("key", "key_file", "key");
    if section.has("identity_file") && section.scalar_text("format").as_deref() != Some("age") {
        section.faults().report(
            section.key_span("identity_file"),
            age_fault(&section, "`identity_file` is no key of [vault] any more"),
        );
    }
    let of_path = kind == "hashicorp";
    let kind = match kind {
        "hashicorp" => read_hashicorp(&section),
        "file" => read_file(&section),
        _ => VaultKind::Command(read_command(&section)),
    };
    Some(Vault {
        kind,
        keys: read_keys(&section, of_path),
        timeout_ms: section
            .duration("timeout", TIMEOUT_MS_MIN)
            .unwrap_or(TIMEOUT_MS_DEFAULT),
        line: section.line(),
    })
}

/// Files of age were read by `ubs` itself once; a command does the same.
fn age_fault(section: &Section<'_>, message: &str) -> Fault {
    let text = |key, example: &str| {
        let text = section.scalar_text(key);
        text.unwrap_or_else(|| example.to_owned())
    };
    let argv = [
        "age".to_owned(),
        "-d".to_owned(),
        "-i".to_owned(),
        text("identity_file", "key.txt"),
        text("path", "secrets.age"),
    ];
    Fault::new(
        "let the age program open it",
        message,
        format!(
            "write kind = \"command\" and command = {argv:?}, and take out path, format and identity_file"
        ),
    )
}

fn read_hashicorp(section: &Section<'_>) -> VaultKind {
    let text = |key, default: &str| {
        let text = section.parse(key, |text| require_sound(text).map(|()| text.to_owned()));
        text.unwrap_or_else(|| default.to_owned())
    };
    let token_file = section.parse("token_file", file_path);
    let token = section.parse("token", variable);
    let namespace = section.parse("namespace", |text| {
        require_sound(text).map(|()| text.to_owned())
    });
    let mount = section.parse("mount", |text| {
        secret_path(text)?;
        Ok(text.to_owned())
    });
    VaultKind::Hashicorp {
        address: text("address", ADDRESS_DEFAULT),
        token: match (token, &token_file) {
            (None, None) => Some(TOKEN_DEFAULT.to_owned()),
            (token, _) => token,
        },
        token_file,
        namespace,
        mount: mount.unwrap_or_else(|| MOUNT_DEFAULT.to_owned()),
        kv: section.integer("kv", 1..=2),
        ca_file: section.parse("ca_file", file_path),
    }
}

fn read_file(section: &Section<'_>) -> VaultKind {
    for (key, example) in [("path", "\"secrets.fernet\""), ("format", "\"fernet\"")] {
        if !section.has(key) {
            section.missing(key, example);
        }
    }
    let format = section.parse("format", |text| match text {
        "age" => Err(age_fault(
            section,
            "`format = \"age\"` is not supported any more",
        )),
        text => one_of(text, &FORMATS),
    });
    let has_key = section.has("key") || section.has("key_file");
    if format == Some(VaultFormat::Fernet) && !has_key {
        section.missing("key", "\"${VAULT_KEY}\"");
    }
    VaultKind::File {
        path: section.parse("path", file_path).unwrap_or_default(),
        format: format.unwrap_or(VaultFormat::Json),
        key: section.parse("key", variable),
        key_file: section.parse("key_file", file_path),
    }
}

fn read_command(section: &Section<'_>) -> Vec<String> {
    let Some(item) = section.item("command") else {
        section.missing("command", "[\"pass\", \"show\", \"shop\"]");
        return vec![];
    };
    if item.is_str() {
        return section.parse_lines("command", split).unwrap_or_default();
    }
    let words = section.list_of_lines("command").unwrap_or_default();
    if let Err(fault) = require_argv(&words) {
        section.fault("command", fault);
    }
    words
}

/// A path with variables is checked when they are known.
fn file_path(text: &str) -> Result<String, Fault> {
    require_sound(text)?;
    if text.contains("${") {
        return Ok(text.to_owned());
    }
    inside_or_absolute_path(text)
}

/// A secret: the manifest says where it is, and never holds it.
fn variable(text: &str) -> Result<String, Fault> {
    require_sound(text)?;
    if text.starts_with("${") && text.ends_with('}') && !text.contains(":-") {
        return Ok(text.to_owned());
    }
    Err(Fault::new(
        "a secret",
        "a secret does not belong into the manifest",
        "name a variable that holds it: \"${VAULT_TOKEN}\"",
    ))
}

fn read_keys(section: &Section<'_>, of_path: bool) -> Vec<VaultKey> {
    let entries = section
        .list("keys", |text| key(text, of_path))
        .unwrap_or_default();
    if entries.len() > KEYS_MAX {
        let message = format!("more than {KEYS_MAX} keys are asked for");
        section.fault(
            "keys",
            Fault::new("too many", message, "name those that the boot needs"),
        );
        return vec![];
    }
    let line = |span: &std::ops::Range<usize>| section.faults().line(span.start);
    entries
        .into_iter()
        .map(
            |Spanned {
                 value: (path, field),
                 span,
             }| VaultKey {
                path,
                field,
                line: line(&span),
            },
        )
        .collect()
}

fn key(text: &str, of_path: bool) -> Result<(String, Option<String>), Fault> {
    if !of_path {
        if text.trim().is_empty() || text.len() > KEY_BYTES_MAX {
            return Err(Fault::new(
                "no name",
                "a key has a name",
                "write for example \"SECRET_KEY\"",
            ));
        }
        return Ok((text.to_owned(), None));
    }
    let (path, field) = match text.split_once('#') {
        Some((path, field)) => (path, Some(field)),
        None => (text, None),
    };
    secret_path(path)?;
    if field == Some("") {
        let message = format!("`{}` names no field behind its `#`", shown(text));
        return Err(Fault::new(
            "no field",
            message,
            "write for example \"shop/prod#SECRET_KEY\"",
        ));
    }
    Ok((path.to_owned(), field.map(str::to_owned)))
}

/// A path in the vault: it becomes a part of a URL, so it must not leave its place.
fn secret_path(path: &str) -> Result<(), Fault> {
    let is_sound = !path.is_empty()
        && path.len() <= KEY_BYTES_MAX
        && path
            .split('/')
            .all(|part| !part.is_empty() && part != "." && part != "..");
    if is_sound {
        return Ok(());
    }
    Err(Fault::new(
        "not a path in a vault",
        format!("`{}` is not a path in a vault", shown(path)),
        "write it without slashes at its ends, for example \"shop/prod\"",
    ))
}
