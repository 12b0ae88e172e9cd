//! What a container is made of: its Dockerfile's command, its build directory, its published ports.

use super::draft::Reference;
use super::files::Files;
use super::shell::{from_compose, from_shell};
use super::text::{holds_credential, is_secret_name, is_variable_name};
use super::yaml::{Node, Value};

/// Images whose port everyone knows.
const PORTS: [(&str, &str); 16] = [
    ("postgres", "5432"),
    ("postgis", "5432"),
    ("pgvector", "5432"),
    ("timescale", "5432"),
    ("redis", "6379"),
    ("valkey", "6379"),
    ("mysql", "3306"),
    ("mariadb", "3306"),
    ("mongo", "27017"),
    ("rabbitmq", "5672"),
    ("elasticsearch", "9200"),
    ("opensearch", "9200"),
    ("memcached", "11211"),
    ("nats", "4222"),
    ("kafka", "9092"),
    ("minio", "9000"),
];

/// What the Dockerfile of a service says about its command.
#[derive(Debug, Default, Clone)]
pub(super) struct Built {
    pub entrypoint: Vec<String>,
    pub command: Vec<String>,
    pub references: Vec<Reference>,
    pub directories: Directories,
    /// The Dockerfile; empty for one of the workspace itself.
    pub file: String,
    /// `ENV`, without what only an image needs.
    pub env: Vec<(String, String)>,
    /// Those of `env` that are paths below the build context.
    pub paths: Vec<String>,
    /// `EXPOSE`, the first one.
    pub port: Option<String>,
    /// Instructions and variables that have no counterpart.
    pub left: Vec<String>,
}

/// Variables that are about the image and not about the application.
const OF_IMAGES: [&str; 14] = [
    "DEBIAN_FRONTEND",
    "GPG_KEY",
    "HOME",
    "LANG",
    "LANGUAGE",
    "PATH",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONFAULTHANDLER",
    "PYTHONHASHSEED",
    "PYTHONUNBUFFERED",
    "PYTHON_VERSION",
    "TERM",
    "VIRTUAL_ENV",
    "WORKDIR",
];
/// Tools that build an image, by the beginning of their variables.
const OF_TOOLS: [&str; 5] = ["LC_", "PIP_", "POETRY_", "UV_", "PDM_"];

/// Where a container works, and which of its directories are copies of what.
#[derive(Debug, Default, Clone)]
pub(super) struct Directories {
    /// `WORKDIR`.
    pub work: Option<String>,
    /// A directory of the container, and the one of the build context whose copy it is.
    pub copies: Vec<(String, String)>,
}

impl Directories {
    fn absolute(&self, path: &str) -> String {
        let base = self.work.as_deref().unwrap_or("/");
        let whole = if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("{base}/{path}")
        };
        let inside = inside(whole.trim_start_matches('/'));
        format!("/{}", inside.filter(|path| path != ".").unwrap_or_default())
    }

    /// `COPY DIRECTORY DEST`.
    fn copied(&mut self, rest: &str) {
        let words: Vec<&str> = rest
            .split_whitespace()
            .filter(|word| !word.starts_with("--chown") && !word.starts_with("--chmod"))
            .collect();
        if let [from, to] = words[..]
            && !from.starts_with("--")
            && let Some(from) = inside(from)
        {
            let to = self.absolute(to);
            self.copies.push((to, from));
        }
    }

    /// The directory of the build context that this one of the container is a copy of.
    pub(super) fn origin_of(&self, path: &str) -> Option<String> {
        let path = self.absolute(path);
        let copies = self.copies.iter().filter_map(|(to, from)| {
            let rest = path.strip_prefix(to.as_str())?;
            (rest.is_empty() || rest.starts_with('/') || to == "/")
                .then(|| (to.len(), format!("{from}/{rest}")))
        });
        let (_, found) = copies.max_by_key(|(length, _)| *length)?;
        inside(&found)
    }
}

