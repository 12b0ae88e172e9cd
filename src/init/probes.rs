//! Health checks of other files as probes: a plain request of `curl` or `wget` becomes `http`, anything
//! else is run.

use super::draft::{ProbeDraft, Reference, Test};
use super::shell::{for_shell, from_compose};
use super::yaml::{Node, Value};

/// What compose takes where a file says nothing.
const INTERVAL_MS_DEFAULT: u64 = 30_000;
const RETRIES_DEFAULT: u64 = 3;
/// A wait longer than this is a mistake.
const WAIT_MS_MAX: u64 = 24 * 3600 * 1000;

/// `ready` and `live`.
pub(super) type Probes = (Option<ProbeDraft>, Option<ProbeDraft>);

/// `healthcheck` of compose.
pub(super) fn compose_probes(check: &Node, references: &mut Vec<Reference>) -> Probes {
    if check.get("disable").is_some_and(Node::is_true) {
        return (None, None);
    }
    let Some(test) = check
        .get("test")
        .and_then(|test| compose_test(test, references))
    else {
        return (None, None);
    };
    let ms = |key| check.text_of(key).and_then(duration_ms);
    let retries = check.text_of("retries").and_then(|text| text.parse().ok());
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
        Value::Text(text) => Some(shell_test(&convert(text))),
        Value::List(_) => {
            let words: Vec<String> = test.texts().into_iter().map(&mut convert).collect();
            match words.split_first() {
                Some((first, rest)) if first == "CMD" && !rest.is_empty() => {
                    Some(request(rest).map_or_else(|| Test::Exec(rest.to_vec()), Test::Http))
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
    let plain = !attempt.contains(['|', '&', ';', '>', '<', '`', '(']);
    let words = plain.then(|| shlex::split(attempt)).flatten();
    match words.as_deref().and_then(request) {
        Some(url) => Test::Http(url),
        None => Test::Exec(vec!["sh".to_owned(), "-c".to_owned(), text.to_owned()]),
    }
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
    let rest = url.strip_prefix("http://").unwrap_or(url);
    let (place, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let (host, port) = place.split_once(':').unwrap_or((place, "80"));
    let near = ["localhost", "127.0.0.1", "0.0.0.0", "[::1]"].contains(&host);
    let right = port.parse::<u16>().is_ok_and(|port| port > 0)
        || (port.starts_with("${") && port.ends_with('}'));
    (near && right && !path.contains(char::is_whitespace))
        .then(|| format!("http://127.0.0.1:{port}{path}"))
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
        if scheme != "http" {
            return None;
        }
        let port = convert(http.text_of("port").unwrap_or("80"));
        let path = convert(http.text_of("path").unwrap_or("/"));
        let slash = if path.starts_with('/') { "" } else { "/" };
        return Some(Test::Http(format!(
            "http://{}:{port}{slash}{path}",
            convert(host)
        )));
    }
    let command = probe.at(&["exec", "command"])?.text()?;
    let _ = from_compose(command, references);
    let words = shlex::split(command).filter(|_| !command.contains(['|', '&', ';', '$', '>']));
    if let Some(url) = words.as_deref().and_then(request) {
        return Some(Test::Http(url));
    }
    Some(Test::Exec(for_shell(command)))
}

/// Both probes of process-compose, with their times.
pub(super) fn process_probes(process: &Node, references: &mut Vec<Reference>) -> Probes {
    let mut timed = |key: &str| {
        let probe = process.get(key)?;
        let test = process_probe(probe, references)?;
        let seconds = |key| {
            let number: u64 = probe.text_of(key)?.parse().ok()?;
            Some((number * 1000).min(WAIT_MS_MAX))
        };
        let failures = probe
            .text_of("failure_threshold")
            .and_then(|text| text.parse().ok());
        Some(with_times(
            test,
            seconds("period_seconds"),
            seconds("timeout_seconds"),
            seconds("initial_delay_seconds"),
            failures,
        ))
    };
    let ready = timed("readiness_probe").and_then(|(ready, _)| ready);
    let live = timed("liveness_probe").and_then(|(_, live)| live);
    (ready, live)
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
        for text in [
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
