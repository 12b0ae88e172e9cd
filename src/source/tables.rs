//! Tables of SQLAlchemy: classes with `__tablename__`, calls of `Table`, and what is needed to tell to which
//! `MetaData` each of them belongs.
//!
//! A file gives what it binds and defines as it is written; when all files are read, names are followed through
//! imports and base classes. What cannot be told for sure is said to be unsure.

use std::collections::BTreeMap;

use ruff_python_ast::{Expr, ExprCall, Stmt, StmtClassDef};
use ruff_text_size::{Ranged, TextRange, TextSize};

use super::columns::{columns_of_call, columns_of_class};
use super::facts::TableDefinition;
use super::scope::Scope;

/// What a module binds a name to, besides imports.
#[derive(Debug, Clone)]
pub(super) enum Bound {
    /// Position in the file's classes.
    Class(usize),
    Call(CallFacts),
    /// Another name, with attributes: as it is written.
    Alias(String),
    /// A function, another value.
    Other,
    /// More than one of these: which one counts is not known.
    Twice,
}

/// `name = function(...)`.
#[derive(Debug, Clone)]
pub(super) struct CallFacts {
    /// As it is written; `None` for anything but names and attributes.
    pub function: Option<String>,
    pub metadata: Keyword,
}

/// The argument `metadata=`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Keyword {
    Absent,
    Name(String),
    /// Something else, or `**arguments` that may hold it.
    Unknown,
}

/// A class, as far as tables depend on it.
#[derive(Debug, Clone, Default)]
pub(super) struct TableClass {
    pub name: String,
    /// As they are written; `None` for anything but names and attributes.
    pub bases: Vec<Option<String>>,
    pub has_metaclass: bool,
    /// Last names of the decorators.
    pub decorators: Vec<String>,
    /// What its body binds `metadata` to.
    pub metadata: Option<ClassMetadata>,
    pub has_table_args: bool,
}

/// What a class body binds `metadata` to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ClassMetadata {
    Call,
    Name(String),
    Unknown,
}

/// A table, before its `MetaData` is known.
#[derive(Debug, Clone)]
pub(super) struct TableCandidate {
    /// `sure` and `metadata` are not final.
    pub definition: TableDefinition,
    pub kind: CandidateKind,
    /// It is sure only without `__table_args__` from a base class.
    pub has_own_args: bool,
}

#[derive(Debug, Clone)]
pub(super) enum CandidateKind {
    /// Position in the file's classes.
    Class(usize),
    /// What is called, and its second argument, as they are written.
    Call {
        function: Option<String>,
        metadata: Option<String>,
    },
}

/// Options of a table: `extend_existing`, `schema`.
struct TableOptions {
    extends: bool,
    schema: Option<String>,
    is_known: bool,
}

/// What Python takes for false in the place of an option.
fn is_false(value: &Expr) -> bool {
    match value {
        Expr::BooleanLiteral(literal) => !literal.value,
        Expr::NoneLiteral(_) => true,
        Expr::StringLiteral(text) => text.value.to_str().is_empty(),
        Expr::NumberLiteral(number) => {
            matches!(&number.value, ruff_python_ast::Number::Int(n) if n.as_u8() == Some(0))
        }
        _ => false,
    }
}

fn text(value: &Expr) -> Option<&str> {
    match value {
        Expr::StringLiteral(text) => Some(text.value.to_str()),
        _ => None,
    }
}

fn options<'a>(items: impl Iterator<Item = (Option<&'a str>, &'a Expr)>) -> TableOptions {
    let mut options = TableOptions {
        extends: false,
        schema: None,
        is_known: true,
    };
    for (key, value) in items {
        match key {
            None => options.is_known = false,
            Some("extend_existing" | "keep_existing") => options.extends |= !is_false(value),
            Some("schema") => {
                options.schema = text(value).map(str::to_owned);
                options.is_known &= options.schema.is_some() || is_false(value);
            }
            Some(_) => {}
        }
    }
    options
}

/// A name with attributes, as it is written; `Generic[T]` is `Generic`.
fn written(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Name(name) => Some(name.id.as_str().to_owned()),
        Expr::Attribute(attribute) => Some(format!(
            "{}.{}",
            written(&attribute.value)?,
            attribute.attr.as_str()
        )),
        Expr::Subscript(subscript) => written(&subscript.value),
        _ => None,
    }
}

/// What a class body binds a name to.
enum BodyValue<'a> {
    Value(&'a Expr),
    Definition,
}

