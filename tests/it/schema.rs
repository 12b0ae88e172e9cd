//! The schema check on applications that nobody here wrote, with databases that their own migrations made,
//! on SQLite and on PostgreSQL; beside it, Alembic's `compare_metadata` on the same databases.
//!
//! `tests/schema/NAME/truth.toml` argues each finding that Alembic does not have, and each difference that
//! Alembic has and the check does not. Then the databases are mutated (`support/mutate.rs`), and both are
//! judged by what the catalog says was changed.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::Workspace;
use crate::support::catalog::{Catalog, Place};
use crate::support::mutate::{Field, Kind, Mutation, Rng};
use crate::support::postgres::Server;
use crate::support::real::check_out_in;
use serde::Deserialize;
use toml_edit::{DocumentMut, Table};

/// Findings that one run of a check tells; more are counted only.
const FINDINGS_MAX: usize = 200;
/// Of each of the eight databases in the long run; `UBS_MUTATIONS` says otherwise.
const MUTATIONS: usize = 25;
/// Of each of the two databases in the normal run.
const FEW: usize = 4;
/// The least share of mutations that are found, and of reports that are about one.
const SHARE_MIN: f64 = 0.99;

/// What was said of a place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Report {
    /// Code of a finding, or operation of Alembic.
    what: String,
    table: String,
    /// What it may be called.
    names: Vec<String>,
}

impl Report {
    fn is_about(&self, places: &BTreeSet<Place>) -> bool {
        places.iter().any(|(table, name)| {
            *table == self.table && (name.is_empty() || self.names.contains(name))
        })
    }

    fn shown(&self) -> String {
        format!("{} {}.{}", self.what, self.table, self.names.join("|"))
    }
}

/// What Alembic answered.
#[derive(Debug, Deserialize)]
struct Reference {
    known: BTreeSet<Place>,
    reports: Vec<Vec<(String, String, Vec<String>)>>,
}

/// One application with its databases.
struct Application {
    workspace: Workspace,
    python: PathBuf,
    truth: DocumentMut,
    target: String,
}

impl Application {
    fn reference(&self, urls: &[String]) -> (BTreeSet<Place>, Vec<Vec<Report>>) {
        let question = serde_json::json!({ "target": self.target, "urls": urls });
        let script =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/compare_metadata.py");
        let answer = self.run_python(script.to_str().unwrap(), &[], &question.to_string());
        let answer: Reference = serde_json::from_str(&answer).expect("the answer of the reference");
        let of = |(what, table, names): &(String, String, Vec<String>)| Report {
            what: what.clone(),
            table: table.clone(),
            names: names.clone(),
        };
        let reports = answer
            .reports
            .iter()
            .map(|all| all.iter().map(of).collect());
        (answer.known, reports.collect())
    }

