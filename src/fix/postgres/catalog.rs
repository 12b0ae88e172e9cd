//! What is in a PostgreSQL database besides rows, line by line: whether two moments are the same, and what one
//! adds to the other.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::database::migration_tables::MigrationTables;
use crate::database::postgres::session::{ServerError, Session};
use crate::database::sql::quote::literal;
use crate::domain::ids::Digest;

/// Lines that are read from a database.
const LINES_MAX: usize = 500_000;
/// Characters of one.
const LINE_MAX: usize = 8_000;

/// Everything that is not the server's own.
pub(crate) const OURS: &str = "n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'";

/// Where things are defined of which only the name is looked at.
const OTHERS: [&str; 11] = [
    "pg_cast",
    "pg_collation",
    "pg_conversion",
    "pg_language",
    "pg_opclass",
    "pg_operator",
    "pg_opfamily",
    "pg_publication",
    "pg_statistic_ext",
    "pg_ts_config",
    "pg_ts_dict",
];
/// What has a smaller number is the server's own (`FirstNormalObjectId`, src/include/access/transam.h).
const FIRST_OID: u32 = 16_384;

/// Definitions, each in words that say everything about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Catalog {
    /// `KIND NAME REST`.
    pub lines: BTreeSet<String>,
    /// What others than the owner may do. No part of the digest: a role's default privileges are not those of
    /// another.
    pub privileges: BTreeSet<String>,
}

impl Catalog {
    pub(crate) fn digest(&self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        for line in &self.lines {
            hasher.update(&(line.len() as u64).to_le_bytes());
            hasher.update(line.as_bytes());
        }
        Digest(*hasher.finalize().as_bytes())
    }
}

