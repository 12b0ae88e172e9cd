//! Health checks of other files as probes: a plain request of `curl` or `wget` becomes `http`, anything
//! else is run.

use std::sync::LazyLock;

use regex::Regex;

use super::carry::{WAIT_MS_MAX, is_port};
use super::draft::{ProbeDraft, Reference, Test};
use super::shell::{for_shell_of_compose, from_compose};
use super::text::holds_credential;
use super::yaml::{Node, Value};

/// What compose takes where a file says nothing.
const INTERVAL_MS_DEFAULT: u64 = 30_000;
const RETRIES_DEFAULT: u64 = 3;

/// `ready` and `live`.
pub(super) type Probes = (Option<ProbeDraft>, Option<ProbeDraft>);

/// `healthcheck` of compose.
pub(super) fn compose_probes(check: &Node, references: &mut Vec<Reference>) -> Probes {
    if check.get("disable").is_some_and(Node::is_true) {
        return (None, None);
    }
    let Some(test) = check.get("test") else {
        return (None, None);
    };
    let words = test.items().first().and_then(Node::peek);
    if words == Some("NONE") {
        test.take();
        return (None, None);
    }
    let Some(test) = compose_test(test, references) else {
        test.refuse();
        return (None, None);
    };
    // What cannot be read is named as not carried over.
    fn number<T>(check: &Node, key: &str, read: fn(&str) -> Option<T>) -> Option<T> {
        let found = check.text_of(key).and_then(read);
        if found.is_none() {
            check.refuse_at(&[key]);
        }
        found
    }
    let ms = |key| number(check, key, duration_ms);
    let retries = number(check, "retries", |text| text.parse().ok());
    with_times(
        test,
        ms("interval"),
        ms("timeout"),
        ms("start_period"),
        retries,
    )
}

fn compose_test(test: &Node, references: &mut Vec<Reference>) -> Option<Test> {
    let mut convert = |text: &str| from_compose(text, references).0;
    match &test.value {
        Value::Text(text) => {
            test.take();
            Some(shell_test(&convert(text)))
        }
        Value::List(_) => {
            let words: Vec<String> = test.texts().into_iter().map(&mut convert).collect();
            match words.split_first() {
                Some((first, rest)) if first == "CMD" && !rest.is_empty() => {
                    Some(attempt_of(rest).unwrap_or_else(|| Test::Exec(rest.to_vec())))
                }
                Some((first, [text])) if first == "CMD-SHELL" => Some(shell_test(text)),
                _ => None,
            }
        }
        _ => None,
    }
}

/// A test that was written for a shell, its variables already in the manifest's syntax.
fn shell_test(text: &str) -> Test {
    let attempt = text.split("||").next().unwrap_or(text);
    let attempt = attempt.trim().trim_end_matches("2>&1").trim_end();
    let attempt = attempt.strip_suffix(">/dev/null").unwrap_or(attempt);
    let attempt = attempt.strip_suffix("> /dev/null").unwrap_or(attempt);
    let words = shlex::split(attempt);
    let is_python = words.as_ref().is_some_and(|words| is_python(words));
    let plain = is_python || !attempt.contains(['|', '&', ';', '>', '<', '`', '(']);
    match words.filter(|_| plain).as_deref().and_then(attempt_of) {
        Some(test) => test,
        None => Test::Exec(vec!["sh".to_owned(), "-c".to_owned(), text.to_owned()]),
    }
}

/// What a command asks, if a probe can ask it.
pub(super) fn attempt_of(words: &[String]) -> Option<Test> {
    if is_python(words) {
        return python_request(words.get(2)?);
    }
    if let [program, rest @ ..] = words
        && program.rsplit('/').next() == Some("nc")
    {
        let places: Vec<&String> = rest.iter().filter(|word| !word.starts_with('-')).collect();
        let asks = rest
            .iter()
            .any(|word| word.starts_with('-') && word.contains('z'));
        return match places[..] {
            [host, port] if asks && is_near(host) && is_port(port) => {
                Some(Test::Tcp(format!("127.0.0.1:{port}")))
            }
            _ => None,
        };
    }
    request(words).map(Test::Http)
}

fn is_python(words: &[String]) -> bool {
    let program = words
        .first()
        .map_or("", |word| word.rsplit('/').next().unwrap_or(word));
    program.starts_with("python") && words.len() == 3 && words[1] == "-c"
}

fn is_near(host: &str) -> bool {
    ["localhost", "127.0.0.1", "0.0.0.0", "[::1]", "::1"].contains(&host)
}

