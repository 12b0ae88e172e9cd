//! What the manifest's playbooks, and fixes that were kept, propose about a failure.
//!
//! A capture comes from what an application printed: it is hostile. It is put into one word of a command, whole, and
//! such a command waits for a person; it never chooses a file, and never is an option.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::apply::{plan_files, read_file, write_atomically};
use super::fixers::FIXERS;
use super::guarded::guards;
use super::places::plan_places;
use super::run::command_text;
use crate::domain::ids::{Digest, MissionId, Signature};
use crate::domain::mission::{Change, Failure, Fix, Proposal, Risk};
use crate::domain::redact::sanitise;
use crate::domain::remedy::TextEdit;
use crate::manifest::{
    Manifest, MatchKey, Playbook, PlaybookEdit, PlaybookRisk, ProbeKind, placeholders,
};

/// Longest text of a capture, bytes.
const CAPTURE_BYTES_MAX: usize = 1024;
/// Bytes of a failure's output that are matched, from its end.
const OUTPUT_BYTES_MAX: usize = 64 << 10;
/// What the name of a playbook begins with among the fixers.
const PLAYBOOK: &str = "playbook:";
/// Where fixes that were kept lie, below the state directory.
const KEPT: &str = "playbooks";

/// The first proposal of a playbook that has not failed as often as it may for this mission. A step that cannot be made now leaves the
/// failure to the next one.
pub(super) fn of_manifest(
    manifest: &Manifest,
    failure: &Failure,
    failed: &[String],
) -> Option<Proposal> {
    manifest.heal.playbooks.iter().find_map(|playbook| {
        let fixer = format!("{PLAYBOOK}{}", playbook.name);
        let tries = failed.iter().filter(|name| **name == fixer).count();
        if tries >= playbook.attempts as usize {
            return None;
        }
        let captures = matches(playbook, failure)?;
        propose(manifest, playbook, &captures, fixer)
    })
}

/// The captures, if the failure is as the playbook says.
fn matches(playbook: &Playbook, failure: &Failure) -> Option<BTreeMap<String, String>> {
    let mut captures = BTreeMap::new();
    for (key, expression) in &playbook.conditions {
        let text = match key {
            MatchKey::Code => failure.code.as_str(),
            MatchKey::Layer => failure.layer.as_deref()?,
            MatchKey::Service => failure.subject.as_str(),
            MatchKey::Error => failure.error.as_str(),
            MatchKey::Output => {
                let text = failure.traceback.as_str();
                &text[text.ceil_char_boundary(text.len().saturating_sub(OUTPUT_BYTES_MAX))..]
            }
        };
        let found = expression.0.captures(text)?;
        for name in expression.0.capture_names().flatten() {
            if let Some(value) = found.name(name) {
                let value = value.as_str().to_owned();
                captures.entry(name.to_owned()).or_insert(value);
            }
        }
    }
    Some(captures)
}

fn propose(
    manifest: &Manifest,
    playbook: &Playbook,
    captures: &BTreeMap<String, String>,
    fixer: String,
) -> Option<Proposal> {
    let mut risk = match playbook.risk {
        PlaybookRisk::Additive => Risk::Additive,
        PlaybookRisk::Edit => Risk::Edit,
        PlaybookRisk::Open => Risk::Open,
        PlaybookRisk::Guarded => Risk::Guarded,
        PlaybookRisk::Destructive => Risk::Destructive,
    };
    let mut changes = Vec::new();
    for edit in &playbook.edits {
        if guards(&edit.path, manifest).is_some() {
            risk = risk.max(Risk::Guarded);
        }
        changes.push(replacement(&manifest.workspace, edit)?);
    }
    if let Some((schema, statements)) = &playbook.sql {
        changes.push(Change::Sql {
            schema: schema.clone(),
            statements: statements.clone(),
        });
    }
    if !playbook.run.is_empty() {
        let words = playbook.run.iter().map(|word| filled(word, captures));
        changes.push(Change::Run {
            command: words.collect::<Option<Vec<String>>>()?,
        });
    }
    if playbook.wait_ms > 0 {
        changes.push(Change::Wait {
            ms: playbook.wait_ms,
        });
    }
    // Of a boot of some services, the others are no part.
    let services = playbook.restart.iter();
    let services: Vec<String> = services
        .filter(|name| manifest.service(name).is_some())
        .cloned()
        .collect();
    if !services.is_empty() {
        changes.push(Change::Restart { services });
    }
    let mut summary = format!("do what the playbook {} says", playbook.name);
    if let Some(verify) = &playbook.verify {
        summary.push_str(&format!("; it stays if {}", shown_probe(&verify.kind)));
    }
    Some(Proposal {
        summary,
        fixer,
        risk,
        changes,
    })
}

