//! The exact edit that mends a finding about the sources, where there is one beyond doubt.

use std::collections::BTreeSet;
use std::path::Path;

use super::context::CheckContext;
use super::raised::Raised;
use crate::domain::finding::Finding;
use crate::domain::remedy::{NEEDS_APPROVAL, Remedy};
use crate::source::{
    Edit, RouterDefinition, Sibling, correct_attribute, correct_module, differing_part,
    import_in_function, is_another_word, is_one_letter_off, mount_like, near_names,
    rename_imported,
};

/// Largest source file that is edited, in bytes.
const SOURCE_BYTES_MAX: u64 = 2 << 20;
/// Names of routers that somebody may have left out on purpose.
const RESERVED: [&str; 6] = ["admin", "debug", "internal", "private", "test", "dev"];

/// An edit, and why a person has to look at it first, if one has to.
#[derive(Debug)]
pub(super) struct SourceFix {
    remedy: Remedy,
    approval: Option<&'static str>,
}

impl SourceFix {
    /// The finding with the fix.
    pub(super) fn add_to(self, finding: Finding) -> Finding {
        let finding = finding.fix(self.remedy);
        match self.approval {
            Some(why) => finding.fact(NEEDS_APPROVAL, why),
            None => finding,
        }
    }
}

/// The file's text, if it is UTF-8 and lies in the workspace.
pub(super) fn read_source(root: &Path, file: &str) -> Option<String> {
    let root = root.canonicalize().ok()?;
    let path = root.join(file).canonicalize().ok()?;
    let metadata = path.metadata().ok()?;
    if !path.starts_with(&root) || !metadata.is_file() || metadata.len() > SOURCE_BYTES_MAX {
        return None;
    }
    String::from_utf8(std::fs::read(path).ok()?).ok()
}

fn of_edits(file: &str, text: &str, edits: Vec<Edit>, what: String) -> SourceFix {
    SourceFix {
        remedy: Remedy::edit_text(file, text, edits, what),
        approval: None,
    }
}

/// A name for another one, which a person looks at if both are words of their own.
fn of_name(fix: SourceFix, wrong: &str, right: &str) -> SourceFix {
    let asks = is_another_word(wrong, right);
    SourceFix {
        approval: asks.then_some("another name may be meant"),
        ..fix
    }
}

/// What mends an import or a look-up that raised.
pub(super) fn raised_fix(context: &CheckContext<'_>, raised: &Raised) -> Option<SourceFix> {
    let frame = raised.frames.last()?;
    let (file, line) = (frame.file.as_str(), frame.line);
    match raised.kind.as_str() {
        "ImportError" => {
            let wrong = raised.lacking_name()?;
            if raised.message.contains("circular import") {
                return local_import(context, file, line, wrong);
            }
            let module = raised.name.as_deref()?;
            let names = raised.names.iter().map(String::as_str);
            name_fix(context, file, line, (module, wrong), names)
        }
        "ModuleNotFoundError" => module_fix(context, file, line, raised.name.as_deref()?),
        "AttributeError" => {
            let module = raised.lacking_module()?;
            let (_, wrong) = raised.message.split_once("has no attribute '")?;
            let (wrong, _) = wrong.split_once('\'')?;
            let right = only_near(context, module, wrong, std::iter::empty())?;
            let text = read_source(context.root, file)?;
            let edits = correct_attribute(&text, line, wrong, &right)?;
            let what = format!("write {right} instead of {wrong}, which {module} does not have");
            Some(of_name(of_edits(file, &text, edits, what), wrong, &right))
        }
        _ => None,
    }
}

/// The one name of a module of the workspace that is near to `wrong`, if it is one letter off.
fn only_near<'n>(
    context: &'n CheckContext<'_>,
    module: &str,
    wrong: &str,
    names: impl Iterator<Item = &'n str>,
) -> Option<String> {
    let facts = context.facts();
    let scope = facts.scopes.iter().find(|scope| scope.module == module)?;
    let below = format!("{module}.");
    let modules = facts.modules.iter().filter_map(|(name, _)| {
        let child = name.strip_prefix(&below)?;
        (!child.contains('.')).then_some(child)
    });
    let all: BTreeSet<&str> = names
        .chain(scope.names.iter().map(String::as_str))
        .chain(modules)
        .collect();
    one_near(wrong, all).map(str::to_owned)
}

