//! The order in which importing a module defines tables, as far as the sources tell it.

use std::collections::{BTreeMap, HashSet};

use super::facts::SourceFacts;

/// What runs when a module is imported, in its order.
#[derive(Clone, Copy)]
enum ImportStep {
    /// Position in the imports.
    Import(usize),
    /// Position in the tables.
    Table(usize),
}

/// What is being run.
enum ImportFrame<'a> {
    Files(std::vec::IntoIter<&'a str>),
    Steps(std::slice::Iter<'a, ImportStep>),
}

/// The imports and tables of all files, by file.
pub(crate) struct ImportOrder<'a> {
    facts: &'a SourceFacts,
    /// File of each module.
    modules: BTreeMap<&'a str, &'a str>,
    steps: BTreeMap<&'a str, Vec<ImportStep>>,
}

impl<'a> ImportOrder<'a> {
    /// Of these facts.
    #[must_use]
    pub(crate) fn new(facts: &'a SourceFacts) -> Self {
        let mut modules = BTreeMap::new();
        for (module, file) in &facts.modules {
            modules.entry(module.as_str()).or_insert(file.as_str());
        }
        let mut placed: BTreeMap<&str, Vec<(u32, ImportStep)>> = BTreeMap::new();
        for (at, import) in facts.imports.iter().enumerate() {
            if import.is_certain {
                let steps = placed.entry(&import.place.file).or_default();
                steps.push((import.place.line, ImportStep::Import(at)));
            }
        }
        for (at, table) in facts.tables.iter().enumerate() {
            let steps = placed.entry(&table.file).or_default();
            steps.push((table.line, ImportStep::Table(at)));
        }
        let in_order = |mut steps: Vec<(u32, ImportStep)>| {
            steps.sort_by_key(|(line, _)| *line);
            steps.into_iter().map(|(_, step)| step).collect()
        };
        let steps = placed
            .into_iter()
            .map(|(file, steps)| (file, in_order(steps)))
            .collect();
        Self {
            facts,
            modules,
            steps,
        }
    }

    /// Positions of the tables that importing this module defines, in that order.
    #[must_use]
    pub(crate) fn tables_of(&self, entry: &str) -> Vec<usize> {
        let mut order = Vec::new();
        let mut seen: HashSet<&str> = HashSet::new();
        // Chains of imports may be longer than a thread's stack.
        let mut open = vec![ImportFrame::Files(self.files_of(entry).into_iter())];
        while let Some(frame) = open.last_mut() {
            match frame {
                ImportFrame::Files(files) => match files.next() {
                    Some(file) if seen.insert(file) => {
                        let steps = self.steps.get(file);
                        open.extend(steps.map(|steps| ImportFrame::Steps(steps.iter())));
                    }
                    Some(_) => {}
                    None => _ = open.pop(),
                },
                ImportFrame::Steps(steps) => match steps.next() {
                    Some(ImportStep::Table(at)) => order.push(*at),
                    Some(ImportStep::Import(at)) => {
                        open.push(ImportFrame::Files(self.imported(*at).into_iter()));
                    }
                    None => _ = open.pop(),
                },
            }
        }
        order
    }

    /// The files that an import runs, if they did not run before.
    fn imported(&self, at: usize) -> Vec<&'a str> {
        let Some(import) = self.facts.imports.get(at) else {
            return Vec::new();
        };
        let mut files = self.files_of(&import.module);
        if let Some(name) = &import.name {
            let inner = format!("{}.{name}", import.module);
            files.extend(self.modules.get(inner.as_str()));
        }
        files
    }

    /// The files of a module and of the packages around it, outermost first.
    fn files_of(&self, module: &str) -> Vec<&'a str> {
        let ends = module.match_indices('.').map(|(at, _)| at);
        ends.chain([module.len()])
            .filter_map(|end| self.modules.get(module.get(..end)?).copied())
            .collect()
    }
}