    fn run_python(&self, script: &str, args: &[&str], input: &str) -> String {
        let mut child = Command::new(&self.python)
            .arg(script)
            .args(args)
            .current_dir(self.workspace.path(""))
            .env("PYTHONPATH", self.workspace.path(""))
            .env("HOME", self.workspace.path(""))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the application's interpreter");
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "{script} {args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// What the check says of each database, in one run: the models are read once.
    fn findings(&self, urls: &[String]) -> Vec<Vec<Report>> {
        let name = self.truth["name"].as_str().unwrap();
        let mut manifest = format!(
            "[app]\nname = \"{name}\"\n[python]\ninterpreter = \".venv/bin/python\"\n[[layer]]\nname = \"app\"\n"
        );
        for (at, url) in urls.iter().enumerate() {
            manifest.push_str(&format!(
                "[[schema]]\nname = \"d{at}\"\ndatabase = {url:?}\nexpect = \"sqlalchemy:{}\"\n",
                self.target
            ));
        }
        self.workspace.write("ubs.toml", &manifest);
        let report = self
            .workspace
            .ubs(&["preflight", "--only", "schema", "--json"])
            .json();
        let mut told = vec![Vec::new(); urls.len()];
        for finding in report["checks"][0]["findings"]
            .as_array()
            .expect("findings")
        {
            let text = |key: &str| finding[key].as_str().unwrap_or_default();
            let (code, subject) = (text("code"), text("subject"));
            // The first database's subjects have no prefix.
            let prefixed = subject.split_once(':').and_then(|(name, rest)| {
                let at = name.strip_prefix('d')?.parse::<usize>().ok()?;
                Some((at, rest))
            });
            let (at, subject) = prefixed.unwrap_or((0, subject));
            let (table, name) = subject.split_once('.').unwrap_or((subject, ""));
            told[at].push(Report {
                what: code.to_owned(),
                table: table.to_owned(),
                names: vec![name.to_owned()],
            });
        }
        told
    }

    /// The truth's entries of a kind for a dialect.
    fn argued(&self, kind: &str, dialect: &str) -> Vec<Argued> {
        let tables = self
            .truth
            .get(kind)
            .and_then(|list| list.as_array_of_tables());
        let all = tables.into_iter().flatten().map(Argued::of);
        all.filter(|argued| argued.on.is_empty() || argued.on.iter().any(|on| on == dialect))
            .collect()
    }
}

/// An entry of a truth: reports of that kind about places that match.
#[derive(Debug)]
struct Argued {
    what: glob::Pattern,
    place: glob::Pattern,
    on: Vec<String>,
}

impl Argued {
    fn of(table: &Table) -> Self {
        let text = |key: &str| table.get(key).and_then(|v| v.as_str()).unwrap_or_default();
        assert!(!text("why").is_empty(), "not argued: {table:?}");
        Self {
            what: glob::Pattern::new(text("what")).unwrap(),
            place: glob::Pattern::new(text("place")).unwrap(),
            on: strings_of(table, "on"),
        }
    }

    fn covers(&self, report: &Report) -> bool {
        self.what.matches(&report.what)
            && report
                .names
                .iter()
                .any(|name| self.place.matches(&format!("{}.{name}", report.table)))
    }
}

fn strings_of(table: &Table, key: &str) -> Vec<String> {
    let list = table.get(key).and_then(|list| list.as_array());
    let texts = list.into_iter().flatten().filter_map(|v| v.as_str());
    texts.map(str::to_owned).collect()
}

/// How many were judged, and how.
#[derive(Debug, Default, Clone)]
struct Score {
    mutations: usize,
    found: usize,
    reports: usize,
    right: usize,
    misses: Vec<String>,
    alarms: Vec<String>,
}

impl Score {
    fn judge(&mut self, mutation: &Mutation, before: &[Report], after: &[Report]) {
        let new: Vec<&Report> = after.iter().filter(|r| !before.contains(r)).collect();
        let is_right = |report: &&&Report| report.is_about(&mutation.changed);
        let right = new.iter().filter(is_right).count();
        self.mutations += 1;
        self.reports += new.len();
        self.right += right;
        let told = || format!("{:?} {}", mutation.kind, mutation.target);
        if right > 0 {
            self.found += 1;
        } else {
            self.misses.push(told());
        }
        let wrong = new
            .iter()
            .filter(|report| !report.is_about(&mutation.changed));
        self.alarms
            .extend(wrong.map(|report| format!("{}: {}", told(), report.shown())));
    }

    #[allow(clippy::cast_precision_loss)] // Some hundreds.
    fn recall(&self) -> f64 {
        self.found as f64 / self.mutations.max(1) as f64
    }

    #[allow(clippy::cast_precision_loss)] // Some thousands.
    fn precision(&self) -> f64 {
        self.right as f64 / self.reports.max(1) as f64
    }