/// The one name that is near, if it is one letter off.
fn one_near<'n>(wrong: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let [right] = near_names(wrong, names)[..] else {
        return None;
    };
    is_one_letter_off(wrong, right).then_some(right)
}

/// `from module import wrong`, where the module has one name that is near.
pub(super) fn name_fix<'n>(
    context: &'n CheckContext<'_>,
    file: &str,
    line: u32,
    (module, wrong): (&str, &str),
    names: impl Iterator<Item = &'n str>,
) -> Option<SourceFix> {
    let right = only_near(context, module, wrong, names)?;
    let facts = context.facts();
    let own = facts.scopes.iter().find(|scope| scope.file == file)?;
    // Who else takes the name from here would no longer find it.
    let is_taken = facts
        .imports
        .iter()
        .any(|import| import.module == own.module && import.name.as_deref() == Some(wrong));
    if is_taken {
        return None;
    }
    let text = read_source(context.root, file)?;
    let edits = rename_imported(&text, line, wrong, &right)?;
    let what = format!("import {right} instead of {wrong}, which {module} does not have");
    Some(of_name(of_edits(file, &text, edits, what), wrong, &right))
}

/// An import of a module that is not there, beside one that is, or in a directory that is no package yet.
pub(super) fn module_fix(
    context: &CheckContext<'_>,
    file: &str,
    line: u32,
    module: &str,
) -> Option<SourceFix> {
    if let Some(fix) = package_fix(context, module) {
        return Some(fix);
    }
    let facts = context.facts();
    let is_known = |name: &str| {
        let below = format!("{name}.");
        let mut modules = facts.modules.iter();
        modules.any(|(known, _)| known == name || known.starts_with(&below))
    };
    // The first part of the name that is not there.
    let mut end = 0;
    let wrong = module.split('.').find(|part| {
        let name = module.get(..end + part.len()).unwrap_or_default();
        end += part.len() + 1;
        !is_known(name)
    })?;
    let parent = module.get(..end.checked_sub(wrong.len() + 1)?)?;
    let beside = facts.modules.iter().filter_map(|(name, _)| {
        let child = name.strip_prefix(parent)?.split('.').next()?;
        (!child.is_empty()).then_some(child)
    });
    let right = one_near(wrong, beside)?;
    let text = read_source(context.root, file)?;
    let edits = correct_module(&text, line, wrong, right)?;
    let what =
        format!("import from {parent}{right} instead of {parent}{wrong}, which is not there");
    Some(of_name(of_edits(file, &text, edits, what), wrong, right))
}

/// The module lies in a directory that has no `__init__.py`, so that an installed package of its name is found instead.
fn package_fix(context: &CheckContext<'_>, module: &str) -> Option<SourceFix> {
    let (parents, _) = module.rsplit_once('.')?;
    let here = [".".to_owned()];
    let bases = match context.manifest.python.path.as_slice() {
        [] => &here[..],
        bases => bases,
    };
    let relative = module.replace('.', "/");
    let base = bases.iter().find(|base| {
        let path = context.root.join(base).join(&relative);
        path.with_extension("py").is_file() || path.join("__init__.py").is_file()
    })?;
    let base = base.trim_start_matches("./").trim_matches('/');
    let mut missing = Vec::new();
    let mut directory = match base {
        "." | "" => String::new(),
        base => format!("{base}/"),
    };
    for part in parents.split('.') {
        directory.push_str(part);
        directory.push('/');
        let init = format!("{directory}__init__.py");
        if !context.root.join(&init).exists() {
            missing.push(init);
        }
    }
    let [file] = missing.as_slice() else {
        return None;
    };
    Some(SourceFix {
        remedy: Remedy::EditText {
            file: file.clone(),
            before: None,
            edits: Vec::new(),
            what: format!("make it, so that {module} is found here and not elsewhere"),
        },
        approval: None,
    })
}

