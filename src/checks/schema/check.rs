//! Compares each database of the manifest with what the code expects of it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::comparison::Comparison;
use super::definitions::TableScan;
use super::diff::differences;
use super::expected::{self, Models, raised_otherwise, unanswered};
use super::migrations::{self, migration_tables};
use super::requests::{file_findings, server_findings};
use super::{caution, duplicate, maker, revision, scratch};
use crate::checks::context::CheckContext;
use crate::checks::outcome::CheckOutcome;
use crate::checks::python::ProbeError;
use crate::database::handle::Live;
use crate::database::model::{DatabaseSchema, Dialect, Table};
use crate::database::postgres::ddl::Rights;
use crate::database::postgres::leftovers;
use crate::database::postgres::url::PostgresUrl;
use crate::database::unreachable::{Unreachable, UnreachableKind};
use crate::database::url::{Database, is_postgres, parse_url};
use crate::domain::code::Code;
use crate::domain::finding::{Finding, Location, Measured, Severity};
use crate::domain::remedy::{MAY_PASS, NEEDS_APPROVAL, PROPOSED, REWRITES, Remedy, STAMP, WHY};
use crate::domain::words::count;
use crate::manifest::{Expect, Schema};

/// A `module:attribute`, in the words of a database.
type Target<'a> = (&'a str, &'a str, Dialect);

/// What a service of the boot migrates itself is no reason not to begin the boot.
fn left_to_migrator(
    context: &CheckContext<'_>,
    schema: &Schema,
    findings: Vec<Finding>,
) -> Vec<Finding> {
    let waits = |finding: &Finding| {
        matches!(
            finding.code,
            Code::SchemaPendingMigration | Code::SchemaNotMigrated
        ) && !matches!(finding.fix, Some(Remedy::ByHand { .. }))
    };
    let is_migrated = matches!(
        schema.expect,
        Expect::Alembic { .. } | Expect::Django { .. }
    );
    if !is_migrated || !findings.iter().any(waits) {
        return findings;
    }
    let Some(migrator) = maker::migrator_of(context, schema) else {
        return findings;
    };
    let left = |mut finding: Finding| {
        if waits(&finding) {
            finding.severity = Severity::Info;
            finding.message.push_str(&format!(
                "; {} brings it up to date when it starts",
                migrator.shown
            ));
            finding.fix = None;
        }
        finding
    };
    findings.into_iter().map(left).collect()
}

/// Which migrations belong to this database is not known, or not decided.
fn leaves_in_doubt(finding: &Finding) -> bool {
    match finding.code {
        Code::SchemaUnknownRevision | Code::SchemaMultipleHeads | Code::SchemaBrokenHistory => true,
        // The table of versions is empty or gone, and the others are there.
        Code::SchemaNotMigrated => finding.fix.is_none(),
        _ => false,
    }
}

/// The database is not as the newest revision leaves it, so it is not said to be at it.
fn without_stamp(finding: &mut Finding) {
    if finding.code == Code::SchemaUnknownRevision {
        finding.fix = None;
        for fact in [PROPOSED, NEEDS_APPROVAL, REWRITES] {
            finding.facts.remove(fact);
        }
    }
}

/// The database has all that the models expect: newer code ran here, or a branch that nothing needs yet.
fn works_all_the_same(finding: &mut Finding) {
    if !leaves_in_doubt(finding) && finding.code != Code::SchemaPendingMigration {
        return;
    }
    if finding.severity == Severity::Critical {
        finding.severity = Severity::Warning;
        let more = "; the database has all that the models expect";
        finding.message.push_str(more);
        if let Some(stamp) = finding.facts.get(STAMP) {
            let remedy = finding.remedy.clone().unwrap_or_default();
            let stamp = format!("; if it is gone for good, and what it did may stay: `{stamp}`");
            finding.remedy = Some(remedy + &stamp);
        }
    }
}

