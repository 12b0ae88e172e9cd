//! What the options of a service's command name: files, certificates among them, numbers, and the application of
//! `flask run`; and directories of templates that the sources name. What is not there, or cannot be read, is met when
//! the service starts, or at the first request.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

use crate::checks::as_run::AsRun;
use crate::checks::context::CheckContext;
use crate::checks::declared::ends_at;
use crate::checks::imports::is_aside;
use crate::domain::code::Code;
use crate::domain::finding::{Finding, Severity};
use crate::http::{certificates_of, fits};
use crate::manifest::Service;
use crate::source::{Framework, option};

/// The option with which a program goes to another directory first; a file of settings may say it too.
const CHANGES_DIRECTORY: &str = "--chdir";

/// A certificate that ends sooner is reported, in days.
const DAYS_MIN: i64 = 14;

/// What a program reads before it starts anything: settings, certificates and keys.
fn options_of(tool: &str) -> (&'static [&'static str], &'static [&'static str]) {
    match tool {
        "gunicorn" => (&["-c", "--config", "--keyfile"], &["--certfile"]),
        "uvicorn" => (
            &["--env-file", "--log-config", "--ssl-keyfile"],
            &["--ssl-certfile"],
        ),
        "hypercorn" => (&["-c", "--config", "--keyfile"], &["--certfile"]),
        "granian" => (&["--log-config", "--ssl-keyfile"], &["--ssl-certificate"]),
        "alembic" => (&["-c", "--config"], &[]),
        _ => (&[], &[]),
    }
}

/// Options that want a whole number.
fn numbers_of(tool: &str) -> &'static [&'static str] {
    match tool {
        "gunicorn" => &["-w", "--workers", "--threads", "-t", "--timeout"],
        "uvicorn" => &["--port", "--workers"],
        "celery" => &["-c", "--concurrency"],
        _ => &[],
    }
}

/// Findings about what the command of one service names.
pub(super) fn named_files(
    context: &CheckContext<'_>,
    service: &Service,
    severity: Severity,
) -> Vec<Finding> {
    let run = AsRun::of_service(context, service);
    let (files, certificates) = options_of(&run.program.tool);
    let words = &run.words;
    let place = context.root.join(run.cwd.as_deref().unwrap_or_default());
    let started = context
        .root
        .join(run.started_in.as_deref().unwrap_or_default());
    let named = |options: &'static [&'static str]| {
        options.iter().filter_map(|name| {
            let value = option(words, &[*name])?;
            // Gunicorn and Hypercorn: `file:PATH`; `python:MODULE` is none.
            let path = value.strip_prefix("file:").unwrap_or(&value);
            (!path.is_empty() && !path.starts_with("python:")).then(|| (*name, path.to_owned()))
        })
    };
    let mut findings = Vec::new();
    if let Some(shown) = run.cwd.as_deref().filter(|_| run.cwd != run.started_in) {
        findings.extend(missing(
            context,
            service,
            severity,
            CHANGES_DIRECTORY,
            shown,
            &place,
        ));
    }
    let keys: Vec<_> = named(files)
        .filter(|(name, _)| name.ends_with("keyfile"))
        .collect();
    for (name, shown) in named(files) {
        // Settings are read before the program goes elsewhere.
        let base = if name.ends_with("-c") || name == "--config" {
            &started
        } else {
            &place
        };
        findings.extend(missing(
            context,
            service,
            severity,
            name,
            &shown,
            &base.join(&shown),
        ));
    }
    for (name, shown) in named(certificates) {
        let path = place.join(&shown);
        let gone = missing(context, service, severity, name, &shown, &path);
        let key = keys.first().map(|(_, key)| key);
        let other = || key.filter(|key| !fits(&path, &place.join(key)));
        findings.extend(
            gone.or_else(|| Some(other_key(context, service, severity, &shown, other()?)))
                .or_else(|| certificate(context, service, &shown, &path)),
        );
    }
    for name in numbers_of(&run.program.tool) {
        let value = option(words, &[*name]).filter(|value| !value.contains('$'));
        findings
            .extend(value.and_then(|value| no_number(context, service, severity, name, &value)));
    }
    findings.extend(flask_app(context, service, severity, &run, words));
    findings
}

