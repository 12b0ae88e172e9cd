//! Where a program that starts its own server listens, as its source says: `uvicorn.run(app, port=8000)`,
//! `app.run(port=int(os.environ.get("PORT", 5000)))`.

use std::sync::LazyLock;

use regex::Regex;

use super::carry::is_port;
use super::text::is_variable_name;

/// A call of this many bytes is read.
const CALL_BYTES_MAX: usize = 1000;
/// Where they listen if nothing is said.
const UVICORN: &str = "8000";
const AIOHTTP: &str = "8080";
const FLASK: &str = "5000";

static RUN: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?m)^[^#\n]*?\b(\w+)\.(run|run_app)\(").ok());
static PORT: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r#"(?x) \bport\s*=\s* (?: (?P<number>\d+)
        | (?:int\(\s*)? os\.(?:getenv\(|environ\.get\() \s*["'](?P<name>\w+)["'] \s*,\s* ["']?(?P<default>\d+)
        | (?P<other>[^\s,)]) )"#,
    )
    .ok()
});

/// A port, as a number or `${NAME:-number}`, and its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listening {
    pub port: String,
    pub line: usize,
}

/// The port of the one server that this source starts. `flask`: names of its Flask applications.
pub(super) fn listening(text: &str, flask: &[&str]) -> Option<Listening> {
    let mut found: Option<Listening> = None;
    for call in RUN.as_ref()?.captures_iter(text) {
        let (Some(whole), Some(owner)) = (call.get(0), call.get(1)) else {
            continue;
        };
        let default = match (owner.as_str(), &call[2]) {
            ("uvicorn", "run") => UVICORN,
            ("web", "run_app") => AIOHTTP,
            ("socketio", "run") => FLASK,
            (name, "run") if flask.contains(&name) => FLASK,
            _ => continue,
        };
        let port = match PORT.as_ref()?.captures(arguments(&text[whole.end()..])) {
            None => default.to_owned(),
            Some(port) => match (port.name("number"), port.name("name"), port.name("default")) {
                (Some(number), ..) if is_port(number.as_str()) => number.as_str().to_owned(),
                (_, Some(name), Some(default))
                    if is_variable_name(name.as_str()) && is_port(default.as_str()) =>
                {
                    format!("${{{}:-{}}}", name.as_str(), default.as_str())
                }
                _ => return None,
            },
        };
        let line = text[..owner.start()]
            .bytes()
            .filter(|b| *b == b'\n')
            .count()
            + 1;
        match &found {
            Some(before) if before.port != port => return None,
            Some(_) => {}
            None => found = Some(Listening { port, line }),
        }
    }
    found
}

/// The arguments of a call, up to its parenthesis.
fn arguments(after: &str) -> &str {
    let mut depth = 1_usize;
    for (at, byte) in after.bytes().enumerate().take(CALL_BYTES_MAX) {
        match byte {
            b'(' => depth += 1,
            b')' if depth == 1 => return &after[..at],
            b')' => depth -= 1,
            _ => {}
        }
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_of_a_program_is_read_in_its_source() {
        let port = |text: &str| listening(text, &["app"]).map(|found| found.port);
        for (text, expected) in [
            (
                "uvicorn.run('a:b', host='0.0.0.0', port=8123)\n",
                Some("8123"),
            ),
            (
                "if x:\n    uvicorn.run(\n        make(1),\n        port=9000,\n    )\n",
                Some("9000"),
            ),
            ("app.run(debug=True)", Some("5000")),
            (
                "app.run(port=int(os.environ.get('PORT', 5050)))",
                Some("${PORT:-5050}"),
            ),
            (
                "app.run(port=os.getenv(\"PORT\", \"80\"))",
                Some("${PORT:-80}"),
            ),
            ("web.run_app(app)", Some("8080")),
            // Not known, another program, a comment, and two.
            ("app.run(port=settings.port)", None),
            ("subprocess.run(['a'])\nasyncio.run(main())", None),
            ("# app.run(port=1)\n", None),
            ("app.run(port=1)\nuvicorn.run(app, port=2)", None),
            ("app.run(port=99999)", None),
        ] {
            assert_eq!(port(text).as_deref(), expected, "{text}");
        }
        assert_eq!(listening("a\nb\nuvicorn.run(x)", &[]).unwrap().line, 3);
    }
}
