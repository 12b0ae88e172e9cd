//! Who makes the tables of a database, if not `ubs`: a service that migrates, a program that is known to make its
//! own database, `create_all` in the sources, or migrations beside the models.
//!
//! A table that is created before them is in their way: their first migration then fails for good.

use std::path::Path;
use std::sync::LazyLock;

use regex::Regex;

use crate::checks::context::CheckContext;
use crate::checks::start_script::start_scripts;
use crate::domain::finding::Location;
use crate::manifest::{Expect, Manifest, Schema, Service};
use crate::source::{CreateAll, SourceFacts};

/// When the tables come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MakerKind {
    /// When the application starts.
    AtStart,
    /// When a person runs it.
    ByPerson,
}

/// Who makes the tables.
#[derive(Debug, Clone)]
pub(super) struct Maker {
    pub kind: MakerKind,
    /// It changes tables that are there, too.
    pub migrates: bool,
    /// For people: `service migrate: alembic upgrade`; of `ByPerson`, the reason that no fixer may do it.
    pub shown: String,
    pub location: Option<Location>,
}

/// Commands that bring a database up to date.
static MIGRATES: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let commands = [
        r"alembic\b[^;&|\n]*\bupgrade",
        r"flask\b[^;&|\n]*\bdb\s+upgrade",
        r"manage\.py\s+migrate",
        r"django(?:-admin)?\s+migrate",
        r"mlflow\s+db\s+upgrade",
        r"(?:superset|airflow|ckan|aerich|lnbits|keystone-manage|aiida)\s+(?:db\s+)?(?:upgrade|migrate|db_sync|init)",
        r"airflow\s+standalone",
        r"prisma\s+(?:migrate\s+deploy|db\s+push)",
        r"piccolo\s+migrations\s+forwards?",
        r"yoyo\s+apply",
        r"sqlx\s+migrate\s+run",
        r"(?:dbmate|goose|migrate)\b[^;&|\n]*\bup\b",
        r"(?:flyway|liquibase)\b[^;&|\n]*\b(?:migrate|update)\b",
        r"atlas\s+(?:migrate|schema)\s+apply",
        r"(?:knex|sequelize|typeorm|rails|rake)\b[^;&|\n]*\bmigrat\w*",
        r"prefect\b[^;&|\n]*\bdatabase\s+upgrade",
    ];
    Regex::new(&format!("(?:{})", commands.join("|"))).ok()
});
/// Programs that make and migrate the database that they are given.
const SELF_MIGRATING: [&str; 8] = [
    "mlflow",
    "prefect",
    "open-webui",
    "label-studio",
    "dagster-webserver",
    "dagster-daemon",
    "litellm",
    "optuna-dashboard",
];
/// Endings of start scripts that are looked into.
const SCRIPTS: &[&str] = &[".sh", ".bash", ".py"];
/// Configurations of Alembic, as they are named by those who set one up.
const ALEMBIC_FILES: [&str; 3] = ["alembic.ini", "migrations/alembic.ini", "alembic/env.py"];

/// Who makes the tables of this database, if anybody does.
pub(super) fn maker_of(context: &CheckContext<'_>, schema: &Schema) -> Option<Maker> {
    match &schema.expect {
        Expect::SqlAlchemy { module, .. } => {
            let facts = context.facts();
            by_service(context, schema)
                .or_else(|| by_create_all(context.manifest, facts))
                .or_else(|| by_package(facts, module))
                .or_else(|| by_alembic(context.root))
        }
        Expect::Sql { .. } => by_service(context, schema),
        // What these expect comes by migrations, and the fixer runs the same ones.
        Expect::Alembic { .. } | Expect::Django { .. } => None,
    }
}

/// The service that runs the application's own migrations when it starts, if there is one.
pub(super) fn migrator_of(context: &CheckContext<'_>, schema: &Schema) -> Option<Maker> {
    by_service(context, schema)
}

fn by_service(context: &CheckContext<'_>, schema: &Schema) -> Option<Maker> {
    let migrates = MIGRATES.as_ref()?;
    let layers = context.manifest.layers.iter();
    layers
        .flat_map(|layer| &layer.services)
        .find_map(|service| {
            let command = service.run.join(" ");
            let scripts = start_scripts(context.root, service, SCRIPTS);
            let found = std::iter::once(command)
                .chain(scripts)
                .find_map(|text| Some(migrates.find(&text)?.as_str().to_owned()));
            let found = found.or_else(|| self_migrating(service, schema));
            found.map(|what| Maker {
                kind: MakerKind::AtStart,
                migrates: true,
                shown: format!("service {}: {what}", service.name),
                location: Some(Location {
                    file: context.manifest_name(),
                    line: service.line,
                    column: 0,
                }),
            })
        })
}

