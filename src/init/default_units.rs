//! Services of an application whose files name none: one for each application object, and modules that look
//! like programs of their own; and the modules that a service's command names.

use std::collections::BTreeSet;

use super::code::{ApplicationCode, is_side};
use super::draft::{LayerDraft, Note, Unit, VarDraft};
use super::routes::needs_arguments;
use super::text::{name_of, plain, unique};
use crate::source::{ApplicationObject, Framework};
use crate::source::{Program, effective, program};

/// More applications than this are not started by one manifest.
const DEFAULT_UNITS_MAX: usize = 20;

/// Names of modules that work beside the server.
const WORKERS: [&str; 8] = [
    "worker",
    "workers",
    "scheduler",
    "consumer",
    "daemon",
    "beat",
    "poller",
    "listener",
];
const PROGRAMS_MAX: usize = 20;

/// Services for applications where no file says what runs.
pub(super) fn default_units(
    code: &ApplicationCode<'_>,
    apps: &[&ApplicationObject],
    vars: &[VarDraft],
    packages: &str,
) -> Vec<Unit> {
    let mut units: Vec<Unit> = Vec::new();
    let port_var = vars.iter().find(|var| var.name == "PORT" && var.active);
    let mut modules = BTreeSet::new();
    for app in apps {
        // A factory beside an object of the same module makes that object.
        if units.len() == DEFAULT_UNITS_MAX
            || needs_arguments(code, app)
            || !modules.insert(app.module.as_str())
        {
            continue;
        }
        let number = units.len();
        let first = if app.framework == Framework::Flask {
            5000
        } else {
            8000
        };
        let port = (first + number).to_string();
        let port = match port_var {
            Some(var) if number == 0 => {
                format!("${{PORT:-{}}}", var.default.as_ref().unwrap_or(&port))
            }
            _ => port,
        };
        let Some(run) = default_command(code, app, &port, packages) else {
            continue;
        };
        let mut unit = Unit {
            name: if number == 0 {
                "web".to_owned()
            } else {
                code.name(&app.module)
            },
            run,
            port: Some(port),
            ..Unit::default()
        };
        let module = code.name(&app.module);
        if let Some(root) = code.root_of(&module) {
            if app.framework == Framework::Django {
                unit.cwd = Some(root.to_owned());
            } else {
                unit.env.push(("PYTHONPATH".to_owned(), root.to_owned()));
            }
        }
        unit.notes.push(Note::unsure(
            "no Procfile, compose.yaml or process-compose.yaml says how it is started",
        ));
        units.push(unit);
    }
    units
}

/// Modules that are probably programs of their own, as layers that are written as comments.
pub(super) fn programs(code: &ApplicationCode<'_>, taken: &[LayerDraft]) -> Vec<LayerDraft> {
    let mut names: BTreeSet<String> = taken.iter().map(|layer| layer.name.clone()).collect();
    let mut layers = Vec::new();
    for (module, file) in code.named() {
        let parts: Vec<&str> = module.split('.').collect();
        let last = parts.last().copied().unwrap_or("");
        let says = WORKERS
            .iter()
            .any(|word| last == *word || last.ends_with(&format!("_{word}")));
        if !says || is_side(file) || !code.has_main_guard(module) {
            continue;
        }
        let above = parts.len().checked_sub(2).map(|at| parts[at]);
        let name = match above {
            Some(above) if WORKERS.contains(&last) && parts.len() > 2 => above,
            _ => last,
        };
        let name = unique(name_of(name, "worker"), &mut names);
        layers.push(LayerDraft {
            name: name.clone(),
            imports: vec![module.to_owned()],
            notes: vec![Note::unsure(format!(
                "{} can be run as a program; does the application need it?",
                plain(file)
            ))],
            service: Some(Unit {
                name,
                run: ["python", "-m", module].map(str::to_owned).to_vec(),
                ..Unit::default()
            }),
            ..LayerDraft::default()
        });
        if layers.len() == PROGRAMS_MAX {
            break;
        }
    }
    layers
}

