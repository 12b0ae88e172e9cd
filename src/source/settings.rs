//! Settings classes of `pydantic`: which variables their fields are read from.
//!
//! A file gives its classes as they are written; when all files are read, it is known which of them are
//! settings, by inheritance, and which prefix counts.

use std::collections::{BTreeMap, BTreeSet};

use ruff_python_ast::{Expr, ExprCall, Stmt, StmtClassDef};
use ruff_text_size::Ranged;

use super::facts::{EnvRead, Guard, Place, Unjudged, ValueKind};
use super::literals::{is_url, literal_text, named_kind};
use super::scope::Scope;
use crate::manifest::sounds_secret;

/// A class with what matters if it is a settings class.
#[derive(Debug, Clone, Default)]
pub(super) struct ClassFacts {
    /// Dotted name.
    pub name: String,
    /// Dotted names of its bases.
    pub bases: Vec<String>,
    prefix: Option<String>,
    /// The configuration is made by the application's own code: the prefix may be any.
    is_computed: bool,
    delimiter: Option<String>,
    case_sensitive: Option<bool>,
    fields: Vec<Field>,
    /// Names that Pydantic 1's `Config.fields` gives.
    renamed: BTreeMap<String, Vec<String>>,
    guard: Guard,
}

#[derive(Debug, Clone, Default)]
struct Field {
    name: String,
    place: Place,
    /// Read instead of prefix and name.
    names: Vec<String>,
    required: bool,
    default: Option<String>,
    kind: ValueKind,
    one_of: Vec<String>,
    secret: bool,
    /// Dotted name of the class of its value, which may be a model of its own.
    model: Option<String>,
}

const SETTINGS: [&str; 4] = [
    "pydantic_settings.BaseSettings",
    "pydantic_settings.main.BaseSettings",
    "pydantic.BaseSettings",
    "pydantic.v1.BaseSettings",
];
/// Bases of bases, and models in models: deeper is a circle.
const DEPTH_MAX: usize = 8;

/// Collects the classes of one file.
#[derive(Debug, Default)]
pub(super) struct SettingsCollector {
    facts: SettingsFacts,
}

/// The classes that one file defines.
#[derive(Debug, Default)]
pub(super) struct SettingsFacts {
    pub classes: Vec<ClassFacts>,
    pub unjudged: Vec<Unjudged>,
}

impl SettingsCollector {
    pub(super) fn finish(self) -> SettingsFacts {
        self.facts
    }

    pub(super) fn read_class(&mut self, scope: &Scope<'_>, stmt: &StmtClassDef) {
        let Some(arguments) = &stmt.arguments else {
            return;
        };
        let bases: Vec<String> = arguments
            .args
            .iter()
            .filter_map(|base| match base {
                // `Generic[T]`, `Base[T]`.
                Expr::Subscript(subscript) => scope.dotted(&subscript.value),
                base => scope.dotted(base),
            })
            .collect();
        if bases.is_empty() {
            return;
        }
        let mut class = ClassFacts {
            name: scope.local(stmt.name.as_str()),
            bases,
            guard: scope.guard(),
            ..ClassFacts::default()
        };
        // `class Settings(BaseSettings, env_prefix="APP_")`.
        for keyword in &arguments.keywords {
            if let Some(name) = &keyword.arg {
                self.configure(scope, &mut class, name.as_str(), &keyword.value);
            }
        }
        for inner in &stmt.body {
            match inner {
                Stmt::AnnAssign(field) => {
                    if let Expr::Name(name) = &*field.target {
                        let name = name.id.as_str();
                        if name == "model_config" {
                            if let Some(value) = &field.value {
                                self.model_config(scope, &mut class, value);
                            }
                        } else if !name.starts_with('_') {
                            let value = field.value.as_deref();
                            let place = scope.place(field.range());
                            class.fields.extend(self.field(
                                scope,
                                name,
                                place,
                                &field.annotation,
                                value,
                            ));
                        }
                    }
                }
                Stmt::Assign(assign) => {
                    if let [Expr::Name(name)] = &assign.targets[..]
                        && name.id.as_str() == "model_config"
                    {
                        self.model_config(scope, &mut class, &assign.value);
                    }
                }
                Stmt::ClassDef(config) if config.name.as_str() == "Config" => {
                    for inner in &config.body {
                        if let Stmt::Assign(assign) = inner
                            && let [Expr::Name(name)] = &assign.targets[..]
                        {
                            self.configure(scope, &mut class, name.id.as_str(), &assign.value);
                        }
                    }
                }
                _ => {}
            }
        }
        if class.is_computed && class.fields.iter().any(|field| field.names.is_empty()) {
            self.facts.unjudged.push(scope.unjudged(
                stmt.range(),
                "the settings of the class are computed: names of variables may begin with any prefix",
            ));
        }
        self.facts.classes.push(class);
    }