/// Runs the check.
pub(in crate::checks) fn check(context: &CheckContext<'_>) -> Result<CheckOutcome, ProbeError> {
    let schemas = &context.manifest.schemas;
    if schemas.is_empty() {
        return Ok(CheckOutcome::skipped(
            "the manifest has no [[schema]] section",
        ));
    }
    let source = ModelSource::read(context)?;
    let mut findings = source.findings(context)?;
    let (mut tables_expected, mut tables_live) = (0, 0);
    let mut is_known = true;
    let mut live_tables: Vec<Table> = Vec::new();
    for (index, schema) in schemas.iter().enumerate() {
        let mut migrated = migrations::examine(context, schema)?;
        let place = migrated
            .as_mut()
            .and_then(|migrated| migrated.revision.take());
        let past = migrated.as_mut().and_then(|migrated| migrated.past.take());
        let at_head = migrated.as_ref().is_none_or(|m| m.at_head);
        let mut migrated_findings = migrated.map(|m| m.findings).unwrap_or_default();
        // The history does not say what the database should be: its models may.
        let is_in_doubt = migrated_findings.iter().any(leaves_in_doubt)
            && maker::migrator_of(context, schema).is_none();
        let of_models = || match source.models.get(&target_of(context, schema)?) {
            Some(Models::Tables(tables)) => Some(Cow::Borrowed(tables.as_slice())),
            _ => None,
        };
        let expected = match &schema.expect {
            Expect::SqlAlchemy { .. } => of_models(),
            // A pending migration is a finding of its own; the tables that it brings are not.
            _ if !at_head && !is_in_doubt => None,
            Expect::Alembic { .. } | Expect::Django { .. } => of_models(),
            Expect::Sql { pattern } => match scratch::read_sql(context, schema, pattern) {
                Ok(tables) => tables.map(Cow::Owned),
                Err(finding) => {
                    findings.push(*finding);
                    None
                }
            },
        };
        is_known &= expected.is_some();
        let others = source.others(context, schema);
        let mut compared =
            Compared::of(context, schema, &source.scan, expected.as_deref(), &others);
        // What another revision may have done is still there, or is not looked for.
        let is_brought = expected.as_deref().zip(past).is_some_and(|(tables, past)| {
            let is_own = |table: &&Table| !table.is_view;
            let own: Vec<Table> = tables.iter().filter(is_own).cloned().collect();
            past.upgrades(context.root).bring(&own)
        });
        let is_as_expected = is_in_doubt && is_brought && compared.findings.is_empty();
        if !is_as_expected {
            migrated_findings.iter_mut().for_each(without_stamp);
        }
        if is_in_doubt && expected.is_some() {
            let lacks = |finding: &Finding| finding.severity == Severity::Critical;
            if compared.findings.iter().any(lacks) {
                // What is missing, the migrations bring.
                compared.findings.clear();
            } else {
                migrated_findings.iter_mut().for_each(works_all_the_same);
            }
        }
        if let Some(place) = place.filter(|_| maker::migrator_of(context, schema).is_none()) {
            let sides = revision::Sides {
                dialect: dialect_of(context, schema),
                expected: expected.as_deref().unwrap_or_default(),
                live: &compared.live,
            };
            compared.findings =
                revision::write_revision(context, &place, &sides, compared.findings);
        }
        tables_expected += compared.expected;
        tables_live += compared.live.len();
        let compared_findings = compared.findings.into_iter().map(|finding| {
            let mut finding = migrations::leave_to_migrations(schema, finding);
            // The same table may be missing in two databases, and those are two failures.
            if index > 0 && finding.subject != schema.name {
                finding.subject = format!("{}:{}", schema.name, finding.subject);
            }
            finding
        });
        let of_database: Vec<Finding> = migrated_findings
            .into_iter()
            .chain(compared_findings)
            .collect();
        let versions = migration_tables(&schema.expect, context.root).versions;
        let maker = of_database
            .iter()
            .any(|finding| finding.fix.is_some() || finding.code == Code::SchemaMissingTable)
            .then(|| maker::maker_of(context, schema))
            .flatten();
        let held_back = caution::hold_back(
            context,
            &caution::Compared {
                schema,
                live: &compared.live,
                expected: expected.as_deref().unwrap_or_default(),
                versions: &versions,
                maker,
            },
            of_database,
        );
        live_tables.extend(compared.live);
        findings.extend(left_to_migrator(context, schema, held_back));
    }
    duplicate::require_live_columns(&mut findings, |table, columns| {
        let plain = table.rsplit('.').next().unwrap_or(table);
        live_tables.iter().any(|live| {
            live.name == plain
                && columns
                    .iter()
                    .all(|name| live.columns.iter().any(|found| found.name == *name))
        })
    });
    // One cause is told once, whoever met it first.
    let mut unreachable = BTreeSet::new();
    findings.retain(|f| f.code != Code::SchemaUnreachable || unreachable.insert(f.subject.clone()));
    let narrow = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Ok(CheckOutcome {
        summary: summary(is_known.then_some(tables_expected), tables_live, &findings),
        findings,
        measured: Measured::Schema {
            tables_expected: narrow(tables_expected),
            tables_live: narrow(tables_live),
        },
        skipped: false,
    })
}