fn default_command(
    code: &ApplicationCode<'_>,
    app: &ApplicationObject,
    port: &str,
    packages: &str,
) -> Option<Vec<String>> {
    let module = code.name(&app.module);
    let attribute = &app.attribute;
    let object = format!("{module}:{attribute}");
    let place = format!("127.0.0.1:{port}");
    let words: Vec<String> = match app.framework {
        Framework::FastApi | Framework::Starlette => {
            let mut words = words("python -m uvicorn");
            if app.is_factory {
                words.push("--factory".to_owned());
            }
            words.extend([
                object,
                "--host".into(),
                "127.0.0.1".into(),
                "--port".into(),
                port.into(),
            ]);
            words
        }
        Framework::Flask if packages.contains("gunicorn") => {
            let call = if app.is_factory { "()" } else { "" };
            let mut words = words("gunicorn --bind");
            words.extend([place, format!("{object}{call}")]);
            words
        }
        Framework::Flask => {
            let mut all = words("python -m flask --app");
            all.push(object);
            all.extend(words("run --host 127.0.0.1 --port"));
            all.push(port.to_owned());
            all
        }
        Framework::Django => {
            let wsgi = wsgi_of(code, &module)?;
            if packages.contains("gunicorn") {
                let mut words = words("gunicorn --bind");
                words.extend([place, format!("{wsgi}:application")]);
                words
            } else {
                let mut words = words("python manage.py runserver --noreload");
                words.push(place);
                words
            }
        }
    };
    Some(words)
}

pub(super) fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

/// The module beside Django's settings that a server imports.
pub(super) fn wsgi_of(code: &ApplicationCode<'_>, settings: &str) -> Option<String> {
    let mut package = settings;
    while let Some((above, _)) = package.rsplit_once('.') {
        for name in ["wsgi", "asgi"] {
            let module = format!("{above}.{name}");
            if code.file_of(&module).is_some() {
                return Some(module);
            }
        }
        package = above;
    }
    // It can still be started by manage.py.
    code.files.exists("manage.py").then(|| settings.to_owned())
}

/// Longest shell script that is followed, in bytes.
const SCRIPT_BYTES_MAX: usize = 64 << 10;

/// What a service starts, also if a shell script of the workspace does it at its end.
pub(super) fn program_of(code: &ApplicationCode<'_>, unit: &Unit) -> Program {
    let words = followed(code, unit).unwrap_or_else(|| unit.run.clone());
    // Its own variables and its file of settings say more.
    let variable = |name: &str| {
        let mut own = unit.env.iter().filter(|(own, _)| own == name);
        own.next().map(|(_, value)| value.clone())
    };
    let place = code
        .files
        .root()
        .join(unit.cwd.as_deref().unwrap_or_default());
    let started = program(&words);
    effective(words, started, variable, &place).1
}

/// The command at the end of the shell script that a service runs, if nothing in it depends on how the script goes.
fn followed(code: &ApplicationCode<'_>, unit: &Unit) -> Option<Vec<String>> {
    let mut words = unit.run.iter().peekable();
    if matches!(words.peek().map(|word| word.as_str()), Some("sh" | "bash")) {
        words.next();
    }
    let is_option = |word: &&String| word.starts_with('-') && !word.ends_with('c');
    while words.next_if(is_option).is_some() {}
    let path = words.next().filter(|word| word.ends_with(".sh"))?;
    let path = path.trim_start_matches("./");
    let path = match &unit.cwd {
        Some(cwd) => format!("{cwd}/{path}"),
        None => path.to_owned(),
    };
    let text = code
        .files
        .text(&path)
        .filter(|text| text.len() <= SCRIPT_BYTES_MAX)?;
    let text = text.replace("\\\n", " ");
    let lines = || {
        text.lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
    };
    if lines().any(|line| line.starts_with("cd ")) {
        return None;
    }
    let last = lines().next_back()?;
    if last.trim_start_matches("exec ") == "\"$@\"" {
        let rest: Vec<String> = words.cloned().collect();
        return (!rest.is_empty()).then_some(rest);
    }
    let is_end = ["fi", "done", "esac", "}", ";;"].contains(&last);
    let is_plain = !is_end && !last.contains(['|', '`', '@']) && !last.ends_with('&');
    is_plain.then(|| ["sh", "-c", last].map(str::to_owned).to_vec())
}

