//! Real environments against what pip says of them, and declared requirements against what is there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;
use crate::checks::testing::{App, only, problems, venv};
use crate::domain::code::Code;
use crate::domain::finding::{CheckName, CheckReport, CheckStatus};
use crate::domain::remedy::{NEEDS_APPROVAL, Remedy};

/// An environment in which small packages do not fit together.
fn broken_python() -> Option<PathBuf> {
    venv::python_with(&[
        "--no-deps",
        // Lacks MarkupSafe, as werkzeug does.
        "jinja2==3.1.4",
        "werkzeug==3.0.4",
        // Lacks certifi and charset-normalizer, wants another idna and urllib3.
        "requests==2.32.3",
        "idna==2.0",
        "urllib3==1.20",
        // Needs something on another system only.
        "click==8.1.7",
    ])
}

/// `who what` of each line of `pip check`, names normalised.
fn pip_check(python: &Path) -> BTreeSet<String> {
    let output = Command::new(python)
        .args(["-m", "pip", "check", "--disable-pip-version-check"])
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| {
            // jinja2 3.1.4 requires markupsafe, which is not installed.
            // requests 2.32.3 has requirement idna<4,>=2.5, but you have idna 2.0.
            let words: Vec<&str> = line.split(' ').collect();
            match words.get(2) {
                Some(&"requires") => Some(format!(
                    "{} -> {} missing",
                    normalise(words[0]),
                    normalise(words[3].trim_end_matches(','))
                )),
                Some(&"has") => {
                    let have = words.iter().position(|word| *word == "have")?;
                    Some(format!(
                        "{} -> {} {}",
                        normalise(words[0]),
                        normalise(words[have + 1]),
                        words[have + 2].trim_end_matches('.')
                    ))
                }
                _ => None,
            }
        })
        .collect()
}

fn ours(report: &CheckReport) -> BTreeSet<String> {
    report
        .findings
        .iter()
        .filter(|finding| finding.subject.contains(" -> "))
        .map(|finding| {
            let (who, what) = finding.subject.split_once(" -> ").unwrap();
            let installed = finding
                .facts
                .get("installed")
                .map_or("missing", String::as_str);
            format!("{} -> {} {installed}", normalise(who), normalise(what))
        })
        .collect()
}

#[test]
fn it_says_what_pip_check_says() {
    let Some(python) = broken_python() else {
        return;
    };
    let app = App::with_interpreter(Some(python.clone()))
        .file("app.py", "")
        .imports("app");
    let report = app.check(CheckName::Rehearsal);
    let theirs = pip_check(&python);
    assert!(theirs.len() >= 4, "{theirs:?}");
    assert!(theirs.iter().any(|line| line.ends_with(" missing")));
    assert!(theirs.iter().any(|line| line.ends_with("idna 2.0")));
    assert_eq!(ours(&report), theirs);
    // Advice, never a NO-GO by itself; the layer passes.
    assert_eq!(report.status, CheckStatus::Warning);
    assert_eq!(report.failed_layers().count(), 0);
    let conflict = report
        .findings
        .iter()
        .find(|f| f.code == "rehearsal.dependency_conflict" && f.subject.ends_with("idna"))
        .unwrap();
    assert_eq!(
        conflict.message,
        "requests 2.32.3 needs idna>=2.5,<4, but idna 2.0 is installed"
    );
    let remedy = conflict.remedy.as_deref().unwrap();
    assert!(remedy.contains("install 'idna>=2.5,<4'"), "{remedy}");
}

#[test]
fn a_sound_environment_has_no_findings_and_pip_agrees() {
    for packages in [&venv::PACKAGES[..], &venv::OLD_PACKAGES[..]] {
        let Some(python) = venv::python_with(packages) else {
            return;
        };
        assert_eq!(pip_check(&python), BTreeSet::new());
        let mut app = App::with_interpreter(Some(python))
            .file("app.py", "import fastapi\n")
            .imports("app");
        app = app.file("requirements.txt", packages.join("\n"));
        assert_eq!(app.check(CheckName::Rehearsal).findings, vec![]);
    }
}

#[test]
fn what_is_declared_is_looked_for() {
    let Some(python) = venv::python_with(&venv::WIDE_PACKAGES) else {
        return;
    };
    let mut app = App::with_interpreter(Some(python))
        .file("app.py", "")
        .file(
            "requirements/app.txt",
            "-r base.txt\npackaging>=99 # too new\nnever-there; python_version < '3'\n\
             gone-with-the-wind[all]>=1 \\\n    --hash=sha256:00\n./local\n-e .\n",
        )
        .file("requirements/base.txt", "-r app.txt\n-c limits.txt\nPackaging\n")
        .file("requirements/limits.txt", "packaging<1\nnot-wanted==3\n")
        .file(
            "pyproject.toml",
            "[project]\nname = 'x'\ndependencies = [\n  'packaging',\n  'also.gone>2; os_name == \"posix\"',\n]\n",
        )
        .imports("app");
    app.manifest.python.requirements = Some("requirements/app.txt".into());
    let report = app.check(CheckName::Rehearsal);
    let mut reported: Vec<String> = report
        .findings
        .iter()
        .map(|f| format!("{} {} {}", f.code, f.subject, f.location.as_ref().unwrap()))
        .collect();
    reported.sort();
    assert_eq!(
        reported,
        [
            "rehearsal.dependency_conflict packaging requirements/app.txt:2",
            "rehearsal.dependency_conflict packaging requirements/limits.txt:1",
            "rehearsal.missing_package also-gone pyproject.toml:5",
            "rehearsal.missing_package gone-with-the-wind requirements/app.txt:4",
        ]
    );
    assert_eq!(report.status, CheckStatus::Warning);
    assert_eq!(problems(&report).len(), 4);
}

