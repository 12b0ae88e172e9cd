use crate::checks::testing::{App, rehearse};
use crate::domain::finding::{CheckName, Finding};

fn findings(app: &App) -> Vec<String> {
    let report = app.check(CheckName::Rehearsal);
    report.findings.iter().map(shown).collect()
}

fn shown(finding: &Finding) -> String {
    let place = finding
        .location
        .as_ref()
        .map_or_else(String::new, ToString::to_string);
    format!("{:?} {} {place}", finding.severity, finding.code)
}

#[test]
fn what_does_not_exist_is_found_by_its_certainty() {
    let Some(app) = App::plain() else { return };
    let app = app
        .file("pkg/__init__.py", "")
        .file(
            "pkg/a.py",
            "from .b import good, bad\nfrom . import nothing\nimport pkg.none\nimport pkg.b\n",
        )
        .file("pkg/b.py", "good = 1\nimport json, os.path\n")
        .file(
            "pkg/c.py",
            "import no_such_package_a.x\n\
             try:\n    import no_such_package_b\nexcept ImportError:\n    pass\n\
             def f():\n    import no_such_package_c\n\
             import no_such_package_a\n",
        )
        .file("pkg/d.py", "x = (\n")
        .file("tests/test_x.py", "import no_such_package_d\n");
    assert_eq!(
        findings(&app),
        [
            "Warning rehearsal.syntax_error pkg/d.py:2:1",
            "Warning rehearsal.import_error pkg/a.py:1:22",
            "Warning rehearsal.import_error pkg/a.py:2:15",
            "Warning rehearsal.import_error pkg/a.py:3:8",
            "Warning rehearsal.missing_package pkg/c.py:1:8",
            "Info rehearsal.missing_package pkg/c.py:7:12",
            "Info rehearsal.missing_package tests/test_x.py:1:8",
        ]
    );
}

#[test]
fn in_doubt_there_is_no_finding() {
    let Some(app) = App::plain() else { return };
    let app = app
        .file("pkg/__init__.py", "from .star import *\n")
        .file("pkg/star.py", "from .deep import *\n")
        .file("pkg/deep.py", "there = 1\n")
        .file("pkg/lazy.py", "def __getattr__(name): return 1\n")
        .file("pkg/dynamic.py", "globals().update(x=1)\n")
        .file("pkg/outside.py", "from os import *\n")
        .file("pkg/made.cpython-312-x86_64-linux-gnu.so", "")
        .file("space/inner/m.py", "y = 1\n")
        .file("scripts/helper.py", "")
        .file(".gitignore", "generated.py\n")
        .file("pkg/generated.py", "z = 1\n")
        .file(
            "main.py",
            "from pkg import there, star, made, generated\nfrom pkg.lazy import a\nfrom pkg.dynamic import x\n\
             from pkg.outside import getcwd\nimport pkg.made\nfrom pkg.generated import z\n\
             from space import inner\nfrom space.inner.m import y\nimport helper\nfrom pkg import __file__\n\
             from pkg import loop_variable_is_not\n",
        );
    assert_eq!(
        findings(&app),
        ["Warning rehearsal.import_error main.py:11:17"]
    );
}

#[test]
fn it_is_critical_where_the_boot_must_meet_it() {
    let Some(app) = App::plain() else { return };
    let app = app
        .file("app/__init__.py", "")
        .file("app/main.py", "from app.sub import one\n")
        .file("app/sub/__init__.py", "from . import two\n")
        .file(
            "app/sub/one.py",
            "import no_such_package_one\nimport no_such_package_two\n",
        )
        .file(
            "app/sub/two.py",
            "if __name__ == 'x':\n    import no_such_package_three\n",
        )
        .file("app/unused.py", "import no_such_package_four\n")
        .layer("api", true, rehearse(&["app.main"]));
    assert_eq!(
        findings(&app),
        [
            // The dry run's own; the same place is not listed twice.
            "Critical rehearsal.missing_package app/sub/one.py:1",
            "Critical rehearsal.missing_package app/sub/one.py:2:8",
            "Warning rehearsal.missing_package app/unused.py:1:8",
            "Info rehearsal.missing_package app/sub/two.py:2:12",
        ]
    );
}

#[test]
fn what_a_dry_run_got_through_is_no_finding() {
    let Some(app) = App::plain() else { return };
    // It looks wrong and is right: the name comes from a place that nobody can see.
    let app = app
        .file("late.py", "x = 1\n")
        .file("main.py", "import late\nsetter(late)\nfrom late import y\n")
        .file("sitecustomize.py", "")
        .file(
            "start.py",
            "import builtins\nbuiltins.setter = lambda m: setattr(m, 'y', 1)\nimport main\n",
        )
        .layer("api", true, rehearse(&["start"]));
    assert_eq!(findings(&app), [""; 0]);
}

#[test]
fn what_cannot_be_read_is_said() {
    let Some(app) = App::plain() else { return };
    let app = app.file("a.py", "# coding: koi9\n").file("b.py", "x = 1\n");
    let report = app.check(CheckName::Rehearsal);
    assert_eq!(report.findings.len(), 1);
    assert_eq!(report.findings[0].code, "rehearsal.unjudged");
    assert!(
        report.findings[0]
            .message
            .contains("a.py:1 unknown encoding koi9")
    );
}