fn query() -> String {
    // What an extension brings is its own.
    let not_of_extension = |class: &str, oid: &str| {
        format!(
            "NOT EXISTS (SELECT 1 FROM pg_depend AS e WHERE e.classid = '{class}'::regclass AND e.objid = {oid} AND e.deptype = 'e')"
        )
    };
    let relation = not_of_extension("pg_class", "c.oid");
    let class = format!(
        "pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace AND {OURS} AND {relation}"
    );
    let of_type = not_of_extension("pg_type", "t.oid");
    let of_function = not_of_extension("pg_proc", "p.oid");
    let aggregate = "(SELECT concat_ws(' ', g.aggkind, g.aggtransfn, g.aggfinalfn, g.aggcombinefn, g.aggmtransfn, \
        g.aggtranstype::regtype, g.aggfinalmodify, quote_nullable(g.agginitval)) FROM pg_aggregate AS g WHERE g.aggfnoid = p.oid)";
    let others: String = OTHERS
        .iter()
        .map(|class| {
            format!(
                " UNION ALL SELECT format('%s %s', replace(i.type, ' ', '_'), i.identity) FROM {class} AS o, \
                 LATERAL pg_identify_object('{class}'::regclass, o.oid, 0) AS i WHERE o.oid >= {FIRST_OID} AND {}",
                not_of_extension(class, "o.oid")
            )
        })
        .collect();
    // Of a very long one, a digest says whether it is another.
    format!(
        "SELECT CASE WHEN length(l) > {LINE_MAX} THEN left(l, {LINE_MAX}) || ' ' || md5(l) ELSE l END FROM ( \
         SELECT format('schema %I', n.nspname) FROM pg_namespace AS n WHERE {OURS} \
         UNION ALL SELECT format('relation %I.%I %s %s %s%s %s %s %s %s', n.nspname, c.relname, c.relkind, c.relpersistence, \
           c.relrowsecurity, c.relforcerowsecurity, pg_get_partkeydef(c.oid), pg_get_expr(c.relpartbound, c.oid), c.reloptions, c.relreplident) \
           FROM {class} WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c') \
         UNION ALL SELECT format('column %I.%I.%I %s %s %s%s collation %s default %s', n.nspname, c.relname, a.attname, \
           format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated, (SELECT o.collname FROM pg_collation AS o WHERE o.oid = a.attcollation), \
           pg_get_expr(d.adbin, d.adrelid)) \
           FROM {class} JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
           LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
           WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c') \
         UNION ALL SELECT format('index %s %s', pg_get_indexdef(i.indexrelid), i.indisvalid) \
           FROM {class} JOIN pg_index AS i ON i.indrelid = c.oid \
         UNION ALL SELECT format('constraint %I.%I.%I %s %s', n.nspname, c.relname, k.conname, \
           pg_get_constraintdef(k.oid), k.convalidated) FROM {class} JOIN pg_constraint AS k ON k.conrelid = c.oid \
         UNION ALL SELECT format('constraint %I.%I.%I %s %s', n.nspname, t.typname, k.conname, \
           pg_get_constraintdef(k.oid), k.convalidated) FROM pg_constraint AS k JOIN pg_type AS t ON t.oid = k.contypid \
           JOIN pg_namespace AS n ON n.oid = t.typnamespace WHERE {OURS} AND {of_type} \
         UNION ALL SELECT format('inheritance %I.%I %s', n.nspname, c.relname, h.inhparent::regclass) \
           FROM {class} JOIN pg_inherits AS h ON h.inhrelid = c.oid WHERE c.relkind IN ('r', 'p', 'f') \
         UNION ALL SELECT format('view %I.%I %s', n.nspname, c.relname, pg_get_viewdef(c.oid)) \
           FROM {class} WHERE c.relkind IN ('v', 'm') \
         UNION ALL SELECT format('trigger %I.%I.%I %s %s', n.nspname, c.relname, g.tgname, pg_get_triggerdef(g.oid), g.tgenabled) \
           FROM {class} JOIN pg_trigger AS g ON g.tgrelid = c.oid AND NOT g.tgisinternal \
         UNION ALL SELECT format('rule %I.%I.%I %s %s', n.nspname, c.relname, w.rulename, pg_get_ruledef(w.oid), w.ev_enabled) \
           FROM {class} JOIN pg_rewrite AS w ON w.ev_class = c.oid AND w.rulename <> '_RETURN' \
         UNION ALL SELECT format('policy %I.%I.%I %s %s %s %s %s', n.nspname, c.relname, y.polname, y.polcmd, y.polpermissive, \
           y.polroles::text, pg_get_expr(y.polqual, c.oid), pg_get_expr(y.polwithcheck, c.oid)) \
           FROM {class} JOIN pg_policy AS y ON y.polrelid = c.oid \
         UNION ALL SELECT format('sequence %I.%I %s %s %s %s %s %s %s', n.nspname, c.relname, q.seqtypid::regtype, q.seqincrement, \
           q.seqmin, q.seqmax, q.seqcycle, q.seqstart, q.seqcache) FROM {class} JOIN pg_sequence AS q ON q.seqrelid = c.oid \
         UNION ALL SELECT format('extension %I %s', extname, extversion) FROM pg_extension \
         UNION ALL SELECT format('event_trigger %I %s %s', evtname, evtevent, evtenabled) FROM pg_event_trigger \
         UNION ALL SELECT format('label %I.%I.%s', n.nspname, t.typname, quote_literal(l.enumlabel)) FROM pg_enum AS l \
           JOIN pg_type AS t ON t.oid = l.enumtypid JOIN pg_namespace AS n ON n.oid = t.typnamespace WHERE {OURS} AND {of_type} \
         UNION ALL SELECT format('type %I.%I %s %s %s default %s', n.nspname, t.typname, t.typtype, t.typnotnull, \
           format_type(nullif(t.typbasetype, 0), t.typtypmod), t.typdefault) \
           FROM pg_type AS t JOIN pg_namespace AS n ON n.oid = t.typnamespace WHERE {OURS} AND t.typtype IN ('e', 'd', 'r') AND {of_type} \
         UNION ALL SELECT format('function %I.%I(%s) %s', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid), \
           md5(CASE p.prokind WHEN 'a' THEN {aggregate} ELSE pg_get_functiondef(p.oid) END)) \
           FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace WHERE {OURS} AND {of_function}{others} \
         LIMIT {}) AS q(l)",
        LINES_MAX + 1
    )
}

/// Who may do what with whose things: lines like those of the catalog.
fn privileges() -> String {
    let of = |kind: &str, name: &str, acl: &str, owner: &str, from: &str| {
        format!(
            "SELECT format('{kind} %s %s %s %s', {name}, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE \
             quote_ident(pg_get_userbyid(a.grantee)) END, a.privilege_type, a.is_grantable) \
             FROM {from}, LATERAL aclexplode({acl}) AS a WHERE {OURS} AND a.grantee <> {owner}"
        )
    };
    [
        of(
            "privilege",
            "quote_ident(n.nspname)",
            "n.nspacl",
            "n.nspowner",
            "pg_namespace AS n",
        ),
        of(
            "privilege",
            "format('%I.%I', n.nspname, c.relname)",
            "c.relacl",
            "c.relowner",
            "pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace",
        ),
        of(
            "privilege",
            "format('%I.%I.%I', n.nspname, c.relname, t.attname)",
            "t.attacl",
            "c.relowner",
            "pg_attribute AS t JOIN pg_class AS c ON c.oid = t.attrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace",
        ),
        of(
            "privilege",
            "format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid))",
            "coalesce(p.proacl, acldefault('f', p.proowner))",
            "p.proowner",
            "pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace",
        ),
    ]
    .join(" UNION ALL ")
}

