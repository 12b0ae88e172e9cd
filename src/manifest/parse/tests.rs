//! What a manifest means, and what is refused.

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use crate::manifest::*;

fn parse(text: &str) -> Result<Manifest, ManifestError> {
    Manifest::parse(text, Path::new("ubs.toml"))
}

/// The one-line errors of `[app]` and this text, and what to do about each.
fn problems(text: &str) -> Vec<(String, String)> {
    let text = format!("app.name = \"x\"\n{text}");
    let error = parse(&text).expect_err(&text);
    let one = |problem: &Problem| {
        let help = problem.help.clone().unwrap_or_default();
        let Problem {
            line,
            column,
            message,
            ..
        } = problem;
        (format!("{line}:{column}: {message}"), help)
    };
    error.problems().iter().map(one).collect()
}

fn good(text: &str) -> Manifest {
    let text = format!("app.name = \"x\"\n{text}");
    parse(&text).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

/// Service `api`, then `db`, in one layer.
fn needy(api: &str, db: &str) -> String {
    format!(
        "[[layer]]\nname='a'\n[[layer.service]]\n{api}\nname='api'\nrun='x'\n[[layer.service]]\n{db}\nname='db'\nrun='y'"
    )
}

#[test]
fn the_smallest_manifest_has_every_default() {
    let manifest = parse("[app]\nname = \"shop\"\n").unwrap();
    let expected = Manifest {
        path: PathBuf::from("ubs.toml"),
        workspace: PathBuf::from("."),
        digest: *blake3::hash(b"[app]\nname = \"shop\"\n").as_bytes(),
        name: "shop".into(),
        python: Python {
            interpreter: None,
            path: vec![".".into()],
            requirements: None,
        },
        config: Config {
            files: vec![".env".into()],
            ..Config::default()
        },
        vault: None,
        schemas: vec![],
        registration: None,
        checks: vec![],
        choice: Choice::default(),
        acknowledged: vec![],
        layers: vec![],
        sandbox: SandboxView::default(),
        heal: Heal {
            attempts: 5,
            backoff_ms: 200,
            backoff_ms_max: 30_000,
            breaker: 3,
            probation_ms: 300_000,
            restart: RestartAfterFix::Affected,
            offer_ms: 600_000,
            policy: Policies {
                additive: Policy::Auto,
                edit: Policy::Auto,
                destructive: Policy::Approve,
                guarded: Policy::Approve,
                open: Policy::Approve,
            },
            playbooks: vec![],
            sandbox_require: vec![],
            sandbox_limits: SandboxLimits::default(),
        },
        validate_every_ms: Some(3_600_000),
        api: None,
        logs: Default::default(),
        notify: vec![],
    };
    assert_eq!(manifest, expected);
}

#[test]
fn the_smallest_service_has_every_default() {
    let manifest = good(
        "[[layer]]\nname = \"api\"\n[[layer.service]]\nname = \"api\"\nrun = \"uvicorn 'a b'\"\nready = { tcp = \"[::1]:1\" }\nlive = { exec = \"true\" }\n",
    );
    let layer = &manifest.layers[0];
    assert!(layer.critical && layer.after.is_empty() && layer.line == 2);
    let service = &layer.services[0];
    assert_eq!(service.run, ["uvicorn", "a b"]);
    assert_eq!(service.line, 4);
    let ready = service.ready.as_ref().unwrap();
    assert_eq!((ready.interval_ms, ready.timeout_ms), (100, 30_000));
    let live = service.live.as_ref().unwrap();
    assert_eq!(
        (live.interval_ms, live.timeout_ms, live.failures_max),
        (10_000, 5_000, 3)
    );
    assert_eq!(service.restart, Restart::default());
    assert_eq!(service.stop, Stop::default());
    assert_eq!(manifest.service("api").unwrap().0.name, "api");
}

#[test]
fn short_forms_and_written_out_tables_mean_the_same() {
    let short =
        good("[[layer]]\nname='l'\n[[layer.service]]\nname='s'\nrun='x'\nrestart='never'\n");
    let long = good(
        "[[layer]]\nname='l'\n[[layer.service]]\nname='s'\nrun=['x']\nrestart.policy='never'\n",
    );
    let inline =
        good("layer = [{ name='l', service=[{ name='s', run='x', restart={ policy='never' } }] }]");
    let restart = |m: &Manifest| m.layers[0].services[0].clone().restart;
    assert_eq!(restart(&short), restart(&long));
    assert_eq!(restart(&short), restart(&inline));
    let tables = good("[registration]\napp='fastapi:a:b'\n[[registration.services]]\nname='u'\n");
    let names = good("[registration]\napp='fastapi:a:b'\nservices=['u']\n");
    assert_eq!(
        tables.registration.unwrap().services,
        names.registration.unwrap().services
    );
}

#[test]
fn a_backoff_alone_moves_the_default_of_the_other() {
    let long = good("[heal]\nbackoff='1m'").heal;
    assert_eq!((long.backoff_ms, long.backoff_ms_max), (60_000, 60_000));
    let short = good("[heal]\nmax_backoff='50ms'").heal;
    assert_eq!((short.backoff_ms, short.backoff_ms_max), (50, 50));
}

#[test]
fn layers_come_after_the_one_before_unless_told_otherwise() {
    let manifest = good(
        "[[layer]]\nname='a'\n[[layer]]\nname='b'\n[[layer]]\nname='c'\nafter=[]\n[[layer]]\nname='d'\nafter=['c','a']\n",
    );
    let after: Vec<_> = manifest.layers.iter().map(|l| l.after.clone()).collect();
    assert_eq!(
        after,
        [
            vec![],
            vec!["a".to_owned()],
            vec![],
            vec!["c".into(), "a".into()]
        ]
    );
}

#[test]
fn validation_can_be_switched_off() {
    assert_eq!(good("[validate]\nevery='0'").validate_every_ms, None);
    assert_eq!(
        good("[validate]\nevery='1h30m'").validate_every_ms,
        Some(5_400_000)
    );
}

#[test]
fn variables_keep_what_was_declared() {
    let manifest = good(
        "[config.vars.PORT]\nkind='int'\nmin=1\nmax=9000\ndefault=8000\none_of=[8000, '9000']\n[config.vars.WAIT]\nkind='duration'\nmin='5s'\nmax=60\n",
    );
    let port = &manifest.config.vars["PORT"];
    assert_eq!(port.default.as_deref(), Some("8000"));
    assert_eq!(port.one_of, ["8000", "9000"]);
    assert_eq!(port.line, 2);
    let wait = &manifest.config.vars["WAIT"];
    assert_eq!((wait.min, wait.max), (Some(5.0), Some(60.0)));
}

const LAYER: &str = "[[layer]]\nname = \"a\"\n";
const SERVICE: &str = "[[layer]]\nname = \"a\"\n[[layer.service]]\nname = \"s\"\nrun = \"x\"\n";

/// One mistake each: text, and what has to be in the message or in the help.
#[test]
fn every_mistake_is_refused_with_its_place_and_the_right_word() {
    let service = |line: &str| format!("{SERVICE}{line}");
    let layer = |line: &str| format!("{LAYER}{line}");
    let var = |lines: &str| format!("[config.vars.V]\n{lines}");
    let playbook =
        |lines: &str| format!("[[heal.playbook]]\nmatch={{error='x'}}\nrun=['y']\n{lines}");
    let cases: Vec<(String, &str, &str)> = vec![
        // Keys.
        ("[confg]".into(), "2:2: unknown key `confg`", "`config`"),
        (layer("critcal = true"), "4:1: unknown key `critcal`", "`critical`"),
        (service("critical = true"), "7:1: unknown key `critical`", "belongs into [[layer]]"),
        (service("ready = { htp = 'x' }"), "unknown key `htp`", "`http`"),
        (service("restart.polcy = 'x'"), "unknown key `polcy`", "`policy`"),
        ("\"\\u001b[31m\" = 1".into(), "unknown key `\\u{1b}[31m`", ""),
        // What a later version may have.
        ("[config]\nscan = ['../x']".into(), "3:9:", ""),
        // Vaults.
        ("[vault]".into(), "2:1: [vault] has no `kind`", "hashicorp"),
        ("[vault]\nkind='hashcorp'".into(), "`hashcorp` is not allowed here", "`hashicorp`"),
        ("[vault]\nkind='hashicorp'\npath='x'".into(), "4:1: `path` means something for `kind = \"file\"` only", ""),
        ("[vault]\nkind='hashicorp'\ntoken='hvs.x'".into(), "a secret does not belong into the manifest", "${VAULT_TOKEN}"),
        ("[vault]\nkind='hashicorp'\nkeys=['../sys/x#y']".into(), "is not a path in a vault", ""),
        ("[vault]\nkind='hashicorp'\nkeys=['a#']".into(), "names no field", ""),
        ("[vault]\nkind='hashicorp'\nkv=3".into(), "`kv` cannot be 3", ""),
        ("[vault]\nkind='file'\npath='x'\nformat='age'".into(), "5:8: `format = \"age\"` is not supported any more",
            "command = [\"age\", \"-d\", \"-i\", \"key.txt\", \"x\"]"),
        ("[vault]\nkind='file'\nformat='age'\npath='s.age'\nidentity_file='/k'".into(), "4:8: `format = \"age\"`",
            "command = [\"age\", \"-d\", \"-i\", \"/k\", \"s.age\"]"),
        ("[vault]\nkind='file'\nformat='json'\npath='x'\nidentity_file='/k'".into(), "6:1: `identity_file` is no key", "kind = \"command\""),
        ("[vault]\nkind='command'\ncommand='age'\nidentity_file='/k'".into(), "5:1: `identity_file` is no key", "\"/k\", \"secrets.age\"]"),
        ("[vault]\nkind='file'\npath='x'\nformat='fernet'".into(), "has no `key`", ""),
        ("[vault]\nkind='command'".into(), "has no `command`", ""),
        ("[config.vars.V]\nmin_entropy=40".into(), "`min_entropy` is for secrets only", ""),
        ("[config.vars.V]\nsecret=true\nmin_entropy=-1".into(), "`min_entropy` cannot be -1", ""),
        ("[heal]\nplaybooks = []".into(), "`heal.playbooks` is not supported", ""),
        (playbook("name='b'\n") + &playbook("name='b'\n"), "9:6: two playbooks are called `b`", ""),
        (playbook("name='playbook-2'\n") + &playbook(""), "6:1: two playbooks are called `playbook-2`", ""),
        (playbook("sql={schema='mian',statements=['x']}\n") + "[[schema]]\nname='main'\ndatabase='a://b'\nexpect='sql:x'\n",
            "no [[schema]] is called `mian`; did you mean `main`?", ""),
        (service("[[layer.service]]\nname='redis'\nrun='x'\n") + &playbook("restart=['redsi']\n"),
            "there is no service `redsi`; did you mean `redis`?", "[[layer.service]]"),
        (service("oneshot=true\n") + &playbook("restart=['s']\n"), "service `s` is a one-shot", ""),
        (playbook("verify={}\n"), "a probe needs one of `http`, `tcp`, `exec`, `file`", ""),
        (playbook("verify={ log='x' }\n"), "unknown key `log`", "belongs into `ready`"),
        (playbook("verify={ tcp='a:1', status=[200] }\n"), "`status` has a meaning with `http` only", ""),
        (playbook("verify={ file='x', timeout='1h' }\n"), "`timeout` of `verify` is too long", "5m"),
        ("[[heal.playbook]]\nmatch={error='x'}\nverify={ file='x' }\n".into(), "has no `run`", ""),
        ("[heal]\nagents = []".into(), "`heal.agents` is not supported", ""),
        (service("live = { log = 'x' }"), "unknown key `log`", "belongs into `ready`"),
        (service("ready = { log = '(' }"), "the pattern cannot be used", "docs.rs/regex"),
        (service("ready = { http = 'http://a/', body = '[' }"), "the pattern cannot be used", ""),
        (service("ready = { notify = false }"), "tests nothing", "notify = true"),
        (service("ready = { sql = 'mian' }\n") + "[[schema]]\nname='main'\ndatabase='a://b'\nexpect='sql:x'\n", "no [[schema]] is called `mian`; did you mean `main`?", ""),
        (service("ready = { tcp = 'a:1', status = [200] }"), "`status` has a meaning with `http` only", ""),
        (service("ready = { http = 'http://a/', status = [20] }"), "whole numbers from 100 to 599", ""),
        (service("ready = { http = 'http://a/', status = [] }"), "allows no status", ""),
        (service("ready = { http = 'http://a/', headers = { 'a b' = 'c' } }"), "cannot be the name of a header", ""),
        (service("ready = { file = '../x' }"), "leaves the workspace", ""),
        (service("umask = '8'"), "`8` is not a umask", "027"),
        (service("limits = { memory = '12' }"), "is not a size", ""),
        (service("limits = { stack = '12' }"), "unknown key `stack`", "open_files"),
        (service("env_file = [3]"), "`env_file` must be a string", ""),
        (service("env_file = { optional = true }"), "`env_file` has no `path`", ""),
        (service("stop = { command = 'a | b' }"), "for a shell", ""),
        ("[registration]\nopenapi='x'".into(), "does not begin with http://", "openapi.json"),
        ("[[schema]]\nname='m'\ndatabase='a://b'\nexpect='alembic:../x'".into(), "leaves the workspace", ""),
        ("[[schema]]\nname='m'\ndatabase='a://b'\nexpect='django:x y'".into(), "is not the name of a module", ""),
        ("[[schema]]\nname='m'\ndatabase='a://b'\nexpect='sql:x'\nmodels='sqlalchemy:a:b'".into(), "beside `expect = \"alembic:...\"` only", ""),
        ("[registration]\nopenapi='https://x'".into(), "https are not supported", ""),
        // Types.
        (layer("critical = \"yes\""), "4:12: `critical` must be a boolean, and this is a string", "true or false"),
        (layer("after = 'b'"), "`after` must be a list of strings", "square brackets"),
        (layer("after = [1]"), "4:10: `after` must be a string", "quotes"),
        ("[layer]\nname = 'a'".into(), "`layer` is a list of tables", "[[layer]]"),
        ("[[heal]]".into(), "there is one `heal` only", "[heal]"),
        ("python = 3".into(), "`python` must be a table", ""),
        ("[python]\npath = 1979-05-27".into(), "this is a date", ""),
        (service("env = 'A=1'"), "`env` must be a table", ""),
        (service("env = { A = [] }"), "`A` must be a string", ""),
        // Numbers with units.
        (service("stop = { timeout = 10 }"), "`timeout` is a number without a unit", "\"10s\""),
        (service("stop = { timeout = '10' }"), "`10` is not a duration", "\"10s\""),
        (service("ready = { tcp = 'a:1', timeout = '0' }"), "`timeout` cannot be shorter", ""),
        ("[validate]\nevery = 0".into(), "must be a string", "\"0\""),
        ("[validate]\nevery = '10ms'".into(), "cannot be shorter than 1s", "\"0\""),
        ("[heal]\nsandbox.limits.memory = '1MiB'".into(), "`memory` cannot be smaller than 64MiB", ""),
        ("[heal]\nsandbox.limits.memory = 512".into(), "is a number without a unit", "\"512MiB\""),
        ("[heal]\nattempts = 101".into(), "`attempts` cannot be 101", "1 to 100"),
        ("[heal]\nattempts = 0".into(), "`attempts` cannot be 0", ""),
        ("[heal]\nbackoff = '2s'\nmax_backoff = '1s'".into(), "`backoff` is longer than `max_backoff`", ""),
        // Words.
        (service("restart = 'onfailure'"), "`onfailure` is not allowed here", "`on-failure`"),
        (service("stop = { signal = 'TREM' }"), "`TREM` is not a signal for stopping", "`TERM`"),
        (service("stop = { signal = 'STOP' }"), "`STOP` is not a signal for stopping", ""),
        ("[heal]\npolicy = { destructive = 'auto' }".into(), "without a person's approval", "approve"),
        ("[heal]\npolicy = { guarded = 'auto' }".into(), "without a person's approval", "approve"),
        ("[heal]\npolicy = { edit = 'never' }".into(), "`never` is not allowed here", "`report`"),
        ("[heal]\nsandbox.require = ['netwrk']".into(), "`netwrk`", "`network`"),
        (var("kind = 'integer'"), "3:8: `integer` is not allowed here", "`int`"),
        ("[[schema]]\nname='m'\ndatabase='a://b'\nexpect='sqlalchmy:a:b'".into(), "`sqlalchmy`", "`sqlalchemy`"),
        ("[registration]\napp='a.main:app'".into(), "does not say which kind", "\"fastapi:a.main:app\""),
        ("[registration]\napp='flask:a'".into(), "module:attribute", "flask:backend"),
        ("[registration]\napp='django:a/b.py'".into(), "name of a module", "django:site.settings"),
        ("[registration]\nservices=['a']".into(), "app", ""),
        ("[registration]\napp='fastapi:a'".into(), "module:attribute", ""),
        ("[registration]\napp='fastapi:a:b'\nmin_coverage=90".into(), "cannot be 90", "0.9"),
        ("[registration]\napp='fastapi:a:b'\nservices=[{name='a', prefix='api'}]".into(), "not the path of a URL", ""),
        // Names.
        ("[[layer]]\nname = '../x'".into(), "`../x` cannot be a name", ""),
        ("[[layer]]\nname = '.x'".into(), "`.x` cannot be a name", ""),
        ("[[layer]]\nname = ''".into(), "cannot be a name", ""),
        ("[[layer]]".into(), "2:1: [[layer]] has no `name`", "name ="),
        ("[[layer]]\nname='a'\n[[layer]]\nname='a'".into(), "5:6: two layers are called `a`", ""),
        (format!("{SERVICE}[[layer.service]]\nname='s'\nrun='y'"), "two services are called `s`", ""),
        ("[[schema]]\nname='m'\ndatabase='a://b'\nexpect='sql:*.sql'\n[[schema]]\nname='m'\ndatabase='a://b'\nexpect='sql:*.sql'".into(), "two schemas are called `m`", ""),
        ("[config.vars.\"A-B\"]".into(), "`A-B` cannot be the name of a variable", ""),
        ("[config.vars.1A]".into(), "cannot be the name of a variable", ""),
        (service("env = { 'a b' = '' }"), "cannot be the name of a variable", ""),
        (layer("rehearse = { imports = ['backend/models.py'] }"), "cannot be the name of a module", "`backend.models`"),
        (layer("rehearse = { call = 'a.b' }"), "module:attribute", ""),
        (layer("rehearse = { timeout = '1s' }"), "names nothing that could be tried", ""),
        (service("user = '0:0'"), "cannot be the name of a user", ""),
        // Order.
        ("[[layer]]\nname='database'\n[[layer]]\nname='b'\nafter=['databse']".into(), "6:8: there is no layer `databse`", "`database`"),
        (layer("after = ['a']"), "layer `a` cannot come after itself", ""),
        ("[[layer]]\nname='a'\n[[layer]]\nname='b'\nafter=['a','a']".into(), "`a` is named twice", ""),
        ("[[layer]]\nname='a'\nafter=['c']\n[[layer]]\nname='b'\nafter=['a']\n[[layer]]\nname='c'\nafter=['b']".into(), "4:8: layers wait for each other: a -> c -> b -> a", "take one"),
        ("[[layer]]\nname='a'\nafter=['c']\n[[layer]]\nname='b'\n[[layer]]\nname='c'".into(), "a -> c -> b -> a", "without `after` (c, b)"),
        // Needs.
        (needy("needs = { dbb = 'ready' }", ""), "there is no service `dbb`", "`db`"),
        (needy("needs = { api = 'ready' }", ""), "service `api` cannot need itself", ""),
        (needy("needs = { db = 'redy' }", ""), "`redy` is not allowed here", "`ready`"),
        (needy("needs = ['db']", ""), "`needs` must be a table", ""),
        (needy("needs = { db = 'ready' }", "disabled = true"), "`db` is disabled", "disabled"),
        (needy("needs = { db = 'succeeded' }", ""), "is started again whenever it ends", "oneshot"),
        (needy("needs = { db = 'logged' }", ""), "has no readiness by a line of its output", "ready = { log"),
        (needy("needs = { db = 'ready' }", "needs = { api = 'started' }"), "5:11: services wait for each other: api -> db -> api", "take one"),
        // The layer of what is needed comes after the own one.
        ("[[layer]]\nname='a'\n[[layer.service]]\nname='x'\nrun='x'\nneeds={ y = 'ready' }\n[[layer]]\nname='b'\n[[layer.service]]\nname='y'\nrun='y'".into(), "x -> y -> layer a -> x", "take one"),
        (service("restart = { jitter = 101 }"), "`jitter` cannot be 101", ""),
        (service("on_end = 'exit'"), "`exit` is not allowed here", "`stop`"),
        // Commands and probes.
        ("[[layer]]\nname='a'\n[[layer.service]]\nname='s'".into(), "4:1: [[layer.service]] has no `run`", ""),
        ("[[layer]]\nname='a'\n[[layer.service]]\nname='s'\nrun='a | b'".into(), "`|` is for a shell", "sh"),
        ("[[layer]]\nname='a'\n[[layer.service]]\nname='s'\nrun=\"a 'b\"".into(), "a quote is not closed", ""),
        ("[[layer]]\nname='a'\n[[layer.service]]\nname='s'\nrun=[]".into(), "the command is empty", ""),
        ("[[layer]]\nname='a'\n[[layer.service]]\nname='s'\nrun=['${A']".into(), "never closed", "$${"),
        (service("ready = {}"), "one of `http`, `tcp`, `exec`, `file`", ""),
        (service("ready = { tcp = 'a:1', exec = 'x' }"), "not several", ""),
        (service("ready = { tcp = '5432' }"), "host:port", "127.0.0.1:5432"),
        (service("ready = { tcp = 'a:70000' }"), "host:port", ""),
        (service("ready = { http = 'localhost:80' }"), "does not begin with http://", ""),
        (service("live = { http = 'http://:80/' , successes = 3 }"), "unknown key `successes`", "belongs into `ready`"),
        (service("ready = { http = 'http://a:b/' }"), "no right port", ""),
        (service("oneshot = true\nlive = { tcp = 'a:1' }"), "`live` has no meaning with `oneshot = true`", ""),
        (service("oneshot = true\nrestart = 'always'"), "`restart` has no meaning", ""),
        // Paths.
        (service("cwd = '../x'"), "leaves the workspace", "absolute"),
        (service("cwd = '~/x'"), "home directory", ""),
        ("[config]\nfiles = ['/etc/env']".into(), "`/etc/env` is an absolute path", ""),
        ("[config]\nfiles = ['.env', '../b']".into(), "`../b` leaves the workspace", ""),
        ("[config]\nfiles = ['.env', '.env']".into(), "named twice", ""),
        ("[config]\nexample = 'a/../../b'".into(), "leaves the workspace", ""),
        ("[python]\npath = ['']".into(), "an empty path", ""),
        ("[[schema]]\nname='m'\ndatabase='a://b'\nexpect='sql:../*.sql'".into(), "leaves the workspace", ""),
        ("[[schema]]\nname='m'\ndatabase='a://b'\nexpect='sql:[a'".into(), "is not a pattern", ""),
        ("[[schema]]\nname='m'\ndatabase='app.db'\nexpect='sql:a'".into(), "`database` is not a URL", ""),
        ("[[schema]]\nname='m'".into(), "has no `database`", ""),
        // Variables.
        (var("pattern = '('"), "3:11: the pattern cannot be used: unclosed group", ""),
        (var("kind='int'\nmin = 2\nmax = 1"), "no value is right", ""),
        (var("min = 2"), "`min` has no meaning for a variable that is no number", "kind"),
        (var("secret = true\ndefault = 'x'"), "a secret cannot have a default", "generate"),
        (var("generate = true"), "`generate` is for secrets only", "secret = true"),
        (var("secret = true\ngenerate = true\nmin_length = 65"), "64 characters", ""),
        (var("kind='int'\nsecret = true\ngenerate = true"), "asks for something else", ""),
        (var("kind='enum'"), "has no `one_of`", ""),
        (var("one_of=[]"), "allows no value", ""),
        (var("kind='int'\none_of=['a']"), "`a` in `one_of` is not a whole number", ""),
        (var("kind='int'\ndefault='x'"), "the default is not a whole number", ""),
        (var("kind='int'\nmin=5\ndefault=4"), "the default is smaller than 5", ""),
        (var("one_of=['a']\ndefault='b'"), "the default is not one of a", ""),
        (var("reject=['b']\ndefault='b'"), "the default is a placeholder", ""),
        (var("min_length = -1"), "`min_length` cannot be -1", ""),
        // Characters and syntax.
        ("[python]\ninterpreter = \"a\\u0000b\"".into(), "control character U+0000", ""),
        (service("env = { A = \"a\\u0000b\" }"), "control character U+0000", ""),
        ("[python]\ninterpreter = \"a\\nb\"".into(), "control character U+000A", ""),
        ("[python".into(), "2:8: not valid TOML", ""),
        ("[python]\n[python]".into(), "not valid TOML: duplicate key", "stands once"),
        ("a = 'x".into(), "not valid TOML", ""),
    ];
    for (text, message, help) in cases {
        let found = problems(&text);
        let right = found
            .iter()
            .any(|(m, h)| m.contains(message) && (m.contains(help) || h.contains(help)));
        assert!(
            right,
            "{text}\nwants {message:?} and {help:?}, has {found:#?}"
        );
        assert!(found.len() <= 3, "{text} has consequences: {found:#?}");
    }
}

#[test]
fn one_mistake_is_one_problem() {
    for text in [
        "[confg]\n",
        "[[layer]]\nname='a'\n[[layer]]\nname='b'\nafter=['x']\n",
        "[[layer]]\nname='a'\nafter=['b']\n[[layer]]\nname='b'\nafter=['a']\n[[layer]]\nname='c'\n",
        "[registration]\napp='x'\n",
        "[config.vars.A]\nkind='intt'\nmin=1\n",
    ] {
        assert_eq!(problems(text).len(), 1, "{text}: {:#?}", problems(text));
    }
}

#[test]
fn an_application_needs_a_name() {
    let error = parse("").unwrap_err();
    assert_eq!(
        error.to_string(),
        "ubs.toml:1:1: the manifest does not name its application"
    );
    assert_eq!(
        parse("[app]").unwrap_err().to_string(),
        "ubs.toml:1:1: [app] has no `name`"
    );
}

#[test]
fn problems_come_in_the_order_of_the_file_and_the_rest_is_counted() {
    use std::fmt::Write as _;
    let mut text = "[validate]\nevery = 1\n[app]\nname = ''\n".to_owned();
    for index in 0..30 {
        let _ = writeln!(text, "key{index} = 1");
    }
    let error = parse(&text).unwrap_err();
    assert_eq!(error.problems().len(), 20);
    assert_eq!(error.problems_omitted(), 12);
    let lines: Vec<u32> = error.problems().iter().map(|p| p.line).collect();
    assert_eq!(lines[..3], [2, 4, 5]);
    assert!(lines.is_sorted());
    assert!(
        error.to_string().ends_with("(and 31 more problems)"),
        "{error}"
    );
    let json = serde_json::to_value(&error.problems()[0]).unwrap();
    assert_eq!(json["line"], 2);
    assert_eq!(json.as_object().unwrap().len(), 4);
}

#[test]
fn a_hostile_size_is_refused_in_good_time() {
    use std::fmt::Write as _;
    let mut text = "app.name='x'\n".to_owned();
    for index in 0..1001 {
        let _ = writeln!(text, "[[layer]]\nname='l{index}'\nafter=['m{index}']");
    }
    let error = parse(&text).unwrap_err();
    assert!(error.problems_omitted() > 900);
    // As much of one thing as fits into a file.
    for (head, part) in [
        ("", "k# = 1\n"),
        ("", "[k#]\n"),
        ("", "[[layer]]\n"),
        (
            "[[layer]]\nname='a'\n",
            "[[layer.service]]\nname='#'\nrun='x'\n",
        ),
        ("[[layer]]\nname='a'\n", "[[layer.service]]\nname='a'\n"),
        ("", "[config.vars.A#]\npattern='\\w{9}'\n"),
        ("[python]\n", "path.a#=1\n"),
    ] {
        let mut text = format!("app.name='x'\n{head}");
        let count = (1 << 20) / (part.len() + 6);
        for index in 0..count {
            text.push_str(&part.replace('#', &index.to_string()));
        }
        let begun = std::time::Instant::now();
        let _ = parse(&text);
        assert!(
            begun.elapsed().as_secs() < 30,
            "{part:?}: {:?}",
            begun.elapsed()
        );
    }
    let error = parse(&"a".repeat(2 << 20)).unwrap_err();
    assert!(error.to_string().contains("2097152 bytes"), "{error}");
    assert!(parse(&format!("a = {}", "[".repeat(100_000))).is_err());
}

#[test]
fn a_cycle_of_many_layers_is_named_in_short() {
    use std::fmt::Write as _;
    let mut text = "app.name='x'\n[[layer]]\nname='l0'\nafter=['l999']\n".to_owned();
    for index in 1..1000 {
        let _ = writeln!(text, "[[layer]]\nname='l{index}'");
    }
    let error = parse(&text).unwrap_err();
    assert_eq!(error.problems().len(), 1);
    assert!(error.problems()[0].message.contains("l0 -> l999 -> l998"));
    assert!(error.problems()[0].message.len() < 300);
}

#[test]
fn what_is_no_readable_file_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let why = |path: &Path| Manifest::load(path).unwrap_err().to_string();
    assert!(why(&at("no")).ends_with("there is no such file"));
    assert!(why(dir.path()).ends_with("is a directory, not a file"));
    nix::unistd::mkfifo(&at("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(why(&at("pipe")).contains("pipe"));
    std::fs::write(at("latin"), b"[app]\nname = \"caf\xe9\"\n").unwrap();
    assert!(why(&at("latin")).ends_with(":2:12: the manifest is not UTF-8 text"));
    std::fs::write(at("large"), vec![b'#'; (1 << 20) + 1]).unwrap();
    assert!(why(&at("large")).contains("1048577 bytes"));
}

#[test]
fn a_manifest_is_found_upwards_and_its_directory_is_the_workspace() {
    let dir = tempfile::tempdir().unwrap();
    let below = dir.path().join("a/b");
    std::fs::create_dir_all(&below).unwrap();
    // A directory of that name is no manifest.
    std::fs::create_dir(below.join("ubs.toml")).unwrap();
    let file = dir.path().join("ubs.toml");
    std::fs::write(&file, "[app]\nname='x'\n").unwrap();
    assert_eq!(find_manifest(&below), Some(file.clone()));
    assert_eq!(find_manifest(dir.path()), Some(file.clone()));
    assert_eq!(Manifest::load(&file).unwrap().workspace, dir.path());
}

fn words() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "[app]",
        "[[layer]]",
        "[[layer.service]]",
        "[heal]",
        "[config.vars.A]",
        "[[schema]]",
        "[registration]",
        "\n",
        "\n",
        "\n",
        "name",
        "run",
        "after",
        "kind",
        "min",
        "default",
        "ready",
        "restart",
        "policy",
        "sandbox",
        "=",
        "=",
        "=",
        "'a'",
        "\"b\"",
        "1",
        "0.5",
        "true",
        "[",
        "]",
        "{",
        "}",
        ",",
        "['a']",
        "{ http = 'x' }",
        ".",
        "'${A'",
        "\u{1b}",
        "ü",
        "#",
        "\"\"\"",
        "'''",
        "\\",
        "\r\n",
        "\0",
        "'30s'",
        "nan",
        "-9223372036854775808",
    ]);
    prop::collection::vec(word, 0..40).prop_map(|words| words.join(" "))
}