/// The program, if it makes the database of this schema itself.
fn self_migrating(service: &Service, schema: &Schema) -> Option<String> {
    let names_it = |text: &String| text.contains(schema.database.as_str());
    let is_given = service.run.iter().any(names_it) || service.env.values().any(names_it);
    let expects = match &schema.expect {
        Expect::SqlAlchemy { module, .. } => module.split('.').next().unwrap_or_default(),
        _ => "",
    };
    let words = service
        .run
        .iter()
        .take(3)
        .map(|word| word.rsplit('/').next().unwrap_or(word));
    let mut programs = words.filter(|word| SELF_MIGRATING.contains(word));
    programs
        .find(|program| is_given || program.replace('-', "_") == expects)
        .map(|program| format!("{program} makes its own database"))
}

fn by_create_all(manifest: &Manifest, facts: &SourceFacts) -> Option<Maker> {
    let runs = |create: &&CreateAll| create.is_called || is_run(manifest, create);
    let create = facts.created.iter().find(runs)?;
    let (file, line) = (&create.place.file, create.place.line);
    // Which of several databases it makes is not known.
    let (kind, shown) = if manifest.schemas.len() == 1 {
        (MakerKind::AtStart, format!("create_all, {file}:{line}"))
    } else {
        let reason = format!("the application makes tables itself ({file}:{line}), perhaps these");
        (MakerKind::ByPerson, reason)
    };
    Some(Maker {
        kind,
        migrates: false,
        shown,
        location: Some(Location {
            file: file.clone(),
            line,
            column: 0,
        }),
    })
}

/// A service runs that very file or module.
fn is_run(manifest: &Manifest, create: &CreateAll) -> bool {
    let mut services = manifest.layers.iter().flat_map(|layer| &layer.services);
    services.any(|service| {
        let mut words = service.run.iter();
        words.any(|word| {
            let file = word.trim_start_matches("./");
            *word == create.module
                || (file.ends_with(".py") && Path::new(&create.place.file).ends_with(file))
        })
    })
}

/// Models of an installed package, not of the workspace: that package makes its tables.
fn by_package(facts: &SourceFacts, module: &str) -> Option<Maker> {
    let top = module.split('.').next().unwrap_or(module);
    let is_ours = |(name, _): &(String, String)| name.split('.').any(|part| part == top);
    if facts.modules.is_empty() || facts.modules.iter().any(is_ours) {
        return None;
    }
    Some(Maker {
        kind: MakerKind::ByPerson,
        migrates: true,
        shown: format!("the models belong to the package {top}, which makes its tables itself"),
        location: None,
    })
}

fn by_alembic(root: &Path) -> Option<Maker> {
    let found = ALEMBIC_FILES
        .iter()
        .find(|file| root.join(file).is_file())?;
    Some(Maker {
        kind: MakerKind::ByPerson,
        migrates: true,
        shown: format!(
            "the application has migrations ({found}); say `expect = \"alembic:alembic.ini\"` with `models`, and they \
             are run"
        ),
        location: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_that_migrate_are_known_and_others_are_not() {
        let migrates = MIGRATES.as_ref().expect("a constant pattern");
        for command in [
            "alembic upgrade head",
            "python -m alembic -c db/alembic.ini upgrade heads",
            "flask --app shop db upgrade",
            "python manage.py migrate --noinput",
            "sh -c alembic upgrade head && uvicorn main:app",
            "mlflow db upgrade ${DATABASE_URL}",
            "npx prisma migrate deploy",
            "aerich upgrade",
            "airflow db migrate",
        ] {
            assert!(migrates.is_match(command), "{command}");
        }
        for command in [
            "uvicorn main:app",
            "python -m backend.worker upgrade",
            "alembic current",
            "alembic check; pip install --upgrade pip",
            "python manage.py runserver",
            "celery -A shop worker",
        ] {
            assert!(!migrates.is_match(command), "{command}");
        }
    }
}