    /// `SettingsConfigDict(env_prefix=...)`, `{"env_prefix": ...}`.
    fn model_config(&self, scope: &Scope<'_>, class: &mut ClassFacts, value: &Expr) {
        match value {
            Expr::Call(call) => {
                let made_by = scope.dotted(&call.func).unwrap_or_default();
                let made_by = made_by.rsplit('.').next().unwrap_or_default();
                class.is_computed =
                    !["SettingsConfigDict", "ConfigDict", "dict"].contains(&made_by);
                for keyword in &call.arguments.keywords {
                    if let Some(name) = &keyword.arg {
                        self.configure(scope, class, name.as_str(), &keyword.value);
                    }
                }
            }
            Expr::Dict(dict) => {
                for item in &dict.items {
                    if let Some(name) = item.key.as_ref().and_then(|key| scope.text_of(key)) {
                        self.configure(scope, class, &name, &item.value);
                    }
                }
            }
            _ => class.is_computed = true,
        }
    }

    fn configure(&self, scope: &Scope<'_>, class: &mut ClassFacts, key: &str, value: &Expr) {
        match key {
            "env_prefix" => {
                class.prefix = scope.text_of(value);
                class.is_computed = class.prefix.is_none();
            }
            "env_nested_delimiter" => class.delimiter = scope.text_of(value),
            "case_sensitive" => {
                if let Expr::BooleanLiteral(literal) = value {
                    class.case_sensitive = Some(literal.value);
                }
            }
            "fields" => {
                let Expr::Dict(fields) = value else { return };
                for item in &fields.items {
                    let name = item.key.as_ref().and_then(|key| scope.text_of(key));
                    let names = match &item.value {
                        Expr::Dict(inner) => inner
                            .items
                            .iter()
                            .find(|item| {
                                item.key.as_ref().and_then(|k| scope.text_of(k)).as_deref()
                                    == Some("env")
                            })
                            .map(|item| self.names_in(scope, &item.value)),
                        _ => None,
                    };
                    if let (Some(name), Some(names)) = (name, names) {
                        class.renamed.insert(name, names);
                    }
                }
            }
            _ => {}
        }
    }

    fn field(
        &self,
        scope: &Scope<'_>,
        name: &str,
        place: Place,
        annotation: &Expr,
        value: Option<&Expr>,
    ) -> Option<Field> {
        let mut field = Field {
            name: name.to_owned(),
            place,
            required: true,
            ..Field::default()
        };
        if !self.annotate(scope, &mut field, annotation, 0) {
            return None;
        }
        match value {
            None => {}
            Some(Expr::EllipsisLiteral(_)) => field.required = true,
            Some(Expr::Call(call)) if self.is_field(scope, call) => {
                self.apply_field(scope, &mut field, call)
            }
            Some(value) => {
                field.required = false;
                field.default = literal_text(value);
            }
        }
        if field.kind == ValueKind::String && field.default.as_deref().is_some_and(is_url) {
            field.kind = ValueKind::Url;
        }
        Some(field)
    }

    fn is_field(&self, scope: &Scope<'_>, call: &ExprCall) -> bool {
        scope
            .dotted(&call.func)
            .is_some_and(|name| name.ends_with(".Field") && name.starts_with("pydantic"))
    }

    /// `Field(default, alias=..., validation_alias=AliasChoices(...), env=...)`.
    fn apply_field(&self, scope: &Scope<'_>, field: &mut Field, call: &ExprCall) {
        let arguments = &call.arguments;
        if let Some(default) = arguments.find_argument_value("default", 0) {
            field.required = matches!(default, Expr::EllipsisLiteral(_));
            field.default = literal_text(default);
        } else if arguments.find_keyword("default_factory").is_some() {
            field.required = false;
        }
        // What is given last of these counts.
        for key in ["alias", "validation_alias", "env"] {
            if let Some(keyword) = arguments.find_keyword(key) {
                let names = self.names_in(scope, &keyword.value);
                if !names.is_empty() {
                    field.names = names;
                }
            }
        }
    }