/// Reads all definitions, in a transaction of the caller with [`crate::fix::postgres::transaction::plainly`].
pub(crate) fn read_catalog(session: &Session, limit: Duration) -> Result<Catalog, ServerError> {
    let rows = session.rows(&query(), limit)?;
    let privileges = session.rows(&privileges(), limit)?;
    if rows.len().max(privileges.len()) > LINES_MAX {
        return Err(ServerError::new(format!(
            "the database has more than {LINES_MAX} definitions"
        )));
    }
    let lines = |rows: Vec<Vec<Option<String>>>| rows.into_iter().flatten().flatten().collect();
    Ok(Catalog {
        lines: lines(rows),
        privileges: lines(privileges),
    })
}

/// The search path of our own questions: every name is written in full, and means what it means in `pg_catalog`. Where a
/// path does not name it, the schema of temporary tables comes before all others, and one may be called `pg_locks`.
pub(crate) const PATH: &str = "pg_catalog, pg_temp";

/// What the databases of the server have in common, and a transaction may change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shared {
    /// Rights and options of each database, by its name.
    databases: BTreeMap<String, String>,
    /// Which of the tables that hold the rest (roles and their members, settings of roles and databases, comments on
    /// them) this transaction has locked for writing, which lasts until its end (`AlterRole` and others in
    /// src/backend/commands).
    locked: BTreeSet<String>,
}

impl Shared {
    /// The same, as far as one transaction can change it: none can make or drop a database (`PreventInTransactionBlock`),
    /// so one that came or went meanwhile is somebody else's.
    pub(crate) fn is_as(&self, before: &Self) -> bool {
        let is_as = |(name, now): (&String, &String)| {
            before
                .databases
                .get(name)
                .is_none_or(|before| before == now)
        };
        self.locked == before.locked && self.databases.iter().all(is_as)
    }
}

/// What databases share, now. Clones of other trials are left out: they are being set up beside this one, and belong to
/// roles that this one is not. Asked with [`crate::fix::postgres::transaction::plainly`].
pub(crate) fn read_shared(session: &Session, limit: Duration) -> Result<Shared, ServerError> {
    let rows = session.rows(
        "SELECT datname, format('%s %s %s %s %s', datdba, datistemplate, datallowconn, datconnlimit, datacl) \
           FROM pg_database WHERE datname = current_database() OR datname NOT LIKE 'ubs\\_%' \
         UNION ALL SELECT DISTINCT NULL, relation::regclass::text FROM pg_locks WHERE pid = pg_backend_pid() \
           AND locktype = 'relation' AND database = 0 AND mode = 'RowExclusiveLock' AND relation IN \
           ('pg_authid'::regclass, 'pg_auth_members'::regclass, 'pg_database'::regclass, 'pg_db_role_setting'::regclass, \
            'pg_shdescription'::regclass, 'pg_tablespace'::regclass)",
        limit,
    )?;
    let mut shared = Shared {
        databases: BTreeMap::new(),
        locked: BTreeSet::new(),
    };
    for mut row in rows {
        let what = row.pop().flatten().unwrap_or_default();
        match row.pop().flatten() {
            Some(name) => drop(shared.databases.insert(name, what)),
            None => drop(shared.locked.insert(what)),
        }
    }
    Ok(shared)
}

/// What migration tools wrote down, in lines of the same kind: every version, and how much there is of the rest.
pub(crate) fn read_migration_tables(
    session: &Session,
    migration_tables: &MigrationTables,
    limit: Duration,
) -> Result<BTreeSet<String>, ServerError> {
    let mut lines = BTreeSet::new();
    for (names, what) in [
        (
            &migration_tables.versions,
            "'version ' || {t} || ' ' || ROW(b.*)::text",
        ),
        (
            &migration_tables.growing,
            "'migration_table ' || {t} || ' ' || count(*)",
        ),
    ] {
        for table in tables_named(session, names, limit)? {
            let asked = what.replace("{t}", &literal(&table));
            let rows = session.rows(
                &format!("SELECT {asked} FROM ONLY {table} AS b LIMIT {LINES_MAX}"),
                limit,
            )?;
            lines.extend(rows.into_iter().flatten().flatten());
        }
    }
    Ok(lines)
}