/// The value of an option that wants a whole number, and is none.
fn no_number(
    context: &CheckContext<'_>,
    service: &Service,
    severity: Severity,
    option: &str,
    value: &str,
) -> Option<Finding> {
    if value.parse::<u64>().is_ok() {
        return None;
    }
    let name = service.name.as_str();
    let shown = context.redactor.clean(value, 64);
    let message = format!("{option} of service {name} wants a whole number, and gets {shown:?}");
    let finding = Finding::new(Code::ConfigInvalid, severity, name, message);
    Some(context.at_service(finding, service).remedy(format!(
        "correct {option} in `run` of service {name}, or the variable that it takes"
    )))
}

/// `flask run` takes its application from `--app`, `FLASK_APP`, `wsgi.py` or `app.py`.
fn flask_app(
    context: &CheckContext<'_>,
    service: &Service,
    severity: Severity,
    run: &AsRun,
    words: &[String],
) -> Option<Finding> {
    const NAME: &str = "FLASK_APP";
    let is_run = run.program.tool == "flask" && words.iter().any(|word| word == "run");
    let names_one = option(words, &["--app", "-A"]).is_some();
    if !is_run
        || names_one
        || run.env.contains_key(NAME)
        || context.environment.values.contains_key(NAME)
    {
        return None;
    }
    let place = context.root.join(run.cwd.as_deref().unwrap_or_default());
    let bases = [place.as_path(), context.root];
    // Flask reads these itself where python-dotenv is installed.
    let is_in_file = bases.iter().any(|base| {
        [".flaskenv", ".env"].iter().any(|file| {
            std::fs::read_to_string(base.join(file)).is_ok_and(|text| text.contains(NAME))
        })
    });
    let is_there = ["wsgi.py", "app.py", "wsgi", "app"]
        .iter()
        .any(|name| place.join(name).exists());
    if is_in_file || is_there {
        return None;
    }
    let name = service.name.as_str();
    let message = format!(
        "`flask run` of service {name} finds no application: {NAME} is not set, and its directory has no app.py or wsgi.py"
    );
    let mut apps = context.facts().applications.iter();
    let known = apps
        .find(|app| app.framework == Framework::Flask)
        .map(|app| format!("{}:{}", app.module, app.attribute));
    let app = context
        .redactor
        .clean(known.as_deref().unwrap_or("MODULE"), 128);
    Some(
        context
            .at_service(
                Finding::new(Code::ConfigMissing, severity, NAME, message),
                service,
            )
            .remedy(format!(
                "write `flask --app {app} run` in `run` of the service, or set {NAME}"
            )),
    )
}

/// A file that is nowhere. What a task of the boot may still make is a warning.
fn missing(
    context: &CheckContext<'_>,
    service: &Service,
    severity: Severity,
    option: &str,
    shown: &str,
    path: &Path,
) -> Option<Finding> {
    let error = path.metadata().err()?;
    if error.kind() != std::io::ErrorKind::NotFound {
        return None;
    }
    let mut services = context.manifest.layers.iter().flat_map(|l| &l.services);
    let severity = match services.any(|other| other.oneshot && other.name != service.name) {
        true => Severity::Warning,
        false => severity,
    };
    let name = service.name.as_str();
    let shown = context.redactor.clean(shown, 256);
    let kind = match option {
        CHANGES_DIRECTORY => "directory",
        _ => "file",
    };
    let message =
        format!("{option} of service {name} names the {kind} {shown}, which is not there");
    let finding = Finding::new(Code::ConfigFileMissing, severity, name, message);
    Some(context.at_service(finding, service).remedy(format!(
        "put {shown} there, or take {option} out of `run` of the service"
    )))
}

