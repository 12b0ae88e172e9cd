//! How a service will run, as far as a dry run can be the same: its own variables, its directory, what it starts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::context::CheckContext;
use crate::kernel;
use crate::manifest::{Layer, Service, add_env_file};
use crate::source::{Program, effective, option, program};

/// A start-up that takes longer is not decided, in seconds.
pub(super) const STARTUP_S_MAX: u64 = 20;

/// Programs of workers whose command names an object of a module.
const WORKERS: [&str; 7] = [
    "arq",
    "celery",
    "dramatiq",
    "faststream",
    "huey_consumer",
    "huey_consumer.py",
    "taskiq",
];

/// What a run in the sandbox takes over from a service; nothing by default.
#[derive(Debug, Clone, Default)]
pub(super) struct AsRun {
    /// Its own variables; what cannot be expanded is left out, and is a finding of the config check.
    pub env: BTreeMap<String, String>,
    /// Its directory, relative to the workspace or absolute.
    pub cwd: Option<String>,
    /// Where its command is started, before its program changes the directory (`--chdir`).
    pub started_in: Option<String>,
    /// Its command, with what its program takes from variables and from its own file of settings.
    pub words: Vec<String>,
    /// What it starts.
    pub program: Program,
    /// A worker or the beat of Celery: it reads its settings and imports its tasks before it does anything.
    pub is_celery_worker: bool,
    /// Nothing of the environment of `ubs`.
    pub is_clean: bool,
    /// The interpreter that its command names, or that belongs to the environment of the program it names.
    pub interpreter: Option<PathBuf>,
}

impl AsRun {
    pub(super) fn of_service(context: &CheckContext<'_>, service: &Service) -> Self {
        let expand = |text: &String| context.environment.expand(text).ok();
        let words: Vec<String> = service.run.iter().filter_map(expand).collect();
        let started = program(&words);
        let mut env = BTreeMap::new();
        if let Some(account) = service.user.as_deref().and_then(kernel::account) {
            env.insert("USER".to_owned(), account.name.clone());
            env.insert("LOGNAME".to_owned(), account.name);
        }
        for file in service
            .env_files
            .iter()
            .filter_map(|file| expand(&file.path))
        {
            // One that is missing or broken is a finding of the config check.
            let _ = add_env_file(&mut env, &context.root.join(file));
        }
        let own = service.env.iter();
        env.extend(own.filter_map(|(name, text)| Some((name.clone(), expand(text)?))));
        env.extend(started.env.iter().cloned());
        let started_in = service.cwd.as_ref().and_then(expand);
        let mut cwd = started_in.clone();
        let at = context.root.join(cwd.as_deref().unwrap_or_default());
        let others = &context.environment.values;
        let variable = |name: &str| {
            let other = others.get(name).filter(|_| !service.clean_env);
            env.get(name).or(other.map(|(value, _)| value)).cloned()
        };
        let (words, mut program) = effective(words, started, variable, &at);
        if let "gunicorn" | "granian" = program.tool.as_str()
            && let Some(directory) = program.directory.take()
        {
            // The program works there.
            let below = Path::new(cwd.as_deref().unwrap_or_default()).join(directory);
            cwd = Some(below.display().to_string());
        }
        if program.tool == "gunicorn"
            && let Some(paths) = option(&words, &["--pythonpath"])
        {
            let old = env.get("PYTHONPATH").map(|old| format!(":{old}"));
            let paths = paths.replace(',', ":") + &old.unwrap_or_default();
            env.insert("PYTHONPATH".to_owned(), paths);
        }
        if program.directory.is_none() {
            program.directory = directory_of_file(&program, &words, &at);
        }
        let place = context.root.join(started_in.as_deref().unwrap_or_default());
        let live = context
            .manifest
            .workspace
            .join(started_in.as_deref().unwrap_or_default());
        let interpreter = words
            .first()
            .filter(|word| word.contains('/'))
            .and_then(|word| interpreter_of(word, &[&place, &live]));
        let is_celery_worker =
            program.tool == "celery" && words.iter().any(|word| word == "worker" || word == "beat");
        Self {
            env,
            interpreter,
            cwd,
            started_in,
            words,
            program,
            is_celery_worker,
            is_clean: service.clean_env,
        }
    }

    /// The service of a layer that starts this module; else its first one.
    pub(super) fn of_layer(context: &CheckContext<'_>, layer: &Layer, modules: &[String]) -> Self {
        let mut all = layer
            .services
            .iter()
            .map(|service| Self::of_service(context, service));
        let found = all.clone().find(|run| run.starts_any(modules));
        let mut run = found.or_else(|| all.next()).unwrap_or_default();
        // The file that a command names is imported by the name that it has in its directory.
        if let (Some(_), Some((module, _))) = (&run.program.directory, &mut run.program.object)
            && !modules.contains(module)
            && let Some(name) = modules
                .iter()
                .find(|name| module.ends_with(&format!(".{name}")))
        {
            module.clone_from(name);
        }
        run
    }

    /// The service that starts this module, else that of the layer that rehearses it, else one of the same package.
    pub(super) fn of_module(context: &CheckContext<'_>, module: &str) -> Self {
        let modules = [module.to_owned()];
        let layers = &context.manifest.layers;
        let rehearsing = layers.iter().find(|layer| {
            let rehearse = layer.rehearse.as_ref();
            rehearse.is_some_and(|rehearse| rehearse.imports.iter().any(|name| name == module))
        });
        if let Some(layer) = rehearsing {
            return Self::of_layer(context, layer, &modules);
        }
        let runs = || {
            let services = layers.iter().flat_map(|layer| &layer.services);
            services.map(|service| Self::of_service(context, service))
        };
        let top = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
        let found = runs().find(|run| run.starts_any(&modules)).or_else(|| {
            runs().find(|run| run.modules().any(|started| top(started) == top(module)))
        });
        found.unwrap_or_default()
    }

