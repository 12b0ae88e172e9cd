//! Healing a PostgreSQL database by the application's own migrations.
//!
//! They run in the sandbox on a clone that belongs to a role of ours, through a relay that records what they do;
//! what was recorded is run again in one transaction on a second clone ([`prove`]), on which the checks then look,
//! and later on the live database ([`crate::fix::postgres::replay::promote`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::database::migration_tables::MigrationTables;
use crate::database::postgres::dump::copy_into;
use crate::database::postgres::own_database::{OwnDatabase, Template};
use crate::database::postgres::own_role::OwnRole;
use crate::database::postgres::session::Session;
use crate::database::postgres::url::{LoopbackServer, is_same_database};
use crate::database::postgres::user_rights::UserRights;
use crate::fix::apply::ApplyError;
use crate::fix::migration_run::{MigrationReach, MigrationRun, Upgrade};
use crate::fix::postgres::catalog::tables_named;
use crate::fix::postgres::clone_watch::{GROWTH_MAX, watched};
use crate::fix::postgres::error::{PostgresError, because};
use crate::fix::postgres::relay::{Recording, Relay, Upstream};
use crate::fix::postgres::replay::{MigratedClone, prove};
use crate::fix::postgres::server_trial::{ServerOutcome, ServerTrial};
use crate::fix::postgres::transaction::{ASK_MAX, is_small, read_in_transaction, tables_of};
use crate::manifest::{Environment, Schema};
use crate::sandbox::Loopback;

const WITH_ROWS: &str = "a clone with all rows";
const WITHOUT_ROWS: &str =
    "a clone of its definitions, with the rows of its migrations' own tables";

/// Runs the migrations on clones of the database at `url`. `environment`: that of the application, with its
/// secrets, to see which variables lead to the database.
pub(crate) fn migrate_server(
    run: &MigrationRun<'_>,
    upgrade: Upgrade<'_>,
    url: &str,
    environment: &Environment,
) -> Result<ServerTrial, ApplyError> {
    let declared = run
        .manifest
        .schemas
        .iter()
        .find(|s| s.name == upgrade.schema);
    let schema = declared.ok_or_else(|| ApplyError::UnknownSchema(upgrade.schema.to_owned()))?;
    let migration_tables = upgrade.tables;
    let live = Arc::new(Session::connect(url).map_err(because("cannot connect"))?);
    let before = read_in_transaction(&live, Some(migration_tables))?;
    let (first, has_rows) = clone_of(&live, url, migration_tables)?;
    crate::kernel::crash_point("trial.first_clone_made");
    let second = first
        .duplicate()
        .map_err(because("cannot make a second clone"))?;
    crate::kernel::crash_point("trial.cloned");
    expect_login(&first)?;
    let recording = watched(&live, &first, GROWTH_MAX, || {
        record(run, upgrade, schema, url, &first, environment)
    })?;
    for clone in [&first, &second] {
        clone
            .restore()
            .map_err(because("cannot set a clone up again"))?;
    }
    if recording.concurrent && !has_rows {
        let why = "they make or drop indexes CONCURRENTLY, and a table of this size is not let wait for that";
        return Err(PostgresError::NoReplay(why.to_owned()).into());
    }
    let connect = |clone: &OwnDatabase| {
        clone
            .connect()
            .map_err(because("cannot connect to a clone"))
    };
    let migrated = MigratedClone::read(&connect(&first)?, migration_tables)?;
    drop(first);
    // Their program took less, with all that it did besides.
    let time_max = Duration::from_millis(run.manifest.heal.sandbox_limits.time_ms);
    let (proved, mut side_effects) = watched(&live, &second, GROWTH_MAX, || {
        let session = connect(&second)?;
        let held = prove(
            &session,
            &before,
            &migrated,
            recording,
            migration_tables,
            time_max,
        )?;
        Ok(held)
    })?;
    if !has_rows {
        side_effects.push("the database is too large for a clone with its rows, so what becomes of them was not seen".to_owned());
    }
    crate::kernel::crash_point("trial.migrated");
    let tried_on = if has_rows { WITH_ROWS } else { WITHOUT_ROWS };
    let outcome = ServerOutcome::Migrated(Box::new(proved), migration_tables.clone());
    Ok(ServerTrial::new(second, tried_on, outcome, side_effects))
}

/// Who may make a role may not say from where it logs in.
fn expect_login(clone: &OwnDatabase) -> Result<(), PostgresError> {
    clone.connect().map(drop).map_err(|error| {
        let (shown, why) = (clone.name().to_owned(), error.to_string());
        PostgresError::NoLogin { shown, why }
    })
}