#[test]
fn a_missing_module_is_reported_once_with_who_imports_it() {
    let Some(python) = broken_python() else {
        return;
    };
    let app = App::with_interpreter(Some(python))
        .file("app.py", "import jinja2\n")
        .file("requirements.txt", "Jinja2\n")
        .imports("app");
    let report = app.check(CheckName::Rehearsal);
    let reported: Vec<_> = report
        .findings
        .iter()
        .filter(|f| f.facts.get("package").is_some_and(|p| p == "markupsafe"))
        .collect();
    assert_eq!(reported.len(), 1, "{reported:#?}");
    assert_eq!(reported[0].code, "rehearsal.missing_package");
    let message = reported[0].message.to_lowercase();
    let said = "(app.py:1); jinja2 3.1.4 imports it and declares that it needs it";
    assert!(message.contains(said), "{message}");
}

#[test]
fn what_a_package_raises_by_itself_names_the_package() {
    // This urllib3 is older than the Python; the layer imports it without a line of the application.
    let Some(python) = broken_python() else {
        return;
    };
    let app = App::with_interpreter(Some(python)).imports("requests");
    let report = app.check(CheckName::Rehearsal);
    let reported = report
        .findings
        .iter()
        .find(|f| f.layer.as_deref() == Some("requests"))
        .unwrap();
    assert!(
        reported.message.contains("requests 2.32.3 imports it")
            || reported
                .message
                .contains("raised by urllib3 1.20, in urllib3."),
        "{}",
        reported.message
    );
}

#[test]
fn extras_that_are_declared_are_looked_at() {
    // click's own metadata has a marker for another system; werkzeug has the extra `watchdog`.
    let Some(python) = broken_python() else {
        return;
    };
    let app = App::with_interpreter(Some(python))
        .file("app.py", "")
        .file("requirements.txt", "werkzeug[watchdog]==3.0.4\n")
        .imports("app");
    let report = app.check(CheckName::Rehearsal);
    let extra = report
        .findings
        .iter()
        .find(|f| f.subject.to_lowercase() == "werkzeug -> watchdog")
        .unwrap();
    assert_eq!(
        extra.location.as_ref().unwrap().to_string(),
        "requirements.txt:1"
    );
    assert!(
        extra.message.contains("which is not installed"),
        "{}",
        extra.message
    );
}