    /// The service that runs a Django project: `manage.py`, or a `wsgi` or `asgi` module.
    pub(super) fn of_django(context: &CheckContext<'_>) -> Self {
        let services = context
            .manifest
            .layers
            .iter()
            .flat_map(|layer| &layer.services);
        let mut runs = services.map(|service| Self::of_service(context, service));
        let is_django = |run: &Self| {
            run.program.tool == "manage.py"
                || run
                    .modules()
                    .any(|m| m.ends_with("wsgi") || m.ends_with("asgi"))
        };
        runs.find(is_django).unwrap_or_default()
    }

    /// The modules that its command names.
    fn modules(&self) -> impl Iterator<Item = &str> {
        let object = self.program.object.as_ref().map(|(module, _)| module);
        let modules = self.program.modules.iter().chain(object);
        modules.chain(&self.program.run_module).map(String::as_str)
    }

    fn starts_any(&self, modules: &[String]) -> bool {
        self.modules()
            .any(|started| modules.iter().any(|m| m == started))
            || modules.iter().any(|module| self.program.is_script(module))
    }

    /// Those of the modules that the service runs as a script, with its path.
    pub(super) fn scripts(&self, modules: &[String]) -> BTreeMap<String, String> {
        let script = self.program.script.as_ref();
        let mine = modules
            .iter()
            .filter(|module| self.program.is_script(module));
        mine.filter_map(|module| Some((module.clone(), script?.clone())))
            .collect()
    }

    /// The script of a dry run, whose directory is first on the import path.
    pub(super) fn script_of(&self, input: &serde_json::Value) -> Option<String> {
        let scripts = input["scripts"].as_object()?;
        scripts.values().next()?.as_str().map(str::to_owned)
    }

    /// Module and attribute of the object that a worker's command names, which is looked up when the worker starts.
    pub(super) fn worker_object(&self) -> Option<(&str, &str)> {
        let (module, attribute) = self.program.object.as_ref()?;
        let is_worker = WORKERS.contains(&self.program.tool.as_str());
        let is_name = attribute
            .chars()
            .all(|c| c.is_alphanumeric() || "_.".contains(c));
        (is_worker && is_name && !attribute.is_empty()).then_some((module, attribute))
    }

    /// The module that `celery -A` names without its object.
    pub(super) fn celery_module(&self) -> Option<&str> {
        let (module, attribute) = self.program.object.as_ref()?;
        (self.program.tool == "celery" && attribute.is_empty()).then_some(module)
    }

    /// What is started, if that is known: the object of the command, else of the registration check.
    pub(super) fn startup(&self, context: &CheckContext<'_>) -> Option<serde_json::Value> {
        let program = &self.program;
        let registered = context.manifest.registration.as_ref();
        let registered = registered.and_then(|registration| registration.app.as_ref());
        let (module, attribute) = program.object.as_ref()?;
        let mut factory = program.is_factory;
        let mut attribute = attribute.as_str();
        if let Some(call) = attribute.strip_suffix("()") {
            (attribute, factory) = (call, true);
        }
        if let Some(app) = registered.filter(|app| app.module == *module && attribute.is_empty()) {
            (attribute, factory) = (&app.attribute, app.factory);
        }
        // A call with arguments is for Flask and Gunicorn to understand, which take literals.
        let is_call =
            matches!(program.tool.as_str(), "flask" | "gunicorn") && attribute.ends_with(')');
        let is_name = attribute
            .chars()
            .all(|c| c.is_alphanumeric() || "_.".contains(c));
        (program.serves && (is_name || is_call)).then(|| {
            serde_json::json!({
                "module": module,
                "attribute": attribute,
                "factory": factory,
                "lifespan": program.has_lifespan,
                "seconds": STARTUP_S_MAX,
            })
        })
    }
}

/// The directory that Flask and FastAPI put on the import path for the file that their command names: the first one
/// above it that is no package.
fn directory_of_file(program: &Program, words: &[String], place: &Path) -> Option<String> {
    let file = match program.tool.as_str() {
        "flask" => option(words, &["--app", "-A"])?,
        "fastapi" => words.iter().find(|word| word.ends_with(".py"))?.clone(),
        _ => return None,
    };
    let file = Path::new(file.split(':').next()?);
    let mut directory = file
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())?;
    while place.join(directory).join("__init__.py").is_file() {
        directory = directory.parent()?;
    }
    let is_below = !directory.as_os_str().is_empty() && directory.is_relative();
    is_below.then(|| directory.display().to_string())
}

/// The interpreter that a program's path names, or that lies beside the program in a virtual environment.
fn interpreter_of(program: &str, places: &[&Path]) -> Option<PathBuf> {
    let found = places.iter().find_map(|place| {
        let path = place.join(program);
        path.is_file().then_some(path)
    })?;
    let directory = found.parent()?;
    if !directory.parent()?.join("pyvenv.cfg").exists() {
        return None;
    }
    let name = found.file_name()?.to_str()?;
    if name.starts_with("python") {
        return Some(found);
    }
    let beside = directory.join("python");
    beside.is_file().then_some(beside)
}