/// Runs them on the clone, and gives what took effect.
fn record(
    run: &MigrationRun<'_>,
    upgrade: Upgrade<'_>,
    schema: &Schema,
    url: &str,
    clone: &OwnDatabase,
    environment: &Environment,
) -> Result<Recording, ApplyError> {
    let server = LoopbackServer::of(url).map_err(|why| upgrade.failed(why))?;
    let (sender, receiver) = crossbeam_channel::bounded(1);
    let upstream = Upstream {
        url: clone.url(),
        databases: vec![server.database.clone(), clone.name().to_owned()],
    };
    let relay = Relay::start(upstream, receiver).map_err(|error| {
        upgrade.failed(format!("no relay to the clone can be started: {error}"))
    })?;
    let reach = MigrationReach {
        writable: Vec::new(),
        variables: variables(schema, url, &server, environment),
        loopback: Some(Loopback {
            port: server.port,
            listener: sender,
        }),
    };
    let ended = upgrade.run(run, reach);
    let recording = relay.finish();
    ended.map_err(with_hint)?;
    if recording.statements.is_empty() && recording.obstacle.is_none() {
        return Err(upgrade.failed(
            "the migrations changed nothing where the manifest says that the database is: they use another one",
        ));
    }
    Ok(recording)
}

/// Why they failed; where that is not theirs, what to do.
fn with_hint(error: ApplyError) -> ApplyError {
    match error {
        ApplyError::Migration { schema, why } if why.contains("SSL") => ApplyError::Migration {
            schema,
            why: format!(
                "{why} (what leads to the clone speaks no TLS: let the URL decide about it, which says nothing of it there)"
            ),
        },
        other => other,
    }
}

/// The variables of the application that lead to its database, so that they lead to the relay. What is a secret
/// about them is not needed there.
fn variables(
    schema: &Schema,
    url: &str,
    server: &LoopbackServer,
    environment: &Environment,
) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for (name, (value, _)) in &environment.values {
        if is_same_database(value, url) {
            let like = LoopbackServer::of(value).ok();
            variables.extend(like.map(|like| (name.clone(), like.url)));
        } else if schema.database.contains(&format!("${{{name}")) {
            // The parts of the URL have variables of their own.
            let instead = server.instead_of(value).map(str::to_owned);
            variables.extend(instead.map(|value| (name.clone(), value)));
        }
    }
    variables
}

/// A clone that belongs to a role of ours, and whether it has rows.
fn clone_of(
    live: &Arc<Session>,
    url: &str,
    migration_tables: &MigrationTables,
) -> Result<(OwnDatabase, bool), PostgresError> {
    let no_clone = |why: String| PostgresError::NoClone {
        shown: live.shown().to_owned(),
        why,
    };
    let rights = UserRights::read(live).map_err(because("cannot ask for the user's rights"))?;
    if let Some(why) = rights.why_no_migrations() {
        return Err(no_clone(why));
    }
    let is_small = is_small(live)?;
    let role = OwnRole::create(live).map_err(because("cannot make a role for the trial"))?;
    let role = Arc::new(role);
    crate::kernel::crash_point("trial.role_made");
    let why_copied = if is_small {
        match OwnDatabase::create_owned(live, Template::Live, &role) {
            Ok(database) => return Ok((database, true)),
            Err(error) if error.is_in_use() => "somebody is connected to it",
            Err(error) if error.is_denied() => "a part of it belongs to another user",
            Err(error) => return Err(because("cannot clone the database")(error)),
        }
    } else {
        "it is large"
    };
    let without_rows = if is_small {
        Vec::new()
    } else {
        tables_but(live, migration_tables)?
    };
    let database = OwnDatabase::create_owned(live, Template::Empty, &role)
        .map_err(because("cannot create a database"))?;
    copy_into(url, &database, &without_rows).map_err(|why| {
        no_clone(format!(
            "{why_copied}, so it cannot be a template, and it cannot be copied: {why}"
        ))
    })?;
    Ok((database, is_small))
}

fn tables_but(
    live: &Session,
    migration_tables: &MigrationTables,
) -> Result<Vec<String>, PostgresError> {
    let kept = tables_named(live, &migration_tables.names(), ASK_MAX)
        .map_err(because("cannot look for tables"))?;
    let kept: BTreeSet<String> = kept.into_iter().collect();
    let all = tables_of(live)?.into_iter().map(|table| table.name);
    Ok(all.filter(|table| !kept.contains(table)).collect())
}