proptest! {
    #[test]
    fn any_text_is_a_manifest_or_a_clear_error(text in prop_oneof![any::<String>(), words()]) {
        let text = format!("app.name='x'\n{text}");
        if let Err(error) = parse(&text) {
            prop_assert!(!error.problems().is_empty());
            prop_assert!(!error.to_string().chars().any(char::is_control), "{error}");
            crate::manifest::problem::tests::render(&error);
        }
    }
}

#[test]
fn needs_ends_and_restarts_are_read() {
    use crate::manifest::{NeedCondition, OnEnd, RestartCondition};
    let text = needy(
        "needs = { db = 'completed' }\non_end = 'stop'",
        "restart = { policy = 'never', jitter = 0 }",
    );
    let manifest = Manifest::parse(
        &format!("[app]\nname='x'\n{text}\n[[layer]]\nname='b'\nafter=['a']\n[[layer.service]]\nname='c'\nrun='c'\nrestart='unless-stopped'\ndisabled=true"),
        Path::new("ubs.toml"),
    )
    .unwrap();
    let service = |name: &str| manifest.service(name).unwrap().1;
    assert_eq!(service("api").needs["db"], NeedCondition::Completed);
    assert_eq!(service("api").on_end, OnEnd::Stop);
    assert_eq!(
        service("api").restart.policy,
        RestartCondition::Never,
        "its end is the end"
    );
    assert_eq!(service("db").restart.jitter_percent, 0);
    assert_eq!(service("c").restart.policy, RestartCondition::UnlessStopped);
    assert!(service("c").disabled);
    let needing: Vec<bool> = manifest.layers.iter().map(|layer| layer.needing).collect();
    assert_eq!(needing, [false, true]);
}