/// What has to be so, in words.
fn shown_probe(kind: &ProbeKind) -> String {
    match kind {
        ProbeKind::Http(url) => format!("{url} answers"),
        ProbeKind::Tcp(address) => format!("{address} takes a connection"),
        ProbeKind::Exec(command) => format!("`{}` ends well", command_text(command)),
        ProbeKind::File(path) => format!("{path} is there"),
        // None of a playbook.
        ProbeKind::Log(_) | ProbeKind::Notify | ProbeKind::Sql(_) => "its probe passes".to_owned(),
    }
}

/// The playbook of the manifest that made a proposal; an error if it is gone. `Ok(None)`: none did.
pub(super) fn playbook_of<'m>(
    manifest: &'m Manifest,
    proposal: &Proposal,
) -> Result<Option<&'m Playbook>, String> {
    let Some(name) = proposal.fixer.strip_prefix(PLAYBOOK) else {
        return Ok(None);
    };
    match manifest.playbook(name) {
        Some(playbook) => Ok(Some(playbook)),
        None => Err(format!("the manifest has no playbook {name} any more")),
    }
}

/// One word of a command; `None` if a capture is missing, or is no text that a word may get.
fn filled(word: &str, captures: &BTreeMap<String, String>) -> Option<String> {
    let mut filled = String::new();
    let mut rest = word;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, behind) = after.split_once('}')?;
        let value = captures.get(name)?;
        let is_text = !value.is_empty()
            && value.len() <= CAPTURE_BYTES_MAX
            && sanitise(value) == *value
            && !value.contains('\n');
        filled.push_str(before);
        let is_option = filled.is_empty() && value.starts_with('-');
        if !is_text || is_option {
            return None;
        }
        filled.push_str(value);
        rest = behind;
    }
    filled.push_str(rest);
    debug_assert!(placeholders(word).all(|name| captures.contains_key(name)));
    Some(filled)
}

/// What `find` names stands in the file exactly once.
fn replacement(root: &Path, edit: &PlaybookEdit) -> Option<Change> {
    let bytes = read_file(root, &edit.path).ok()??;
    let text = std::str::from_utf8(&bytes).ok()?;
    let mut found = text.match_indices(&edit.find);
    let (Some((at, _)), None) = (found.next(), found.next()) else {
        return None;
    };
    Some(Change::Edit {
        path: edit.path.clone(),
        before: Digest::of(&bytes),
        edits: vec![TextEdit {
            offset: at as u64,
            length: edit.find.len() as u64,
            text: edit.replace.clone(),
        }],
    })
}

/// A fix that somebody kept: what it changed, for failures with its signature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct KeptFix {
    /// As it is called: `kept:` and the number of the fix.
    pub name: String,
    /// The failures that it is for.
    pub signature: Signature,
    /// One line.
    pub summary: String,
    /// What it may endanger.
    pub risk: Risk,
    /// Who kept it.
    pub by: String,
    /// What it changes.
    pub changes: Vec<Change>,
}

fn kept_path(state_dir: &Path, signature: &Signature) -> PathBuf {
    let digest = Digest::of(signature.0.as_bytes()).to_string();
    state_dir.join(KEPT).join(format!("{digest}.json"))
}

/// Who makes the fix anew by itself: the manifest or ubs. What was kept of it would be tried before that, as it was then.
pub(crate) fn made_by(fix: &Fix) -> Option<String> {
    // A worker of that name proposes under its own.
    if fix.fixer == fix.worker {
        return None;
    }
    if let Some(name) = fix.fixer.strip_prefix(PLAYBOOK) {
        return Some(format!("the playbook {name}"));
    }
    let mut fixers = FIXERS.iter().map(|fixer| fixer.name());
    let known = fixers.find(|name| *name == fix.fixer);
    known.map(|name| format!("the built-in fixer {name}"))
}