#[test]
fn hostile_metadata_is_bounded_and_skipped() {
    let Some(app) = App::plain() else { return };
    let site = app.root().join("site");
    let dist = |name: &str, file: &str, text: &[u8]| {
        let place = site.join(name);
        std::fs::create_dir_all(&place).unwrap();
        std::fs::write(place.join(file), text).unwrap();
    };
    dist("bad-1.dist-info", "METADATA", b"\xff\xfe nonsense");
    dist("noversion.dist-info", "METADATA", b"Name: noversion\n");
    dist(
        "odd-x.dist-info",
        "METADATA",
        b"Name: odd\nVersion: not a version\nRequires-Dist: ((((\n",
    );
    dist(
        "needy-1.dist-info",
        "METADATA",
        b"Name: needy\nVersion: 1\nRequires-Dist: odd\n (>=2)\nRequires-Dist: sub; extra == 'x'\n\nRequires-Dist: body\n",
    );
    dist("old.egg-info", "PKG-INFO", b"Name: old\nVersion: 2\n");
    dist(
        "old.egg-info",
        "requires.txt",
        b"base\n\n[x]\nextra-one\n\n[:os_name == 'posix']\nposix-one>1\n",
    );
    nix::unistd::mkfifo(&site.join("fifo.egg-info"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let found = installed::read(&[site.display().to_string()]);
    let reported: Vec<String> = found
        .values()
        .map(|d| {
            let needs: Vec<String> = d.needs.iter().map(ToString::to_string).collect();
            format!("{} {} {}", d.name, d.version_text, needs.join(", "))
        })
        .collect();
    assert_eq!(
        reported,
        [
            "needy 1 odd>=2, sub ; extra == 'x'",
            "odd not a version ",
            "old 2 base, extra-one ; extra == 'x', posix-one>1 ; os_name == 'posix'",
        ]
    );
    let app = app
        .file("app.py", "import missing_here_too\n")
        .imports("app");
    only(
        &app.check(CheckName::Rehearsal),
        "rehearsal.missing_package",
    );
}

/// An application with an environment of its own, in which one package of two modules is.
fn with_own_environment(text: &str) -> Option<App> {
    let app = App::with_interpreter(None)
        .file("app.py", text)
        .file("requirements.txt", "lib\n")
        .imports("app");
    let made = Command::new("python3")
        .args(["-m", "venv", "--without-pip", ".venv"])
        .current_dir(app.root())
        .output()
        .is_ok_and(|output| output.status.success());
    if !made {
        venv::skipped("python3 with venv", "it makes none");
        return None;
    }
    let mut lib = std::fs::read_dir(app.root().join(".venv/lib")).unwrap();
    let site = lib.next().unwrap().unwrap().path().join("site-packages");
    let info = site.join("lib-1.0.dist-info");
    std::fs::create_dir(&info).unwrap();
    let metadata =
        "Metadata-Version: 2.1\nName: lib\nVersion: 1.0\nRequires-Dist: more; extra == 'x'\n";
    for (path, text) in [
        (info.join("METADATA"), metadata),
        (info.join("RECORD"), "lib.py,,\nlib_broken.py,,\n"),
        (site.join("lib.py"), "def call(x):\n    return len(x)\n"),
        (site.join("lib_broken.py"), "len(1)\n"),
    ] {
        std::fs::write(path, text).unwrap();
    }
    Some(app)
}

#[test]
fn a_version_is_varied_only_for_what_a_version_explains() {
    for (text, varied) in [
        // Raised by the package, because of what the application gave to it.
        ("import lib\nlib.call(1)\n", false),
        ("from lib import calls\n", false),
        ("import lib_broken\n", true),
        ("from lib import nothing_like_it\n", true),
    ] {
        let Some(app) = with_own_environment(text) else {
            return;
        };
        let report = app.check(CheckName::Rehearsal);
        let fix = report
            .findings
            .iter()
            .find_map(|finding| finding.fix.clone());
        let is_varied = matches!(&fix, Some(Remedy::Packages { vary: Some(_), .. }));
        assert_eq!(is_varied, varied, "{text}: {:#?}", report.findings);
    }
}

#[test]
fn a_package_that_nobody_declares_is_installed_by_a_recorded_name_only() {
    for (module, recorded) in [("more", true), ("mores", false)] {
        let Some(app) = with_own_environment(&format!("import {module}\n")) else {
            return;
        };
        let report = app.check(CheckName::Rehearsal);
        let finding = &report.findings[0];
        let asks = finding.facts.contains_key(NEEDS_APPROVAL);
        assert_eq!(
            (finding.fix.is_some(), asks),
            (recorded, recorded),
            "{finding:#?}"
        );
    }
}

#[test]
fn what_is_declared_is_installed_and_not_declared_again() {
    let Some(app) = with_own_environment("import gone\n") else {
        return;
    };
    let app = app.file("requirements.txt", "lib\ngone\n");
    let report = app.check(CheckName::Rehearsal);
    let remedy = report.findings[0].remedy.as_deref().unwrap();
    assert!(
        remedy.contains("requirements.txt:2 declares it"),
        "{remedy}"
    );
    assert!(report.findings[0].fix.is_some());
    assert!(!report.findings[0].facts.contains_key(NEEDS_APPROVAL));
}

#[test]
fn what_is_declared_by_a_name_like_the_modules_is_installed() {
    for (declared, expected) in [
        ("lib\npython-gone>1\n", Some("python-gone>1")),
        ("lib\npygone\n", Some("pygone")),
        ("lib\npy-gone\nlib-gone\n", None),
        ("lib\nbegone\n", None),
    ] {
        let Some(app) = with_own_environment("import gone\n") else {
            return;
        };
        let app = app.file("requirements.txt", declared);
        let report = app.check(CheckName::Rehearsal);
        let found = match &report.findings[0].fix {
            Some(Remedy::Packages { requirements, .. }) => Some(requirements.join(" ")),
            _ => None,
        };
        assert_eq!(found.as_deref(), expected, "{:#?}", report.findings[0]);
    }
}

#[test]
fn a_conflict_in_metadata_that_works_is_mended_with_approval_only() {
    let Some(app) = with_own_environment("import lib\n") else {
        return;
    };
    let app = app.file("requirements.txt", "lib>=2\n");
    let report = app.check(CheckName::Rehearsal);
    let finding = &report.findings[0];
    assert_eq!(finding.code, Code::RehearsalDependencyConflict);
    assert!(finding.facts.contains_key(NEEDS_APPROVAL), "{finding:#?}");
    let Some(Remedy::Packages { requirements, .. }) = &finding.fix else {
        panic!("{finding:#?}");
    };
    assert_eq!(requirements, &["lib>=2"]);
}
