//! Each key of the manifest does something: a key of `schema/ubs.schema.json` without an entry here fails the run.
//!
//! An entry is a pair of manifests that differ in the key, and the place where it is used: there it has to make a
//! difference, not only in what was parsed. Where that takes a server, an interpreter or a whole boot, the entry is the
//! test that shows it.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::super::application::{Application, load_environment};
use super::super::door::tcp_of;
use super::super::plan::{plan_boot, plan_rules, plan_terms};
use super::super::services::Services;
use crate::checks::{CheckContext, Earlier, SharedRuns, Sources, gaps, run_check};
use crate::domain::event::Mode;
use crate::domain::finding::CheckName;
use crate::domain::redact::Redactor;
use crate::manifest::{Choice, Manifest};

/// Where a key is used.
#[derive(Clone, Copy, PartialEq)]
enum Use {
    /// The plan of the boot, which its machine runs by.
    Plan,
    /// What a service is started with, asked and stopped by.
    Start,
    /// What this check says.
    Check(CheckName),
    /// How the control interface is opened over TCP.
    Api,
    /// What nothing looks at.
    Gaps,
    /// What `ready` waits for: the second takes so many milliseconds and more, the first less.
    Ready(u64),
    /// The same, until a ready service is not ready any more.
    Unready(u64),
    /// The same of `live`.
    Live(u64),
}

/// Where the text stands in the manifest.
#[derive(Clone, Copy)]
enum In {
    App,
    Layer,
    Service,
    /// After everything else.
    Tables,
}

/// The entries: `== KEY PART USE`, the manifest's text without the key, `--`, and the text with it; or
/// `== KEY test FILE NAME WORD`: the test that shows it, and how the key is called there.
const ENTRIES: &str = include_str!("manifest_keys.txt");

/// Two texts that differ in a key.
struct Pair {
    key: &'static str,
    place: In,
    at: Use,
    before: &'static str,
    after: &'static str,
}

/// The test that shows what a key does.
struct Named {
    key: &'static str,
    file: &'static str,
    test: &'static str,
    word: &'static str,
}

fn entries() -> (Vec<Pair>, Vec<Named>) {
    let (mut pairs, mut tests) = (Vec::new(), Vec::new());
    for entry in ENTRIES.split("== ").skip(1) {
        let (head, text) = entry.split_once('\n').unwrap();
        let head: Vec<&str> = head.split(' ').collect();
        if let [key, "test", file, test, word] = head[..] {
            assert_eq!(text, "", "{key}");
            tests.push(Named {
                key,
                file,
                test,
                word,
            });
            continue;
        }
        let ms = |at: usize| head[at].parse().unwrap();
        let place = match head[1] {
            "app" => In::App,
            "layer" => In::Layer,
            "service" => In::Service,
            "tables" => In::Tables,
            other => panic!("{entry}: {other}"),
        };
        let at = match head[2] {
            "plan" => Use::Plan,
            "start" => Use::Start,
            "config" => Use::Check(CheckName::Config),
            "schema" => Use::Check(CheckName::Schema),
            "declared" => Use::Check(CheckName::Declared),
            "rehearsal" => Use::Check(CheckName::Rehearsal),
            "api" => Use::Api,
            "gaps" => Use::Gaps,
            "ready" => Use::Ready(ms(3)),
            "unready" => Use::Unready(ms(3)),
            "live" => Use::Live(ms(3)),
            other => panic!("{entry}: {other}"),
        };
        let (before, after) = text.split_once("--\n").expect(entry);
        let key = head[0];
        pairs.push(Pair {
            key,
            place,
            at,
            before,
            after,
        });
    }
    (pairs, tests)
}

/// A workspace with what the checks look at.
fn workspace() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in [
        (
            ".env",
            "A=1\nWORD=abc\nN=5\nWEAK=aaaabbbb\nSALT=x7Kq9Zp2Lw\nTOKEN=0123456789abcdef0123456789abcdef\n",
        ),
        (".env.example", "IN_THE_EXAMPLE=1\n"),
        ("other.env", "B=2\n"),
        (
            "lib/reads.py",
            "import os\nprint(os.environ['NOBODY_DECLARES'])\n",
        ),
        ("nothing/empty.py", ""),
        (
            "sql/1.sql",
            "CREATE TABLE t (a INTEGER);\nCREATE TABLE u (a INTEGER);\n",
        ),
        ("more/1.sql", "CREATE TABLE v (a INTEGER);\n"),
        ("secrets.json", "{\"K\": \"a-value\"}"),
        ("token", "fedcba9876543210fedcba9876543210\n"),
    ] {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    }
    let mut certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    certificate.not_after = rcgen::date_time_ymd(2060, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    let text = certificate.self_signed(&key).unwrap().pem();
    std::fs::write(dir.path().join("cert.pem"), text).unwrap();
    for file in ["app.db", "other.db"] {
        let connection = rusqlite::Connection::open(dir.path().join(file)).unwrap();
        let table = if file == "app.db" { "t" } else { "u" };
        let sql = format!("CREATE TABLE {table} (a INTEGER)");
        connection.execute_batch(&sql).unwrap();
    }
    dir
}

