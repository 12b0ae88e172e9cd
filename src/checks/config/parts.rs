//! What a service's program needs beside the application, against what is installed: a class of workers
//! (`gunicorn -k gevent`, `celery -P eventlet`), the module behind a console script. Importing the application does not
//! show that it is missing.

use super::drivers::{Packages, packages};
use crate::checks::as_run::AsRun;
use crate::checks::context::CheckContext;
use crate::checks::interpreter::interpreter;
use crate::domain::code::Code;
use crate::domain::finding::{Finding, Severity};
use crate::manifest::{Service, is_dotted};
use crate::source::option;

/// Short names, and the module and package that each needs.
const SHORT: [(&str, &str); 6] = [
    ("gevent", "gevent"),
    ("gevent_wsgi", "gevent"),
    ("gevent_pywsgi", "gevent"),
    ("eventlet", "eventlet"),
    ("tornado", "tornado"),
    ("solo", ""),
];

/// A console script of the environment is no longer, in bytes.
const SCRIPT_BYTES_MAX: u64 = 4 << 10;

/// The class of workers of a service, or the script that it runs, needs what is not installed.
pub(super) fn part_missing(
    context: &CheckContext<'_>,
    service: &Service,
    severity: Severity,
) -> Option<Finding> {
    let run = AsRun::of_service(context, service);
    let options: &[&str] = match run.program.tool.as_str() {
        "gunicorn" => &["-k", "--worker-class"],
        "celery" => &["-P", "--pool"],
        _ => &[],
    };
    let words = &run.words;
    let packages = packages(context)?;
    if run.program.tool == "uvicorn" {
        return uvicorn_part(context, &packages, service, words, severity);
    }
    if options.is_empty() {
        return behind_script(context, &packages, service, words, severity);
    }
    let class = option(words, options)?;
    let short = SHORT.iter().find(|(name, _)| *name == class);
    let (module, remedy) = match (short, class.rsplit_once('.')) {
        (Some((_, "")), _) | (None, None) => return None,
        (Some((_, package)), _) => (
            (*package).to_owned(),
            format!("install {package} and declare it"),
        ),
        // `egg:gunicorn#sync`, and what lies beside the service, are not judged.
        (None, Some((module, _)))
            if class.contains([':', '#', '/']) || run.cwd.is_some() || module.is_empty() =>
        {
            return None;
        }
        (None, Some(("uvicorn.workers", class))) => (
            "uvicorn.workers".to_owned(),
            format!("install uvicorn-worker, declare it, and name uvicorn_worker.{class}"),
        ),
        (None, Some((module, _))) => {
            let package = module.split('.').next().unwrap_or(module).replace('_', "-");
            (
                module.to_owned(),
                format!("install {package} and declare it, or correct the name"),
            )
        }
    };
    if packages.has(&module.replace('.', "/")) {
        return None;
    }
    let name = service.name.as_str();
    let class = context.redactor.clean(&class, 128);
    let module = context.redactor.clean(&module, 128);
    let message =
        format!("service {name} runs its workers with {class}, and {module} is not installed");
    let finding = Finding::new(Code::ConfigProgramMissing, severity, name, message);
    let remedy = context.redactor.clean(&remedy, 256);
    Some(context.at_service(finding, service).remedy(format!(
        "{remedy}, or let `run` of the service do without {class}"
    )))
}

/// What `--loop`, `--http` and `--ws` of Uvicorn name, and that its extra `standard` brings.
fn uvicorn_part(
    context: &CheckContext<'_>,
    packages: &Packages,
    service: &Service,
    words: &[String],
    severity: Severity,
) -> Option<Finding> {
    const PARTS: [(&str, &str); 4] = [
        ("--loop", "uvloop"),
        ("--http", "httptools"),
        ("--ws", "websockets"),
        ("--ws", "wsproto"),
    ];
    let (flag, part) = PARTS.into_iter().find(|(flag, part)| {
        option(words, &[*flag]).is_some_and(|value| value == *part) && !packages.has(part)
    })?;
    let name = service.name.as_str();
    let install = match part {
        "wsproto" => "wsproto",
        _ => "uvicorn[standard]",
    };
    let message = format!("service {name} runs Uvicorn with {flag} {part}, which is not installed");
    let finding = Finding::new(Code::ConfigProgramMissing, severity, name, message);
    Some(context.at_service(finding, service).remedy(format!(
        "install {install} and declare it so, or let `run` of the service do without {flag} {part}"
    )))
}

