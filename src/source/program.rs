//! What a command line starts: the application object, the modules that it loads, and its port.

use std::path::Path;

use crate::manifest::is_dotted;

/// What is known about a command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Program {
    /// The program itself, without wrappers and `python -m`.
    pub tool: String,
    /// Module and attribute of an application object or a worker's object; the attribute may be empty.
    pub object: Option<(String, String)>,
    /// Modules that the program imports, beside that of the object.
    pub modules: Vec<String>,
    /// A module that is run as a program: `python -m MODULE`.
    pub run_module: Option<String>,
    /// A script: `python path/to.py`.
    pub script: Option<String>,
    /// The object is a factory: it is called for the application.
    pub is_factory: bool,
    /// Directory that the program puts on its import path, or works in (`--app-dir`, `--chdir`).
    pub directory: Option<String>,
    /// Variables that the command itself sets: `env NAME=VALUE program`.
    pub env: Vec<(String, String)>,
    /// It runs the lifespan of an ASGI application.
    pub has_lifespan: bool,
    /// It answers HTTP.
    pub serves: bool,
    /// Number or variable of the port.
    pub port: Option<String>,
}

/// Words before the real program, and how many of them.
const WRAPPERS: [(&str, usize); 14] = [
    ("poetry", 2),
    ("uv", 2),
    ("pipenv", 2),
    ("pdm", 2),
    ("hatch", 2),
    ("rye", 2),
    ("exec", 1),
    ("env", 1),
    ("tini", 1),
    ("dumb-init", 1),
    ("ddtrace-run", 1),
    ("opentelemetry-instrument", 1),
    ("newrelic-admin", 2),
    ("time", 1),
];

/// What huey installed its consumer as, up to version 3.
const HUEY_SCRIPT: &str = "huey_consumer.py";

/// Programs that start what others wrote: importing themselves says nothing about an application.
const LAUNCHERS: [&str; 25] = [
    "alembic",
    "arq",
    "celery",
    "dagster",
    "dagster-daemon",
    "dagster-webserver",
    "daphne",
    "django-admin",
    "dramatiq",
    "fastapi",
    "faststream",
    "flask",
    "granian",
    "gunicorn",
    "huey_consumer",
    HUEY_SCRIPT,
    "hypercorn",
    "rq",
    "rqscheduler",
    "rqworker",
    "streamlit",
    "taskiq",
    "uvicorn",
    "uwsgi",
    "waitress-serve",
];

/// Classes that `rq worker` imports, by its options.
const RQ_CLASSES: [&[&str]; 4] = [
    &["-w", "--worker-class"],
    &["-j", "--job-class"],
    &["--queue-class"],
    &["--connection-class"],
];
/// Options of `dramatiq` without a value.
const DRAMATIQ_FLAGS: [&str; 6] = [
    "--watch-use-polling",
    "--use-spawn",
    "--skip-logging",
    "--verbose",
    "-v",
    "--version",
];
/// Options of `arq` and of huey's consumer without a value.
const WORKER_FLAGS: [&str; 9] = [
    "--burst",
    "--no-burst",
    "--check",
    "-v",
    "--verbose",
    "-q",
    "--quiet",
    "-n",
    "-S",
];

/// The words that are no options and no values of options.
fn positional<'w>(arguments: &'w [String], flags: &[&str]) -> Vec<&'w String> {
    let mut found = Vec::new();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        // `-p4` has its value with it.
        let is_whole = word.contains('=') || (word.len() > 2 && !word.starts_with("--"));
        if !word.starts_with('-') {
            found.push(word);
        } else if !is_whole && !flags.contains(&word.as_str()) {
            words.next();
        }
    }
    found
}

/// A program that loads what its arguments name.
pub(crate) fn is_launcher(tool: &str) -> bool {
    LAUNCHERS.contains(&tool)
}

/// Looks at a command.
pub(crate) fn program(words: &[String]) -> Program {
    program_within(words, 4)
}