    fn names_in(&self, scope: &Scope<'_>, expr: &Expr) -> Vec<String> {
        match expr {
            Expr::Call(call) => {
                // `AliasPath("NAME", 0)` reads the first part.
                let is_path = scope
                    .dotted(&call.func)
                    .is_some_and(|name| name.ends_with("AliasPath"));
                let taken = if is_path { 1 } else { usize::MAX };
                let parts = call.arguments.args.iter().take(taken);
                parts.flat_map(|part| self.names_in(scope, part)).collect()
            }
            Expr::List(list) => list
                .elts
                .iter()
                .flat_map(|e| self.names_in(scope, e))
                .collect(),
            Expr::Tuple(tuple) => tuple
                .elts
                .iter()
                .flat_map(|e| self.names_in(scope, e))
                .collect(),
            expr => scope.text_of(expr).into_iter().collect(),
        }
    }

    /// Kind, secrecy and allowed values from an annotation; `false` if it is no field.
    fn annotate(
        &self,
        scope: &Scope<'_>,
        field: &mut Field,
        annotation: &Expr,
        depth: usize,
    ) -> bool {
        if depth > DEPTH_MAX {
            return true;
        }
        match annotation {
            Expr::Subscript(subscript) => {
                let outer = match &*subscript.value {
                    Expr::Name(name) => name.id.as_str(),
                    Expr::Attribute(attribute) => attribute.attr.as_str(),
                    _ => return true,
                };
                let parts = match &*subscript.slice {
                    Expr::Tuple(tuple) => &tuple.elts[..],
                    one => std::slice::from_ref(one),
                };
                match outer {
                    "ClassVar" | "InitVar" => return false,
                    "Optional" | "Union" => {
                        for part in parts {
                            self.annotate(scope, field, part, depth + 1);
                        }
                    }
                    "Annotated" => {
                        for part in parts.iter().take(1) {
                            self.annotate(scope, field, part, depth + 1);
                        }
                        for part in parts.iter().skip(1) {
                            if let Expr::Call(call) = part
                                && self.is_field(scope, call)
                            {
                                self.apply_field(scope, field, call);
                            }
                        }
                    }
                    "Literal" => field.one_of = parts.iter().filter_map(literal_text).collect(),
                    _ => {}
                }
            }
            Expr::BinOp(either) => {
                self.annotate(scope, field, &either.left, depth + 1);
                self.annotate(scope, field, &either.right, depth + 1);
            }
            Expr::Name(_) | Expr::Attribute(_) => {
                let dotted = scope.dotted(annotation).unwrap_or_default();
                if dotted.ends_with("ClassVar") {
                    return false;
                }
                if dotted.ends_with(".SecretStr") || dotted.ends_with(".SecretBytes") {
                    field.secret = true;
                } else if let Some(kind) = named_kind(annotation) {
                    field.kind = kind;
                } else {
                    field.model = Some(dotted);
                }
            }
            _ => {}
        }
        true
    }
}

/// All classes of the sources.
pub(super) struct Classes<'a> {
    by_name: BTreeMap<&'a str, &'a ClassFacts>,
    /// The definition that a dotted name leads to, through re-exports.
    follow: &'a dyn Fn(&str) -> String,
}

impl<'a> Classes<'a> {
    pub(super) fn new(
        classes: impl Iterator<Item = &'a ClassFacts>,
        follow: &'a dyn Fn(&str) -> String,
    ) -> Self {
        Self {
            by_name: classes.map(|class| (class.name.as_str(), class)).collect(),
            follow,
        }
    }