/// When the first certificate of a file ends, if that is soon, or was.
pub(super) fn end_of(path: &Path, now: DateTime<Utc>) -> Option<String> {
    let certificates = certificates_of(path).ok()?;
    let end = ends_at(certificates.first()?)?;
    let left = end - now;
    if left.num_days() >= DAYS_MIN {
        return None;
    }
    let on = end.format("%Y-%m-%d");
    Some(match left.num_seconds() {
        ..=0 => format!("ended on {on}: clients refuse it"),
        _ => format!("ends on {on}, in {} days", left.num_days()),
    })
}

/// The server refuses to start with it.
fn other_key(
    context: &CheckContext<'_>,
    service: &Service,
    severity: Severity,
    certificate: &str,
    key: &str,
) -> Finding {
    let name = service.name.as_str();
    let clean = |text: &str| context.redactor.clean(text, 256);
    let (certificate, key) = (clean(certificate), clean(key));
    let message =
        format!("the key {key} of service {name} is not that of its certificate {certificate}");
    let finding = Finding::new(Code::ConfigInvalid, severity, name, message);
    context.at_service(finding, service).remedy(format!(
        "put the key there that {certificate} was made for (the server's own certificate is the first one in its file)"
    ))
}

/// A certificate that has ended, or will soon.
fn certificate(
    context: &CheckContext<'_>,
    service: &Service,
    shown: &str,
    path: &Path,
) -> Option<Finding> {
    let when = end_of(path, Utc::now())?;
    let name = service.name.as_str();
    let shown = context.redactor.clean(shown, 256);
    let message = format!("the certificate {shown} of service {name} {when}");
    let finding = Finding::of(Code::ConfigCertificateEnds, name, message);
    Some(finding.at(shown, 0, 0).remedy("renew the certificate"))
}

