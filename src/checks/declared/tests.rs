//! The parsers on what real checkers print, and whole checks in the sandbox, hostile ones too.

use std::io::Write as _;

use super::answer::{Answer, Printed};
use super::formats::read;
use crate::checks::testing::{App, only, problems};
use crate::domain::finding::{
    CheckName, CheckReport, CheckStatus, DeclaredRun, Measured, Severity,
};
use crate::manifest::{CheckFormat, Manifest, Var};

fn ask(format: CheckFormat, status: i32, text: &str) -> Result<Answer, String> {
    read(
        format,
        Printed {
            status,
            answer: text,
            all: text,
        },
    )
}

/// `rule subject place: message` of each finding.
fn told(answer: &Answer) -> Vec<String> {
    let line = |found: &super::answer::Found| {
        let place = found.location.as_ref().map(|at| format!(" {at}"));
        format!(
            "{} {}{}: {}",
            found.rule,
            found.subject,
            place.unwrap_or_default(),
            found.message
        )
    };
    answer.found.iter().map(line).collect()
}

const ALEMBIC: &str = "INFO  [alembic.runtime.migration] Context impl SQLiteImpl.\n\
    ERROR [alembic.util.messaging] New upgrade operations detected: [('add_column', None, 'user', Column('age'))]\n\
    FAILED: New upgrade operations detected: [('add_column', None, 'user', Column('age'))]\n";
const DJANGO: &str = "System check identified some issues:\n\nWARNINGS:\n\
    ?: (security.W004) You have not set a value for the SECURE_HSTS_SECONDS setting.\n\
    shop.Order.total: (fields.W340) null has no effect on ManyToManyField.\n\n\
    System check identified 2 issues (0 silenced).\n";
const PIP: &str = "fastapi 0.110.0 requires starlette, which is not installed.\n";
const DEPTRY: &str = "Scanning 3 files...\n\n\
    app/main.py:3:8: DEP001 'httpx' imported but missing from the dependency definitions\n\
    pyproject.toml: DEP002 'flask' defined as a dependency but not used in the codebase\n\
    Found 2 dependency issues.\n";
const IMPORT_LINTER: &str = "=============\nImport Linter\n=============\n\nAnalyzed 8 files, 4 dependencies.\n\
    Layers BROKEN\n\nContracts: 0 kept, 1 broken.\n\n\napp.low is not allowed to import app.high:\n\n\
    - app.low.x -> app.high (l.1)\n\n\n";
const DOTENV: &str = ".env:2 DuplicatedKey: The FOO key is duplicated\n.env:5 LowercaseKey: The bar key should be in uppercase\n\
    \nFound 2 problems\n";

#[test]
fn programs_that_only_exit_say_what_they_found_in_lines() {
    for (name, status, text, expected) in [
        (
            "alembic check",
            255,
            ALEMBIC,
            vec![
                "failed : exited with 255: FAILED: New upgrade operations detected: [('add_column', None, 'user', \
                 Column('age'))]",
            ],
        ),
        (
            "manage.py check --deploy --fail-level WARNING",
            1,
            DJANGO,
            vec![
                "security.W004 : You have not set a value for the SECURE_HSTS_SECONDS setting.",
                "fields.W340 shop.Order.total: null has no effect on ManyToManyField.",
            ],
        ),
        (
            "pip check",
            1,
            PIP,
            vec![
                "failed : exited with 1: fastapi 0.110.0 requires starlette, which is not installed.",
            ],
        ),
        (
            "deptry",
            1,
            DEPTRY,
            vec![
                "DEP001 app/main.py app/main.py:3:8: 'httpx' imported but missing from the dependency definitions",
                "DEP002 pyproject.toml pyproject.toml: 'flask' defined as a dependency but not used in the codebase",
            ],
        ),
        (
            "lint-imports",
            1,
            IMPORT_LINTER,
            vec!["failed : exited with 1: - app.low.x -> app.high (l.1)"],
        ),
        (
            "dotenv-linter",
            1,
            DOTENV,
            vec![
                "DuplicatedKey .env .env:2: The FOO key is duplicated",
                "LowercaseKey .env .env:5: The bar key should be in uppercase",
            ],
        ),
        ("nothing said", 3, "", vec!["failed : exited with 3"]),
    ] {
        assert_eq!(
            told(&ask(CheckFormat::Exit, status, text).unwrap()),
            expected,
            "{name}"
        );
        assert_eq!(
            told(&ask(CheckFormat::Exit, 0, text).unwrap()),
            [""; 0],
            "{name}"
        );
    }
    let why = ask(CheckFormat::Exit, 127, "sh: 1: npx: not found\n").unwrap_err();
    assert_eq!(why, "exited with 127: sh: 1: npx: not found");
}

