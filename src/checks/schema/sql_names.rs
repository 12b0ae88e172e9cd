//! What the names of SQL migrations say, in the layouts of sqlx, refinery, golang-migrate and Flyway, and the
//! order in which they are applied. Pure.
//!
//! Read for it: sqlx-core `src/migrate/source.rs`; refinery_core `src/util.rs`; golang-migrate
//! `source/parse.go`; flyway-core `internal/resolver/MigrationInfoHelper.java`.

use std::path::{Path, PathBuf};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ScriptKind {
    Up,
    /// refinery's `U1__`: as `V1__`, but it may come after higher versions were applied.
    Unversioned,
    /// Takes one back: never applied here.
    Down,
    /// Flyway's `B2__`: on an empty database, it stands for everything up to its version.
    Baseline,
    /// Flyway's `R__`: applied again whenever it changes.
    Repeatable,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Script {
    /// Parts of the version without zeros at the end: 1.0 is 1.
    pub version: Vec<u64>,
    pub kind: ScriptKind,
    /// `V1__name.sql` and not `1_name.sql`.
    pub prefixed: bool,
    /// What stands after the version, without the ending.
    pub name: String,
    pub path: PathBuf,
}

impl Script {
    /// It is one of the line of versions.
    pub(super) fn is_step(&self) -> bool {
        matches!(self.kind, ScriptKind::Up | ScriptKind::Unversioned)
    }
}

pub(super) fn version_of(text: &str) -> Option<Vec<u64>> {
    let mut parts = text
        .split(['.', '_'])
        .map(|part| part.parse().ok())
        .collect::<Option<Vec<u64>>>()?;
    while parts.len() > 1 && parts.last() == Some(&0) {
        parts.pop();
    }
    Some(parts)
}

pub(super) fn shown(version: &[u64]) -> String {
    let parts: Vec<String> = version.iter().map(u64::to_string).collect();
    parts.join(".")
}

fn read_name(path: &Path) -> Option<Script> {
    let stem = path.file_name()?.to_str()?.strip_suffix(".sql")?;
    let script = |version, kind, prefixed, name: &str| {
        Some(Script {
            version,
            kind,
            prefixed,
            name: name.to_owned(),
            path: path.to_owned(),
        })
    };
    if let Some(name) = stem.strip_prefix("R__") {
        return script(Vec::new(), ScriptKind::Repeatable, true, name);
    }
    for (prefix, kind) in [
        ("V", ScriptKind::Up),
        ("U", ScriptKind::Unversioned),
        ("B", ScriptKind::Baseline),
    ] {
        if let Some((version, name)) = stem.strip_prefix(prefix).and_then(|s| s.split_once("__"))
            && let Some(version) = version_of(version)
        {
            return script(version, kind, true, name);
        }
    }
    let (stem, kind) = match (stem.strip_suffix(".up"), stem.strip_suffix(".down")) {
        (Some(stem), _) => (stem, ScriptKind::Up),
        (_, Some(stem)) => (stem, ScriptKind::Down),
        _ => (stem, ScriptKind::Up),
    };
    let (version, name) = stem.split_once('_')?;
    script(vec![version.parse().ok()?], kind, false, name)
}

/// All files as migrations of one folder, by version, without those that take one back; `None` if they are
/// something else.
pub(super) fn read_folder(files: &[PathBuf]) -> Option<Vec<Script>> {
    let mut scripts = files
        .iter()
        .map(|file| read_name(file))
        .collect::<Option<Vec<_>>>()?;
    let first = scripts.first()?;
    let (prefixed, folder) = (first.prefixed, first.path.parent());
    if scripts
        .iter()
        .any(|s| s.prefixed != prefixed || s.path.parent() != folder)
    {
        return None;
    }
    // To Flyway, `U1__` takes `V1__` back. To refinery it is a migration, and a `V1__` beside it an error.
    let versioned: Vec<Vec<u64>> = scripts
        .iter()
        .filter(|script| script.kind == ScriptKind::Up)
        .map(|script| script.version.clone())
        .collect();
    scripts.retain(|script| match script.kind {
        ScriptKind::Down => false,
        ScriptKind::Unversioned => !versioned.contains(&script.version),
        _ => true,
    });
    scripts.sort_by(|a, b| {
        let key = |s: &Script| {
            (
                s.kind == ScriptKind::Repeatable,
                s.version.clone(),
                s.kind != ScriptKind::Baseline,
                s.name.clone(),
            )
        };
        key(a).cmp(&key(b))
    });
    Some(scripts)
}

/// What an empty database gets: where there are baselines, the highest one and what comes after it.
pub(super) fn from_nothing(mut scripts: Vec<Script>) -> Vec<Script> {
    let baseline = scripts
        .iter()
        .filter(|script| script.kind == ScriptKind::Baseline)
        .map(|script| script.version.clone())
        .max();
    if let Some(baseline) = baseline {
        scripts.retain(|script| match script.kind {
            ScriptKind::Repeatable => true,
            ScriptKind::Baseline => script.version == baseline,
            _ => script.version > baseline,
        });
    }
    scripts
}

/// The files that make the schema, in the order of the tool: a folder of migrations by version and without
/// those that take one back; any others as they are.
pub(super) fn in_order(files: Vec<PathBuf>) -> Vec<PathBuf> {
    match read_folder(&files) {
        Some(scripts) => from_nothing(scripts)
            .into_iter()
            .map(|script| script.path)
            .collect(),
        None => files,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ordered(names: &[&str]) -> Vec<String> {
        let files = names.iter().map(|name| Path::new("m").join(name)).collect();
        let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        in_order(files).into_iter().map(name).collect()
    }

    #[test]
    fn files_come_in_the_order_of_the_tool() {
        assert_eq!(
            ordered(&["10_c.up.sql", "1_a.down.sql", "1_a.up.sql", "2_b.up.sql"]),
            ["1_a.up.sql", "2_b.up.sql", "10_c.up.sql"]
        );
        assert_eq!(
            ordered(&[
                "R__views.sql",
                "U1__a.sql",
                "V1.10__c.sql",
                "V1.9__b.sql",
                "V1__a.sql"
            ]),
            ["V1__a.sql", "V1.9__b.sql", "V1.10__c.sql", "R__views.sql"]
        );
        // Plain files stay as they are.
        assert_eq!(
            ordered(&["b.sql", "10_a.sql", "2_c.sql"]),
            ["b.sql", "10_a.sql", "2_c.sql"]
        );
    }

    #[test]
    fn unversioned_files_of_refinery_are_applied() {
        assert_eq!(
            ordered(&["V3__c.sql", "U2__b.sql", "V1__a.sql"]),
            ["V1__a.sql", "U2__b.sql", "V3__c.sql"]
        );
    }

    #[test]
    fn the_highest_baseline_stands_for_what_is_below() {
        assert_eq!(
            ordered(&[
                "V1__a.sql",
                "B1__a.sql",
                "V2__b.sql",
                "B2__both.sql",
                "V3__c.sql",
                "R__v.sql"
            ]),
            ["B2__both.sql", "V3__c.sql", "R__v.sql"]
        );
    }
}