fn program_within(words: &[String], depth: usize) -> Program {
    let mut words = words;
    let mut env = Vec::new();
    while let Some(first) = words.first() {
        if let Some(assignment) = assignment(first) {
            env.push(assignment);
            words = &words[1..];
            continue;
        }
        let wrapper = WRAPPERS.iter().find(|(name, _)| *name == base(first));
        match wrapper {
            Some((_, length)) if words.len() > *length => words = &words[*length..],
            _ if first == "--" => words = &words[1..],
            _ => break,
        }
    }
    let mut found = unwrapped(words, depth);
    env.append(&mut found.env);
    found.env = env;
    found
}

/// `NAME=VALUE` in front of a program.
fn assignment(word: &str) -> Option<(String, String)> {
    let (name, value) = word.split_once('=')?;
    let is_name = !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_name.then(|| (name.to_owned(), value.to_owned()))
}

/// A command without what is put in front of programs.
fn unwrapped(words: &[String], depth: usize) -> Program {
    let Some(first) = words.first() else {
        return Program::default();
    };
    let tool = base(first);
    if matches!(tool, "sh" | "bash") && depth > 0 {
        let text = words.iter().skip_while(|word| !is_command_option(word));
        let inner = text.skip(1).map(|text| text.replace("$${", "${")).next();
        // Of several commands the last one is what stays.
        if let Some(inner) = inner.and_then(|text| {
            let last = text.rsplit("&&").next().unwrap_or("");
            shlex::split(last.rsplit(';').next().unwrap_or(""))
        }) {
            return program_within(&inner, depth - 1);
        }
        return Program::default();
    }
    if is_python(tool) {
        return python(words, depth);
    }
    if tool.ends_with(".py") && tool != HUEY_SCRIPT {
        return script(first, &words[1..]);
    }
    known(tool, &words[1..])
}

fn is_command_option(word: &str) -> bool {
    word.starts_with('-') && !word.starts_with("--") && word.ends_with('c')
}

