//! What the files say together: names followed through imports of the workspace, and what depends on
//! them: settings classes, routers and where they are mounted, factories, tables.

use std::collections::{BTreeMap, BTreeSet};

use super::created::{is_aside, mark_called};
use super::environment::ReaderObject;
use super::facts::{
    ApplicationObject, Base, EnvRead, Framework, Guard, Include, Place, SourceFacts, ValueKind,
};
use super::file::FileFacts;
use super::settings::Classes;

/// Re-exports of re-exports: more are a circle.
const HOPS_MAX: usize = 12;

/// Puts the facts of all files together, in their order.
pub(super) fn merge(files: Vec<FileFacts>) -> SourceFacts {
    let names = ModuleNames::of(&files);
    let follow = |name: &str| names.follow(name);
    let classes = Classes::new(files.iter().flat_map(|f| &f.classes), &follow);
    let mut facts = SourceFacts {
        files: files.len(),
        lines: files.iter().map(|file| file.lines).sum(),
        ..SourceFacts::default()
    };
    let mut settings = classes.reads();
    facts.applications = applications(&files, &names, &classes);
    facts.bases = bases(&files, &names, &classes);
    facts.tables = super::metadata::tables(&files);
    facts.includes = files
        .iter()
        .flat_map(|file| &file.web.includes)
        .map(|include| Include {
            place: include.place.clone(),
            includer: include.includer.as_deref().and_then(|n| names.split(n)),
            included: include.included.as_deref().and_then(|n| names.split(n)),
            prefix: include.prefix.clone(),
        })
        .collect();
    let readers: BTreeMap<String, &ReaderObject> = files
        .iter()
        .flat_map(|file| {
            let module = &file.scope.module;
            let named = file.environment.readers.iter();
            named.map(move |(name, reader)| (format!("{module}.{name}"), reader))
        })
        .collect();
    let found: Vec<EnvRead> = files
        .iter()
        .flat_map(|file| &file.environment.candidates)
        .filter_map(|candidate| {
            let reader = readers
                .get(&candidate.object)
                .or_else(|| readers.get(&names.follow(&candidate.object)))?;
            Some(known_to(reader, candidate.read.clone()))
        })
        .collect();
    settings.extend(found);
    let mut called = BTreeSet::new();
    for file in files {
        let mut reads = file.environment.reads;
        optional_where_asked_for(&mut reads);
        facts.env_reads.extend(reads);
        facts.syntax_errors.extend(file.syntax_errors);
        facts.unjudged.extend(file.unjudged);
        facts.imports.extend(file.imports);
        facts.routers.extend(file.web.routers);
        facts.ignored_handlers.extend(file.web.ignored);
        facts.created.extend(file.created.created);
        facts.undefined.extend(file.undefined);
        facts.servers.extend(file.given.servers);
        facts
            .template_directories
            .extend(file.given.template_directories);
        facts.database_uris.extend(file.given.uris);
        if !is_aside(&file.scope.file) {
            called.extend(file.created.called);
        }
        facts.scopes.push(file.scope);
    }
    mark_called(&mut facts.created, &called, &facts.imports);
    facts.env_reads.extend(settings);
    facts
        .env_reads
        .sort_by(|a, b| (&a.place, &a.name).cmp(&(&b.place, &b.name)));
    facts
}

/// What the reader was told when it was made.
fn known_to(reader: &ReaderObject, mut read: EnvRead) -> EnvRead {
    read.reader = match reader.library {
        super::environment::Library::Environs => "environs",
        super::environment::Library::Decouple => "decouple",
        super::environment::Library::DjangoEnviron => "django-environ",
        super::environment::Library::Starlette => "starlette",
    };
    if let Some((_, kind, default)) = reader.scheme.iter().find(|(name, ..)| *name == read.name) {
        if read.kind == ValueKind::String {
            read.kind = *kind;
        }
        if default.is_some() {
            read.required = false;
        }
        read.default = read.default.or_else(|| default.clone());
    }
    read
}

/// `if "X" in os.environ: os.environ["X"]`, and what is set by `setdefault` before.
fn optional_where_asked_for(reads: &mut [EnvRead]) {
    let asked: BTreeSet<String> = reads
        .iter()
        .filter(|read| !read.required && read.reader == "os.environ")
        .map(|read| read.name.clone())
        .collect();
    for read in reads {
        let is_optional = read.guard == Guard::Tried
            || (read.guard != Guard::Always && asked.contains(&read.name));
        read.required &= !is_optional;
    }
}

fn applications(
    files: &[FileFacts],
    names: &ModuleNames<'_>,
    classes: &Classes<'_>,
) -> Vec<ApplicationObject> {
    let mut all: Vec<ApplicationObject> = files
        .iter()
        .flat_map(|file| file.web.applications.iter().cloned())
        .collect();
    let factories: BTreeMap<String, Framework> = all
        .iter()
        .filter(|application| application.is_factory)
        .map(|a| {
            (
                format!("{}.{}", a.module, a.attribute.trim_end_matches('(')),
                a.framework,
            )
        })
        .collect();
    for file in files {
        for call in &file.web.assigned_calls {
            let full = names.follow(&call.function);
            let framework = factories.get(&full).copied().or_else(|| {
                let is = |bases: &[&str]| classes.inherits(&call.function, bases);
                if is(&["fastapi.FastAPI", "fastapi.applications.FastAPI"]) {
                    Some(Framework::FastApi)
                } else if is(&["starlette.applications.Starlette"]) {
                    Some(Framework::Starlette)
                } else if is(&["flask.Flask"]) {
                    Some(Framework::Flask)
                } else {
                    None
                }
            });
            if let Some(framework) = framework {
                all.push(ApplicationObject {
                    place: call.place.clone(),
                    framework,
                    module: file.scope.module.clone(),
                    attribute: call.name.clone(),
                    is_factory: false,
                });
            }
        }
    }
    all.retain(|application| !application.attribute.ends_with('('));
    django(files, &mut all);
    all.sort_by(|a, b| a.place.cmp(&b.place));
    all
}