    fn shown(&self) -> String {
        format!(
            "recall {:.3} ({} of {}), precision {:.3} ({} of {} reports)",
            self.recall(),
            self.found,
            self.mutations,
            self.precision(),
            self.right,
            self.reports
        )
    }
}

/// Where an application's databases lie.
enum Home<'a> {
    Files(PathBuf),
    Server(&'a Server),
}

impl Home<'_> {
    fn dialect(&self) -> &'static str {
        match self {
            Self::Files(_) => "sqlite",
            Self::Server(_) => "postgresql",
        }
    }

    fn url(&self, database: &str) -> String {
        match self {
            Self::Files(dir) => format!("sqlite:///{}/{database}.db", dir.display()),
            Self::Server(server) => server.url("postgresql+psycopg2", database),
        }
    }

    fn catalog(&self, database: &str) -> Catalog {
        match self {
            Self::Files(dir) => {
                let file = dir.join(format!("{database}.db"));
                Catalog::of_sqlite(&rusqlite::Connection::open(file).unwrap()).unwrap()
            }
            Self::Server(server) => Catalog::of_postgres(server, database),
        }
    }

    fn mutate(&self, field: &Field<'_>, rng: &mut Rng, kind: Kind, copy: &str) -> Option<Mutation> {
        match self {
            Self::Files(dir) => {
                let (base, copy) = (dir.join("base.db"), dir.join(format!("{copy}.db")));
                field.mutate_sqlite(rng, kind, &base, &copy)
            }
            Self::Server(server) => field.mutate_postgres(rng, kind, server, "base", copy),
        }
    }

    fn forget(&self, copy: &str) {
        match self {
            Self::Files(dir) => std::fs::remove_file(dir.join(format!("{copy}.db"))).unwrap(),
            Self::Server(server) => {
                server.sql("postgres", &format!("DROP DATABASE {copy}"));
            }
        }
    }
}

/// The application's own migrations, then the truth, then the mutations, on each database.
#[track_caller]
fn check(name: &str, mutations: usize) {
    let mutations = std::env::var("UBS_MUTATIONS").map_or(mutations, |n| n.parse().unwrap());
    let Some((workspace, truth, python)) = check_out_in("schema", name) else {
        return;
    };
    let Some(server) = Server::start() else {
        return;
    };
    let target = truth["target"].as_str().unwrap().to_owned();
    let application = Application {
        workspace,
        python,
        truth,
        target,
    };
    std::fs::create_dir(application.workspace.path("databases")).unwrap();
    let files = Home::Files(application.workspace.path("databases"));
    server.sql("postgres", "CREATE DATABASE base");
    let mut problems = Vec::new();
    for place in [files, Home::Server(&server)] {
        let url = place.url("base");
        application.run_python("migrate.py", &[&url], "");
        let (known, mut reference) = application.reference(std::slice::from_ref(&url));
        let reference = reference.remove(0);
        let findings = application.findings(&[url]).remove(0);
        problems.extend(unargued(
            &application,
            place.dialect(),
            &findings,
            &reference,
        ));
        problems.extend(judge(
            &application,
            &place,
            mutations,
            &known,
            &findings,
            &reference,
        ));
    }
    assert!(problems.is_empty(), "{name}: {}", problems.join("\n"));
}