/// What a class body binds this name to last.
fn body_value<'a>(body: &'a [Stmt], name: &str) -> Option<BodyValue<'a>> {
    let is_name = |target: &Expr| matches!(target, Expr::Name(n) if n.id.as_str() == name);
    body.iter().rev().find_map(|statement| match statement {
        Stmt::Assign(assign) if assign.targets.iter().any(is_name) => {
            Some(BodyValue::Value(&assign.value))
        }
        Stmt::AnnAssign(assign) if is_name(&assign.target) => {
            assign.value.as_deref().map(BodyValue::Value)
        }
        Stmt::FunctionDef(function) if function.name.as_str() == name => {
            Some(BodyValue::Definition)
        }
        Stmt::ClassDef(class) if class.name.as_str() == name => Some(BodyValue::Definition),
        _ => None,
    })
}

/// What the module binds its own names to.
pub(super) type BoundNames = BTreeMap<String, Bound>;

/// What one file says of tables.
#[derive(Debug, Default)]
pub(super) struct TableFacts {
    pub tables: Vec<TableCandidate>,
    pub classes: Vec<TableClass>,
    pub bound: BoundNames,
}

/// Collects the tables of one file.
#[derive(Debug, Default)]
pub(super) struct TableCollector {
    facts: TableFacts,
}

impl TableCollector {
    pub(super) fn finish(self) -> TableFacts {
        self.facts
    }

    /// Remembers what the module binds a name to.
    pub(super) fn bind_meaning(&mut self, scope: &Scope<'_>, name: &str, bound: Bound) {
        if !scope.is_at_module_level() {
            return;
        }
        self.facts
            .bound
            .entry(name.to_owned())
            .and_modify(|known| *known = Bound::Twice)
            .or_insert(bound);
    }

    /// An assignment in the module.
    pub(super) fn bind_value(&mut self, scope: &Scope<'_>, name: &str, value: &Expr) {
        let bound = match value {
            Expr::Call(call) => {
                let keywords = &call.arguments.keywords;
                let metadata = match call.arguments.find_keyword("metadata") {
                    Some(keyword) => {
                        written(&keyword.value).map_or(Keyword::Unknown, Keyword::Name)
                    }
                    None if keywords.iter().any(|keyword| keyword.arg.is_none()) => {
                        Keyword::Unknown
                    }
                    None => Keyword::Absent,
                };
                Bound::Call(CallFacts {
                    function: written(&call.func),
                    metadata,
                })
            }
            Expr::Name(_) | Expr::Attribute(_) => written(value).map_or(Bound::Other, Bound::Alias),
            _ => Bound::Other,
        };
        self.bind_meaning(scope, name, bound);
    }

    /// A class: a base of others, or a table.
    pub(super) fn table_class(&mut self, scope: &Scope<'_>, stmt: &StmtClassDef) {
        if scope.is_never() {
            return;
        }
        let position = self.facts.classes.len();
        let body = &stmt.body;
        let mut class = TableClass {
            name: stmt.name.as_str().to_owned(),
            has_table_args: body_value(body, "__table_args__").is_some(),
            metadata: body_value(body, "metadata").map(|value| match value {
                BodyValue::Value(Expr::Call(_)) => ClassMetadata::Call,
                BodyValue::Value(value) => {
                    written(value).map_or(ClassMetadata::Unknown, ClassMetadata::Name)
                }
                BodyValue::Definition => ClassMetadata::Unknown,
            }),
            ..TableClass::default()
        };
        if let Some(arguments) = &stmt.arguments {
            class.bases = arguments.args.iter().map(written).collect();
            class.has_metaclass = arguments.find_keyword("metaclass").is_some();
        }
        for decorator in &stmt.decorator_list {
            let name = match &decorator.expression {
                Expr::Call(call) => written(&call.func),
                other => written(other),
            };
            let name = name.unwrap_or_default();
            let last = name.rsplit('.').next().unwrap_or_default();
            class.decorators.push(last.to_owned());
        }
        self.facts.classes.push(class);
        self.bind_meaning(scope, stmt.name.as_str(), Bound::Class(position));
        self.table_of_class(scope, stmt, position);
    }