fn base(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

fn is_python(tool: &str) -> bool {
    tool.strip_prefix("python")
        .is_some_and(|version| version.chars().all(|c| c.is_ascii_digit() || c == '.'))
}

fn python(words: &[String], depth: usize) -> Program {
    let mut at = 1;
    while let Some(word) = words.get(at) {
        match word.as_str() {
            "-m" => {
                let Some(module) = words.get(at + 1) else {
                    break;
                };
                let rest = &words[at + 1..];
                let tool = known(module, &rest[1..]);
                if depth > 0 && tool != Program::of(module) {
                    return tool;
                }
                return Program {
                    run_module: is_dotted(module).then(|| module.clone()),
                    port: port(&rest[1..], &[]),
                    ..Program::of(module)
                };
            }
            "-c" => break,
            "-W" | "-X" => at += 2,
            option if option.starts_with('-') => at += 1,
            path => return script(path, &words[at + 1..]),
        }
    }
    Program::default()
}

fn script(path: &str, arguments: &[String]) -> Program {
    if base(path) == "manage.py" {
        let serves = arguments.first().is_some_and(|word| word == "runserver");
        let place = arguments
            .iter()
            .skip(1)
            .find(|word| !word.starts_with('-'))
            .and_then(|word| port_of(word));
        return Program {
            tool: "manage.py".to_owned(),
            script: Some(path.to_owned()),
            serves,
            port: serves.then(|| place.unwrap_or_else(|| "8000".to_owned())),
            ..Program::default()
        };
    }
    Program {
        script: Some(path.trim_start_matches("./").to_owned()),
        port: port(arguments, &[]),
        ..Program::of(base(path))
    }
}

impl Program {
    /// The module is the script that the command runs: `app.main` is `python app/main.py`. Django's own script starts
    /// what `wsgi` and the settings say, and is not meant.
    pub(crate) fn is_script(&self, module: &str) -> bool {
        let file = format!("{}.py", module.replace('.', "/"));
        let file = Path::new(&file);
        let is_it = |script: &String| {
            let script = Path::new(script);
            script.ends_with(file) || (script.components().count() > 1 && file.ends_with(script))
        };
        self.tool.ends_with(".py")
            && self.tool != "manage.py"
            && self.script.as_ref().is_some_and(is_it)
    }

    fn of(tool: &str) -> Self {
        Self {
            tool: tool.to_owned(),
            ..Self::default()
        }
    }
}

fn known(tool: &str, arguments: &[String]) -> Program {
    let serves = |short: &[&str], default: &str| Program {
        serves: true,
        port: Some(port(arguments, short).unwrap_or_else(|| default.to_owned())),
        ..Program::of(tool)
    };
    let object = || arguments.iter().find_map(|word| object_of(word));
    let has = |flag: &str| arguments.iter().any(|word| word == flag);
    match tool {
        "uvicorn" | "hypercorn" | "granian" => Program {
            object: object(),
            is_factory: has("--factory"),
            has_lifespan: option(arguments, &["--lifespan"]).as_deref() != Some("off"),
            directory: option(arguments, &["--app-dir", "--working-dir"]),
            ..serves(&[], "8000")
        },
        "daphne" => Program {
            object: object(),
            ..serves(&["-p"], "8000")
        },
        "gunicorn" => Program {
            directory: option(arguments, &["--chdir"]),
            has_lifespan: option(arguments, &["-k", "--worker-class"])
                .is_some_and(|class| class.contains("uvicorn")),
            object: object().or_else(|| {
                let last = arguments.last().filter(|word| is_dotted(word))?;
                Some((last.clone(), "application".to_owned()))
            }),
            ..serves(&[], "8000")
        },
        "uwsgi" => Program {
            object: option(arguments, &["--module", "-w", "--wsgi"])
                .and_then(|word| object_of(&word)),
            ..serves(&[], "8000")
        },
        "waitress-serve" => Program {
            object: object(),
            ..serves(&[], "8080")
        },
        "flask" => {
            let named = option(arguments, &["--app", "-A"]);
            let mut flask = if arguments.iter().any(|word| word == "run") {
                serves(&["-p"], "5000")
            } else {
                Program::of(tool)
            };
            flask.object = named.and_then(|word| object_of(&word).or_else(|| module_of(&word)));
            flask
        }
        "fastapi" => {
            let path = arguments.iter().skip(1).find(|word| word.ends_with(".py"));
            Program {
                object: path.and_then(|path| module_of(path)),
                has_lifespan: true,
                ..serves(&[], "8000")
            }
        }
        "celery" => Program {
            object: option(arguments, &["-A", "--app"])
                .and_then(|word| object_of(&word).or_else(|| module_of(&word))),
            ..Program::of(tool)
        },
        "taskiq" | "faststream" => Program {
            object: object(),
            ..Program::of(tool)
        },
        "dagster" | "dagster-daemon" | "dagster-webserver" => Program {
            modules: option(arguments, &["-m", "--module-name"])
                .filter(|word| is_dotted(word))
                .into_iter()
                .collect(),
            serves: tool == "dagster-webserver",
            port: port(arguments, &["-p"]),
            ..Program::of(tool)
        },
        // `-c settings`: a module of settings; what jobs import is named in the queue only.
        "rq" | "rqworker" => Program {
            modules: option(arguments, &["-c", "--config"])
                .filter(|word| is_dotted(word))
                .into_iter()
                .chain(RQ_CLASSES.iter().filter_map(|names| {
                    let class = option(arguments, names)?;
                    let (module, _) = class.rsplit_once('.')?;
                    is_dotted(module).then(|| module.to_owned())
                }))
                .collect(),
            directory: option(arguments, &["-P", "--path"]),
            ..Program::of(tool)
        },
        "streamlit" => Program {
            script: arguments
                .iter()
                .skip(1)
                .find(|word| word.ends_with(".py"))
                .map(|path| path.trim_start_matches("./").to_owned()),
            ..serves(&["--server.port"], "8501")
        },
        "dramatiq" => {
            let named = positional(arguments, &DRAMATIQ_FLAGS);
            Program {
                // The broker, where one is named: `module:broker`.
                object: named.first().and_then(|word| object_of(word)),
                modules: named
                    .iter()
                    .map(|word| word.split(':').next().unwrap_or(word).to_owned())
                    .filter(|word| is_dotted(word))
                    .collect(),
                directory: option(arguments, &["-P", "--path"]),
                ..Program::of(tool)
            }
        }
        "arq" | "huey_consumer" | HUEY_SCRIPT => Program {
            object: positional(arguments, &WORKER_FLAGS)
                .first()
                .and_then(|word| {
                    let (module, attribute) = word.rsplit_once('.')?;
                    is_dotted(module).then(|| (module.to_owned(), attribute.to_owned()))
                }),
            ..Program::of(tool)
        },
        _ => Program::of(tool),
    }
}

/// `module:attribute`, also `module:factory()`.
fn object_of(word: &str) -> Option<(String, String)> {
    let (module, attribute) = word.split_once(':')?;
    let name = attribute.split('(').next().unwrap_or(attribute);
    (is_dotted(module) && is_dotted(name)).then(|| (module.to_owned(), attribute.to_owned()))
}

/// A module, also as the path of its file.
fn module_of(word: &str) -> Option<(String, String)> {
    let module = word
        .trim_start_matches("./")
        .trim_end_matches(".py")
        .replace('/', ".");
    is_dotted(&module).then(|| (module, String::new()))
}

/// The value of an option, as the next word or behind `=`.
pub(crate) fn option(arguments: &[String], names: &[&str]) -> Option<String> {
    for (at, word) in arguments.iter().enumerate() {
        for name in names {
            if word == name {
                return arguments.get(at + 1).cloned();
            }
            if let Some(value) = word
                .strip_prefix(name)
                .and_then(|rest| rest.strip_prefix('='))
            {
                return Some(value.to_owned());
            }
        }
    }
    None
}

fn port(arguments: &[String], short: &[&str]) -> Option<String> {
    let mut names = vec![
        "--port",
        "--bind",
        "-b",
        "--listen",
        "--http",
        "--http-socket",
    ];
    names.extend(short);
    port_of(&option(arguments, &names)?)
}

/// The port in `8000`, `host:8000`, `${PORT}` or `0.0.0.0:${PORT:-8000}`.
pub(crate) fn port_of(place: &str) -> Option<String> {
    if place.starts_with("unix:") {
        return None;
    }
    if place.ends_with('}') {
        return place.rfind("${").map(|at| place[at..].to_owned());
    }
    let last = place.rsplit(':').next().unwrap_or(place);
    let last = last.split('/').next().unwrap_or(last);
    if let Some(name) = last.strip_prefix('$') {
        return (!name.is_empty()).then(|| format!("${{{name}}}"));
    }
    last.parse::<u16>()
        .is_ok_and(|port| port > 0)
        .then(|| last.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Program {
        program(&shlex::split(line).unwrap())
    }

    #[test]
    fn servers_and_their_ports() {
        for (line, object, port) in [
            (
                "uvicorn app.main:app --port 9000",
                ("app.main", "app"),
                "9000",
            ),
            (
                "python -m uvicorn app.main:app",
                ("app.main", "app"),
                "8000",
            ),
            (
                "poetry run uvicorn --factory a:make --port=${PORT:-1}",
                ("a", "make"),
                "${PORT:-1}",
            ),
            (
                "gunicorn -k x.Y -b 0.0.0.0:$PORT a.wsgi:app",
                ("a.wsgi", "app"),
                "${PORT}",
            ),
            ("gunicorn 'a:create_app()'", ("a", "create_app()"), "8000"),
            ("gunicorn a.wsgi", ("a.wsgi", "application"), "8000"),
            (
                "flask --app web/app.py run -p 5050",
                ("web.app", ""),
                "5050",
            ),
            ("fastapi run app/main.py", ("app.main", ""), "8000"),
            (
                "sh -c 'alembic upgrade head && exec hypercorn a:b --bind [::]:80'",
                ("a", "b"),
                "80",
            ),
        ] {
            let program = of(line);
            let (module, attribute) = program.object.unwrap_or_else(|| panic!("{line}"));
            assert_eq!((module.as_str(), attribute.as_str()), object, "{line}");
            assert_eq!(program.port.as_deref(), Some(port), "{line}");
            assert!(program.serves, "{line}");
        }
        assert_eq!(
            of("gunicorn a:b --bind unix:/x").port.as_deref(),
            Some("8000")
        );
    }

    #[test]
    fn variables_directories_and_factories_of_a_command() {
        let words =
            "env PYTHONPATH=.:cms A=b python -m uvicorn --factory cms.main:make --app-dir src";
        let program = of(words);
        assert_eq!(program.object.unwrap().0, "cms.main");
        assert!(program.is_factory);
        assert_eq!(program.directory.as_deref(), Some("src"));
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(program.env, [pair("PYTHONPATH", ".:cms"), pair("A", "b")]);
        let shell = of("sh -c 'A=1 exec gunicorn --chdir web x.wsgi'");
        assert_eq!(shell.env, [pair("A", "1")]);
        assert_eq!(shell.directory.as_deref(), Some("web"));
        assert_eq!(of("dagster-daemon run -m jobs.all").modules, ["jobs.all"]);
        let script = of("python app/main.py");
        assert!(script.is_script("app.main") && script.is_script("src.app.main"));
        assert!(!script.is_script("main.app") && !of("python manage.py x").is_script("manage"));
        assert_eq!(of("streamlit run ui/app.py").script.unwrap(), "ui/app.py");
    }

    #[test]
    fn workers_modules_and_scripts() {
        assert_eq!(
            of("celery -A app.tasks worker").object.unwrap().0,
            "app.tasks"
        );
        assert_eq!(of("dramatiq a.b c -p 2").modules, ["a.b", "c"]);
        let dramatiq = of("dramatiq -p4 --threads 2 -v a.b:broker c --watch .");
        assert_eq!(dramatiq.modules, ["a.b", "c"]);
        assert_eq!(dramatiq.object.unwrap().1, "broker");
        let rq = of("rq worker -c a.settings -w a.work.Own high -P src");
        assert_eq!(rq.modules, ["a.settings", "a.work"]);
        assert_eq!(rq.directory.as_deref(), Some("src"));
        for line in [
            "arq --watch src a.Settings",
            "huey_consumer -w2 a.Settings -k process",
        ] {
            assert_eq!(of(line).object.unwrap().0, "a", "{line}");
        }
        assert_eq!(
            of("arq app.worker.Settings").object.unwrap().0,
            "app.worker"
        );
        for line in ["huey_consumer main.huey -w2", "huey_consumer.py main.huey"] {
            assert_eq!(of(line).object.unwrap().0, "main", "{line}");
        }
        assert_eq!(
            of("python -u -m app.worker").run_module.unwrap(),
            "app.worker"
        );
        assert_eq!(
            of("python3.12 ./tools/run.py").script.unwrap(),
            "tools/run.py"
        );
        let django = of("python manage.py runserver 0.0.0.0:9000");
        assert_eq!(
            (django.port.as_deref(), django.serves),
            (Some("9000"), true)
        );
        assert!(!of("python manage.py migrate").serves);
        assert_eq!(of("python -c 'x'"), Program::default());
        assert_eq!(of("redis-server").object, None);
    }
}