/// Findings that are neither Alembic's nor argued, the other way round, and arguments about nothing.
fn unargued(
    application: &Application,
    dialect: &str,
    findings: &[Report],
    reference: &[Report],
) -> Vec<String> {
    let beyond = application.argued("beyond", dialect);
    let alone = application.argued("alembic_alone", dialect);
    let places = |reports: &[Report]| -> BTreeSet<Place> {
        let all = reports.iter().flat_map(|report| {
            let of = |name: &String| (report.table.clone(), name.clone());
            report.names.iter().map(of)
        });
        all.collect()
    };
    let (ours, theirs) = (places(findings), places(reference));
    let mut problems = Vec::new();
    let mut unargued = |whose: &str, reports: &[Report], others, argued: &[Argued]| {
        let not = reports.iter().filter(|report| {
            !report.is_about(others) && !argued.iter().any(|one| one.covers(report))
        });
        problems.extend(not.map(|one| format!("{dialect}: {whose} alone: {}", one.shown())));
    };
    let name = application.truth["name"].as_str().unwrap();
    eprintln!(
        "{name} on {dialect}: {} findings, Alembic {}",
        findings.len(),
        reference.len()
    );
    unargued("ubs", findings, &theirs, &beyond);
    unargued("Alembic", reference, &ours, &alone);
    for one in beyond.iter().chain(&alone) {
        if !findings.iter().chain(reference).any(|r| one.covers(r)) {
            problems.push(format!(
                "{dialect}: argued, and not there: {} {}",
                one.what.as_str(),
                one.place.as_str()
            ));
        }
    }
    problems
}

/// Mutated databases, judged.
fn judge(
    application: &Application,
    place: &Home<'_>,
    mutations: usize,
    known: &BTreeSet<Place>,
    findings: &[Report],
    reference: &[Report],
) -> Vec<String> {
    let before = place.catalog("base");
    let avoid: BTreeSet<Place> = findings
        .iter()
        .chain(reference)
        .flat_map(|r| r.names.iter().map(|name| (r.table.clone(), name.clone())))
        .collect();
    let field = Field {
        before: &before,
        known,
        avoid: &avoid,
    };
    let mut rng = Rng(20_261_127);
    let (mut ours, mut theirs) = (Score::default(), Score::default());
    let mut kinds = Kind::ALL.iter().cycle();
    let mut barren = 0;
    let mut all = Vec::new();
    while all.len() < mutations && barren < Kind::ALL.len() {
        let kind = *kinds.next().unwrap();
        let copy = format!("m{}", all.len());
        match place.mutate(&field, &mut rng, kind, &copy) {
            Some(mutation) => {
                all.push((copy, mutation));
                barren = 0;
            }
            None => barren += 1,
        }
    }
    let urls: Vec<String> = all.iter().map(|(copy, _)| place.url(copy)).collect();
    let (_, referred) = application.reference(&urls);
    let mut found = Vec::new();
    // A mutation has few findings of its own.
    for batch in urls.chunks(FINDINGS_MAX / (findings.len() + 4)) {
        found.extend(application.findings(batch));
    }
    for (at, (copy, mutation)) in all.iter().enumerate() {
        ours.judge(mutation, findings, &found[at]);
        theirs.judge(mutation, reference, &referred[at]);
        place.forget(copy);
    }
    let name = application.truth["name"].as_str().unwrap();
    let dialect = place.dialect();
    eprintln!("{name} on {dialect}: ubs     {}", ours.shown());
    eprintln!("{name} on {dialect}: Alembic {}", theirs.shown());
    eprintln!(
        "  not found by ubs: {:?}, by Alembic: {:?}",
        ours.misses, theirs.misses
    );
    let mut problems = Vec::new();
    if ours.mutations != mutations {
        problems.push(format!("{dialect}: {} mutations only", ours.mutations));
    }
    if ours.recall() < SHARE_MIN || ours.precision() < SHARE_MIN {
        problems.push(format!("{dialect}: {}", ours.shown()));
        problems.extend(
            ours.misses
                .iter()
                .map(|miss| format!("{dialect}: missed: {miss}")),
        );
        problems.extend(
            ours.alarms
                .iter()
                .map(|alarm| format!("{dialect}: false alarm: {alarm}")),
        );
    }
    problems
}

#[test]
fn one_application_and_a_few_mutations() {
    check("optuna", FEW);
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn optuna() {
    check("optuna", MUTATIONS);
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn prefect() {
    check("prefect", MUTATIONS);
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn mlflow() {
    check("mlflow", MUTATIONS);
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn keystone() {
    check("keystone", MUTATIONS);
}
