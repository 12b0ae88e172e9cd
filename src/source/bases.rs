//! Declarative bases and `MetaData` objects, and the tables bound to them.

use ruff_python_ast::{Expr, ExprCall, Stmt, StmtClassDef};
use ruff_text_size::Ranged;

use super::facts::{Base, Place};
use super::scope::Scope;

/// A base, and the names by which tables are bound to it.
#[derive(Debug, Clone)]
pub(super) struct BaseCandidate {
    pub base: Base,
    pub owners: Vec<String>,
}

/// What one file says of bases.
#[derive(Debug, Default)]
pub(super) struct BaseFacts {
    pub bases: Vec<BaseCandidate>,
    /// Dotted names of what tables are bound to: base classes of classes, `metadata` of `Table(...)`.
    pub table_owners: Vec<String>,
}

/// Collects the bases of one file.
#[derive(Debug, Default)]
pub(super) struct BaseCollector {
    facts: BaseFacts,
}

impl BaseCollector {
    pub(super) fn finish(self) -> BaseFacts {
        self.facts
    }

    /// `name = declarative_base()`; `false` if the call makes something else.
    pub(super) fn assign(&mut self, scope: &Scope<'_>, name: &str, call: &ExprCall) -> bool {
        if !scope.is_at_module_level() {
            return false;
        }
        let Some(function) = scope.dotted(&call.func) else {
            return false;
        };
        let last = function.rsplit('.').next().unwrap_or_default();
        match last {
            "declarative_base" | "automap_base" | "MetaData"
                if function.starts_with("sqlalchemy.") => {}
            // `registry().generate_base()`, `mapper_registry.generate_base()`.
            "generate_base" => {}
            "SQLAlchemy" if function.starts_with("flask_sqlalchemy.") => {}
            _ => return false,
        }
        let full = scope.local(name);
        let owners = match last {
            "SQLAlchemy" => vec![format!("{full}.Model"), format!("{full}.metadata"), full],
            _ => vec![format!("{full}.metadata"), full],
        };
        self.push_base(scope, scope.place(call.range()), name, owners);
        true
    }

    fn push_base(&mut self, scope: &Scope<'_>, place: Place, attribute: &str, owners: Vec<String>) {
        self.facts.bases.push(BaseCandidate {
            base: Base {
                place,
                module: scope.name.module.to_owned(),
                attribute: attribute.to_owned(),
                tables: 0,
            },
            owners,
        });
    }

    /// `class Base(DeclarativeBase)`, and classes that are tables.
    pub(super) fn read_class(&mut self, scope: &Scope<'_>, stmt: &StmtClassDef) {
        let Some(arguments) = &stmt.arguments else {
            return;
        };
        let bases: Vec<String> = arguments
            .args
            .iter()
            .filter_map(|b| scope.dotted(b))
            .collect();
        let declares = bases.iter().any(|base| {
            matches!(
                base.as_str(),
                "sqlalchemy.orm.DeclarativeBase"
                    | "sqlalchemy.orm.DeclarativeBaseNoMeta"
                    | "sqlalchemy.ext.asyncio.AsyncAttrs.DeclarativeBase"
                    | "sqlalchemy.orm.decl_api.DeclarativeBase"
                    | "advanced_alchemy.base.DeclarativeBase"
            )
        });
        if declares && scope.is_at_module_level() {
            let place = scope.place(stmt.name.range());
            let full = scope.local(stmt.name.as_str());
            let owners = vec![format!("{full}.metadata"), full];
            self.push_base(scope, place, stmt.name.as_str(), owners);
            return;
        }
        let is_table = arguments
            .find_keyword("table")
            .is_some_and(|keyword| matches!(&keyword.value, Expr::BooleanLiteral(b) if b.value));
        if is_table && bases.iter().any(|base| base.starts_with("sqlmodel.")) {
            self.facts.table_owners.push("sqlmodel.SQLModel".to_owned());
            return;
        }
        let has_name = stmt.body.iter().any(|inner| match inner {
            Stmt::Assign(assign) => assign.targets.iter().any(is_table_name),
            Stmt::AnnAssign(assign) => is_table_name(&assign.target),
            _ => false,
        });
        // Flask's `db.Model` gives each class the name of its table.
        let is_model = bases.iter().any(|base| base.ends_with(".Model"));
        if has_name || is_table || is_model {
            self.facts.table_owners.extend(bases);
        }
    }

    /// `Table("name", metadata, ...)`.
    pub(super) fn table_of_call(&mut self, scope: &Scope<'_>, call: &ExprCall) {
        let owner = call.arguments.find_argument_value("metadata", 1);
        if let Some(owner) = owner.and_then(|owner| scope.dotted(owner)) {
            self.facts.table_owners.push(owner);
        }
    }
}

fn is_table_name(target: &Expr) -> bool {
    matches!(target, Expr::Name(name) if matches!(name.id.as_str(), "__tablename__" | "__table__"))
}