const SARIF: &str = r#"{"version":"2.1.0","$schema":"x","runs":[{"tool":{"driver":{"name":"ruff","rules":[
    {"id":"F401","defaultConfiguration":{"level":"note"},"help":{"text":"take it out"}}]}},"results":[
    {"ruleId":"E999","level":"error","message":{"text":"SyntaxError"},"locations":[{"physicalLocation":{
      "artifactLocation":{"uri":"file:///w/a%20b.py"},"region":{"startLine":3,"startColumn":7}}}]},
    {"ruleIndex":0,"message":{"text":"unused"},"locations":[{"physicalLocation":{"artifactLocation":{"uri":"c.py"}}}]},
    {"ruleId":"X1","kind":"pass","message":{"text":"fine"}},
    {"ruleId":"X2","message":{"text":"known"},"suppressions":[{"kind":"inSource"}]}]}]}"#;
const JUNIT: &str = "<?xml version=\"1.0\"?>\n<!-- by pytest -->\n<testsuites><testsuite name=\"pytest\" tests=\"4\" \
    failures=\"1\"><properties/><testcase classname=\"tests.test_a\" name=\"test_x[1&gt;0]\" file=\"tests/test_a.py\" \
    line=\"9\"><failure message=\"assert 1 &gt; 2 &#38; &quot;no&quot;\" type=\"AssertionError\"><![CDATA[def <test>:\n]]>\
    E  assert</failure></testcase><testcase name=\"good\"/><testcase name=\"left\"><skipped message=\"no db\"/>\
    </testcase><testcase name=\"broken\"><error>ValueError: x\nmore</error></testcase></testsuite></testsuites>\n";
const TAP: &str = "TAP version 13\n1..4\nok 1 - first\nnot ok 2 - the schema is current\n  ---\n  at: line 3\n  ...\n\
    not ok 3 - later # TODO not done\nok 4 # SKIP no network\n";
const GOSS: &str = r#"{"results":[
    {"successful":true,"skipped":false,"resource-id":"tcp:22","resource-type":"Port","property":"listening","result":0},
    {"successful":false,"skipped":false,"resource-id":"/etc/passwd","resource-type":"File","property":"mode","result":1,
     "summary-line":"File: /etc/passwd: mode: doesn't match, expect: [\"0600\"] found: [\"0644\"]"},
    {"successful":false,"skipped":true,"resource-id":"x","resource-type":"Port","property":"ip","result":2}],
    "summary":{"test-count":3,"failed-count":1,"summary-line":"Count: 3, Failed: 1"}}"#;

#[test]
fn the_usual_formats_are_read() {
    for (format, status, text, results, expected) in [
        (
            CheckFormat::Sarif,
            1,
            SARIF,
            1,
            vec![
                "E999 /w/a b.py /w/a b.py:3:7: SyntaxError",
                "F401 c.py c.py: unused",
            ],
        ),
        (
            CheckFormat::Junit,
            1,
            JUNIT,
            3,
            vec![
                "failure tests.test_a.test_x[1>0] tests/test_a.py:9: assert 1 > 2 & \"no\"",
                "error broken: ValueError: x",
            ],
        ),
        (
            CheckFormat::Tap,
            1,
            TAP,
            4,
            vec!["not_ok the schema is current: not ok: the schema is current"],
        ),
        (
            CheckFormat::Goss,
            1,
            GOSS,
            3,
            vec![
                "file.mode /etc/passwd: File: /etc/passwd: mode: doesn't match, expect: [\"0600\"] found: [\"0644\"]",
            ],
        ),
        (
            CheckFormat::Nagios,
            2,
            "DISK CRITICAL - free space: / 3 MB | /=99MB;80;90\n/tmp is full\n",
            1,
            vec!["critical : DISK CRITICAL - free space: / 3 MB"],
        ),
        (CheckFormat::Nagios, 0, "DISK OK | /=1MB\n", 1, vec![]),
    ] {
        let answer = ask(format, status, text).unwrap();
        assert_eq!(told(&answer), expected, "{format:?}");
        assert_eq!(answer.results, Some(results), "{format:?}");
    }
    let sarif = ask(CheckFormat::Sarif, 0, SARIF).unwrap();
    let severities: Vec<_> = sarif.found.iter().map(|found| found.severity).collect();
    assert_eq!(severities, [Some(Severity::Critical), Some(Severity::Info)]);
    assert_eq!(sarif.found[1].remedy.as_deref(), Some("take it out"));
    let junit = ask(CheckFormat::Junit, 1, JUNIT).unwrap();
    assert_eq!(junit.found[0].detail, "def <test>:\nE  assert");
    let tap = ask(CheckFormat::Tap, 1, TAP).unwrap();
    assert_eq!(tap.found[0].detail, "  ---\n  at: line 3\n  ...\n");
    let skipped = ask(CheckFormat::Tap, 0, "1..0 # SKIP no database\n").unwrap();
    assert_eq!(skipped.skipped.as_deref(), Some("no database"));
}