/// A circle of imports that one import in a function breaks.
fn local_import(
    context: &CheckContext<'_>,
    file: &str,
    line: u32,
    name: &str,
) -> Option<SourceFix> {
    let text = read_source(context.root, file)?;
    let edits = import_in_function(&text, line, name)?;
    let what = format!("import {name} in the function that uses it, which breaks the circle");
    Some(SourceFix {
        approval: Some("it changes when something is imported"),
        ..of_edits(file, &text, edits, what)
    })
}

/// A comment has the name, as that of a call that somebody took out.
fn is_in_a_comment(text: &str, name: &str) -> bool {
    let is_name = |word: &str| word == name;
    let mut comments = text.lines().filter_map(|line| line.split_once('#'));
    comments.any(|(_, comment)| {
        comment
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .any(is_name)
    })
}

/// A router that is mounted nowhere, as its siblings are mounted; `is_expected` by a service of the manifest, and
/// `is_listed` if the manifest lists services at all.
pub(super) fn mount_fix(
    context: &CheckContext<'_>,
    router: &RouterDefinition,
    is_expected: bool,
    is_listed: bool,
) -> Option<SourceFix> {
    let facts = context.facts();
    let mut file = None;
    let mut includer = None;
    let mut name = None;
    let mut siblings = Vec::new();
    for include in &facts.includes {
        let Some((module, variable)) = &include.included else {
            continue;
        };
        let Some((other, own)) = differing_part(module, &router.module) else {
            continue;
        };
        if *variable != router.name && variable.replace(other, own) != router.name {
            continue;
        }
        let is_alike = facts.routers.iter().any(|known| {
            known.module == *module
                && known.name == *variable
                && known.prefix.is_empty() == router.prefix.is_empty()
        });
        let place = (&include.place.file, &include.includer, own);
        let first = (
            *file.get_or_insert(place.0),
            *includer.get_or_insert(place.1),
            *name.get_or_insert(own),
        );
        // Two places, or two ways.
        if !is_alike || first != place {
            return None;
        }
        siblings.push(Sibling {
            line: include.place.line,
            name: other.to_owned(),
        });
    }
    let (file, name) = (file?, name?);
    let text = read_source(context.root, file)?;
    let edits = mount_like(&text, &siblings, name)?;
    let what = format!("mount the router of {name} as its siblings are mounted");
    let is_reserved = name.split('_').any(|word| RESERVED.contains(&word));
    let approval = if is_in_a_comment(&text, name) {
        Some("a comment speaks of it, so it may be left out on purpose")
    } else if siblings.len() < 2 {
        Some("only one sibling shows how routers are mounted here")
    } else if is_listed && !is_expected {
        Some("no service of [registration] says that it is wanted")
    } else if is_reserved && !is_expected {
        Some("its name says that it may be left out on purpose")
    } else {
        None
    };
    Some(SourceFix {
        approval,
        ..of_edits(file, &text, edits, what)
    })
}

#[cfg(test)]
mod tests {
    use crate::checks::testing::{App, only};
    use crate::domain::finding::CheckName;
    use crate::domain::remedy::{NEEDS_APPROVAL, Remedy};

    /// What the fix of the only finding with that code makes of its file, and whether a person has to look.
    fn healed(app: &App, code: &str) -> Option<(String, String, bool)> {
        let report = app.check(CheckName::Rehearsal);
        let finding = only(&report, code);
        let Some(Remedy::EditText { file, edits, .. }) = &finding.fix else {
            return None;
        };
        let mut text = std::fs::read_to_string(app.root().join(file)).unwrap_or_default();
        for edit in edits.iter().rev() {
            let from = usize::try_from(edit.offset).unwrap();
            let to = from + usize::try_from(edit.length).unwrap();
            text.replace_range(from..to, &edit.text);
        }
        let asks = finding.facts.contains_key(NEEDS_APPROVAL);
        Some((file.clone(), text, asks))
    }