/// `12 tables expected, 11 live: 1 missing table`.
fn summary(expected: Option<usize>, live: usize, findings: &[Finding]) -> String {
    let mut kinds: BTreeMap<&str, (&Code, usize)> = BTreeMap::new();
    for finding in findings.iter().filter(|f| f.severity >= Severity::Warning) {
        let code = &finding.code;
        kinds.entry(code.as_str()).or_insert((code, 0)).1 += 1;
    }
    let reported: Vec<String> = kinds
        .values()
        .map(|(code, n)| match code {
            Code::SchemaModelsUnloadable => "the models cannot be loaded".to_owned(),
            code => code.count(*n),
        })
        .collect();
    let counts = match expected {
        Some(expected) => format!("{} expected, {live} live", count(expected, "table")),
        None => format!("{} live, expected tables unknown", count(live, "table")),
    };
    if reported.is_empty() {
        counts
    } else {
        format!("{counts}: {}", reported.join(", "))
    }
}

/// What the source and its models say.
struct ModelSource<'a> {
    scan: TableScan,
    /// Modules that a boot imports, in the order of `scan.reached`.
    entries: Vec<&'a str>,
    models: BTreeMap<Target<'a>, Models>,
}

impl<'a> ModelSource<'a> {
    fn read(context: &CheckContext<'a>) -> Result<Self, ProbeError> {
        let manifest = context.manifest;
        let mut targets: Vec<Target<'a>> = Vec::new();
        for schema in &manifest.schemas {
            let target = target_of(context, schema);
            targets.extend(target.filter(|target| !targets.contains(target)));
        }
        let mut source = Self {
            scan: TableScan::default(),
            entries: Vec::new(),
            models: BTreeMap::new(),
        };
        if targets.is_empty() {
            return Ok(source);
        }
        let mut add = |entry: &'a str| {
            if !source.entries.contains(&entry) {
                source.entries.push(entry);
            }
        };
        targets.iter().for_each(|(module, ..)| add(module));
        if let Some(app) = manifest.registration.as_ref().and_then(|r| r.app.as_ref()) {
            add(&app.module);
        }
        for rehearse in manifest.layers.iter().filter_map(|l| l.rehearse.as_ref()) {
            rehearse.imports.iter().for_each(|module| add(module));
        }
        let entries = &source.entries;
        let (scanned, models) = std::thread::scope(|scope| {
            let scanned = scope.spawn(|| TableScan::of(context, entries));
            let models: Result<BTreeMap<Target<'a>, Models>, ProbeError> = targets
                .iter()
                .map(|&target| {
                    let (module, attribute, dialect) = target;
                    let models = expected::read_models(context, module, attribute, dialect)?;
                    Ok((target, models))
                })
                .collect();
            let scanned = scanned
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (scanned, models)
        });
        source.scan = scanned;
        source.models = models?;
        Ok(source)
    }

    /// What the models of another `[[schema]]` expect in the database of this one.
    fn others(&self, context: &CheckContext<'_>, schema: &Schema) -> Vec<Table> {
        let place = |schema: &Schema| {
            let url = context.environment.expand_url(&schema.database).ok()?;
            match (PostgresUrl::parse(&url), parse_url(&url, context.root)) {
                (Ok(server), _) if is_postgres(&url) => Some(server.shown()),
                (_, Database::File(path)) => Some(path.display().to_string()),
                _ => None,
            }
        };
        let here = place(schema);
        let mut tables = Vec::new();
        for other in &context.manifest.schemas {
            if other.name == schema.name || here.is_none() || place(other) != here {
                continue;
            }
            let target = target_of(context, other);
            if let Some(Models::Tables(found)) = target.and_then(|t| self.models.get(&t)) {
                tables.extend(found.iter().cloned());
            }
        }
        tables
    }

    /// What is wrong with the models themselves.
    fn findings(&self, context: &CheckContext<'_>) -> Result<Vec<Finding>, ProbeError> {
        let mut findings: Vec<Finding> = Vec::new();
        let mut seen = Vec::new();
        let mut loaded = Vec::new();
        for ((module, attribute, _), models) in &self.models {
            let target = format!("{module}:{attribute}");
            if findings.iter().any(|finding| finding.subject == target) {
                continue;
            }
            let finding = match models {
                Models::Tables(_) => {
                    loaded.push(*module);
                    continue;
                }
                Models::Raised(raised) => match duplicate::table_of(raised) {
                    Some(table) => {
                        seen.push(table.to_owned());
                        duplicate::raised_duplicate(context, &self.scan, raised, table)?
                    }
                    None => raised_otherwise(context, &target, raised),
                },
                Models::NoAnswer(why) => unanswered(&target, why),
            };
            findings.push(finding);
        }
        let duplicates =
            duplicate::source_duplicates(context, &self.scan, &self.entries, &loaded, &seen)?;
        findings.extend(duplicates);
        Ok(findings)
    }
}