#[test]
fn our_own_format_is_one_finding_a_line_or_a_document() {
    let lines = "{\"code\":\"check.prisma.drift\",\"severity\":\"warning\",\"subject\":\"users\",\"message\":\"differs\",\
                 \"location\":\"db/schema.prisma:4:2\",\"remedy\":\"migrate\"}\n\n\
                 {\"message\":\"another\",\"file\":\"a.py\",\"line\":3}\n{\"results\": 12}\n";
    let answer = ask(CheckFormat::Json, 1, lines).unwrap();
    assert_eq!(
        told(&answer),
        [
            "drift users db/schema.prisma:4:2: differs",
            "  a.py:3: another"
        ]
    );
    assert_eq!(answer.results, Some(12));
    assert_eq!(answer.found[0].severity, Some(Severity::Warning));
    for nothing in ["[]", "{\"findings\": []}", "{\"results\": 3}"] {
        assert_eq!(told(&ask(CheckFormat::Json, 0, nothing).unwrap()), [""; 0]);
    }
    let many = format!("[{}]", vec!["{\"message\":\"x\"}"; 150].join(","));
    let answer = ask(CheckFormat::Json, 1, &many).unwrap();
    assert_eq!((answer.found.len(), answer.more), (100, 50));
}

#[test]
fn what_cannot_be_read_is_never_a_pass() {
    use CheckFormat::{Goss, Json, Junit, Nagios, Sarif, Tap};
    let deep = "[".repeat(10_000);
    let deep_xml = "<testsuite>".repeat(100);
    for (format, status, text, says) in [
        (Json, 0, "", "printed nothing"),
        (Json, 0, " \n ", "printed nothing"),
        (
            Json,
            0,
            "all good",
            "line 1 of what it printed is not JSON: all good",
        ),
        (Json, 0, "42", "42 is no finding"),
        (Json, 0, "{\"code\":\"x\"}", "has no `message`"),
        (
            Json,
            0,
            "{\"message\":\"x\",\"severity\":\"meh\"}",
            "\"meh\" is not known",
        ),
        (Json, 0, "{\"findings\":{}}", "`findings` is no list"),
        (
            Json,
            1,
            "[]",
            "exited with 1 and reported nothing that failed",
        ),
        (Json, 0, &deep, "is not JSON"),
        (Sarif, 0, "{}", "no `runs`"),
        (Sarif, 0, "{\"runs\":[]}", "has no run"),
        (
            Sarif,
            0,
            "{\"runs\":[{\"invocations\":[{\"executionSuccessful\":false}]}]}",
            "its run failed",
        ),
        (Sarif, 0, "{\"runs\":[", "is not SARIF"),
        (Goss, 0, "{}", "no `results`"),
        (Goss, 0, "{\"results\":[{}]}", "does not say whether"),
        (
            Goss,
            1,
            "{\"results\":[],\"summary\":{\"failed-count\":2}}",
            "more failures",
        ),
        (Tap, 0, "hello", "there is no plan"),
        (Tap, 0, "1..3\nok 1\n", "3 tests were planned, and 1 ran"),
        (
            Tap,
            0,
            "1..2\nok 1\nBail out! no database\n",
            "it gave up: no database",
        ),
        (Junit, 0, "<html></html>", "it begins with <html>"),
        (Junit, 0, "<testsuite><testcase name='a'>", "it ends early"),
        (
            Junit,
            0,
            "<testsuite></testcase>",
            "closes what is not open",
        ),
        (
            Junit,
            0,
            "<!DOCTYPE x [<!ENTITY a 'b'>]><testsuite/>",
            "document type",
        ),
        (Junit, 0, "<testsuite tests=\"3\"/>", "has none"),
        (Junit, 0, &deep_xml, "too deep"),
        (Junit, 0, "<testsuite a='>", "a tag does not end"),
        (
            Nagios,
            3,
            "DISK UNKNOWN - timeout",
            "does not know: DISK UNKNOWN - timeout",
        ),
        (Nagios, 9, "x", "no state of a plugin"),
        (Nagios, 0, "", "printed nothing"),
    ] {
        let why = ask(format, status, text).unwrap_err();
        assert!(why.contains(says), "{format:?} {text:?}: {why}");
    }
}