/// One request of a line of Python: `urllib.request.urlopen('http://localhost:8000/health')`, `requests.get`,
/// `httpx.get`, `socket.create_connection`.
fn python_request(code: &str) -> Option<Test> {
    static GET: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r#"(?:urlopen|requests\.get|httpx\.get)\(\s*['"](http://[^'"\s]+)['"]"#).ok()
    });
    static CONNECT: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r#"(?:create_connection|connect)\(\(\s*['"]([^'"]+)['"]\s*,\s*([0-9]+|\$\{[^}]+\})\s*\)"#)
            .ok()
    });
    let does_more = ["Request(", "headers", "json()", ".read()", "data="];
    if does_more.iter().any(|word| code.contains(word)) {
        return None;
    }
    if let Some(found) = GET.as_ref()?.captures(code) {
        return near_url(found.get(1)?.as_str()).map(Test::Http);
    }
    let found = CONNECT.as_ref()?.captures(code)?;
    let (host, port) = (found.get(1)?.as_str(), found.get(2)?.as_str());
    (is_near(host) && is_port(port)).then(|| Test::Tcp(format!("127.0.0.1:{port}")))
}

/// The URL of this host, as a probe asks it.
fn near_url(url: &str) -> Option<String> {
    let rest = url.strip_prefix("http://").unwrap_or(url);
    let (place, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let (host, port) = place.split_once(':').unwrap_or((place, "80"));
    (is_near(host) && is_port(port) && !path.contains(char::is_whitespace))
        .then(|| format!("http://127.0.0.1:{port}{path}"))
}

/// The URL of a request that a probe can make: a GET without more.
fn request(words: &[String]) -> Option<String> {
    let (program, arguments) = words.split_first()?;
    let program = program.rsplit('/').next()?;
    if !matches!(program, "curl" | "wget") {
        return None;
    }
    let does_more = |word: &&String| {
        let word = word.as_str();
        [
            "-X",
            "-d",
            "-H",
            "-u",
            "--request",
            "--data",
            "--header",
            "--user",
            "--post",
            "--unix-socket",
            "-k",
        ]
        .iter()
        .any(|option| word == *option || (option.len() > 2 && word.starts_with(option)))
    };
    if arguments.iter().any(|word| does_more(&word)) {
        return None;
    }
    let url = arguments.iter().find(|word| {
        word.starts_with("http://")
            || (!word.starts_with('-')
                && (word.starts_with("localhost") || word.starts_with("127.0.0.1")))
    })?;
    near_url(url)
}

/// `readiness_probe` or `liveness_probe` of process-compose.
pub(super) fn process_probe(probe: &Node, references: &mut Vec<Reference>) -> Option<Test> {
    if let Some(http) = probe.get("http_get") {
        let mut convert = |text: &str| from_compose(text, references).0;
        let host = match http.text_of("host").unwrap_or("127.0.0.1") {
            "localhost" | "0.0.0.0" => "127.0.0.1",
            host => host,
        };
        let scheme = http
            .text_of("scheme")
            .unwrap_or("http")
            .to_ascii_lowercase();
        if scheme != "http" && scheme != "https" {
            return None;
        }
        let port = convert(http.text_of("port").unwrap_or("80"));
        let path = convert(http.text_of("path").unwrap_or("/"));
        let slash = if path.starts_with('/') { "" } else { "/" };
        return Some(Test::Http(format!(
            "{scheme}://{}:{port}{slash}{path}",
            convert(host)
        )));
    }
    let command = probe.at(&["exec", "command"])?.text()?;
    let _ = from_compose(command, references);
    let words = shlex::split(command);
    let is_python = words.as_ref().is_some_and(|words| is_python(words));
    let words = words.filter(|_| is_python || !command.contains(['|', '&', ';', '$', '>']));
    if let Some(test) = words.as_deref().and_then(attempt_of) {
        return Some(test);
    }
    Some(Test::Exec(for_shell_of_compose(command)))
}

/// Both probes of process-compose, with their times.
pub(super) fn process_probes(process: &Node, references: &mut Vec<Reference>) -> Probes {
    let ready = process_timed(process, "readiness_probe", references).and_then(|(ready, _)| ready);
    let live = process_timed(process, "liveness_probe", references).and_then(|(_, live)| live);
    (ready, live)
}

fn process_timed(process: &Node, key: &str, references: &mut Vec<Reference>) -> Option<Probes> {
    let probe = process.get(key)?;
    let Some(test) = process_probe(probe, references) else {
        probe.refuse();
        return None;
    };
    let number = |key: &str| {
        let number: Option<u64> = probe.text_of(key).and_then(|text| text.parse().ok());
        if number.is_none() {
            probe.refuse_at(&[key]);
        }
        number
    };
    let seconds =
        |key: &str| number(key).map(|number| number.saturating_mul(1000).min(WAIT_MS_MAX));
    let small = |key: &str| number(key).and_then(|number| u32::try_from(number).ok());
    let (mut ready, mut live) = with_times(
        test,
        seconds("period_seconds"),
        seconds("timeout_seconds"),
        seconds("initial_delay_seconds"),
        small("failure_threshold"),
    );
    let status = probe
        .at(&["http_get", "status_code"])
        .and_then(Node::text)
        .and_then(|text| text.parse::<u16>().ok());
    let headers: Vec<(String, String)> = probe
        .at(&["http_get", "headers"])
        .map_or(&[][..], Node::entries)
        .iter()
        .filter_map(|(name, value)| Some((name.clone(), from_compose(value.text()?, references).0)))
        .filter(|(_, value)| !holds_credential(value))
        .collect();
    for probe in [&mut ready, &mut live].into_iter().flatten() {
        probe.status = status.into_iter().collect();
        probe.headers.clone_from(&headers);
    }
    if let Some(ready) = &mut ready {
        ready.successes = small("success_threshold").filter(|number| *number > 1);
    }
    Some((ready, live))
}

fn with_times(
    test: Test,
    interval_ms: Option<u64>,
    timeout_ms: Option<u64>,
    start_ms: Option<u64>,
    retries: Option<u32>,
) -> Probes {
    let says = interval_ms.is_some() || start_ms.is_some() || retries.is_some();
    // Until then the other manager would have given up.
    let patience = says.then(|| {
        let tries = retries.map_or(RETRIES_DEFAULT, u64::from).max(1);
        let all = interval_ms
            .unwrap_or(INTERVAL_MS_DEFAULT)
            .saturating_mul(tries)
            .saturating_add(start_ms.unwrap_or(0));
        all.clamp(1000, WAIT_MS_MAX)
    });
    let ready = ProbeDraft {
        timeout_ms: patience,
        ..ProbeDraft::of(test.clone())
    };
    let live = ProbeDraft {
        interval_ms: interval_ms.map(|ms| ms.clamp(10, WAIT_MS_MAX)),
        timeout_ms: timeout_ms.map(|ms| ms.clamp(1, WAIT_MS_MAX)),
        failures: retries.map(|retries| retries.clamp(1, 1000)),
        ..ProbeDraft::of(test)
    };
    (Some(ready), Some(live))
}

/// A duration as Go writes it: `1m30s`, `500ms`.
pub(super) fn duration_ms(text: &str) -> Option<u64> {
    let mut rest = text.trim();
    let mut all: u64 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let factor = match &rest[..unit] {
            "ms" => 1,
            "s" | "" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        all = all.checked_add(number.checked_mul(factor)?)?;
        rest = &rest[unit..];
    }
    Some(all.min(WAIT_MS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::yaml::parse;

    fn test_of(text: &str) -> Option<Test> {
        let node = parse(text).unwrap();
        compose_probes(&node, &mut Vec::new())
            .0
            .map(|probe| probe.test)
    }

    #[test]
    fn plain_requests_become_http_and_the_rest_is_run() {
        let http = |url: &str| Some(Test::Http(url.to_owned()));
        for (text, url) in [
            (
                "test: [CMD, curl, -f, 'http://localhost:8000/health']",
                "http://127.0.0.1:8000/health",
            ),
            (
                r#"test: [CMD, python, -c, "import urllib.request as u; u.urlopen('http://localhost:8000/up')"]"#,
                "http://127.0.0.1:8000/up",
            ),
            (
                "test: [CMD-SHELL, \"python3 -c 'import requests; requests.get(\\\"http://127.0.0.1:9/a\\\").raise_for_status()' || exit 1\"]",
                "http://127.0.0.1:9/a",
            ),
            (
                "test: curl -fsS localhost:80/ || exit 1",
                "http://127.0.0.1:80/",
            ),
            (
                "test: [CMD-SHELL, 'wget -qO- http://127.0.0.1:${PORT:-80}/up || exit 1']",
                "http://127.0.0.1:${PORT:-80}/up",
            ),
        ] {
            assert_eq!(test_of(text), http(url), "{text}");
        }
        let tcp = Some(Test::Tcp("127.0.0.1:5000".to_owned()));
        for text in [
            "test: nc -z localhost 5000",
            r#"test: [CMD, python, -c, "import socket; socket.create_connection(('localhost', 5000))"]"#,
        ] {
            assert_eq!(test_of(text), tcp, "{text}");
        }
        for text in [
            "test: [CMD, python, -c, \"import app; app.check()\"]",
            "test: [CMD, pg_isready]",
            "test: curl -X POST http://localhost/",
            "test: curl http://db:80/",
            "test: curl http://localhost/ | grep ok",
        ] {
            assert!(matches!(test_of(text), Some(Test::Exec(_))), "{text}");
        }
        for text in [
            "test: [NONE]",
            "disable: true\ntest: x",
            "interval: 1s",
            "test: []",
        ] {
            assert_eq!(test_of(text), None, "{text}");
        }
    }

    #[test]
    fn times_are_carried_over() {
        let node =
            parse("test: [CMD, x]\ninterval: 10s\nretries: 5\nstart_period: 1m30s\ntimeout: 3s")
                .unwrap();
        let (ready, live) = compose_probes(&node, &mut Vec::new());
        assert_eq!(ready.unwrap().timeout_ms, Some(140_000));
        let live = live.unwrap();
        assert_eq!(
            (live.interval_ms, live.timeout_ms, live.failures),
            (Some(10_000), Some(3000), Some(5))
        );
        for (text, ms) in [
            ("1h", Some(3_600_000)),
            ("5", Some(5000)),
            ("1.5s", None),
            ("", None),
            ("99999999999999999999s", None),
        ] {
            assert_eq!(duration_ms(text), ms, "{text}");
        }
    }
}