    fn find(&self, name: &str) -> Option<&'a ClassFacts> {
        let found = self.by_name.get(name).copied();
        found.or_else(|| self.by_name.get((self.follow)(name).as_str()).copied())
    }

    /// The class and its bases in the sources, nearest first, and the names of those outside.
    fn lineage(&self, class: &'a ClassFacts) -> (Vec<&'a ClassFacts>, Vec<&'a str>) {
        let mut seen = BTreeSet::new();
        let mut line = Vec::new();
        let mut outside = Vec::new();
        let mut next = vec![class];
        for _ in 0..DEPTH_MAX {
            let mut above = Vec::new();
            for class in next {
                if !seen.insert(class.name.as_str()) {
                    continue;
                }
                line.push(class);
                for base in &class.bases {
                    match self.find(base) {
                        Some(base) => above.push(base),
                        None => outside.push(base.as_str()),
                    }
                }
            }
            next = above;
        }
        (line, outside)
    }

    /// A base outside of the sources has one of these names.
    pub(super) fn inherits(&self, name: &str, outside: &[&str]) -> bool {
        self.find(name).is_some_and(|class| {
            let (_, bases) = self.lineage(class);
            bases.iter().any(|base| outside.contains(base))
        })
    }

    /// A class of the sources inherits from another of them.
    pub(super) fn reaches(&self, name: &str, base: &str) -> bool {
        self.find(name).is_some_and(|class| {
            let (line, _) = self.lineage(class);
            line.iter().skip(1).any(|above| above.name == base)
        })
    }

    /// What the settings classes read.
    pub(super) fn reads(&self) -> Vec<EnvRead> {
        let mut settings = Vec::new();
        let mut extended = BTreeSet::new();
        for class in self.by_name.values() {
            let (line, outside) = self.lineage(class);
            if outside.iter().any(|base| SETTINGS.contains(base)) {
                extended.extend(line.iter().skip(1).map(|base| base.name.as_str()));
                settings.push(line);
            }
        }
        let mut reads = Vec::new();
        for line in &settings {
            // What others extend is read with their prefix.
            if line
                .first()
                .is_some_and(|class| !extended.contains(class.name.as_str()))
            {
                self.reads_of(line, &mut reads);
            }
        }
        reads
    }

    fn reads_of(&self, line: &[&'a ClassFacts], reads: &mut Vec<EnvRead>) {
        let guard = line.first().map_or(Guard::Always, |class| class.guard);
        let prefix = line.iter().find_map(|c| c.prefix.as_deref()).unwrap_or("");
        // Of the nearest class that says anything.
        let is_computed = line
            .iter()
            .find(|c| c.is_computed || c.prefix.is_some())
            .is_some_and(|c| c.is_computed);
        let delimiter = line.iter().find_map(|c| c.delimiter.as_deref());
        let is_exact = line.iter().find_map(|c| c.case_sensitive).unwrap_or(false);
        let spell = |name: &str| {
            if is_exact {
                name.to_owned()
            } else {
                name.to_uppercase()
            }
        };
        let mut seen = BTreeSet::new();
        for class in line {
            for field in &class.fields {
                if !seen.insert(field.name.as_str()) {
                    continue;
                }
                let renamed = line.iter().find_map(|class| class.renamed.get(&field.name));
                let names = renamed.unwrap_or(&field.names).iter().map(|n| spell(n));
                let mut names: Vec<String> = names.collect();
                // `AliasPath` to the field itself is rarely meant for the environment.
                let plain = spell(&field.name);
                names.sort_by_key(|name| *name == plain);
                if names.is_empty() {
                    if is_computed {
                        continue;
                    }
                    names.push(spell(&format!("{prefix}{}", field.name)));
                }
                let name = names.remove(0);
                let aliases = names;
                let model = field.model.as_deref().and_then(|model| self.find(model));
                if let (Some(model), Some(delimiter)) = (model, delimiter) {
                    self.nested(model, &name, delimiter, &spell, guard, 0, reads);
                }
                let is_nested = model.is_some_and(|model| !model.fields.is_empty());
                reads.push(EnvRead {
                    place: field.place.clone(),
                    secret: field.secret || sounds_secret(&name),
                    name,
                    aliases,
                    // A model in a field comes together from its parts.
                    required: field.required && !is_nested,
                    default: field.default.clone(),
                    kind: field.kind,
                    one_of: field.one_of.clone(),
                    reader: "pydantic-settings",
                    guard,
                });
            }
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn nested(
        &self,
        model: &ClassFacts,
        above: &str,
        delimiter: &str,
        spell: &dyn Fn(&str) -> String,
        guard: Guard,
        depth: usize,
        reads: &mut Vec<EnvRead>,
    ) {
        if depth >= 3 {
            return;
        }
        for field in &model.fields {
            let name = format!("{above}{}{}", spell(delimiter), spell(&field.name));
            let inner = field.model.as_deref().and_then(|model| self.find(model));
            if let Some(inner) = inner {
                self.nested(inner, &name, delimiter, spell, guard, depth + 1, reads);
            }
            reads.push(EnvRead {
                place: field.place.clone(),
                secret: field.secret || sounds_secret(&name),
                name,
                aliases: Vec::new(),
                // Whether the whole has a default is not told by its parts.
                required: false,
                default: field.default.clone(),
                kind: field.kind,
                one_of: field.one_of.clone(),
                reader: "pydantic-settings",
                guard,
            });
        }
    }
}