/// Directories of templates that are nowhere: Starlette and Jinja look for them at the first request only.
pub(super) fn template_findings(context: &CheckContext<'_>) -> Vec<Finding> {
    let services = context.manifest.layers.iter().flat_map(|l| &l.services);
    let mut bases: Vec<PathBuf> = services
        .filter_map(|service| AsRun::of_service(context, service).cwd)
        .map(|cwd| context.root.join(cwd))
        .collect();
    bases.push(context.root.to_owned());
    let named = context.facts().template_directories.iter();
    named
        .filter(|(place, _)| !is_aside(&place.file))
        .filter(|(_, directory)| bases.iter().all(|base| !base.join(directory).exists()))
        .map(|(place, directory)| {
            let shown = context.redactor.clean(directory, 256);
            let message = format!(
                "the directory of templates {shown} is not there: each request that renders one fails"
            );
            let finding = Finding::new(
                Code::ConfigFileMissing,
                Severity::Warning,
                shown.as_str(),
                message,
            );
            finding
                .at(place.file.as_str(), place.line, place.column)
                .remedy(format!(
                    "correct the path, which is taken from the directory that the service runs in, or bring {shown}"
                ))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use crate::checks::testing::{App, only};
    use crate::domain::finding::{CheckName, Finding, Severity};
    use crate::manifest::Manifest;

    fn app(services: &str) -> App {
        let mut app = App::with_interpreter(None);
        let text = format!("[app]\nname='a'\n[[layer]]\nname='web'\n{services}");
        app.manifest = Manifest::parse(&text, &app.manifest.path).unwrap();
        app
    }

    fn service(run: &str) -> String {
        format!("[[layer.service]]\nname='web'\nrun='{run}'\n")
    }

    fn file_findings(app: &App) -> Vec<Finding> {
        let report = app.check(CheckName::Config);
        let findings = report.findings.into_iter();
        findings
            .filter(|f| f.code == "config.file_missing" || f.code == "config.certificate_ends")
            .collect()
    }

    #[test]
    fn a_file_that_an_option_names_and_nobody_has_is_told_before_the_boot() {
        for run in [
            "gunicorn -c gunicorn.conf.py a:b",
            "gunicorn --config=file:gunicorn.conf.py a:b",
            "uvicorn a:b --log-config gunicorn.conf.py",
            "hypercorn --certfile gunicorn.conf.py a:b",
        ] {
            let report = app(&service(run)).check(CheckName::Config);
            let finding = only(&report, "config.file_missing");
            assert_eq!(finding.severity, Severity::Critical);
            assert!(finding.message.contains("gunicorn.conf.py"), "{run}");
            let there = app(&service(run)).file("gunicorn.conf.py", "");
            assert_eq!(file_findings(&there), [], "{run}");
        }
        for run in [
            "gunicorn -c python:a.settings a:b",
            "gunicorn a:b",
            "celery -A a -c 2",
        ] {
            assert_eq!(file_findings(&app(&service(run))), [], "{run}");
        }
        let moved = app(&service("gunicorn --chdir shop -c conf.py a:b")).file("conf.py", "");
        let found = file_findings(&moved);
        assert!(
            found.len() == 1 && found[0].message.contains("the directory shop"),
            "{found:#?}"
        );
        assert_eq!(file_findings(&moved.file("shop/a.py", "")), []);
        // A task before it may make the file.
        let task = "[[layer.service]]\nname='make'\nrun='make'\noneshot=true\n";
        let made = app(&format!("{task}{}", service("gunicorn -c conf.py a:b")));
        assert_eq!(file_findings(&made)[0].severity, Severity::Warning);
    }

    #[test]
    fn a_number_that_is_none_and_an_application_that_is_nowhere_are_told() {
        for (run, number) in [
            ("gunicorn -w two a:b", Some("-w of service web")),
            ("uvicorn a:b --workers=2", None),
            ("celery -A a worker -c 4", None),
            (
                "celery -A a worker --concurrency many",
                Some("--concurrency"),
            ),
        ] {
            let report = app(&service(run)).check(CheckName::Config);
            let found = report.findings.iter().find(|f| f.code == "config.invalid");
            let said = found.map_or("", |found| found.message.as_str());
            assert!(said.contains(number.unwrap_or_default()), "{run}: {said}");
            assert_eq!(found.is_some(), number.is_some(), "{run}: {said}");
        }
        let served = service("flask run --port 1");
        let source = "from flask import Flask\nweb = Flask(__name__)\n";
        let report = app(&served)
            .file("server.py", source)
            .check(CheckName::Config);
        let remedy = only(&report, "config.missing").remedy.clone();
        assert!(remedy.unwrap().contains("flask --app server:web run"));
        for (file, text) in [("app.py", source), (".flaskenv", "FLASK_APP=server\n")] {
            let report = app(&served).file(file, text).check(CheckName::Config);
            assert!(
                !report.findings.iter().any(|f| f.code == "config.missing"),
                "{file}"
            );
        }
    }

    #[test]
    fn a_certificate_that_ended_is_a_warning() {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = |year| {
            let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            params.not_after = rcgen::date_time_ymd(year, 1, 1);
            params.self_signed(&key).unwrap().pem()
        };
        for (year, expected) in [(2020, 1), (2099, 0)] {
            let app = app(&service("uvicorn a:b --ssl-certfile tls.pem"))
                .file("tls.pem", certificate(year));
            let findings = file_findings(&app);
            assert_eq!(findings.len(), expected, "{findings:#?}");
            assert!(
                findings
                    .iter()
                    .all(|f| f.message.contains("ended on 2020-01-01"))
            );
        }
    }

    #[test]
    fn a_directory_of_templates_that_is_not_there_is_a_warning() {
        let source = "from fastapi.templating import Jinja2Templates\ntemplates = Jinja2Templates(directory=\"templates\")\n";
        let served = service("uvicorn a:b");
        let app = app(&served).file("a.py", source);
        let findings = file_findings(&app);
        assert_eq!(findings.len(), 1, "{findings:#?}");
        assert_eq!(findings[0].severity, Severity::Warning);
        assert_eq!(findings[0].location.as_ref().unwrap().line, 2);
        let app = app.file("templates/a.html", "");
        assert_eq!(file_findings(&app), []);
    }
}
