//! Applications that are installed and do not lie in the workspace: what a dry run of their layers imports.

use std::path::{Path, PathBuf};

use super::draft::{LayerDraft, Note};
use crate::manifest::is_dotted;
use crate::source::{Program, is_launcher, program};

/// Where environments lie below a workspace.
const ENVIRONMENTS: [&str; 2] = [".venv", "venv"];
/// A larger list of entry points is not read, in bytes.
const ENTRY_POINTS_BYTES_MAX: u64 = 256 << 10;

/// Gives each layer that imports nothing of the workspace the installed module that its command loads: the object of a
/// server or a worker, the package of `python -m`, or the module of a console script.
pub(super) fn rehearse_installed(workspace: &Path, layers: &mut [LayerDraft]) {
    let directories = directories(workspace);
    for layer in layers {
        let Some(unit) = layer
            .service
            .as_ref()
            .filter(|unit| layer.imports.is_empty() && !unit.oneshot)
        else {
            continue;
        };
        let program = program(&unit.run);
        let Some((module, package)) = loaded(&program, &directories) else {
            continue;
        };
        layer.startup = program.object.is_some() && program.serves;
        layer
            .notes
            .push(Note::sure(format!("{module} is installed in {package}")));
        layer.imports = vec![module];
    }
}

/// The module that a command loads, and the directory that has it.
fn loaded(program: &Program, directories: &[PathBuf]) -> Option<(String, String)> {
    let object = program.object.as_ref().map(|(module, _)| module);
    let named = object
        .or(program.modules.first())
        .or(program.run_module.as_ref());
    directories.iter().find_map(|directory| {
        let module = match named {
            Some(named) => named.clone(),
            None if program.script.is_none() && !is_launcher(&program.tool) => {
                console_script(directory, &program.tool)?
            }
            None => return None,
        };
        let path = directory.join(module.replace('.', "/"));
        let is_there = path.join("__init__.py").is_file() || path.with_extension("py").is_file();
        let package = directory.file_name()?.to_str()?.to_owned();
        (is_dotted(&module) && is_there).then_some((module, package))
    })
}

/// The directories of packages of the workspace's environments.
fn directories(workspace: &Path) -> Vec<PathBuf> {
    let homes = ENVIRONMENTS.iter().map(|name| workspace.join(name));
    homes
        .flat_map(|home| std::fs::read_dir(home.join("lib")).into_iter().flatten())
        .flatten()
        .map(|version| version.path().join("site-packages"))
        .filter(|directory| directory.is_dir())
        .collect()
}

/// The module of a console script of an installed distribution (`[console_scripts]` of its entry points).
fn console_script(directory: &Path, tool: &str) -> Option<String> {
    if tool.is_empty() {
        return None;
    }
    let entries = std::fs::read_dir(directory).ok()?.flatten();
    let files = entries.map(|entry| entry.path().join("entry_points.txt"));
    files
        .filter(|file| {
            let found = file.metadata();
            found.is_ok_and(|m| m.is_file() && m.len() <= ENTRY_POINTS_BYTES_MAX)
        })
        .find_map(|file| {
            let text = std::fs::read_to_string(file).ok()?;
            let mut lines = text
                .lines()
                .skip_while(|line| line.trim() != "[console_scripts]")
                .skip(1)
                .take_while(|line| !line.trim_start().starts_with('['));
            lines.find_map(|line| {
                let (name, target) = line.split_once('=')?;
                let module = target.split([':', '[']).next()?.trim();
                (name.trim() == tool).then(|| module.to_owned())
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_command_loads_is_found_among_the_installed_packages() {
        let workspace = tempfile::tempdir().unwrap();
        let packages = workspace.path().join(".venv/lib/python3.12/site-packages");
        for (file, text) in [
            ("httpbin/__init__.py", ""),
            ("repository/__main__.py", ""),
            (
                "repository-1.dist-info/entry_points.txt",
                "[gui]\nx = y:z\n[console_scripts]\nserve-it = repository.__main__:main\n",
            ),
        ] {
            let path = packages.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let found = |command: &str| {
            let program = program(&shlex::split(command).unwrap());
            loaded(&program, &directories(workspace.path())).map(|(module, _)| module)
        };
        assert_eq!(found("gunicorn httpbin:app").unwrap(), "httpbin");
        assert_eq!(found("serve-it --port 1").unwrap(), "repository.__main__");
        assert_eq!(found("uvicorn absent:app"), None);
        assert_eq!(found("redis-server"), None);
    }
}