impl Built {
    /// `ENV NAME=value NAME=value`, or `ENV NAME value`.
    fn set(&mut self, rest: &str) {
        let Some(words) = shlex::split(rest) else {
            // Only the name: the value may be a secret.
            let name = rest.split(['=', ' ', '\t']).next().unwrap_or_default();
            self.left.push(format!("ENV {name}"));
            return;
        };
        let mut pairs: Vec<(String, String)> = Vec::new();
        match words.split_first() {
            Some((name, value)) if !name.contains('=') => {
                pairs.push((name.clone(), value.join(" ")));
            }
            _ => {
                for word in &words {
                    match word.split_once('=') {
                        Some((name, value)) => pairs.push((name.to_owned(), value.to_owned())),
                        None => self.left.push(format!("ENV {word}")),
                    }
                }
            }
        }
        for (name, value) in pairs {
            let is_of_image = OF_IMAGES.contains(&name.as_str())
                || OF_TOOLS.iter().any(|tool| name.starts_with(tool));
            if is_of_image {
                continue;
            }
            // A path of the container is one here only if it was copied from here.
            let is_path = value.starts_with('/');
            let here = match is_path {
                // Several paths.
                true if value.contains(':') => None,
                true => self.directories.origin_of(&value),
                false => Some(value.clone()),
            };
            let is_plain = is_variable_name(&name)
                && !is_secret_name(&name)
                && !holds_credential(&value)
                && !value.contains('$');
            self.forget(&name);
            match here.filter(|_| is_plain) {
                Some(value) => {
                    if is_path {
                        self.paths.push(name.clone());
                    }
                    self.env.push((name, value));
                }
                None => self.left.push(format!("ENV {name}")),
            }
        }
    }

    /// Takes a variable out of what is set.
    fn forget(&mut self, name: &str) {
        self.env.retain(|(known, _)| known != name);
        self.paths.retain(|known| known != name);
    }

    /// The variables that mean the same in this directory of the workspace; `context` is what paths are relative to.
    /// What does not is left.
    pub(super) fn env_in(
        &mut self,
        cwd: Option<&str>,
        context: Option<&str>,
    ) -> Vec<(String, String)> {
        if cwd.unwrap_or(".") != context.unwrap_or(".") {
            for name in std::mem::take(&mut self.paths) {
                self.forget(&name);
                self.left.push(format!("ENV {name}"));
            }
        }
        std::mem::take(&mut self.env)
    }
}

/// The port of an image that everyone knows.
pub(super) fn port_of_image(image: &str) -> Option<&'static str> {
    let name = image.rsplit('/').next()?.split([':', '@']).next()?;
    PORTS
        .iter()
        .find(|(word, _)| name.contains(word))
        .map(|(_, port)| *port)
}

/// The first published port: on the host, and in the container.
pub(super) fn published(node: &Node) -> Option<(String, String)> {
    let first = node.get("ports")?.items().first()?;
    let convert = |text: &str| from_compose(text, &mut Vec::new()).0;
    let (outside, inside) = match &first.value {
        Value::Map(_) => {
            let target = first.text_of("target")?;
            (
                first.text_of("published").unwrap_or(target).to_owned(),
                target.to_owned(),
            )
        }
        Value::Text(text) => split_ports(text.split('/').next()?)?,
        _ => return None,
    };
    let (outside, inside) = (convert(&outside), convert(&inside));
    let right = |port: &str| port.parse::<u16>().is_ok() || port.starts_with("${");
    if right(&outside) && right(&inside) {
        let _ = first.text();
    }
    (right(&outside) && right(&inside)).then_some((outside, inside))
}

/// `8000`, `8000:80`, `127.0.0.1:8000:80`, each also `${PORT:-8000}`.
fn split_ports(text: &str) -> Option<(String, String)> {
    let mut parts = vec![String::new()];
    let mut depth = 0_usize;
    for c in text.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ':' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut()?.push(c);
    }
    let inside = parts.pop()?;
    let outside = parts.pop().unwrap_or_else(|| inside.clone());
    Some((outside, inside))
}

/// The directory that a service is built from, relative to the workspace; `.` for the workspace itself.
/// `None` if it lies elsewhere.
pub(super) fn context_of(files: &Files, node: &Node) -> Option<String> {
    let build = node.get("build")?;
    let context = build
        .text()
        .or_else(|| build.text_of("context"))
        .unwrap_or(".");
    let inside = inside(context)?;
    (inside == "." || files.is_dir(&inside)).then_some(inside)
}