/// One database, compared.
#[derive(Default)]
struct Compared {
    expected: usize,
    /// Tables that are there; neither views nor partitions.
    live: Vec<Table>,
    findings: Vec<Finding>,
}

impl Compared {
    fn of(
        context: &CheckContext<'_>,
        schema: &Schema,
        scan: &TableScan,
        expected: Option<&[Table]>,
        others: &[Table],
    ) -> Self {
        let name = schema.name.as_str();
        let one = |finding: Finding| Self {
            findings: vec![finding],
            ..Self::default()
        };
        let unreachable = |message: String, remedy: &str| {
            one(Finding::of(Code::SchemaUnreachable, name, message)
                .remedy(remedy)
                .fact("schema", name))
        };
        let out_of_reach = |why: &str, kind: UnreachableKind| {
            let message = format!("database {name} is out of reach: {why}");
            let finding = Finding::of(Code::SchemaUnreachable, name, message)
                .remedy(kind.remedy())
                .fact("schema", name)
                .fact(WHY, kind.as_str());
            one(if kind.may_pass() {
                finding.fact(MAY_PASS, "true")
            } else {
                finding
            })
        };
        let url = match context.environment.expand_url(&schema.database) {
            Ok(url) => url,
            Err(error) => {
                return unreachable(
                    format!("the URL of database {name} is not known: {error}"),
                    "set the variable, or correct `database` in the manifest",
                );
            }
        };
        let expected = expected.unwrap_or_default();
        let mut server = None;
        let mut file = None;
        let mut of_file = Vec::new();
        let (live, rights, database) = if is_postgres(&url) {
            let read = Live::postgres(&url).and_then(|live| {
                let wanted: Vec<&str> = expected
                    .iter()
                    .filter_map(|table| table.schema.as_deref())
                    .collect();
                Ok((live.schema(&wanted)?, live.rights()?, live))
            });
            match read {
                Ok((schema, rights, live)) => {
                    if rights.has_leftovers {
                        leftovers::sweep_at(&url);
                    }
                    let shown = live.shown(context.root);
                    server = Some(live);
                    (schema, rights, format!("database {name} ({shown})"))
                }
                Err(Unreachable { why, kind }) => {
                    return out_of_reach(&why, kind);
                }
            }
        } else {
            let path = match parse_url(&url, context.root) {
                Database::File(path) => path,
                Database::Memory => {
                    return one(Finding::of(
                        Code::SchemaNotCompared,
                        name,
                        format!(
                            "database {name} is in memory: it begins empty with the application"
                        ),
                    ));
                }
                Database::Other => {
                    let kind = url.split(['+', ':']).next().unwrap_or_default();
                    return one(Finding::of(
                        Code::SchemaUnsupportedDatabase,
                        name,
                        format!(
                            "database {name} is of kind {kind:?}, and this version compares SQLite and PostgreSQL only"
                        ),
                    )
                    .remedy("take this [[schema]] out of the manifest, or use a sqlite:/// or postgresql:// URL"));
                }
            };
            let shown = path
                .strip_prefix(context.root)
                .unwrap_or(&path)
                .display()
                .to_string();
            let exists = path.exists();
            let live = match read_or_empty(&path, exists) {
                Ok(live) => live,
                Err(found) => {
                    if let Some(Unreachable { why, kind }) = found {
                        return out_of_reach(&why, kind);
                    }
                    let directory = path.parent().unwrap_or(&path).display();
                    let message = format!(
                        "database {name} is out of reach: {} does not exist, and neither does its directory",
                        path.display()
                    );
                    let remedy =
                        format!("create the directory {directory}, or correct the database's URL");
                    let mut found = unreachable(message, &remedy);
                    // Where a database with content was before, an empty one is not put in its place.
                    let before = context.earlier.database(name, &url);
                    let is_new = before.is_none_or(|before| !before.was_not_empty());
                    let inside = path
                        .parent()
                        .and_then(|at| at.strip_prefix(context.root).ok());
                    if let (true, Some(inside)) = (is_new, inside.and_then(Path::to_str)) {
                        found.findings[0].fix = Some(Remedy::MakeDirectory {
                            path: inside.to_owned(),
                        });
                    }
                    return found;
                }
            };
            if exists {
                of_file = file_findings(name, &path, &shown);
                file = Live::sqlite(&path).ok();
            }
            let database = if exists {
                format!("database {name} ({shown})")
            } else {
                format!("database {name} ({shown} does not exist yet)")
            };
            (live, Rights::default(), database)
        };
        let versions = migration_tables(&schema.expect, context.root).versions;
        let comparison = Comparison {
            schema: name,
            database,
            ignore: &schema.ignore,
            live: &live,
            server: server.as_ref(),
            asked: server.as_ref().or(file.as_ref()),
            spent: Default::default(),
            others,
            migration_tables: &versions,
            rights: &rights,
            locate: &|table| locate(scan, table),
        };
        let count = comparison.compared(expected).count();
        let mut findings = differences(&comparison, expected);
        findings.extend(of_file);
        if let Some(server) = &server {
            let is_wanted = |name: &str| expected.iter().any(|table| table.name == name);
            findings.extend(server_findings(name, server, is_wanted));
        }
        let mut tables = live.tables;
        tables.retain(|table| !table.is_view && !table.is_partition);
        Self {
            expected: count,
            live: tables,
            findings,
        }
    }
}

