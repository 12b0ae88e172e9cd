//! Each thing that may be wrong with a variable or an environment file.

use super::*;
use crate::checks::testing::{App, only, problems};
use crate::domain::finding::{CheckName, CheckStatus};
use crate::domain::redact::Redactor;
use crate::domain::remedy::Remedy;
use crate::manifest::VarKind;

fn app() -> App {
    let mut app = App::with_interpreter(None);
    app.manifest.config.files = vec![".env".into(), ".env.local".into()];
    app.manifest.config.example = Some(".env.example".into());
    app
}

fn required() -> Var {
    Var {
        required: true,
        line: 7,
        ..Var::default()
    }
}

fn secret() -> Var {
    Var {
        secret: true,
        generate: true,
        ..required()
    }
}

fn facts(finding: &Finding) -> Vec<(&str, &str)> {
    finding
        .facts
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect()
}

#[test]
fn a_missing_variable_carries_what_a_fixer_may_do() {
    let with_default = Var {
        default: Some("8000".into()),
        ..required()
    };
    let app = app()
        .file(".env.example", "EMPTY=\n")
        .file(".env", "EMPTY=\n")
        .var("PORT", with_default)
        .var("KEY", secret())
        .var("EMPTY", required())
        .var("OPTIONAL", Var::default());
    let report = app.check(CheckName::Config);
    assert_eq!(report.status, CheckStatus::Critical);
    assert_eq!(report.summary, "0 of 4 variables are set");
    assert_eq!(
        report.measured,
        Measured::Config {
            declared: 4,
            present: 0
        }
    );
    assert_eq!(
        problems(&report),
        [
            "config.missing EMPTY",
            "config.missing KEY",
            "config.missing PORT",
            "config.missing optional variables"
        ]
    );
    let [empty, key, port, optional] = report.findings.as_slice() else {
        panic!("{report:#?}")
    };
    assert_eq!(empty.location.as_ref().unwrap().to_string(), ".env:1");
    assert_eq!(key.location.as_ref().unwrap().to_string(), "ubs.toml:7");
    let file = || ".env.local".to_owned();
    let name = "KEY".to_owned();
    assert_eq!(key.fix, Some(Remedy::GenerateSecret { file: file(), name }));
    assert_eq!(facts(key), [("secret", "true")]);
    let (name, value) = ("PORT".to_owned(), "8000".to_owned());
    assert_eq!(
        port.fix,
        Some(Remedy::SetDefault {
            file: file(),
            name,
            value
        })
    );
    assert_eq!(facts(port), []);
    assert_eq!(optional.severity, Severity::Warning);
    assert_eq!(optional.message, "1 optional variable is not set: OPTIONAL");
}