/// Keeps what a fix changed, so that it is tried first the next time that its failure is met. A later one for the same
/// failure takes its place.
///
/// # Errors
/// The state directory cannot be written.
pub(crate) fn keep_fix(state_dir: &Path, fix: &Fix, by: &str) -> io::Result<PathBuf> {
    let kept = KeptFix {
        name: format!("kept:{}", fix.id),
        signature: fix.signature.clone(),
        summary: fix.summary.clone(),
        risk: fix.risk,
        by: by.to_owned(),
        changes: fix.changes.clone(),
    };
    let path = kept_path(state_dir, &fix.signature);
    write_atomically(&path, &serde_json::to_vec_pretty(&kept)?, 0o600)?;
    Ok(path)
}

/// The proposal of the fix that was kept for this failure, if the files are as they were for it.
pub(super) fn of_kept(
    state_dir: &Path,
    root: &Path,
    signature: &Signature,
    mission: MissionId,
    failed: &[String],
) -> Option<Proposal> {
    let text = fs::read(kept_path(state_dir, signature)).ok()?;
    let kept: KeptFix = serde_json::from_slice(&text).ok()?;
    if kept.signature != *signature || failed.contains(&kept.name) {
        return None;
    }
    let proposal = Proposal {
        fixer: kept.name,
        summary: kept.summary,
        risk: kept.risk,
        changes: kept.changes,
    };
    plan_files(root, &proposal).ok()?;
    plan_places(root, state_dir, mission, &proposal).ok()?;
    Some(proposal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::code::Code;

    fn manifest(root: &Path, playbook: &str) -> Manifest {
        let text = format!("[app]\nname = 'a'\n[[heal.playbook]]\n{playbook}\n");
        fs::write(root.join("ubs.toml"), text).unwrap();
        Manifest::load(&root.join("ubs.toml")).unwrap()
    }

    fn failure(error: &str) -> Failure {
        Failure {
            code: Code::LayerFailed,
            layer: Some("cache".into()),
            error: error.to_owned(),
            ..crate::testing::reported_failure("redis")
        }
    }

    fn manifest_of_two_attempts(root: &Path) -> Manifest {
        manifest(
            root,
            "match = { error = 'MISCONF' }\nrun = ['true']\nattempts = 2",
        )
    }

    #[test]
    fn a_capture_is_one_word_and_never_an_option() {
        let dir = tempfile::tempdir().unwrap();
        let playbook = "match = { code = 'layer\\.failed', layer = 'cache', error = 'MISCONF .*: (?<dir>.+)$' }\n\
             run = ['mkdir', '-p', '${dir}', 'x/${dir}']";
        let manifest = manifest(dir.path(), playbook);
        let propose = |error: &str| of_manifest(&manifest, &failure(error), &[]);
        let hostile = "MISCONF dir: a b; rm -rf $(pwd)";
        let proposal = propose(hostile).unwrap();
        assert_eq!(proposal.fixer, "playbook:playbook-1");
        let words = ["mkdir", "-p", "a b; rm -rf $(pwd)", "x/a b; rm -rf $(pwd)"];
        assert_eq!(
            proposal.changes,
            [Change::Run {
                command: words.map(str::to_owned).to_vec()
            }]
        );
        assert_eq!(propose("MISCONF dir: --mode=777"), None);
        assert_eq!(propose("MISCONF dir: a\u{1b}[0m"), None);
        assert_eq!(propose("another error"), None);
        let failed = ["playbook:playbook-1".to_owned()];
        assert_eq!(of_manifest(&manifest, &failure(hostile), &failed), None);
        let twice = manifest_of_two_attempts(dir.path());
        let again = |failed: &[String]| of_manifest(&twice, &failure(hostile), failed).is_some();
        assert!(again(&failed));
        assert!(!again(&[failed[0].clone(), failed[0].clone()]));
        let elsewhere = Failure {
            layer: Some("cache2".into()),
            ..failure(hostile)
        };
        assert_eq!(of_manifest(&manifest, &elsewhere, &[]), None);
    }

    #[test]
    fn an_edit_needs_its_text_once_and_a_guarded_file_a_person() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("app.py"), "a = 1\nb = 2\n").unwrap();
        fs::write(dir.path().join(".env"), "b = 2\n").unwrap();
        let edit = |path: &str, find: &str| {
            let playbook = format!(
                "match = {{ error = 'x' }}\nrisk = 'edit'\n\
                 edits = [{{ path = '{path}', find = '{find}', replace = 'b = 3' }}]"
            );
            let manifest = manifest(dir.path(), &playbook);
            of_manifest(&manifest, &failure("x"), &[])
        };
        assert_eq!(edit("app.py", "b = 2").unwrap().risk, Risk::Edit);
        assert_eq!(edit(".env", "b = 2").unwrap().risk, Risk::Guarded);
        assert_eq!(edit("app.py", " = "), None);
        assert_eq!(edit("absent.py", "b = 2"), None);
    }
    #[test]
    fn each_key_of_a_playbook_makes_a_difference() {
        let dir = tempfile::tempdir().unwrap();
        for file in ["a.py", "b.py"] {
            fs::write(dir.path().join(file), "one = 1\ntwo = 2\n").unwrap();
        }
        let schema = |name: &str| {
            format!(
                "[[schema]]\nname = '{name}'\ndatabase = 'sqlite:///a.db'\nexpect = 'sql:*.sql'"
            )
        };
        let of = |playbook: &str| {
            let service = "[[layer]]\nname = 'l'\n[[layer.service]]\nname = 'redis'\nrun = 'x'";
            let (main, other) = (schema("main"), schema("other"));
            let tables = format!("{playbook}\n{main}\n{other}\n{service}");
            let failure = Failure {
                traceback: "boom".to_owned(),
                ..failure("MISCONF")
            };
            of_manifest(&manifest(dir.path(), &tables), &failure, &[])
        };
        let run = "run = ['true']\nmatch = { error = 'MISCONF' }";
        let edits = |edit: &str| format!("match = {{ error = 'M' }}\nedits = [{{ {edit} }}]");
        let sql = |sql: &str| format!("match = {{ error = 'M' }}\nsql = {{ {sql} }}");
        let one = "path = 'a.py', find = 'one = 1', replace = 'x = 1'";
        let create = "schema = 'main', statements = ['CREATE TABLE t (a INTEGER)']";
        for (before, after) in [
            (run.to_owned(), format!("{run}\nname = 'by-name'")),
            (run.to_owned(), run.replace("error = ", "code = ")),
            (run.to_owned(), run.replace("error = ", "layer = ")),
            (run.to_owned(), run.replace("error = ", "service = ")),
            (run.to_owned(), run.replace("error = ", "output = ")),
            (run.to_owned(), run.replace("'M", "'N")),
            (run.to_owned(), run.replace("true", "false")),
            (edits(one), edits(&one.replace("a.py", "b.py"))),
            (edits(one), edits(&one.replace("one = 1", "two = 2"))),
            (edits(one), edits(&one.replace("x = 1", "y = 1"))),
            (sql(create), sql(&create.replace("main", "other"))),
            (sql(create), sql(&create.replace("a INT", "b INT"))),
            (run.to_owned(), run.replace("run = ['true']", "wait = '1s'")),
            (run.to_owned(), format!("{run}\nrestart = ['redis']")),
            (
                run.to_owned(),
                run.replace("run = ['true']", "restart = ['redis']"),
            ),
            // For whoever is to approve it.
            (run.to_owned(), format!("{run}\nverify = {{ file = 'x' }}")),
            (edits(one), format!("{}\nrisk = 'edit'", edits(one))),
        ] {
            let (first, second) = (of(&before), of(&after));
            assert!(first.is_some(), "{before}");
            assert_ne!(first, second, "{after}");
        }
        for matching in [
            "code = 'layer\\.failed'",
            "layer = 'cache'",
            "output = 'boom'",
        ] {
            let playbook = format!("match = {{ {matching} }}\nrun = ['true']");
            assert!(of(&playbook).is_some(), "{matching}");
        }
    }
}