    fn table_of_class(&mut self, scope: &Scope<'_>, stmt: &StmtClassDef, position: usize) {
        let Some(BodyValue::Value(Expr::StringLiteral(name))) =
            body_value(&stmt.body, "__tablename__")
        else {
            return;
        };
        let is_abstract = matches!(
            body_value(&stmt.body, "__abstract__"),
            Some(BodyValue::Value(Expr::BooleanLiteral(literal))) if literal.value
        );
        if is_abstract {
            return;
        }
        let arguments = body_value(&stmt.body, "__table_args__");
        let of = |items: &[ruff_python_ast::DictItem]| {
            options(
                items
                    .iter()
                    .map(|item| (item.key.as_ref().and_then(text), &item.value)),
            )
        };
        let none = || of(&[]);
        let unknown = || TableOptions {
            is_known: false,
            ..none()
        };
        let has_own_args = arguments.is_some();
        let options = match arguments {
            None => none(),
            Some(BodyValue::Value(Expr::Dict(dict))) => of(&dict.items),
            Some(BodyValue::Value(Expr::Tuple(tuple))) => match tuple.elts.last() {
                None | Some(Expr::Call(_)) => none(),
                Some(Expr::Dict(dict)) => of(&dict.items),
                Some(_) => unknown(),
            },
            Some(_) => unknown(),
        };
        let keyword = class_keyword(stmt, scope.text());
        let mut definition =
            self.definition(scope, stmt.range(), keyword, name.value.to_str(), options);
        definition.class = stmt.name.as_str().to_owned();
        definition.sure &= scope.is_certain();
        definition.columns = columns_of_class(&stmt.body, scope.text());
        let bases = stmt.arguments.iter().flat_map(|given| &given.args);
        definition.bases = bases
            .map(|base| {
                let name = written(base).unwrap_or_default();
                name.rsplit('.').next().unwrap_or_default().to_owned()
            })
            .collect();
        self.facts.tables.push(TableCandidate {
            definition,
            kind: CandidateKind::Class(position),
            has_own_args,
        });
    }

    /// `Table("name", metadata, Column(...))`. Without columns it is a look-up, and never a second definition.
    pub(super) fn table_of_call(&mut self, scope: &Scope<'_>, call: &ExprCall) {
        let arguments = &call.arguments;
        let Some(name) = arguments.args.first().and_then(text) else {
            return;
        };
        if arguments.args.len() < 3 || scope.is_never() {
            return;
        }
        let keywords = arguments.keywords.iter();
        let options = options(keywords.map(|k| (k.arg.as_ref().map(|arg| arg.as_str()), &k.value)));
        let start = call.range().start();
        let mut definition = self.definition(scope, call.range(), start, name, options);
        definition.sure &= scope.is_certain() && scope.is_direct(call.range());
        definition.columns = columns_of_call(call, scope.text());
        self.facts.tables.push(TableCandidate {
            definition,
            kind: CandidateKind::Call {
                function: written(&call.func),
                metadata: arguments.args.get(1).and_then(written),
            },
            has_own_args: true,
        });
    }

    /// `at`: where Python says that it begins, behind any decorators.
    fn definition(
        &self,
        scope: &Scope<'_>,
        range: TextRange,
        at: TextSize,
        table: &str,
        options: TableOptions,
    ) -> TableDefinition {
        let (line, column) = scope.line_and_bytes(at);
        TableDefinition {
            table: match options.schema {
                Some(schema) => format!("{schema}.{table}"),
                None => table.to_owned(),
            },
            file: scope.name.shown.to_owned(),
            module: scope.name.module.to_owned(),
            line,
            column,
            first_line: scope.line_and_bytes(range.start()).0,
            end_line: scope.line_and_bytes(range.end()).0,
            class: String::new(),
            metadata: String::new(),
            sure: options.is_known,
            extends: options.extends,
            inherits_args: false,
            columns: Vec::new(),
            bases: Vec::new(),
        }
    }
}

/// Where the word `class` stands.
fn class_keyword(stmt: &StmtClassDef, source: &str) -> TextSize {
    let Some(last) = stmt.decorator_list.last() else {
        return stmt.range().start();
    };
    let mut at = last.range().end().to_usize();
    let bytes = source.as_bytes();
    loop {
        match bytes.get(at) {
            Some(b'#') => {
                while bytes.get(at).is_some_and(|b| !matches!(b, b'\n' | b'\r')) {
                    at += 1;
                }
            }
            Some(b) if b.is_ascii_whitespace() => at += 1,
            _ => break,
        }
    }
    u32::try_from(at).map_or(stmt.range().start(), TextSize::from)
}

#[cfg(test)]
mod tests;
