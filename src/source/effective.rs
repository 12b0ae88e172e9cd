//! The words of a command, with what its program takes from variables and from its own file of settings: `UVICORN_*`,
//! `GUNICORN_CMD_ARGS`, `gunicorn.conf.py`. What the command itself says goes before.

use std::path::Path;

use super::program::{Program, option, program};

/// Options of Gunicorn that are looked at, with their short form and their name in a file of settings.
const GUNICORN: [(&str, &str, &str); 10] = [
    ("--bind", "-b", "bind"),
    ("--worker-class", "-k", "worker_class"),
    ("--workers", "-w", "workers"),
    ("--threads", "--threads", "threads"),
    ("--timeout", "-t", "timeout"),
    ("--chdir", "--chdir", "chdir"),
    ("--pythonpath", "--pythonpath", "pythonpath"),
    ("--certfile", "--certfile", "certfile"),
    ("--keyfile", "--keyfile", "keyfile"),
    ("--config", "-c", ""),
];
/// Options of Uvicorn that are looked at.
const UVICORN: [&str; 12] = [
    "--port",
    "--app-dir",
    "--lifespan",
    "--env-file",
    "--ssl-keyfile",
    "--ssl-certfile",
    "--log-config",
    "--workers",
    "--loop",
    "--http",
    "--ws",
    "--interface",
];
/// A larger file of settings is not read, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// With what the words start then. `started` is what they start by themselves, `place` where.
pub(crate) fn effective(
    mut words: Vec<String>,
    started: Program,
    variable: impl Fn(&str) -> Option<String>,
    place: &Path,
) -> (Vec<String>, Program) {
    let is_it = |word: &String| word.rsplit('/').next() == Some(started.tool.as_str());
    let Some(at) = words.iter().position(is_it) else {
        return (words, started);
    };
    let own = words.len();
    match started.tool.as_str() {
        "uvicorn" => {
            for name in UVICORN {
                let asked = name[2..].to_ascii_uppercase().replace('-', "_");
                if option(&words, &[name]).is_none()
                    && let Some(value) = variable(&format!("UVICORN_{asked}"))
                {
                    words.push(format!("{name}={value}"));
                }
            }
            let is_on = |value: String| {
                matches!(value.to_lowercase().as_str(), "1" | "true" | "yes" | "on")
            };
            if variable("UVICORN_FACTORY").is_some_and(is_on) {
                words.push("--factory".to_owned());
            }
        }
        "gunicorn" => {
            let given = variable("GUNICORN_CMD_ARGS").and_then(|text| shlex::split(&text));
            let add = |words: &mut Vec<String>,
                       find: &dyn Fn(&str, &str, &str) -> Option<String>| {
                for (long, short, key) in GUNICORN {
                    if option(words, &[long, short]).is_none()
                        && let Some(value) = find(long, short, key)
                    {
                        words.insert(at + 1, format!("{long}={value}"));
                    }
                }
            };
            if let Some(given) = given {
                add(&mut words, &|long, short, _| option(&given, &[long, short]));
            }
            let file = option(&words, &["--config", "-c"])
                .unwrap_or_else(|| "gunicorn.conf.py".to_owned());
            let path = place.join(file.strip_prefix("file:").unwrap_or(&file));
            let is_small = path
                .metadata()
                .is_ok_and(|m| m.is_file() && m.len() <= FILE_BYTES_MAX);
            if let Some(text) = is_small
                .then(|| std::fs::read_to_string(&path).ok())
                .flatten()
            {
                add(&mut words, &|_, _, key| literal(&text, key));
                if program(&words).object.is_none()
                    && let Some(object) = literal(&text, "wsgi_app")
                {
                    words.push(object);
                }
            }
        }
        _ => {}
    }
    let started = match words.len() == own {
        true => started,
        false => program(&words),
    };
    (words, started)
}

/// The one value of a name that a file of settings binds once, at its left edge, to a text or a whole number.
fn literal(text: &str, key: &str) -> Option<String> {
    let mut values = text.lines().filter_map(|line| {
        let value = line.strip_prefix(key)?.trim_start().strip_prefix('=')?;
        (!key.is_empty() && !value.starts_with('=')).then_some(value.trim())
    });
    let (value, None) = (values.next()?, values.next()) else {
        return None;
    };
    if value.parse::<u32>().is_ok() {
        return Some(value.to_owned());
    }
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let inner = value.strip_prefix(quote)?.strip_suffix(quote)?;
    let is_plain = !inner.contains([quote, '\\', '\n']) && !inner.is_empty();
    is_plain.then(|| inner.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_takes_from_elsewhere_stands_behind_its_command() {
        let place = tempfile::tempdir().unwrap();
        let settings = "import os\nbind = '0.0.0.0:9000'\nworkers = 2\nchdir = \"src\"\ntimeout = os.cpu_count()\n\
                        wsgi_app = 'shop.wsgi:app'\n";
        std::fs::write(place.path().join("gunicorn.conf.py"), settings).unwrap();
        let told = |line: &str| {
            let variable = |name: &str| {
                let value = match name {
                    "GUNICORN_CMD_ARGS" => "-k gevent --bind=:7000",
                    "UVICORN_PORT" => "9100",
                    "UVICORN_APP_DIR" => "src",
                    "UVICORN_FACTORY" => "1",
                    _ => return None,
                };
                Some(value.to_owned())
            };
            let words = shlex::split(line).unwrap();
            let started = program(&words);
            effective(words, started, variable, place.path()).1
        };
        let gunicorn = told("gunicorn");
        assert_eq!(gunicorn.port.as_deref(), Some("7000"));
        assert_eq!(gunicorn.directory.as_deref(), Some("src"));
        assert_eq!(gunicorn.object.unwrap().0, "shop.wsgi");
        let gunicorn = told("python -m gunicorn -b :6000 other.wsgi");
        assert_eq!(gunicorn.port.as_deref(), Some("6000"));
        assert_eq!(gunicorn.object.unwrap().0, "other.wsgi");
        let uvicorn = told("uvicorn a:make --port 1");
        assert_eq!(uvicorn.port.as_deref(), Some("1"));
        assert!(uvicorn.is_factory);
        assert_eq!(uvicorn.directory.as_deref(), Some("src"));
        assert!(!told("hypercorn a:make").is_factory);
    }
}