/// The path without `.` parts; `None` if it leaves the workspace.
pub(super) fn inside(path: &str) -> Option<String> {
    if path.starts_with(['/', '~']) || path.contains('$') || path.contains("://") {
        return None;
    }
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(if parts.is_empty() {
        ".".to_owned()
    } else {
        parts.join("/")
    })
}

/// The command that the Dockerfile of a service ends with.
pub(super) fn built_command(files: &Files, node: &Node, context: Option<&str>) -> Option<Built> {
    let build = node.get("build")?;
    let name = build.text_of("dockerfile").unwrap_or("Dockerfile");
    let path = inside(&format!("{}/{name}", context?))?;
    let text = files.text(&path)?;
    let built = dockerfile(&text, build.text_of("target"));
    Some(Built {
        file: path,
        ..built
    })
}

/// What a Dockerfile ends with, in the last stage or in the one that is named.
pub(super) fn dockerfile(text: &str, target: Option<&str>) -> Built {
    let mut built = Built::default();
    let mut stage_is_target = false;
    let mut stages: Vec<(String, Built)> = Vec::new();
    let mut own_name = String::new();
    for line in joined_lines(text) {
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((&line, ""));
        match word.to_ascii_uppercase().as_str() {
            "FROM" => {
                if stage_is_target {
                    break;
                }
                let stage = rest.split_whitespace().last();
                stage_is_target = target.is_some() && stage == target;
                stages.push((own_name, built));
                own_name = stage.unwrap_or("").to_owned();
                let below = rest.split_whitespace().find(|word| !word.starts_with("--"));
                let below = stages
                    .iter()
                    .rfind(|(name, _)| Some(name.as_str()) == below);
                // What an image that others made says is not known.
                let below = below.map(|(_, known)| known.clone()).unwrap_or_default();
                built = Built {
                    entrypoint: Vec::new(),
                    command: Vec::new(),
                    references: Vec::new(),
                    ..below
                };
            }
            "WORKDIR" => {
                let path = rest.trim().trim_matches('"');
                built.directories.work = Some(built.directories.absolute(path));
            }
            "ENV" => built.set(rest),
            "EXPOSE" if built.port.is_none() => {
                let first = rest.split(['/', ' ', '-']).next().unwrap_or_default();
                let is_port = first.parse::<u16>().is_ok_and(|port| port > 0);
                built.port = is_port.then(|| first.to_owned());
            }
            "USER" | "HEALTHCHECK" | "STOPSIGNAL" | "VOLUME" => built.left.push(line.clone()),
            "COPY" | "ADD" => built.directories.copied(rest),
            "CMD" => built.command = command(rest.trim(), &mut built.references),
            "ENTRYPOINT" => {
                built.entrypoint = command(rest.trim(), &mut built.references);
                built.command.clear();
            }
            _ => {}
        }
    }
    built
}

/// Lines with those that end with a backslash put together, without comments.
fn joined_lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut open = false;
    for line in text.lines() {
        let line = line.trim();
        if line.starts_with('#') || (line.is_empty() && open) {
            continue;
        }
        let (part, goes_on) = match line.strip_suffix('\\') {
            Some(part) => (part, true),
            None => (line, false),
        };
        match lines.last_mut() {
            Some(last) if open => {
                last.push(' ');
                last.push_str(part);
            }
            _ => lines.push(part.to_owned()),
        }
        open = goes_on;
    }
    lines
}

