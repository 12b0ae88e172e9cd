//! Import statements: what they name, absolutely, and what local names stand for after them.

use ruff_python_ast::{StmtImport, StmtImportFrom};
use ruff_text_size::Ranged;

use super::facts::Import;
use super::pass::Pass;

impl<'a> Pass<'a> {
    pub(super) fn read_import(&mut self, stmt: &'a StmtImport) {
        for alias in &stmt.names {
            let module = alias.name.as_str();
            let (bound, target) = match &alias.asname {
                Some(name) => (name.as_str(), module),
                None => {
                    let top = module.split('.').next().unwrap_or(module);
                    (top, top)
                }
            };
            self.bind_import(bound, target.to_owned());
            self.push_import(alias.range(), module.to_owned(), None);
        }
    }

    pub(super) fn read_import_from(&mut self, stmt: &'a StmtImportFrom) {
        let named = stmt.module.as_ref().map_or("", |module| module.as_str());
        let Some(module) = self.absolute(stmt.level, named) else {
            self.unjudged(stmt.range(), "a relative import leads out of the roots");
            for alias in &stmt.names {
                let name = alias.asname.as_ref().unwrap_or(&alias.name).as_str();
                self.bind_import(name, format!("?.{name}"));
            }
            return;
        };
        for alias in &stmt.names {
            let name = alias.name.as_str();
            self.push_import(alias.range(), module.clone(), Some(name.to_owned()));
            if name == "*" {
                self.out.scope.stars.push(module.clone());
            } else {
                let bound = alias.asname.as_ref().unwrap_or(&alias.name).as_str();
                self.bind_import(bound, format!("{module}.{name}"));
            }
        }
    }

    fn bind_import(&mut self, bound: &str, target: String) {
        if self.is_at_module_level() {
            self.out.scope.names.insert(bound.to_owned());
            self.aliases.insert(bound.to_owned(), target);
        } else {
            // An import within a function says what a name means too, but not over the module's.
            self.aliases.entry(bound.to_owned()).or_insert(target);
        }
    }

    fn push_import(
        &mut self,
        range: ruff_text_size::TextRange,
        module: String,
        name: Option<String>,
    ) {
        let import = Import {
            place: self.place(range),
            from: self.name.module.to_owned(),
            module,
            name,
            guard: self.guard(),
            is_certain: self.is_certain_import(),
        };
        self.out.imports.push(import);
    }

    /// The absolute name of what a relative import names; `None` above the roots.
    fn absolute(&self, level: u32, named: &str) -> Option<String> {
        if level == 0 {
            return Some(named.to_owned());
        }
        let mut parts: Vec<&str> = self.name.module.split('.').collect();
        let up = usize::try_from(level).ok()? - usize::from(self.name.is_package);
        // The module's own name, then a package for each further dot; something must remain.
        if up >= parts.len() {
            return None;
        }
        parts.truncate(parts.len() - up);
        if !named.is_empty() {
            parts.push(named);
        }
        Some(parts.join("."))
    }
}