/// The models that a schema is compared with, if any.
fn target_of<'a>(context: &CheckContext<'_>, schema: &'a Schema) -> Option<Target<'a>> {
    match (&schema.expect, &schema.models) {
        (Expect::SqlAlchemy { module, attribute }, _) | (_, Some((module, attribute))) => {
            Some((module, attribute, dialect_of(context, schema)))
        }
        _ => None,
    }
}

/// The dialect of a schema's database; that of SQLite where the URL is not known.
fn dialect_of(context: &CheckContext<'_>, schema: &Schema) -> Dialect {
    match context.environment.expand_url(&schema.database) {
        Ok(url) if is_postgres(&url) => Dialect::Postgres,
        _ => Dialect::Sqlite,
    }
}

/// The live schema, or why there is none and what to do. A file that does not exist is empty.
fn read_or_empty(path: &Path, exists: bool) -> Result<DatabaseSchema, Option<Unreachable>> {
    if exists {
        let read = Live::sqlite(path).and_then(|live| live.schema(&[]));
        return read.map_err(Some);
    }
    if path.parent().unwrap_or(path).is_dir() {
        return Ok(DatabaseSchema::default());
    }
    Err(None)
}

/// Where a table is defined, if there is one place only.
fn locate(scan: &TableScan, table: &str) -> Option<Location> {
    let mut places = scan.tables.iter().filter(|d| d.table == table);
    let (first, None) = (places.next()?, places.next()) else {
        return None;
    };
    Some(Location {
        file: first.file.clone(),
        line: first.line,
        column: 0,
    })
}
