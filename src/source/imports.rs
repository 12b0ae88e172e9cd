//! Import statements: what they name, absolutely, and what local names stand for after them.

use ruff_python_ast::{StmtImport, StmtImportFrom};
use ruff_text_size::Ranged;

use super::facts::{Import, Unjudged};
use super::scope::Scope;

/// The imports of one file.
#[derive(Debug, Default)]
pub(super) struct ImportFacts {
    pub imports: Vec<Import>,
    pub unjudged: Vec<Unjudged>,
}

/// Collects the imports of one file, and has the scope bind what they name.
#[derive(Debug, Default)]
pub(super) struct ImportCollector {
    facts: ImportFacts,
}

impl ImportCollector {
    pub(super) fn finish(self) -> ImportFacts {
        self.facts
    }

    pub(super) fn read_import(&mut self, scope: &mut Scope<'_>, stmt: &StmtImport) {
        for alias in &stmt.names {
            let module = alias.name.as_str();
            let (bound, target) = match &alias.asname {
                Some(name) => (name.as_str(), module),
                None => {
                    let top = module.split('.').next().unwrap_or(module);
                    (top, top)
                }
            };
            scope.bind_import(bound, target.to_owned());
            self.push_import(scope, alias.range(), module.to_owned(), None);
        }
    }

    pub(super) fn read_import_from(&mut self, scope: &mut Scope<'_>, stmt: &StmtImportFrom) {
        let named = stmt.module.as_ref().map_or("", |module| module.as_str());
        let Some(module) = scope.absolute(stmt.level, named) else {
            self.facts
                .unjudged
                .push(scope.unjudged(stmt.range(), "a relative import leads out of the roots"));
            for alias in &stmt.names {
                let name = alias.asname.as_ref().unwrap_or(&alias.name).as_str();
                scope.bind_import(name, format!("?.{name}"));
            }
            return;
        };
        for alias in &stmt.names {
            let name = alias.name.as_str();
            self.push_import(scope, alias.range(), module.clone(), Some(name.to_owned()));
            if name == "*" {
                scope.module.stars.push(module.clone());
            } else {
                let bound = alias.asname.as_ref().unwrap_or(&alias.name).as_str();
                scope.bind_import(bound, format!("{module}.{name}"));
            }
        }
    }

    fn push_import(
        &mut self,
        scope: &Scope<'_>,
        range: ruff_text_size::TextRange,
        module: String,
        name: Option<String>,
    ) {
        let import = Import {
            place: scope.place(range),
            from: scope.name.module.to_owned(),
            module,
            name,
            guard: scope.guard(),
            is_certain: scope.is_certain_import(),
        };
        self.facts.imports.push(import);
    }
}
