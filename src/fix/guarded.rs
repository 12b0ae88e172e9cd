//! Which files guard the application: what decides whether a fix is good, and what runs beside the application.
//!
//! A free change of such a file is never applied without a person, whatever policy says. Also which files a trial
//! does not have, so that a change of them cannot be tried.

use std::path::{Path, PathBuf};

use unicode_normalization::UnicodeNormalization;

use crate::manifest::{Expect, Manifest};
use crate::sandbox::SKIPPED;

/// Directories of tools: what lies in them is made anew, and a change there shows nothing.
const CACHES: &[&str] = &[".mypy_cache", ".pytest_cache", ".ruff_cache", ".tox"];
const TEST_DIRECTORIES: [&str; 2] = ["tests", "test"];
const CI: [&str; 15] = [
    ".github",
    ".gitlab",
    ".gitlab-ci.yml",
    ".gitlab-ci.yaml",
    ".ci",
    ".circleci",
    ".buildkite",
    ".woodpecker",
    ".woodpecker.yml",
    ".drone.yml",
    ".travis.yml",
    "azure-pipelines.yml",
    "bitbucket-pipelines.yml",
    "jenkinsfile",
    ".pre-commit-config.yaml",
];
const AGENTS: [&str; 13] = [
    ".claude",
    ".claude.json",
    "claude.md",
    "claude.local.md",
    "agents.md",
    "gemini.md",
    ".gemini",
    ".codex",
    ".cursor",
    ".cursorrules",
    ".mcp.json",
    ".windsurf",
    ".windsurfrules",
];
const ENVIRONMENT_FILE: &str = "an environment file";
const MIGRATIONS: [&str; 3] = ["migrations", "alembic", "versions"];
/// Entries of the workspace's own directory that are looked at for symbolic links.
const ENTRIES_MAX: usize = 4_096;

/// As a careless file system, or a careless reader, compares names: look-alikes in one form, without case.
fn fold(name: &str) -> String {
    let compatible: String = name.nfkc().filter(|c| !is_invisible(*c)).collect();
    compatible.to_lowercase().nfkc().collect()
}

fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2064}' | '\u{feff}')
}

fn folded(path: &Path) -> Vec<String> {
    path.components()
        .map(|component| fold(&component.as_os_str().to_string_lossy()))
        .filter(|name| name != ".")
        .collect()
}

/// The directory of the path that no trial carries over, or that shows nothing, if there is one.
pub(super) fn not_carried(path: &str) -> Option<&'static str> {
    let parts = folded(Path::new(path));
    let mut left_out = SKIPPED.iter().chain(CACHES).copied();
    left_out.find(|name| parts.iter().any(|part| part == name))
}

/// What the file at `path`, relative to the workspace, guards; nothing for an ordinary file.
pub(super) fn guards(path: &str, manifest: &Manifest) -> Option<&'static str> {
    let path = Path::new(path);
    let parts = folded(path);
    by_name(&parts)
        .or_else(|| by_manifest(path, &parts, manifest))
        .or_else(|| by_link(path, manifest))
}

/// Its values may be secrets. Without a manifest only names say so.
pub(super) fn is_environment_file(path: &str, manifest: Option<&Manifest>) -> bool {
    let what = match manifest {
        Some(manifest) => guards(path, manifest),
        None => by_name(&folded(Path::new(path))),
    };
    what == Some(ENVIRONMENT_FILE)
}

fn by_name(parts: &[String]) -> Option<&'static str> {
    let name = parts.last().map_or("", String::as_str);
    let any = |names: &[&str]| parts.iter().any(|part| names.contains(&part.as_str()));
    if name == "ubs.toml" {
        return Some("the manifest");
    }
    if parts.iter().any(|part| part.starts_with(".env")) || name.ends_with(".env") {
        return Some(ENVIRONMENT_FILE);
    }
    let is_startup = matches!(name, "sitecustomize.py" | "usercustomize.py");
    if is_startup || name.ends_with(".pth") || name == "pyvenv.cfg" || any(&["site-packages"]) {
        return Some("the interpreter's environment");
    }
    let is_test = name == "conftest.py"
        || name.ends_with("_test.py")
        || (name.starts_with("test_") && name.ends_with(".py"));
    let directories = &parts[..parts.len().saturating_sub(1)];
    let in_tests = directories
        .iter()
        .any(|part| TEST_DIRECTORIES.contains(&part.as_str()));
    if is_test || in_tests {
        return Some("a test");
    }
    if any(&CI) {
        return Some("the continuous integration");
    }
    if any(&AGENTS) || parts.iter().any(|part| part.starts_with(".aider")) {
        return Some("an agent's settings");
    }
    None
}