/// An application with these checks, whose programs are shell scripts.
fn app(checks: &str) -> Option<App> {
    let mut app = App::plain()?;
    let text =
        format!("[app]\nname = 'a'\n{checks}\n[[layer]]\nname = 'extra'\ncritical = false\n");
    let manifest = Manifest::parse(&text, &app.manifest.path).unwrap();
    app.manifest.checks = manifest.checks;
    app.manifest.layers = manifest.layers;
    Some(app)
}

fn runs(report: &CheckReport) -> &[DeclaredRun] {
    match &report.measured {
        Measured::Declared { checks } => checks,
        other => panic!("{other:?}"),
    }
}

fn script(name: &str, script: &str, more: &str) -> String {
    format!("[[check]]\nname = '{name}'\nrun = ['sh', '-c', '''{script}''']\n{more}\n")
}

#[test]
fn a_program_is_asked_in_the_sandbox_and_its_findings_are_ours() {
    let checks = [
        // It says what it was asked, which has to be one JSON document.
        script(
            "asked",
            "exec python3 -c \"import json,sys; q=json.load(sys.stdin); print(json.dumps(dict(rule=str(q[chr(112)+'rotocol']),message=q['check']+' '+q['when'])))\"",
            "format = 'json'\nseverity = 'warning'\nremedy = 'look'",
        ),
        script("writes", "echo x > written && test -f written", ""),
        script("optional", "echo 'a.py:3:1: E1 bad'; exit 1", "layer = 'extra'"),
        script("after", "true", "needs = ['optional']"),
        script("live", "exit 1", "when = 'live'"),
    ]
    .concat();
    let Some(app) = app(&checks) else { return };
    let report = app.check(CheckName::Declared);
    assert_eq!(
        problems(&report),
        ["check.asked.1 asked", "check.optional.E1 a.py"]
    );
    let asked = only(&report, "check.asked.1");
    assert_eq!(asked.message, "asked preflight");
    assert_eq!(asked.remedy.as_deref(), Some("look"));
    let optional = only(&report, "check.optional.E1");
    assert_eq!(
        optional.severity,
        Severity::Warning,
        "its layer is not critical"
    );
    assert_eq!(optional.layer.as_deref(), Some("extra"));
    assert_eq!(report.status, CheckStatus::Warning);
    let said: Vec<String> = runs(&report)
        .iter()
        .map(|run| format!("{} {}", run.name, run.status.as_str()))
        .collect();
    assert_eq!(
        said,
        [
            "asked warning",
            "writes healthy",
            "optional warning",
            "after skipped"
        ]
    );
    assert_eq!(
        runs(&report)[3].summary,
        "needs optional, which did not pass"
    );
    assert!(!app.root().join("written").exists());
}