fn manifest_of(root: &Path, place: In, text: &str) -> Manifest {
    let network = std::fs::read_link("/proc/self/ns/net").unwrap();
    let text = text.replace("NETWORK", &network.display().to_string());
    let of = |wanted: bool| if wanted { text.as_str() } else { "" };
    let run = if text.contains("run = 'sleep") {
        ""
    } else {
        "run = 'sleep 1'\n"
    };
    let (app, layer) = (of(matches!(place, In::App)), of(matches!(place, In::Layer)));
    let (service, tables) = (
        of(matches!(place, In::Service)),
        of(matches!(place, In::Tables)),
    );
    let run = if matches!(place, In::Service) {
        run
    } else {
        "run = 'sleep 1'\n"
    };
    let text = format!(
        "[app]\nname = 'keys'\n{app}\n\
         [[layer]]\nname = 'one'\n{layer}\n\
         [[layer.service]]\nname = 'first'\nrun = 'sleep 1'\n\
         [[layer.service]]\nname = 'a'\n{run}{service}\n\
         [[layer]]\nname = 'extra'\ncritical = false\n\
         {tables}\n{}",
        if tables.contains("[[schema]]") {
            ""
        } else {
            "[[schema]]\nname = 'first'\ndatabase = 'sqlite:///app.db'\nexpect = 'sql:none/*.sql'\n"
        },
    );
    let mut manifest = Manifest::parse(&text, &root.join("ubs.toml"))
        .unwrap_or_else(|error| panic!("{error:?} in:\n{text}"));
    manifest.choose(&Choice::default()).unwrap();
    manifest
}

fn application(manifest: Manifest) -> Application {
    let process_env: BTreeMap<String, String> = ["PATH", "HOME"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)))
        .chain([("INHERITED".to_owned(), "1".to_owned())])
        .collect();
    Application {
        environment: load_environment(&manifest, &process_env).unwrap(),
        state_dir: manifest.workspace.join(".ubs"),
        manifest: Arc::new(manifest),
        process_env,
        redactor: Arc::default(),
        environment_trouble: None,
    }
}

fn services(app: &Application) -> Services {
    let (reports, _) = tokio::sync::mpsc::unbounded_channel();
    let manifest = Arc::clone(&app.manifest);
    Services::new(manifest, &app.state_dir, "mark".to_owned(), reports)
}

fn report_of(app: &Application, check: CheckName) -> String {
    let scratch = app.scratch();
    std::fs::create_dir_all(&scratch).unwrap();
    let report = run_check(
        check,
        &CheckContext {
            manifest: &app.manifest,
            root: &app.manifest.workspace,
            environment: &app.environment.clone().with_services(&app.manifest),
            redactor: &Redactor::default(),
            scratch: &scratch,
            state: None,
            overrides: BTreeMap::new(),
            shared: &SharedRuns::default(),
            sources: &Sources::default(),
            before_boot: false,
            is_live: false,
            earlier: &Earlier::default(),
        },
    );
    // Without what it took.
    format!("{:?} {:#?}", report.status, report.findings)
}

/// What becomes of it in the place where it is used.
fn effect(at: Use, app: &Application) -> String {
    let manifest = &app.manifest;
    match at {
        Use::Plan => {
            let plan = plan_boot(manifest, Mode::Resilient, true);
            format!(
                "{plan:#?} {:#?} {:#?}",
                plan_rules(manifest),
                plan_terms(manifest)
            )
        }
        Use::Start => services(app).shown_start("a", &app.environment),
        Use::Check(check) => report_of(app, check),
        Use::Gaps => format!("{:#?}", gaps(manifest, &app.environment)),
        Use::Api => {
            let tcp = tcp_of(manifest.api.as_ref().unwrap(), app);
            format!("{tcp:#?}")
        }
        Use::Ready(_) | Use::Unready(_) | Use::Live(_) => unreachable!("it is measured"),
    }
}

async fn measured(at: Use, app: &Application) -> Duration {
    let begun = Instant::now();
    let services = services(app);
    match at {
        Use::Ready(_) => services.wait_for_ready("a", &app.environment).await,
        Use::Unready(_) => services.wait_for_unready("a", &app.environment).await,
        _ => services.wait_for_unlive("a", &app.environment).await,
    }
    begun.elapsed()
}