/// What a command makes the interpreter load, by the names of the workspace's own modules.
pub(super) fn entries_of(code: &ApplicationCode<'_>, unit: &Unit) -> Vec<String> {
    let program = program_of(code, unit);
    let mut entries: Vec<String> = Vec::new();
    let mut in_directory: Vec<String> = Vec::new();
    let named = program.object.iter().map(|(module, _)| module.clone());
    for module in named
        .chain(program.modules.clone())
        .chain(program.run_module.clone())
    {
        let name = own_name(code, unit, &module);
        if code.file_of(&name).is_none() && is_in_directory(code, unit, &program, &module) {
            in_directory.push(name.clone());
        }
        entries.push(name);
    }
    if let Some(script) = &program.script {
        let path = match &unit.cwd {
            Some(cwd) => format!("{cwd}/{script}"),
            None => script.clone(),
        };
        entries.extend(code.module_of(&path).map(str::to_owned));
    }
    entries.retain(|module| code.file_of(module).is_some() || in_directory.contains(module));
    entries.dedup();
    entries
}

/// A module that a command names, and that its package does not have.
pub(super) fn missing_module(
    code: &ApplicationCode<'_>,
    unit: &Unit,
    program: &Program,
) -> Option<String> {
    let object = program.object.as_ref().map(|(module, _)| module);
    let module = own_name(code, unit, object.or(program.run_module.as_ref())?);
    let package = module.split('.').next()?;
    (code.file_of(&module).is_none() && code.file_of(package).is_some()).then_some(module)
}

/// The program finds the module in the directory that its command names (`--chdir`, `--app-dir`).
fn is_in_directory(
    code: &ApplicationCode<'_>,
    unit: &Unit,
    program: &Program,
    module: &str,
) -> bool {
    let Some(directory) = &program.directory else {
        return false;
    };
    let base = unit
        .cwd
        .as_ref()
        .map_or_else(String::new, |cwd| format!("{cwd}/"));
    let path = format!("{base}{directory}/{}", module.replace('.', "/"));
    [".py", "/__init__.py"]
        .iter()
        .any(|end| code.files.exists(&format!("{path}{end}")))
}

/// The name under which the workspace knows a module that a command names.
pub(super) fn own_name(code: &ApplicationCode<'_>, unit: &Unit, module: &str) -> String {
    // The path of a file, below an import root: `flask --app web/app.py`.
    let renamed = code.name(module);
    if code.file_of(module).is_none() && code.file_of(&renamed).is_some() {
        return renamed;
    }
    if code.file_of(module).is_none()
        && let Some(cwd) = &unit.cwd
    {
        let below = format!("{}.{module}", cwd.replace('/', "."));
        let renamed = code.name(&below);
        if code.file_of(&renamed).is_some() {
            return renamed;
        }
    }
    module.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::files::Files;
    use crate::source::SourceFacts;

    #[test]
    fn the_end_of_a_shell_script_is_what_a_service_starts() {
        let facts = SourceFacts::default();
        let found = |script: &str, run: &[&str]| {
            let directory = tempfile::tempdir().unwrap();
            std::fs::write(directory.path().join("start.sh"), script).unwrap();
            let files = Files::of(directory.path());
            let code = ApplicationCode::of(&facts, &files, &[]);
            let unit = Unit {
                run: run.iter().map(|word| (*word).to_owned()).collect(),
                ..Unit::default()
            };
            program_of(&code, &unit)
        };
        let script = "#!/bin/sh\nset -e\nflask db upgrade\nexec gunicorn \\\n  --bind :8080 shop:app\n\n# end\n";
        for run in [
            &["sh", "start.sh"][..],
            &["bash", "-e", "start.sh"],
            &["./start.sh"],
        ] {
            let program = found(script, run);
            assert_eq!(program.object.unwrap().0, "shop", "{run:?}");
            assert_eq!(program.port.as_deref(), Some("8080"));
        }
        let entry = found("prepare\nexec \"$@\"\n", &["./start.sh", "uvicorn", "a:b"]);
        assert_eq!(entry.object.unwrap().0, "a");
        for script in [
            "cd web\nuvicorn a:b\n",
            "if x; then\nuvicorn a:b\nfi\n",
            "uvicorn a:b &\n",
        ] {
            assert_eq!(found(script, &["sh", "start.sh"]).object, None, "{script}");
        }
    }
}