#[test]
fn a_hostile_program_is_an_error_and_says_no_secret() {
    let checks = [
        script("silent", "exit 0", "format = 'json'"),
        script("absent", "no-such-program", ""),
        script(
            "huge",
            "yes aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa | head -c 100000000",
            "format = 'json'",
        ),
        script("hangs", "sleep 60 & sleep 60", "timeout = '300ms'"),
        script("killed", "sh -c 'kill -9 $$$$'; exit $?", ""),
        script(
            "escapes",
            "printf \"\\033[31mred $TOKEN\\033[0m\\007\\n\" >&2; exit 1",
            "",
        ),
        script(
            "rule",
            "printf '{\"rule\":\"%s\",\"message\":\"m\",\"subject\":\"%s\"}' \"$TOKEN\" \"$TOKEN\"",
            "format = 'json'",
        ),
        script(
            "garbage",
            "printf \"token=$TOKEN\\377\\n\"",
            "format = 'json'",
        ),
    ]
    .concat();
    let Some(app) = app(&checks) else { return };
    let secret = "hunter2-hunter2-hunter2";
    let var = Var {
        secret: true,
        ..Var::default()
    };
    let app = app
        .var("TOKEN", var)
        .file(".env", format!("TOKEN={secret}\n"));
    let mut app = app;
    app.manifest.config.files = vec![".env".into()];
    let report = app.check(CheckName::Declared);
    assert_eq!(report.status, CheckStatus::Error);
    let all = format!("{report:?}");
    assert!(!all.contains("hunter2"), "{all}");
    assert!(!all.contains("\\u{1b}") && !all.contains("\\u{7}"), "{all}");
    for (name, status, says) in [
        ("silent", CheckStatus::Error, "printed nothing"),
        ("absent", CheckStatus::Error, "127: "),
        ("huge", CheckStatus::Error, "more than 256 KiB"),
        ("hangs", CheckStatus::Error, "did not finish within 300 ms"),
        ("killed", CheckStatus::Error, "signal 9"),
        ("escapes", CheckStatus::Critical, ""),
        ("rule", CheckStatus::Critical, ""),
        ("garbage", CheckStatus::Error, "token=[redacted]"),
    ] {
        let run = runs(&report).iter().find(|run| run.name == name).unwrap();
        assert_eq!(run.status, status, "{run:?}");
        assert!(run.summary.contains(says), "{run:?}");
    }
    assert_eq!(
        only(&report, "check.escapes.failed").message,
        "exited with 1: red [redacted]\u{fffd}"
    );
    assert_eq!(only(&report, "check.rule.failed").subject, "[redacted]");
}

#[test]
fn no_results_where_there_were_some_is_an_error_and_else_no_look() {
    let Some(mut app) = app(&script("tap", "echo 1..0", "format = 'tap'")) else {
        return;
    };
    let report = app.check(CheckName::Declared);
    assert_eq!(report.status, CheckStatus::Skipped);
    assert_eq!(runs(&report)[0].summary, "looked at nothing: no results");
    app.earlier.declared_results.insert("tap".into(), 7);
    let report = app.check(CheckName::Declared);
    assert_eq!(report.status, CheckStatus::Error);
    let said = &only(&report, "check.tap.error").message;
    assert!(
        said.ends_with("gave no results, and 7 in the last boot"),
        "{said}"
    );
}

#[test]
fn what_passed_on_the_same_inputs_does_not_run_again() {
    let says = "grep -q good data/*.txt || { echo bad; exit 1; }; test ! -e /proc/1/no";
    let more = "inputs = ['data/*.txt', 'gone/**']";
    let Some(mut app) = app(&script("slow", says, more)) else {
        return;
    };
    let state = tempfile::tempdir().unwrap();
    app.state = Some(state.path().to_owned());
    let app = app.file("data/a.txt", "good");
    let said = |app: &App| {
        let report = app.check(CheckName::Declared);
        let run = &runs(&report)[0];
        format!("{} {}", run.status.as_str(), run.summary)
    };
    assert_eq!(said(&app), "healthy passed");
    let again = "healthy passed on the same inputs before";
    assert_eq!(said(&app), again);
    let app = app.file("data/a.txt", "changed");
    assert_eq!(said(&app), "critical 1 finding (critical)");
    assert_eq!(
        said(&app),
        "critical 1 finding (critical)",
        "what failed runs again"
    );
    let app = app.file("data/a.txt", "good");
    assert_eq!(
        said(&app),
        "healthy passed",
        "a pass that was forgotten is none"
    );
    let mut app = app;
    app.manifest.checks[0].timeout_ms += 1;
    assert_eq!(said(&app), "healthy passed", "another check is another one");
}

/// Answers one connection.
fn one_answer(answer: &'static str) -> u16 {
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut stream, _) = server.accept().unwrap();
        let mut asked = [0; 1024];
        let _ = std::io::Read::read(&mut stream, &mut asked);
        let _ = stream.write_all(answer.as_bytes());
    });
    port
}