fn by_manifest(path: &Path, parts: &[String], manifest: &Manifest) -> Option<&'static str> {
    let root = &manifest.workspace;
    let real_root = root.canonicalize().unwrap_or_else(|_| root.clone());
    // By its name, and by where it leads: an environment file may be a link to another file of the workspace.
    let is = |named: &Path| {
        let full = root.join(named);
        let inside = full.strip_prefix(root).unwrap_or(named);
        let real = full.canonicalize().unwrap_or(full.clone());
        let leads_to = real.strip_prefix(&real_root).ok().map(folded);
        folded(inside) == parts || leads_to.is_some_and(|target| target == parts)
    };
    if is(&manifest.path) {
        return Some("the manifest");
    }
    let config = &manifest.config;
    if config
        .files
        .iter()
        .chain(&config.example)
        .any(|file| is(Path::new(file)))
    {
        return Some(ENVIRONMENT_FILE);
    }
    if let Some(interpreter) = &manifest.python.interpreter
        && is(Path::new(interpreter))
    {
        return Some("the interpreter's environment");
    }
    let in_environment = path
        .ancestors()
        .skip(1)
        .filter(|above| !above.as_os_str().is_empty())
        .any(|above| root.join(above).join("pyvenv.cfg").is_file());
    if in_environment {
        return Some("the interpreter's environment");
    }
    // A migration that is added was not applied yet.
    let in_migrations = || {
        let directories = &parts[..parts.len().saturating_sub(1)];
        let named = directories
            .iter()
            .any(|part| MIGRATIONS.contains(&part.as_str()));
        named
            || manifest.schemas.iter().any(|schema| match &schema.expect {
                Expect::Sql { pattern } => {
                    glob::Pattern::new(pattern).is_ok_and(|pattern| pattern.matches_path(path))
                }
                _ => false,
            })
    };
    if root.join(path).exists() && in_migrations() {
        return Some("a migration that may be applied");
    }
    None
}

/// What leads to the file from the workspace's own directory under a guarded name.
fn by_link(path: &Path, manifest: &Manifest) -> Option<&'static str> {
    let root = manifest.workspace.canonicalize().ok()?;
    let real = real_path(&root.join(path));
    std::fs::read_dir(&root)
        .ok()?
        .take(ENTRIES_MAX)
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()))
        .find_map(|entry| {
            let name = fold(&entry.file_name().to_string_lossy());
            let target = entry.path().canonicalize().ok()?;
            // A directory guards what lies in it.
            let inside = real.strip_prefix(&target).ok()?;
            let mut parts = vec![name];
            parts.extend(folded(inside));
            by_name(&parts)
        })
}

/// The path with its directories resolved; the file itself need not exist.
fn real_path(path: &Path) -> PathBuf {
    let real = path.canonicalize();
    real.unwrap_or_else(|_| match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => real_path(parent).join(name),
        _ => path.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn manifest(root: &Path) -> Manifest {
        fs::create_dir_all(root.join("conf")).unwrap();
        fs::write(
            root.join("conf/boot.toml"),
            "[app]\nname = \"a\"\n[config]\nfiles = [\"conf/prod.conf\"]\n\
             [[schema]]\nname = \"main\"\ndatabase = \"sqlite:///a.db\"\nexpect = \"sql:steps/*.sql\"\n",
        )
        .unwrap();
        let mut manifest = Manifest::load(&root.join("conf/boot.toml")).unwrap();
        manifest.workspace = root.to_owned();
        manifest
    }

    #[test]
    fn what_guards_the_application_is_known_by_name_place_and_link() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let manifest = manifest(root);
        for file in [
            "steps/1.sql",
            "db/migrations/0001_initial.py",
            "env3/pyvenv.cfg",
            "real/one.py",
            "conf/real.conf",
            "settings",
        ] {
            fs::create_dir_all(root.join(file).parent().unwrap()).unwrap();
            fs::write(root.join(file), "").unwrap();
        }
        std::os::unix::fs::symlink("real", root.join("tests")).unwrap();
        std::os::unix::fs::symlink("real.conf", root.join("conf/prod.conf")).unwrap();
        std::os::unix::fs::symlink("settings", root.join(".env")).unwrap();
        for path in [
            "ubs.toml",
            "UBS.TOML",
            "./ubs.toml",
            "\u{ff35}\u{ff22}\u{ff33}.toml",
            "u\u{200b}bs.toml",
            "conf/boot.toml",
            ".env",
            ".env.local",
            "deploy/prod.env",
            "conf/prod.conf",
            "conf/real.conf",
            "settings",
            "sitecustomize.py",
            "lib/x.pth",
            "env3/lib/python3.12/os.py",
            "tests/a.py",
            "real/one.py",
            "real/new.py",
            "app/test_a.py",
            "app/a_test.py",
            "conftest.py",
            ".github/workflows/ci.yml",
            "Jenkinsfile",
            ".claude/settings.json",
            "sub/AGENTS.md",
            ".mcp.json",
            "steps/1.sql",
            "db/migrations/0001_initial.py",
        ] {
            assert!(guards(path, &manifest).is_some(), "{path} is not guarded");
        }
        for path in [
            "app/main.py",
            "app/environment.py",
            "app/testing.py",
            "steps/2.sql",
            "db/migrations/0002_new.py",
            "envelope.py",
        ] {
            assert_eq!(guards(path, &manifest), None, "{path}");
        }
    }

    #[test]
    fn what_no_trial_has_is_named() {
        assert_eq!(not_carried(".venv/bin/python"), Some(".venv"));
        assert_eq!(not_carried("web/Node_Modules/x.js"), Some("node_modules"));
        assert_eq!(not_carried("app/venv.py"), None);
    }
}