#[test]
fn placeholders_are_found_and_no_secret_is_ever_shown() {
    let mut app = app()
        .file(".env.example", "COPIED=looks-like-a-real-one-9f8a\nPLAIN=same\n")
        .file(
            ".env",
            "A=change-me\nB=YOUR-KEY-HERE\nC=<secret>\nCOPIED=looks-like-a-real-one-9f8a\nD=aaaaaaaaaaaaaaaa\n\
             GOOD=f3a9c1d07be24856\nPLAIN=same\nREJECTED=localhost\n",
        )
        .var("PLAIN", required())
        .var(
            "REJECTED",
            Var {
                reject: vec!["localhost".into()],
                ..Var::default()
            },
        );
    for name in ["A", "B", "C", "COPIED", "D", "GOOD"] {
        app = app.var(name, secret());
    }
    let report = app.check(CheckName::Config);
    assert_eq!(
        problems(&report),
        [
            "config.placeholder A",
            "config.placeholder B",
            "config.placeholder C",
            "config.placeholder COPIED",
            "config.invalid D",
            "config.placeholder REJECTED"
        ]
    );
    assert_eq!(report.findings[5].severity, Severity::Warning);
    // Even without the redactor's help.
    let environment =
        Environment::load(&app.manifest, app.root(), app.process.clone().into_iter()).unwrap();
    let bare = check(&CheckContext {
        manifest: &app.manifest,
        root: app.root(),
        environment: &environment,
        redactor: &Redactor::default(),
        scratch: app.root(),
        state: None,
        overrides: BTreeMap::new(),
        shared: &crate::checks::SharedRuns::default(),
        sources: &crate::checks::Sources::default(),
        before_boot: false,
        is_live: false,
        earlier: &crate::checks::Earlier::default(),
    });
    let shown = format!("{:?}", bare.findings);
    for secret in ["change-me", "YOUR-KEY", "looks-like", "aaaaaaaa", "f3a9c1"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

#[test]
fn a_bad_value_of_the_process_environment_is_not_mended_in_a_file() {
    let mut app = app().file(".env.example", "").var("KEY", secret());
    app.process.insert("KEY".into(), "changeme".into());
    let report = app.check(CheckName::Config);
    let finding = only(&report, "config.placeholder");
    assert_eq!(facts(finding), []);
    let remedy = finding.remedy.as_deref().unwrap();
    assert!(remedy.contains("where ubs is started"), "{remedy}");
}

#[test]
fn a_long_value_is_cut() {
    let app = app()
        .file(".env.example", "")
        .file(".env", format!("N={}\n", "9x".repeat(500)));
    let app = app.var(
        "N",
        Var {
            kind: VarKind::Int,
            ..required()
        },
    );
    let report = app.check(CheckName::Config);
    let finding = only(&report, "config.invalid");
    assert!(finding.message.len() < 120, "{}", finding.message);
    assert_eq!(finding.severity, Severity::Critical);
}

#[test]
fn a_password_in_a_url_is_not_shown_even_if_the_value_is_cut() {
    let url = format!("postgresql://ann:{}@db/app", "pa55w0rd".repeat(9));
    let app = app()
        .file(".env.example", "")
        .file(".env", format!("URL={url}\n"))
        .var(
            "URL",
            Var {
                kind: VarKind::Int,
                ..required()
            },
        );
    let report = app.check(CheckName::Config);
    assert!(!format!("{report:?}").contains("pa55"), "{report:?}");
}

#[test]
fn the_files_themselves_are_read_closely() {
    let app = app()
        .file(
            ".env.example",
            "DECLARED=\nSET=1\nNOWHERE=1\nIN_PROCESS=1\n",
        )
        .file(
            ".env",
            "DECLARED=1\nSET=1\nthis is nothing\nSET=2\nUNKNOWN=1\nOVER=1\n",
        )
        .file(".env.local", "OVER=2\n")
        .var("DECLARED", required())
        .var("OVER", required());
    let mut app = app;
    app.process.insert("IN_PROCESS".into(), "1".into());
    let report = app.check(CheckName::Config);
    let reported: Vec<String> = report
        .findings
        .iter()
        .map(|f| format!("{} {} {}", f.code, f.subject, f.location.as_ref().unwrap()))
        .collect();
    assert_eq!(
        reported,
        [
            "config.env_file_syntax .env:3 .env:3",
            "config.env_file_syntax SET .env:4",
            "config.env_file_drift OVER .env:6",
            "config.unused UNKNOWN .env:5",
            "config.env_file_drift NOWHERE .env.example:3"
        ]
    );
    assert!(report.findings[1].message.contains("lines 2 and 4"));
    assert_eq!(report.status, CheckStatus::Warning);
}

#[test]
fn without_declarations_there_is_nothing_to_check() {
    let report = app().check(CheckName::Config);
    assert_eq!(report.status, CheckStatus::Skipped);
}

#[test]
fn what_services_need_and_nobody_sets_is_said_before_the_boot() {
    let text = "[app]\nname='a'\n[config]\nfiles=[]\n[[layer]]\nname='api'\n[[layer.service]]\nname='api'\n\
                run='sh -c ${WHAT}'\nenv={ A='${GIVEN:-x}', B='${SET}', C='${WHAT}' }\nready={ tcp='127.0.0.1:${PORT}' }\n\
                [[layer]]\nname='extra'\ncritical=false\n[[layer.service]]\nname='worker'\nrun='no-such-program-here ${EXTRA:-}'\n\
                [[layer.service]]\nname='other'\nrun='./bin/${OPTIONAL}'\n";
    let mut app = app();
    let parsed = Manifest::parse(text, &app.manifest.path).unwrap();
    app.manifest = parsed;
    app.process.insert("SET".into(), "1".into());
    let report = app.check(CheckName::Config);
    let reported: Vec<String> = report
        .findings
        .iter()
        .map(|f| {
            format!(
                "{:?} {} {} {}",
                f.severity,
                f.code,
                f.subject,
                f.location.as_ref().unwrap()
            )
        })
        .collect();
    assert_eq!(
        reported,
        [
            "Critical config.missing PORT ubs.toml:7",
            "Critical config.missing WHAT ubs.toml:7",
            "Warning config.missing OPTIONAL ubs.toml:18",
            "Warning config.program_missing worker ubs.toml:15",
        ]
    );
    for (name, value) in [("PORT", "1"), ("WHAT", "true"), ("OPTIONAL", "run")] {
        app.process.insert(name.into(), value.into());
    }
    let app = app.file("bin/run", "");
    let report = app.check(CheckName::Config);
    assert_eq!(
        problems(&report),
        [
            "config.program_missing worker",
            "config.program_missing other"
        ]
    );
}

#[test]
fn a_script_whose_interpreter_ends_in_a_carriage_return_cannot_be_started() {
    let text =
        "[app]\nname='a'\n[[layer]]\nname='web'\n[[layer.service]]\nname='web'\nrun='./start.sh'\n";
    let mut app = app();
    app.manifest = Manifest::parse(text, &app.manifest.path).unwrap();
    let app = app.file("start.sh", "#!/bin/sh\r\nexec true\r\n");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(app.root().join("start.sh"), executable).unwrap();
    let report = app.check(CheckName::Config);
    let finding = &report.findings[0];
    assert_eq!(finding.code, "config.program_missing");
    assert_eq!(finding.severity, Severity::Critical);
    assert!(
        finding.message.contains(r#""/bin/sh\r""#),
        "{}",
        finding.message
    );
    assert_eq!(finding.location.as_ref().unwrap().to_string(), "start.sh:1");
    let app = app.file("start.sh", "#!/bin/sh\nexec true\n");
    assert_eq!(problems(&app.check(CheckName::Config)), [""; 0]);
}

#[test]
fn a_pid_file_of_another_program_is_in_the_way_of_a_service_that_is_started() {
    let own = std::process::id().to_string();
    let mut app = app().file("celerybeat.pid", own);
    let stale = |app: &App| {
        let environment =
            Environment::load(&app.manifest, app.root(), app.process.clone().into_iter()).unwrap();
        let report = check(&CheckContext {
            manifest: &app.manifest,
            root: app.root(),
            environment: &environment,
            redactor: &Redactor::default(),
            scratch: app.root(),
            state: None,
            overrides: BTreeMap::new(),
            shared: &crate::checks::SharedRuns::default(),
            sources: &crate::checks::Sources::default(),
            before_boot: true,
            is_live: false,
            earlier: &crate::checks::Earlier::default(),
        });
        let codes = report.findings.iter().map(|f| f.code.clone());
        codes.filter(|code| *code == "config.stale_file").count()
    };
    for (more, wanted) in [("", 1), ("disabled = true", 0)] {
        let text = format!(
            "[app]\nname='a'\n[[layer]]\nname='jobs'\n[[layer.service]]\nname='beat'\nrun='celery -A app beat'\n{more}\n"
        );
        app.manifest = Manifest::parse(&text, &app.manifest.path).unwrap();
        assert_eq!(stale(&app), wanted, "{more}");
    }
}

#[test]
fn a_byte_order_mark_and_a_name_one_letter_off_are_said() {
    let app = app()
        .file(".env", "\u{feff}API_KEY=k\n")
        .file(
            "app.py",
            "import os\nos.environ.get('API_KEY')\nos.environ.get('DATABSE_URL')\n",
        )
        .var("API_KEY", Var::default())
        .var("DATABASE_URL", Var::default());
    let report = app.check(CheckName::Config);
    let told = problems(&report);
    assert_eq!(
        told,
        [
            "config.missing optional variables",
            "config.env_file_syntax .env:1",
            "config.undeclared_read DATABSE_URL"
        ],
        "{report:#?}"
    );
}

#[test]
fn a_weak_secret_is_said_without_its_value_or_length() {
    let strict = Var {
        min_entropy: Some(100.0),
        ..secret()
    };
    let unjudged = Var {
        min_entropy: Some(0.0),
        ..secret()
    };
    let long = Var {
        min_length: Some(40),
        ..secret()
    };
    let app = app()
        .file(".env.example", "WEAK=\nSTRICT=\nUNJUDGED=\nSHORT=\n")
        .file(
            ".env",
            "WEAK=hunter27\nSTRICT=f3a9c1d07be24856\nUNJUDGED=hunter28\nSHORT=Zk3vQ9xLw2Rt7Bn5\n",
        )
        .var("WEAK", secret())
        .var("STRICT", strict)
        .var("UNJUDGED", unjudged)
        .var("SHORT", long);
    let report = app.check(CheckName::Config);
    let reported: Vec<String> = report
        .findings
        .iter()
        .map(|f| format!("{:?} {} {}", f.severity, f.code, f.subject))
        .collect();
    assert_eq!(
        reported,
        [
            "Critical config.invalid SHORT",
            "Critical config.invalid STRICT",
            "Warning config.invalid WEAK"
        ]
    );
    let shown = format!("{report:?}");
    for secret in ["hunter2", "f3a9c1", "Zk3vQ9", "16 char", "8 char"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

#[test]
fn what_docker_reads_differently_is_worth_a_word() {
    let text = "PLAIN=a b\nexport E=1\nQ='s3cret word'\nQ2=\"x\"\nS = 1\nC=1 # why\nV=${PLAIN}\nM=\"a\nb\"\nLAST=1\n";
    let app = app()
        .file(".env.example", "")
        .file(".env", text)
        .var("PLAIN", required());
    let report = app.check(CheckName::Config);
    let reported: Vec<(u32, &str)> = report
        .findings
        .iter()
        .filter(|f| f.code == "config.env_file_syntax")
        .map(|f| (f.location.as_ref().unwrap().line, f.message.as_str()))
        .collect();
    let lines: BTreeSet<u32> = reported.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, BTreeSet::from([2, 3, 5, 6, 7, 8]), "{reported:?}");
    assert!(
        reported
            .iter()
            .any(|(line, message)| *line == 3 && message.contains("1 more")),
        "{reported:?}"
    );
    assert!(!format!("{report:?}").contains("s3cret"), "{report:?}");
}

#[test]
fn a_comment_in_the_place_of_a_value_is_reported_as_each_reads_it() {
    let report = app()
        .file(".env", "A= # why\nB=1 # why\n")
        .var("B", required())
        .check(CheckName::Config);
    let reported = |line: u32| {
        let finding = report.findings.iter().find(|f| {
            f.code == "config.env_file_syntax"
                && f.location.as_ref().is_some_and(|l| l.line == line)
        });
        finding
            .unwrap_or_else(|| panic!("{report:#?}"))
            .message
            .as_str()
    };
    assert!(
        reported(1).contains("docker and python-dotenv take"),
        "{}",
        reported(1)
    );
    assert!(
        reported(2).contains("python-dotenv and ubs do not"),
        "{}",
        reported(2)
    );
}

/// What the fix of the finding about `subject` makes of the file, and that a person has to look at it.
fn mended(app: &App, subject: &str) -> Option<(String, String)> {
    let report = app.check(CheckName::Config);
    let finding = report.findings.iter().find(|f| f.subject == subject)?;
    let Some(Remedy::EditText { file, edits, .. }) = &finding.fix else {
        return None;
    };
    assert!(finding.facts.contains_key(NEEDS_APPROVAL), "{finding:#?}");
    let mut text = std::fs::read_to_string(app.root().join(file)).unwrap_or_default();
    for edit in edits.iter().rev() {
        let at = usize::try_from(edit.offset).unwrap();
        let end = at + usize::try_from(edit.length).unwrap();
        text.replace_range(at..end, &edit.text);
    }
    Some((file.clone(), text))
}

#[test]
fn one_near_value_or_name_is_proposed_and_two_are_not() {
    let level = |allowed: &[&str]| Var {
        required: true,
        one_of: allowed.iter().map(|one| (*one).to_owned()).collect(),
        ..Var::default()
    };
    let app = app()
        .file(".env", "# kept\nLEVEL='infoo' # why\nDATABSE_NAME=shop\n")
        .var("LEVEL", level(&["debug", "info"]))
        .var(
            "DATABASE_NAME",
            Var {
                required: true,
                default: Some("other".to_owned()),
                ..Var::default()
            },
        );
    let (file, text) = mended(&app, "LEVEL").unwrap();
    assert_eq!(file, ".env");
    assert_eq!(text, "# kept\nLEVEL='info' # why\nDATABSE_NAME=shop\n");
    let (_, text) = mended(&app, "DATABASE_NAME").unwrap();
    assert!(text.contains("\nDATABASE_NAME=shop\n"), "{text}");
    let two = app.var("LEVEL", level(&["infoa", "infob"]));
    assert_eq!(mended(&two, "LEVEL"), None);
    // What the code reads is meant.
    let read = two.file("app.py", "import os\nos.environ['DATABSE_NAME']\n");
    assert_eq!(mended(&read, "DATABASE_NAME"), None);
}

#[test]
fn a_missing_environment_file_gets_what_is_harmless_of_its_example() {
    let app = app()
        .file(
            ".env.example",
            "LEVEL=info\nDATABASE_URL=sqlite:///shop.db\nAPI_TOKEN=abc\nMODE=<your mode>\nNAME=\n",
        )
        .var("LEVEL", required())
        .var("DATABASE_URL", required());
    let (file, text) = mended(&app, "LEVEL").unwrap();
    assert_eq!((file.as_str(), text.as_str()), (".env", "LEVEL=info\n"));
    assert_eq!(mended(&app, "DATABASE_URL"), None);
    let there = app.file(".env", "OTHER=1\n");
    assert_eq!(mended(&there, "LEVEL"), None);
}

#[test]
fn an_open_quote_is_closed_by_a_person_and_hides_no_default_behind_it() {
    let region = Var {
        required: true,
        default: Some("north".to_owned()),
        ..Var::default()
    };
    let app = app()
        .file(".env", "A=1\nREGION=\"south\nB=2\n")
        .var("REGION", region);
    // It is what keeps the variable from being set: the edit is with that, which stops the boot.
    let (_, text) = mended(&app, "REGION").unwrap();
    assert_eq!(text, "A=1\nREGION=\"south\"\nB=2\n");
    assert_eq!(mended(&app, ".env:2"), None);
    let other = app.file(".env", "A=1\nOTHER=\"south\nB=2\n");
    assert!(mended(&other, ".env:2").is_some());
    let report = other.check(CheckName::Config);
    assert_eq!(only(&report, "config.missing").fix, None);
}

#[test]
fn a_file_in_latin_1_is_written_in_utf_8_by_a_person_where_nothing_else_can_be_meant() {
    let app = app()
        .file(".env", b"A=1\nCITY=M\xfcnchen\n")
        .var("CITY", required());
    let report = app.check(CheckName::Config);
    let finding = only(&report, "config.env_file_syntax");
    assert_eq!(finding.severity, Severity::Critical);
    assert_eq!(finding.location.as_ref().unwrap().to_string(), ".env:2");
    let Some(Remedy::EditText { edits, .. }) = &finding.fix else {
        panic!("{finding:#?}");
    };
    let edits: Vec<_> = edits
        .iter()
        .map(|e| (e.offset, e.length, e.text.as_str()))
        .collect();
    assert_eq!(edits, [(10, 1, "ü")]);
    assert!(finding.facts.contains_key(NEEDS_APPROVAL));
    // Cyrillic in Windows-1251 would be text in Windows-1252, too.
    let app = app.file(".env", b"CITY=\xcc\xee\xf1\xea\xe2\xe0\n");
    let report = app.check(CheckName::Config);
    assert_eq!(only(&report, "config.env_file_syntax").fix, None);
}

#[test]
fn one_near_number_is_proposed_and_of_two_none() {
    let of = |kind: VarKind, min: f64, max: f64| Var {
        required: true,
        kind,
        min: Some(min),
        max: Some(max),
        ..Var::default()
    };
    for (kind, written, near) in [
        (VarKind::Int, "5x", Some("5")),
        (VarKind::Int, "8O80", Some("8080")),
        (VarKind::Int, "l0", Some("10")),
        (VarKind::Int, "99999", None),
        (VarKind::Int, "90800", None),
        (VarKind::Int, "-5", Some("5")),
        (VarKind::Int, "five", None),
        (VarKind::Int, "5x5", None),
        (VarKind::Float, "0,5", Some("0.5")),
        (VarKind::Bool, "tru", Some("true")),
        (VarKind::Bool, "of", None),
        (VarKind::Bool, "maybe", None),
    ] {
        let max = if written == "99999" { 50.0 } else { 9999.0 };
        let var = match kind {
            VarKind::Bool => Var {
                required: true,
                kind,
                ..Var::default()
            },
            _ => of(kind, 0.1, max),
        };
        let app = app().file(".env", format!("N={written}\n")).var("N", var);
        let text = mended(&app, "N").map(|(_, text)| text);
        assert_eq!(text, near.map(|near| format!("N={near}\n")), "{written}");
    }
    let app = app()
        .file(".env", "N=500\n")
        .var("N", of(VarKind::Int, 1.0, 50.0));
    assert_eq!(mended(&app, "N").unwrap().1, "N=50\n");
}

#[test]
fn a_module_that_its_package_does_not_have_is_said() {
    let mut app = app()
        .file("shop/__init__.py", "")
        .file("shop/worker.py", "");
    let check = |app: &mut App, module: &str| {
        let text = format!(
            "[app]\nname='a'\n[[layer]]\nname='l'\n[[layer.service]]\nname='w'\nrun='python3 -m {module}'\n"
        );
        app.manifest = Manifest::parse(&text, &app.manifest.path).unwrap();
        problems(&app.check(CheckName::Config))
    };
    assert_eq!(check(&mut app, "shop.worker"), [""; 0]);
    assert_eq!(check(&mut app, "elsewhere.worker"), [""; 0]);
    assert_eq!(check(&mut app, "shop.workr"), ["config.program_missing w"]);
}

#[test]
fn what_the_last_boot_had_is_not_made_up_without_asking() {
    let with_default = Var {
        default: Some("north".into()),
        ..required()
    };
    let mut app = app()
        .file(".env.example", "")
        .file(".env", "")
        .var("REGION", with_default)
        .var("KEY", secret());
    let asks = |app: &App| {
        let report = app.check(CheckName::Config);
        let of = |name: &str, fact: &str| {
            let mut all = report.findings.iter();
            all.any(|f| f.subject == name && f.fix.is_some() && f.facts.contains_key(fact))
        };
        (of("REGION", NEEDS_APPROVAL), of("KEY", IN_USE))
    };
    assert_eq!(asks(&app), (false, false));
    let key = [7; 32];
    app.earlier.key = Some(key);
    for (region, secret, expected) in [
        ("south", "s3cret", (true, true)),
        ("north", "", (false, false)),
    ] {
        for (name, value) in [("REGION", region), ("KEY", secret)] {
            let digest = crate::checks::Earlier::digest(&key, value);
            app.earlier.variables.insert(name.into(), digest);
        }
        assert_eq!(asks(&app), expected, "{region}");
    }
}
