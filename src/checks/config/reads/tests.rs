use crate::checks::testing::App;
use crate::domain::finding::{CheckName, Finding, Severity};
use crate::manifest::Var;

fn findings(app: &App) -> Vec<String> {
    let report = app.check(CheckName::Config);
    report
        .findings
        .iter()
        .filter(|f| {
            ["config.undeclared_read", "config.unused", "config.unjudged"]
                .contains(&f.code.as_str())
        })
        .map(shown)
        .collect()
}

fn shown(finding: &Finding) -> String {
    let place = finding
        .location
        .as_ref()
        .map_or_else(String::new, ToString::to_string);
    format!(
        "{:?} {} {} {place}",
        finding.severity, finding.code, finding.subject
    )
}

fn app(code: &str) -> App {
    App::with_interpreter(None).file("app.py", code)
}

#[test]
fn undeclared_reads_and_unused_declarations() {
    let code = "import os\nA = os.environ['NEEDED']\nB = os.getenv('OPTIONAL', 'x')\nC = os.environ['SET']\n\
                D = os.environ['DECLARED']\nE = os.environ['HOME'], os.environ.get('PYTHONPATH')\n\
                def f():\n    return os.environ['LATER']\nX = os.environ['IN_FILE']\n";
    let mut app = app(code)
        .file(".env", "IN_FILE=1\nOTHER=${IN_OTHER}\n")
        .file("tests/test_a.py", "import os\nos.environ['ONLY_TEST']\n")
        .var("DECLARED", Var::default())
        .var(
            "UNREAD",
            Var {
                line: 7,
                ..Var::default()
            },
        )
        .var("IN_OTHER", Var::default())
        .var("AWS_REGION", Var::default());
    app.manifest.config.files = vec![".env".into()];
    app.process.insert("SET".into(), "1".into());
    assert_eq!(
        findings(&app),
        [
            "Warning config.undeclared_read NEEDED app.py:2:5",
            "Info config.unused OTHER .env:2",
            "Info config.undeclared_read IN_FILE app.py:9:5",
            "Info config.undeclared_read LATER app.py:8:12",
            "Info config.undeclared_read OPTIONAL app.py:3:5",
            "Info config.undeclared_read SET app.py:4:5",
            "Info config.unused UNREAD ubs.toml:7",
        ]
    );
    // Only what lies below `config.scan` counts.
    app.manifest.config.scan = vec!["backend".into()];
    let unused_only = findings(&app);
    assert!(
        unused_only.iter().all(|f| f.contains("config.unused")),
        "{unused_only:?}"
    );
}

#[test]
fn computed_names_leave_no_declaration_unused() {
    let code = "import os\ndef env(name): return os.environ[name]\nA = env('UNREAD')\n";
    let app = app(code).var("UNREAD", Var::default());
    assert_eq!(
        findings(&app),
        ["Info config.unjudged environment app.py:2:23"]
    );
}

#[test]
fn who_declares_nothing_hears_of_what_must_be_set_only() {
    let optional = app("import os\nA = os.getenv('A')\n");
    assert_eq!(findings(&optional), [""; 0]);
    let needed = app(
        "from pydantic_settings import BaseSettings\nclass S(BaseSettings):\n    db_url: str\n",
    );
    assert_eq!(
        findings(&needed),
        ["Warning config.undeclared_read DB_URL app.py:3:5"]
    );
    let report = needed.check(CheckName::Config);
    assert_eq!(report.findings[0].severity, Severity::Warning);
}