fn command(text: &str, references: &mut Vec<Reference>) -> Vec<String> {
    match serde_json::from_str::<Vec<String>>(text) {
        // No shell: a dollar sign is one.
        Ok(words) => words.iter().map(|word| word.replace('$', "$$")).collect(),
        Err(_) => from_shell(text, references).run,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_and_the_port_of_a_dockerfile_are_the_services() {
        let text = "FROM python AS base\nWORKDIR /app\nENV PYTHONUNBUFFERED=1 MODE=base PIP_NO_CACHE_DIR=1\nCOPY . .\n\
                    FROM base\nENV MODE live now\nENV PYTHONPATH=/app/src:/app CONFIG=/app/conf.toml DATA=/data \\\n  SECRET_KEY=abc\n\
                    ENV PATH=\"/x:$PATH\" BASE=${ROOT}/a\nEXPOSE 8080/tcp 9000\nUSER app\nCMD [\"python\", \"-m\", \"a\"]\n";
        let built = dockerfile(text, None);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            built.env,
            [pair("MODE", "live now"), pair("CONFIG", "conf.toml")]
        );
        assert_eq!(built.port.as_deref(), Some("8080"));
        assert_eq!(
            built.left,
            [
                "ENV PYTHONPATH",
                "ENV DATA",
                "ENV SECRET_KEY",
                "ENV BASE",
                "USER app"
            ]
        );
    }

    #[test]
    fn what_an_env_line_sets_and_nobody_can_carry_over_is_named() {
        let text = "FROM python\nWORKDIR /app\nCOPY . .\nENV GREETING=it's\nENV A=1 B\nENV a-b=1\nENV CONFIG=/app/c.toml\n";
        let mut built = dockerfile(text, None);
        assert_eq!(built.left, ["ENV GREETING", "ENV B", "ENV a-b"]);
        // Relative to the build context, which is not where the service runs.
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut below = built.clone();
        assert_eq!(below.env_in(Some("src"), None), [pair("A", "1")]);
        assert_eq!(below.left.last().unwrap(), "ENV CONFIG");
        assert_eq!(
            built.env_in(None, None),
            [pair("A", "1"), pair("CONFIG", "c.toml")]
        );
    }

    #[test]
    fn a_dockerfile_ends_with_its_command() {
        let text = "FROM python AS base\nCMD x\nFROM base AS web\n# CMD no\nENTRYPOINT [\"python\"]\nCMD [ \"-m\", \\\n  \"a.b\"]\nFROM base AS other\nCMD uvicorn a:b --port $PORT\n";
        let last = dockerfile(text, None);
        assert_eq!(last.command, ["uvicorn", "a:b", "--port", "${PORT}"]);
        assert!(last.entrypoint.is_empty());
        let web = dockerfile(text, Some("web"));
        assert_eq!(
            (web.entrypoint, web.command),
            (
                vec!["python".to_owned()],
                vec!["-m".to_owned(), "a.b".to_owned()]
            )
        );
    }

    #[test]
    fn a_directory_of_the_container_is_one_of_the_build_context() {
        let text = "FROM x AS base\nWORKDIR /app\nFROM base\nCOPY --chown=a:b ./api/ .\nCOPY --from=base /x /y\nCOPY . /all\nWORKDIR src\n";
        let built = dockerfile(text, None).directories;
        assert_eq!(built.work.as_deref(), Some("/app/src"));
        assert_eq!(built.origin_of(".").as_deref(), Some("api/src"));
        assert_eq!(built.origin_of("/all/web").as_deref(), Some("web"));
        assert_eq!(built.origin_of("/appx"), None);
    }

    #[test]
    fn paths_and_ports() {
        assert_eq!(inside("./a/../b/").as_deref(), Some("b"));
        assert_eq!(inside("."), Some(".".to_owned()));
        for path in ["..", "a/../..", "/a", "~/a", "https://x"] {
            assert_eq!(inside(path), None, "{path}");
        }
        let port = |text: &str| published(&crate::init::yaml::parse(text).unwrap());
        let both = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
        assert_eq!(
            port("ports: ['127.0.0.1:5433:5432/tcp']"),
            both("5433", "5432")
        );
        assert_eq!(
            port("ports: ['${PORT:-8000}:80']"),
            both("${PORT:-8000}", "80")
        );
        assert_eq!(
            port("ports: [{target: 80, published: 8080}]"),
            both("8080", "80")
        );
        assert_eq!(port("ports: [9000]"), both("9000", "9000"));
        assert_eq!(port("ports: ['8000-8010:80']"), None);
        assert_eq!(port_of_image("docker.io/library/postgres:16"), Some("5432"));
    }
}