/// Tables with one of these names, in any schema, each in quotes.
pub(crate) fn tables_named(
    session: &Session,
    names: &[String],
    limit: Duration,
) -> Result<Vec<String>, ServerError> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let listed: Vec<String> = names.iter().map(|name| literal(name)).collect();
    let rows = session.rows(
        &format!(
            "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class AS c \
             JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
             WHERE c.relkind = 'r' AND {OURS} AND c.relname IN ({}) AND has_table_privilege(c.oid, 'SELECT') ORDER BY 1",
            listed.join(", ")
        ),
        limit,
    )?;
    Ok(rows.into_iter().flatten().flatten().collect())
}

/// What each table and column is, whatever its name: another file means that every row was written anew, and
/// another number that the column was.
pub(crate) fn read_identities(
    session: &Session,
    limit: Duration,
) -> Result<BTreeMap<String, String>, ServerError> {
    let rows = session.rows(
        &format!(
            "SELECT format('table %I.%I', n.nspname, c.relname), pg_catalog.pg_relation_filenode(c.oid) \
             FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
             WHERE c.relkind IN ('r', 'm') AND {OURS} \
             UNION ALL SELECT format('column %I.%I.%I', n.nspname, c.relname, a.attname), a.attnum \
             FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
             JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
             WHERE c.relkind IN ('r', 'p') AND {OURS}"
        ),
        limit,
    )?;
    Ok(named(rows).collect())
}

/// How far each sequence has come that the user may read; one that goes down counts below zero.
pub(crate) fn read_sequences(
    session: &Session,
    limit: Duration,
) -> Result<BTreeMap<String, i64>, ServerError> {
    let rows = session.rows(
        "SELECT format('%I.%I', schemaname, sequencename), last_value * sign(increment_by)::int FROM pg_catalog.pg_sequences \
         WHERE last_value IS NOT NULL AND schemaname NOT LIKE 'pg\\_%'",
        limit,
    )?;
    let number = |(name, value): (String, String)| Some((name, value.parse().ok()?));
    Ok(named(rows).filter_map(number).collect())
}

/// Rows that the transaction inserted, updated and deleted in each table, by whatever means; large objects are
/// in tables too.
pub(crate) fn read_activity(
    session: &Session,
    limit: Duration,
) -> Result<BTreeMap<String, String>, ServerError> {
    let rows = session.rows(
        "SELECT format('%I.%I', s.schemaname, s.relname), format('%s inserted, %s updated, %s deleted', s.n_tup_ins, s.n_tup_upd, s.n_tup_del) \
         FROM pg_catalog.pg_stat_xact_all_tables AS s JOIN pg_catalog.pg_class AS c ON c.oid = s.relid AND c.relkind = 'r' \
         WHERE s.n_tup_ins + s.n_tup_upd + s.n_tup_del > 0 AND ((s.schemaname NOT LIKE 'pg\\_%' \
         AND s.schemaname <> 'information_schema') OR s.relname LIKE 'pg\\_largeobject%')",
        limit,
    )?;
    Ok(named(rows).collect())
}

fn named(rows: Vec<Vec<Option<String>>>) -> impl Iterator<Item = (String, String)> {
    rows.into_iter().filter_map(|row| {
        let mut values = row.into_iter();
        Some((values.next()??, values.next()?.unwrap_or_default()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_make_or_drop_meanwhile_is_not_the_transactions() {
        let shared = |databases: &[(&str, &str)], locked: &[&str]| Shared {
            databases: databases
                .iter()
                .map(|(name, what)| ((*name).to_owned(), (*what).to_owned()))
                .collect(),
            locked: locked.iter().map(|name| (*name).to_owned()).collect(),
        };
        let before = shared(&[("app", "10 f t -1"), ("old", "10 f t -1")], &[]);
        let others = shared(&[("app", "10 f t -1"), ("new", "10 f t -1")], &[]);
        assert!(others.is_as(&before));
        let granted = shared(&[("app", "10 f t -1 {=c/a}")], &[]);
        assert!(!granted.is_as(&before));
        let altered = shared(
            &[("app", "10 f t -1"), ("old", "10 f t -1")],
            &["pg_authid"],
        );
        assert!(!altered.is_as(&before));
    }
}