    #[test]
    fn a_name_one_letter_off_is_corrected_where_one_is_meant() {
        let app = |entry: &str| {
            Some(
                App::plain()?
                    .file("pkg/__init__.py", "")
                    .file(
                        "pkg/text.py",
                        "def parse_markdown(): ...\ndef twin_a(): ...\ndef twin_b(): ...\n",
                    )
                    .file("app.py", entry)
                    .imports("app"),
            )
        };
        for (entry, code, expected) in [
            (
                "from pkg.text import parse_markdwn\nparse_markdwn()\n",
                "rehearsal.import_error",
                Some("from pkg.text import parse_markdown\nparse_markdown()\n"),
            ),
            (
                "from pkg.txet import twin_a\n",
                "rehearsal.import_error",
                None,
            ),
            (
                "from pkg.textt import twin_a\n",
                "rehearsal.import_error",
                Some("from pkg.text import twin_a\n"),
            ),
            (
                "import pkg.text as t\nt.parse_markdwn()\n",
                "rehearsal.failed",
                Some("import pkg.text as t\nt.parse_markdown()\n"),
            ),
            (
                "from pkg.text import twin_c\n",
                "rehearsal.import_error",
                None,
            ),
        ] {
            let Some(app) = app(entry) else { return };
            let found = healed(&app, code).map(|(_, text, asks)| {
                assert!(!asks);
                text
            });
            assert_eq!(found.as_deref(), expected, "{entry}");
        }
        let app = app("from pkg.text import twin_c\n").unwrap();
        let report = app.check(CheckName::Rehearsal);
        let remedy = report.findings[0].remedy.clone().unwrap_or_default();
        assert!(remedy.contains("twin_a and twin_b"), "{remedy}");
    }

    #[test]
    fn another_word_is_written_after_a_look_only() {
        let Some(app) = App::plain() else { return };
        let app = app
            .file("rates.py", "def set_rate(x): ...\n")
            .file("app.py", "from rates import get_rate\n")
            .imports("app");
        let (_, text, asks) = healed(&app, "rehearsal.import_error").unwrap();
        assert_eq!(
            (text.as_str(), asks),
            ("from rates import set_rate\n", true)
        );
    }

    #[test]
    fn a_comment_that_has_the_name_asks() {
        for (text, found) in [
            ("# app.include_router(owners.router)\n", true),
            ("include(x)  # not owners: it leaks\n", true),
            ("# coowners\ninclude(owners)\n", false),
        ] {
            assert_eq!(super::is_in_a_comment(text, "owners"), found, "{text}");
        }
    }

    #[test]
    fn a_directory_becomes_a_package_where_an_installed_one_hides_it() {
        for (layout, expected) in [
            (&["tools/mine.py"][..], Some("tools/__init__.py")),
            // Two of them are missing.
            (&["tools/deep/mine.py"], None),
        ] {
            let app = App::with_interpreter(None).file(layout[0], "");
            let module = layout[0].trim_end_matches(".py").replace('/', ".");
            let app = app
                .file("app.py", format!("import {module}\n"))
                .imports("app");
            let mut python = std::process::Command::new("python3");
            python.args(["-m", "venv", "--without-pip", ".venv"]);
            if !python
                .current_dir(app.root())
                .output()
                .is_ok_and(|o| o.status.success())
            {
                return;
            }
            let mut lib = std::fs::read_dir(app.root().join(".venv/lib")).unwrap();
            let site = lib.next().unwrap().unwrap().path().join("site-packages");
            std::fs::create_dir(site.join("tools")).unwrap();
            std::fs::write(site.join("tools/__init__.py"), "").unwrap();
            let report = app.check(CheckName::Rehearsal);
            let found = report
                .findings
                .iter()
                .find_map(|finding| match &finding.fix {
                    Some(Remedy::EditText {
                        file, before: None, ..
                    }) => Some(file.as_str()),
                    _ => None,
                });
            assert_eq!(found, expected, "{:#?}", report.findings);
        }
    }

    #[test]
    fn a_circle_is_broken_after_a_look_only() {
        let Some(app) = App::plain() else { return };
        let app = app
            .file(
                "app.py",
                "from other import work\n\ndef name():\n    return 'x'\n",
            )
            .file(
                "other.py",
                "from app import name\n\ndef work():\n    return name()\n",
            )
            .imports("app");
        let (file, text, asks) = healed(&app, "rehearsal.import_error").unwrap();
        assert_eq!(
            (file.as_str(), text.as_str(), asks),
            (
                "other.py",
                "\ndef work():\n    from app import name\n    return name()\n",
                true
            )
        );
    }
}