/// A time server that is so many seconds ahead, for one question.
fn time_server(ahead_s: u64) -> u16 {
    let server = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut question = [0; 48];
        let (_, from) = server.recv_from(&mut question).unwrap();
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let seconds = now.as_secs() + 2_208_988_800 + ahead_s;
        let fraction = (u64::from(now.subsec_nanos()) << 32) / 1_000_000_000;
        let time = [
            (seconds as u32).to_be_bytes(),
            (fraction as u32).to_be_bytes(),
        ]
        .concat();
        let mut answer = [0; 48];
        answer[0] = 0x24;
        answer[1] = 2;
        answer[24..32].copy_from_slice(&question[40..]);
        answer[32..40].copy_from_slice(&time);
        answer[40..].copy_from_slice(&time);
        server.send_to(&answer, from).unwrap();
    });
    port
}

fn certificate(ends_in_days: i64) -> String {
    let ends = chrono::Utc::now() + chrono::Duration::days(ends_in_days);
    let date = |at: chrono::DateTime<chrono::Utc>| {
        use chrono::Datelike;
        rcgen::date_time_ymd(at.year(), at.month() as u8, at.day() as u8)
    };
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
    params.not_before = date(ends - chrono::Duration::days(400));
    params.not_after = date(ends);
    params.self_signed(&key).unwrap().pem()
}

#[test]
fn each_kind_that_is_built_in_passes_and_fails() {
    let good = one_answer("HTTP/1.1 204 No Content\r\n\r\n");
    let bad = one_answer("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n");
    let open = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (exact, late) = (time_server(0), time_server(3600));
    let port = open.local_addr().unwrap().port();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = free.local_addr().unwrap().port();
    drop(free);
    for (kind, expected) in [
        (format!("tcp = '127.0.0.1:{port}'"), ""),
        (format!("tcp = '127.0.0.1:{closed}'"), "closed"),
        (format!("http = 'http://127.0.0.1:{good}/health?x=1'"), ""),
        (format!("http = 'http://127.0.0.1:{bad}'"), "status"),
        (
            format!("http = 'http://127.0.0.1:{closed}/'"),
            "unreachable",
        ),
        ("dns = 'localhost'".into(), ""),
        ("dns = 'no-such-host.invalid'".into(), "unresolved"),
        ("disk = { path = 'not/there', free = '1KiB' }".into(), ""),
        ("disk = { path = '.', free = '900000TiB' }".into(), "full"),
        (
            "file = { path = 'key', mode = '0640', max_age = '1h' }".into(),
            "",
        ),
        ("file = { path = 'none' }".into(), "missing"),
        ("file = { path = 'key', mode = '0440' }".into(), "mode"),
        (
            "file = { path = 'key', owner = 'no-such-user' }".into(),
            "owner",
        ),
        ("file = { path = 'old', max_age = '1h' }".into(), "old"),
        (format!("clock = {{ server = '127.0.0.1:{exact}' }}"), ""),
        (format!("clock = {{ server = '127.0.0.1:{late}' }}"), "skew"),
        ("limits = { open_files = 2 }".into(), ""),
        ("limits = { open_files = 4000000000 }".into(), "open_files"),
        ("certificate = { file = 'long.pem' }".into(), ""),
        ("certificate = { file = 'soon.pem' }".into(), "ends_soon"),
        ("certificate = { file = 'over.pem' }".into(), "expired"),
        ("certificate = { file = 'key' }".into(), "unreadable"),
    ] {
        let Some(app) = app(&format!("[[check]]\nname = 'k'\n{kind}\n")) else {
            return;
        };
        let app = app
            .file("key", "secret")
            .file("old", "")
            .file("long.pem", certificate(100))
            .file("soon.pem", certificate(5))
            .file("over.pem", certificate(-5));
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(app.root().join("key"), private).unwrap();
        let old = std::time::SystemTime::now() - std::time::Duration::from_secs(7200);
        std::fs::File::options()
            .write(true)
            .open(app.root().join("old"))
            .unwrap()
            .set_modified(old)
            .unwrap();
        let report = app.check(CheckName::Declared);
        let codes: Vec<&str> = report
            .findings
            .iter()
            .map(|found| found.code.as_str())
            .collect();
        let expected: Vec<String> = Some(expected)
            .filter(|rule| !rule.is_empty())
            .map(|rule| format!("check.k.{rule}"))
            .into_iter()
            .collect();
        assert_eq!(codes, expected, "{kind}: {report:#?}");
    }
}