/// The console script of the environment imports a module that no installed package brought.
fn behind_script(
    context: &CheckContext<'_>,
    packages: &Packages,
    service: &Service,
    words: &[String],
    severity: Severity,
) -> Option<Finding> {
    let tool = words.first().filter(|word| !word.contains('/'))?;
    let python = interpreter(context.manifest, context.root, context.environment).ok()?;
    let script = python.parent()?.join(tool);
    let is_small = script
        .metadata()
        .is_ok_and(|m| m.is_file() && m.len() <= SCRIPT_BYTES_MAX);
    let text = is_small
        .then(|| std::fs::read_to_string(&script).ok())
        .flatten()?;
    // As pip and uv write it: one import, then the call.
    let is_python = text.starts_with("#!") && text.lines().next()?.contains("python");
    let mut imports = text.lines().filter_map(|line| {
        let (module, _) = line.strip_prefix("from ")?.split_once(" import ")?;
        (is_dotted(module)).then_some(module)
    });
    let module = imports.next().filter(|_| is_python)?;
    // A script that somebody wrote imports what it likes, also of the standard library.
    if module == "__future__" || imports.next().is_some() {
        return None;
    }
    let top = module.split('.').next().unwrap_or(module);
    if packages.has(top) || packages.leads_elsewhere() {
        return None;
    }
    let (name, tool) = (service.name.as_str(), context.redactor.clean(tool, 128));
    let module = context.redactor.clean(module, 128);
    let message =
        format!("the program {tool} of service {name} imports {module}, which is not installed");
    let finding = Finding::new(Code::ConfigProgramMissing, severity, name, message);
    Some(context.at_service(finding, service).remedy(format!(
        "take a version of the package that brings {tool} which has {module} too, or correct `run` of the service"
    )))
}

#[cfg(test)]
mod tests {
    use crate::checks::testing::{App, only};
    use crate::domain::finding::{CheckName, Severity};
    use crate::manifest::Manifest;

    const SITE: &str = ".venv/lib/python3.12/site-packages";

    fn app(run: &str, installed: &[&str]) -> App {
        let mut app = App::with_interpreter(None)
            .file(".venv/pyvenv.cfg", "include-system-site-packages = false\n")
            .file(".venv/bin/python", "")
            .file(
                ".venv/bin/gunicorn",
                "#!/usr/bin/env python\nfrom gunicorn.app.wsgiapp import run\n",
            )
            .file(
                ".venv/bin/celery",
                "#!/usr/bin/env python\nfrom celery.__main__ import main\n",
            )
            .file(
                ".venv/bin/desk",
                "#!/usr/bin/env python\nimport sys\nfrom demodesk.manage import main\n",
            )
            .file("jobs/__init__.py", "queue = 1\n")
            .file("jobs/tasks.py", "");
        for program in ["python", "gunicorn", "celery", "desk"] {
            let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            let path = app.root().join(".venv/bin").join(program);
            std::fs::set_permissions(path, executable).unwrap();
        }
        for module in installed {
            app = app.file(&format!("{SITE}/{module}"), "");
        }
        let text = format!(
            "[app]\nname='a'\n[[layer]]\nname='web'\n[[layer.service]]\nname='web'\nrun='{run}'\n"
        );
        app.manifest = Manifest::parse(&text, &app.manifest.path).unwrap();
        app
    }

    #[test]
    fn a_part_that_a_program_needs_is_told_before_the_boot() {
        for (run, installed, said, remedy) in [
            (
                "gunicorn -k gevent a:b",
                &["gunicorn.py"][..],
                "gevent is not installed",
                "install gevent",
            ),
            (
                "gunicorn --worker-class=uvicorn.workers.UvicornWorker a:b",
                &["uvicorn/x.py"],
                "uvicorn.workers is not installed",
                "uvicorn_worker.UvicornWorker",
            ),
            (
                "celery -A jobs worker -P eventlet",
                &["celery.py"],
                "eventlet is not installed",
                "install eventlet",
            ),
            (
                "desk runserver",
                &["x.py"],
                "imports demodesk.manage",
                "correct `run`",
            ),
            (
                "celery -A jobs.worker worker",
                &["celery.py"],
                "the module jobs.worker of",
                "write the module",
            ),
        ] {
            let report = app(run, installed).check(CheckName::Config);
            let finding = only(&report, "config.program_missing");
            assert_eq!(finding.severity, Severity::Critical);
            assert!(finding.message.contains(said), "{}", finding.message);
            let told = finding.remedy.as_deref().unwrap();
            assert!(told.contains(remedy), "{told}");
        }
    }

    #[test]
    fn what_is_there_or_lies_elsewhere_is_not_told() {
        for (run, installed) in [
            (
                "gunicorn -k gevent a:b",
                &["gunicorn.py", "gevent/x.py"][..],
            ),
            ("gunicorn -k gthread a:b", &["gunicorn.py"]),
            ("gunicorn -k egg:gunicorn#sync a:b", &["gunicorn.py"]),
            (
                "gunicorn -k uvicorn_worker.UvicornWorker a:b",
                &["gunicorn.py", "uvicorn_worker/x.py"],
            ),
            ("celery -A jobs.queue worker -P solo", &["celery.py"]),
            ("celery -A jobs.tasks worker", &["celery.py"]),
            ("desk runserver", &["demodesk/x.py"]),
            ("desk runserver", &["__editable__.demodesk-1.pth"]),
        ] {
            let report = app(run, installed).check(CheckName::Config);
            let found = report
                .findings
                .iter()
                .find(|f| f.code == "config.program_missing");
            assert!(found.is_none(), "{run}: {found:#?}");
        }
    }
}
