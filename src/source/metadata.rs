//! To which `MetaData` a table belongs: through names, imports, base classes and their factories.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::facts::TableDefinition;
use super::file::FileFacts;
use super::tables::{Bound, CallFacts, CandidateKind, ClassMetadata, Keyword};

/// Names of names, bases of bases: deeper is a circle.
const DEPTH_MAX: usize = 40;
/// Tables that are told.
const TABLES_MAX: usize = 5_000;
const ROOT_BASES: [&str; 2] = ["DeclarativeBase", "DeclarativeBaseNoMeta"];
const FACTORIES: [&str; 6] = [
    "declarative_base",
    "automap_base",
    "generate_base",
    "MetaData",
    "SQLAlchemy",
    "registry",
];
/// Decorators of a class that leave its table as it is.
const KNOWN_DECORATORS: [&str; 4] = ["as_declarative", "dataclass", "total_ordering", "final"];

/// What a name stands for.
#[derive(Clone)]
enum Thing<'a> {
    Class(&'a FileFacts, usize),
    /// The name that a module binds a call to, and the call.
    Call(&'a FileFacts, String, &'a CallFacts),
    /// An attribute of something.
    Member(Box<Thing<'a>>, String),
    /// Of a package: dotted.
    External(String),
}

/// A class, as a table sees it.
#[derive(Clone, Default)]
struct OfClass {
    metadata: Option<String>,
    sure: bool,
    /// A base class brings `__table_args__`.
    inherits_args: bool,
}

/// Names of all modules.
pub(super) struct MetadataFinder<'a> {
    files: BTreeMap<&'a str, &'a FileFacts>,
    /// First parts of their names: a package without `__init__` is the application's own too.
    tops: BTreeSet<&'a str>,
    /// What is known of classes, by file and position: a class may be reached on many ways.
    known: RefCell<BTreeMap<(&'a str, usize), OfClass>>,
}

/// Every table with its `MetaData`, in the order of the files.
pub(super) fn tables(files: &[FileFacts]) -> Vec<TableDefinition> {
    if files.iter().all(|file| file.tables.tables.is_empty()) {
        return Vec::new();
    }
    let mut finder = MetadataFinder {
        files: BTreeMap::new(),
        tops: BTreeSet::new(),
        known: RefCell::default(),
    };
    for file in files {
        let module = file.scope.module.as_str();
        finder.files.entry(module).or_insert(file);
        finder.tops.extend(module.split('.').next());
    }
    let mut all = Vec::new();
    for file in files {
        for candidate in &file.tables.tables {
            let mut table = candidate.definition.clone();
            let metadata = match &candidate.kind {
                CandidateKind::Class(position) => {
                    let of = finder.of_class(file, *position, 0);
                    table.inherits_args = of.inherits_args;
                    table.sure &= of.sure && (candidate.has_own_args || !of.inherits_args);
                    of.metadata
                }
                CandidateKind::Call { function, metadata } => finder
                    .expression(file, function.as_deref(), 0)
                    .filter(|made_by| {
                        matches!(made_by, Thing::External(name) if name.starts_with("sqlalchemy"))
                    })
                    .and_then(|_| finder.expression(file, metadata.as_deref(), 0))
                    .and_then(|thing| finder.metadata(&thing, 0)),
            };
            table.sure &= metadata.is_some();
            table.metadata = metadata.unwrap_or_default();
            all.push(table);
            if all.len() >= TABLES_MAX {
                return all;
            }
        }
    }
    all
}

impl<'a> MetadataFinder<'a> {
    /// What an expression of that file stands for.
    fn expression(
        &self,
        file: &'a FileFacts,
        written: Option<&str>,
        depth: usize,
    ) -> Option<Thing<'a>> {
        let written = written?;
        let (name, attributes) = written.split_once('.').unwrap_or((written, ""));
        self.name(file, name, attributes, depth)
    }

    /// A name of a module, with attributes.
    fn name(
        &self,
        file: &'a FileFacts,
        name: &str,
        attributes: &str,
        depth: usize,
    ) -> Option<Thing<'a>> {
        if depth > DEPTH_MAX {
            return None;
        }
        match file.tables.bound.get(name) {
            Some(Bound::Class(position)) => {
                Some(members(Thing::Class(file, *position), attributes))
            }
            Some(Bound::Call(call)) => {
                let thing = Thing::Call(file, name.to_owned(), call);
                Some(members(thing, attributes))
            }
            Some(Bound::Alias(other)) => {
                self.expression(file, Some(&joined(other, attributes)), depth + 1)
            }
            Some(Bound::Other | Bound::Twice) => None,
            None => match file.aliases.get(name) {
                Some(target) => self.dotted(&joined(target, attributes), depth + 1),
                None => {
                    let inside = self.through_stars(file, name)?;
                    self.name(inside, name, attributes, depth + 1)
                }
            },
        }
    }

    /// The module that a name comes from by `from module import *`; packages often do that in circles.
    fn through_stars(&self, file: &'a FileFacts, name: &str) -> Option<&'a FileFacts> {
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        let mut open: Vec<&'a FileFacts> = vec![file];
        while let Some(file) = open.pop() {
            if file.tables.bound.contains_key(name) || file.aliases.contains_key(name) {
                return Some(file);
            }
            for module in file.scope.stars.iter().rev() {
                if seen.insert(module) {
                    open.extend(self.files.get(module.as_str()).copied());
                }
            }
        }
        None
    }

    /// An absolute name.
    fn dotted(&self, dotted: &str, depth: usize) -> Option<Thing<'a>> {
        let top = dotted.split('.').next().unwrap_or(dotted);
        if top == "?" {
            return None;
        }
        if !self.tops.contains(top) {
            return Some(Thing::External(dotted.to_owned()));
        }
        let mut end = dotted.len();
        loop {
            let (module, rest) = dotted.split_at_checked(end)?;
            if let Some(file) = self.files.get(module) {
                let rest = rest.trim_start_matches('.');
                let (name, attributes) = rest.split_once('.').unwrap_or((rest, ""));
                return self.name(file, name, attributes, depth);
            }
            end = module.rfind('.')?;
        }
    }

    /// The `MetaData` that a thing belongs to, as a text that is its own.
    fn metadata(&self, thing: &Thing<'a>, depth: usize) -> Option<String> {
        if depth > DEPTH_MAX {
            return None;
        }
        match thing {
            Thing::Class(file, position) => self.of_class(file, *position, depth + 1).metadata,
            Thing::Member(of, attribute) => {
                let is_known = matches!(attribute.as_str(), "metadata" | "Model" | "Table");
                is_known.then(|| self.metadata(of, depth + 1)).flatten()
            }
            Thing::External(name) => {
                let name = name.strip_suffix(".metadata").unwrap_or(name);
                name.ends_with(".SQLModel").then(|| name.to_owned())
            }
            Thing::Call(file, name, call) => {
                match &call.metadata {
                    Keyword::Absent => {}
                    Keyword::Unknown => return None,
                    Keyword::Name(written) => {
                        let thing = self.expression(file, Some(written), depth + 1)?;
                        return self.metadata(&thing, depth + 1);
                    }
                }
                let last = match self.expression(file, call.function.as_deref(), depth + 1)? {
                    Thing::Member(_, method) => (method == "generate_base").then_some(method),
                    Thing::External(dotted) => dotted.rsplit('.').next().map(str::to_owned),
                    Thing::Class(..) | Thing::Call(..) => None,
                }?;
                FACTORIES
                    .contains(&last.as_str())
                    .then(|| format!("{}:{name}", file.scope.file))
            }
        }
    }

    fn of_class(&self, file: &'a FileFacts, position: usize, depth: usize) -> OfClass {
        let key = (file.scope.file.as_str(), position);
        if let Some(known) = self.known.borrow().get(&key) {
            return known.clone();
        }
        // A class in its own circle of bases is not sure.
        self.known.borrow_mut().insert(key, OfClass::default());
        let of = self.read_class(file, position, depth);
        self.known.borrow_mut().insert(key, of.clone());
        of
    }

    fn read_class(&self, file: &'a FileFacts, position: usize, depth: usize) -> OfClass {
        let Some(class) = file
            .tables
            .classes
            .get(position)
            .filter(|_| depth <= DEPTH_MAX)
        else {
            return OfClass::default();
        };
        let mut found: BTreeSet<String> = BTreeSet::new();
        let is_root = |name: &String| name == "as_declarative";
        let mut root = class.has_metaclass || class.decorators.iter().any(is_root);
        let mut of = OfClass {
            metadata: None,
            sure: class
                .decorators
                .iter()
                .all(|name| KNOWN_DECORATORS.contains(&name.as_str())),
            inherits_args: false,
        };
        for base in &class.bases {
            let thing = self.expression(file, base.as_deref(), depth + 1);
            match &thing {
                None => of.sure = false,
                Some(Thing::Class(file, position)) => {
                    let base = self.of_class(file, *position, depth + 1);
                    let has_args = |class: &super::tables::TableClass| class.has_table_args;
                    of.sure &= base.sure;
                    of.inherits_args |= base.inherits_args
                        || file.tables.classes.get(*position).is_some_and(has_args);
                    found.extend(base.metadata);
                }
                Some(Thing::External(name)) if !name.ends_with(".SQLModel") => {
                    let last = name.rsplit('.').next().unwrap_or_default();
                    root |= ROOT_BASES.contains(&last);
                }
                Some(thing) => match self.metadata(thing, depth + 1) {
                    Some(metadata) => _ = found.insert(metadata),
                    None => of.sure = false,
                },
            }
        }
        let own = match &class.metadata {
            None => None,
            Some(ClassMetadata::Call) => {
                Some(Some(format!("{}:{}.metadata", file.scope.file, class.name)))
            }
            Some(ClassMetadata::Name(written)) => Some(
                self.expression(file, Some(written), depth + 1)
                    .and_then(|thing| self.metadata(&thing, depth + 1)),
            ),
            Some(ClassMetadata::Unknown) => Some(None),
        };
        if let Some(metadata) = own {
            of.sure &= metadata.is_some();
            of.metadata = metadata;
            return of;
        }
        if root && found.is_empty() {
            found.insert(format!("{}:{}", file.scope.file, class.name));
        }
        if found.len() == 1 {
            of.metadata = found.pop_first();
        } else {
            of.sure &= found.is_empty();
        }
        of
    }
}

fn joined(name: &str, attributes: &str) -> String {
    if attributes.is_empty() {
        name.to_owned()
    } else {
        format!("{name}.{attributes}")
    }
}

fn members<'a>(thing: Thing<'a>, attributes: &str) -> Thing<'a> {
    attributes
        .split('.')
        .filter(|attribute| !attribute.is_empty())
        .fold(thing, |of, attribute| {
            Thing::Member(Box::new(of), attribute.to_owned())
        })
}