/// Each settings module once, as `manage.py` names it; where nothing names one, the file that looks like it.
fn django(files: &[FileFacts], all: &mut Vec<ApplicationObject>) {
    let mut seen = BTreeSet::new();
    let is_django = |a: &ApplicationObject| a.framework == Framework::Django;
    all.sort_by_key(|a| (!a.place.file.ends_with("manage.py"), a.place.clone()));
    all.retain(|a| !is_django(a) || seen.insert(a.module.clone()));
    if !seen.is_empty() {
        return;
    }
    for file in files {
        let names = &file.scope.names;
        if names.contains("INSTALLED_APPS") && names.contains("ROOT_URLCONF") {
            all.push(ApplicationObject {
                place: Place {
                    file: file.scope.file.clone(),
                    line: 1,
                    column: 0,
                },
                framework: Framework::Django,
                module: file.scope.module.clone(),
                attribute: String::new(),
                is_factory: false,
            });
        }
    }
}

fn bases(files: &[FileFacts], names: &ModuleNames<'_>, classes: &Classes<'_>) -> Vec<Base> {
    let mut counted: BTreeMap<String, u32> = BTreeMap::new();
    for owner in files.iter().flat_map(|file| &file.bases.table_owners) {
        *counted.entry(names.follow(owner)).or_default() += 1;
    }
    let mut all: Vec<Base> = files
        .iter()
        .flat_map(|file| &file.bases.bases)
        .map(|candidate| Base {
            tables: candidate
                .owners
                .iter()
                .filter_map(|owner| counted.get(owner))
                .sum(),
            ..candidate.base.clone()
        })
        .collect();
    // Tables of an abstract class that inherits from a base are the base's too.
    for (owner, count) in &counted {
        for base in &mut all {
            let full = format!("{}.{}", base.module, base.attribute);
            if *owner != full && classes.reaches(owner, &full) {
                base.tables += count;
            }
        }
    }
    // SQLModel is a base that nobody defines: the module with the most tables stands for it.
    let with_tables = files
        .iter()
        .map(|file| {
            let tables = file.bases.table_owners.iter();
            (
                tables.filter(|owner| *owner == "sqlmodel.SQLModel").count(),
                file,
            )
        })
        .filter(|(tables, file)| *tables > 0 && file.scope.names.contains("SQLModel"))
        .max_by_key(|(tables, _)| *tables);
    if let Some((_, file)) = with_tables {
        all.push(Base {
            place: Place {
                file: file.scope.file.clone(),
                line: 1,
                column: 0,
            },
            module: file.scope.module.clone(),
            attribute: "SQLModel".to_owned(),
            tables: counted.get("sqlmodel.SQLModel").copied().unwrap_or(0),
        });
    }
    all.sort_by(|a, b| a.place.cmp(&b.place));
    all
}

/// Names of all modules, to follow imports.
struct ModuleNames<'a> {
    files: BTreeMap<&'a str, &'a FileFacts>,
}

impl<'a> ModuleNames<'a> {
    fn of(files: &'a [FileFacts]) -> Self {
        Self {
            files: files
                .iter()
                .map(|file| (file.scope.module.as_str(), file))
                .collect(),
        }
    }

    /// The longest module that a dotted name begins with, and the rest.
    fn module_of<'n>(&self, dotted: &'n str) -> Option<(&'a FileFacts, &'n str)> {
        let mut end = dotted.len();
        loop {
            let (module, rest) = dotted.split_at_checked(end)?;
            if let Some(file) = self.files.get(module) {
                return Some((file, rest.trim_start_matches('.')));
            }
            end = module.rfind('.')?;
        }
    }

    /// Where a dotted name is defined, through imports of imports.
    fn follow(&self, dotted: &str) -> String {
        let mut name = dotted.to_owned();
        for _ in 0..HOPS_MAX {
            let Some((file, rest)) = self.module_of(&name) else {
                break;
            };
            let (first, tail) = rest.split_once('.').unwrap_or((rest, ""));
            let next = match file.aliases.get(first) {
                Some(target) => target.clone(),
                None => match self.through_star(file, first) {
                    Some(target) => target,
                    None => break,
                },
            };
            let next = if tail.is_empty() {
                next
            } else {
                format!("{next}.{tail}")
            };
            if next == name {
                break;
            }
            name = next;
        }
        name
    }

    fn through_star(&self, file: &FileFacts, name: &str) -> Option<String> {
        if name.is_empty() || file.scope.names.contains(name) {
            return None;
        }
        let modules = file.scope.stars.iter();
        modules
            .filter(|module| {
                self.files
                    .get(module.as_str())
                    .is_some_and(|other| other.scope.names.contains(name))
            })
            .map(|module| format!("{module}.{name}"))
            .next()
    }

    /// Module and name of what a dotted name stands for, if a module of the workspace defines it.
    fn split(&self, dotted: &str) -> Option<(String, String)> {
        let full = self.follow(dotted);
        let (file, rest) = self.module_of(&full)?;
        (!rest.is_empty()).then(|| (file.scope.module.clone(), rest.to_owned()))
    }
}