#[test]
fn each_pair_makes_a_difference_where_the_key_is_used() {
    let dir = workspace();
    let app = |place: In, text: &str| application(manifest_of(dir.path(), place, text));
    let mut idle = Vec::new();
    let mut timed = Vec::new();
    for Pair {
        key,
        place,
        at,
        before,
        after,
    } in entries().0
    {
        let last = key.rsplit('.').next().unwrap();
        assert!(after.contains(last), "{key} does not stand in {after}");
        let (before, after) = (app(place, before), app(place, after));
        match at {
            Use::Ready(ms) | Use::Unready(ms) | Use::Live(ms) => {
                timed.push((key, at, ms, before, after));
            }
            _ => {
                let without = effect(at, &before);
                // It is the key that makes the difference, and not the moment.
                assert_eq!(without, effect(at, &before), "{key}");
                if without == effect(at, &after) {
                    idle.push(key);
                }
            }
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    // A busy machine makes the quick one of a pair slow, but not three times.
    for _ in 0..3 {
        let waits = timed.iter().map(async |(key, at, ms, before, after)| {
            let bound = Duration::from_millis(*ms);
            let (first, second) = tokio::join!(measured(*at, before), measured(*at, after));
            (first >= bound || second < bound).then_some(*key)
        });
        let slow = runtime.block_on(futures_util::future::join_all(waits));
        let slow: BTreeSet<_> = slow.into_iter().flatten().collect();
        timed.retain(|(key, ..)| slow.contains(key));
    }
    idle.extend(timed.iter().map(|(key, ..)| *key));
    assert_eq!(idle, [""; 0], "these keys are read and do nothing");
}

/// Every key of the schema, by its path; those of a named table below `NAME`.
fn collect(root: &Value, at: &Value, path: &str, found: &mut BTreeSet<String>) {
    if let Some(reference) = at.get("$ref").and_then(Value::as_str) {
        collect(root, root.pointer(&reference[1..]).unwrap(), path, found);
    }
    if let Some(properties) = at.get("properties").and_then(Value::as_object) {
        for (key, value) in properties {
            let path = [path, key].join(if path.is_empty() { "" } else { "." });
            found.insert(path.clone());
            collect(root, value, &path, found);
        }
    } else if let Some(named @ Value::Object(_)) = at.get("additionalProperties") {
        collect(root, named, &format!("{path}.NAME"), found);
    }
    let choices = at.get("anyOf").and_then(Value::as_array);
    for part in at
        .get("items")
        .into_iter()
        .chain(choices.into_iter().flatten())
    {
        collect(root, part, path, found);
    }
}

#[test]
fn every_key_of_the_schema_has_something_that_shows_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let schema = std::fs::read_to_string(root.join("schema/ubs.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let mut keys = BTreeSet::new();
    collect(&schema, &schema, "", &mut keys);
    assert!(keys.len() > 200, "{}", keys.len());
    let (pairs, tests) = entries();
    let of_tests = tests.iter().map(|named| named.key);
    let shown: BTreeSet<&str> = pairs.iter().map(|pair| pair.key).chain(of_tests).collect();
    let is_table = |key: &str| {
        keys.iter()
            .any(|other| other.starts_with(&format!("{key}.")))
    };
    let dark: Vec<&String> = keys
        .iter()
        .filter(|key| !shown.contains(key.as_str()) && !is_table(key))
        .collect();
    assert_eq!(
        dark, [""; 0],
        "nothing shows what these keys do: give each an entry in this file"
    );
    let unknown: Vec<&&str> = shown.iter().filter(|key| !keys.contains(**key)).collect();
    assert_eq!(unknown, [&""; 0], "the schema has no such keys");
    // The test is there, and has to do with the key.
    for Named {
        key,
        file,
        test,
        word,
    } in tests
    {
        let text = std::fs::read_to_string(root.join(file)).expect(key);
        let begin = text
            .find(&format!("fn {test}("))
            .unwrap_or_else(|| panic!("{file} has no {test}"));
        let attributes = &text[..begin].trim_end();
        assert!(
            attributes.ends_with(']') || attributes.ends_with("async"),
            "{test} is no test"
        );
        let body = &text[begin..];
        let body = &body[..body
            .find("\n#[test]")
            .or(body.find("\n    #[test]"))
            .unwrap_or(body.len())];
        assert!(
            body.contains(word),
            "{file}: {test} has no {word:?}, so it does not show {key}"
        );
    }
}
