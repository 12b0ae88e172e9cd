//! Reads the answers of programs: JSON of ours, SARIF, goss, and what TAP and monitoring plugins print.
//!
//! What cannot be read is an error, with why; never an answer without findings.

use serde_json::Value;

use super::answer::{Answer, Found, Printed, severity_of};
use super::{junit, lines};
use crate::domain::finding::Severity;
use crate::manifest::CheckFormat;

/// Reads the answer of a program.
pub(super) fn read(format: CheckFormat, printed: Printed<'_>) -> Result<Answer, String> {
    // What a shell says of a program that it cannot run.
    if matches!(printed.status, 126 | 127) {
        let why = lines::last(printed.all).unwrap_or("a program of it cannot be run");
        return Err(format!("exited with {}: {why}", printed.status));
    }
    // And of one that a signal ended.
    if let signal @ 129..=159 = printed.status {
        return Err(format!("was ended by signal {}", signal - 128));
    }
    let is_silent = printed.answer.trim().is_empty();
    if is_silent && format != CheckFormat::Exit {
        return Err(match lines::last(printed.all) {
            Some(line) => format!("exited with {} without an answer: {line}", printed.status),
            None => format!("exited with {} and printed nothing", printed.status),
        });
    }
    let answer = match format {
        CheckFormat::Exit => return Ok(lines::exit(printed)),
        CheckFormat::Nagios => return nagios(printed),
        CheckFormat::Json => json(printed.answer),
        CheckFormat::Sarif => sarif(printed.answer),
        CheckFormat::Goss => goss(printed.answer),
        CheckFormat::Tap => tap(printed.answer),
        CheckFormat::Junit => junit::read(printed.answer),
    }?;
    let is_good = answer.found.is_empty() && answer.skipped.is_none();
    if is_good && printed.status != 0 {
        let why = lines::last(printed.all).unwrap_or_default();
        return Err(format!(
            "exited with {} and reported nothing that failed: {why}",
            printed.status
        ));
    }
    Ok(answer)
}

/// What a message repeats of an answer. It is shortened where it is redacted: half a secret would not be known.
fn shown(text: &str) -> &str {
    text.trim()
}

fn text<'v>(value: &'v Value, keys: &[&str]) -> &'v str {
    keys.iter()
        .find_map(|key| value.get(key).and_then(Value::as_str))
        .unwrap_or_default()
}

fn number(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or(0)
}

fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    let list = value.get(key).and_then(Value::as_array);
    list.map_or(&[], Vec::as_slice)
}

fn document(answer: &str, what: &str) -> Result<Value, String> {
    serde_json::from_str(answer.trim())
        .map_err(|error| format!("what it printed is not {what}: {error}"))
}

/// Findings in our shape: one a line, a list of them, or `{"findings": [...], "results": N}`.
fn json(answer: &str) -> Result<Answer, String> {
    if let Ok(whole) = serde_json::from_str::<Value>(answer.trim()) {
        return json_value(&whole);
    }
    let mut all = Answer::default();
    let mut found = Vec::new();
    for (index, line) in answer.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let value: Value = serde_json::from_str(line).map_err(|_| {
            format!(
                "line {} of what it printed is not JSON: {}",
                index + 1,
                shown(line)
            )
        })?;
        let one = json_value(&value).map_err(|why| format!("line {}: {why}", index + 1))?;
        found.extend(one.found);
        all.more += one.more;
        all.results = one.results.or(all.results);
        all.skipped = one.skipped.or(all.skipped);
    }
    let mut answer = Answer::of(found);
    answer.more += all.more;
    Ok(Answer {
        results: all.results,
        skipped: all.skipped,
        ..answer
    })
}

fn json_value(value: &Value) -> Result<Answer, String> {
    if let Some(list) = value.as_array() {
        let found: Result<Vec<Found>, String> = list.iter().map(json_finding).collect();
        return found.map(Answer::of);
    }
    if !value.is_object() {
        return Err(format!("{} is no finding", value));
    }
    let is_summary = ["findings", "results", "skipped"]
        .iter()
        .any(|key| value.get(key).is_some());
    if !is_summary {
        return json_finding(value).map(|found| Answer::of(vec![found]));
    }
    let found = match value.get("findings") {
        None => Vec::new(),
        Some(Value::Array(list)) => list.iter().map(json_finding).collect::<Result<_, _>>()?,
        Some(_) => return Err("`findings` is no list".to_owned()),
    };
    let results = match value.get("results") {
        None => None,
        Some(results) => {
            let results = results.as_u64().and_then(|n| u32::try_from(n).ok());
            Some(results.ok_or("`results` is no number")?)
        }
    };
    let skipped = value
        .get("skipped")
        .and_then(Value::as_str)
        .map(str::to_owned);
    Ok(Answer {
        results,
        skipped,
        ..Answer::of(found)
    })
}

fn json_finding(value: &Value) -> Result<Found, String> {
    let message = text(value, &["message"]);
    if message.is_empty() {
        return Err(format!("a finding has no `message`: {}", value));
    }
    let severity = match value.get("severity") {
        None | Some(Value::Null) => None,
        Some(word) => Some(word.as_str().and_then(severity_of).ok_or_else(|| {
            format!("the severity {word} is not known: write critical, warning or info")
        })?),
    };
    let code = text(value, &["code", "rule"]);
    // The code in full is as good as its last part.
    let rule = match code
        .strip_prefix("check.")
        .and_then(|rest| rest.split_once('.'))
    {
        Some((_, rule)) => rule,
        None => code,
    };
    let found = Found {
        severity,
        remedy: Some(text(value, &["remedy"]).to_owned()).filter(|text| !text.is_empty()),
        detail: text(value, &["detail"]).to_owned(),
        ..Found::new(rule, text(value, &["subject"]), message)
    };
    Ok(match value.get("location") {
        Some(Value::String(place)) => {
            let mut parts = place.splitn(3, ':');
            let file = parts.next().unwrap_or_default();
            let mut next = || parts.next().and_then(|n| n.parse().ok()).unwrap_or(0);
            let (line, column) = (next(), next());
            found.at(file, line, column)
        }
        Some(place) => found.at(
            text(place, &["file", "path"]),
            number(place, "line"),
            number(place, "column"),
        ),
        None => found.at(
            text(value, &["file"]),
            number(value, "line"),
            number(value, "column"),
        ),
    })
}

/// SARIF 2.1.0, <https://docs.oasis-open.org/sarif/sarif/v2.1.0/>.
fn sarif(answer: &str) -> Result<Answer, String> {
    let log = document(answer, "SARIF")?;
    let Some(runs) = log.get("runs").and_then(Value::as_array) else {
        return Err("what it printed is not SARIF: it has no `runs`".to_owned());
    };
    if runs.is_empty() {
        return Err("the SARIF that it printed has no run".to_owned());
    }
    let mut found = Vec::new();
    for run in runs {
        let failed = |invocation: &&Value| {
            invocation.get("executionSuccessful") == Some(&Value::Bool(false))
        };
        if let Some(invocation) = list(run, "invocations").iter().find(failed) {
            let notes = list(invocation, "toolExecutionNotifications").first();
            let why = notes.and_then(|note| note.pointer("/message/text")?.as_str());
            let why = why.unwrap_or("it does not say why");
            return Err(format!("the tool says that its run failed: {why}"));
        }
        let rules = run
            .pointer("/tool/driver/rules")
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice);
        for result in list(run, "results") {
            let kind = text(result, &["kind"]);
            let is_suppressed = !list(result, "suppressions").is_empty();
            if is_suppressed || !matches!(kind, "" | "fail" | "open" | "review") {
                continue;
            }
            found.push(sarif_result(result, rules));
        }
    }
    Ok(Answer::with_results(found, runs.len()))
}

fn sarif_result(result: &Value, rules: &[Value]) -> Found {
    let index = result.get("ruleIndex").and_then(Value::as_u64);
    let id = text(result, &["ruleId"]);
    let rule = match index.and_then(|index| rules.get(usize::try_from(index).ok()?)) {
        Some(rule) => Some(rule),
        None => rules.iter().find(|rule| text(rule, &["id"]) == id),
    };
    let id = match (id, rule) {
        ("", Some(rule)) => text(rule, &["id"]),
        _ => id,
    };
    let default = rule.and_then(|rule| rule.pointer("/defaultConfiguration/level")?.as_str());
    let level = match text(result, &["level"]) {
        "" => default.unwrap_or("warning"),
        level => level,
    };
    let help = rule.and_then(|rule| rule.pointer("/help/text")?.as_str());
    let place = list(result, "locations").first();
    let at = |path: &str| place.and_then(|place| place.pointer(path));
    let uri = at("/physicalLocation/artifactLocation/uri").and_then(Value::as_str);
    let uri = uri.unwrap_or_default();
    let uri = percent_encoding::percent_decode_str(uri.trim_start_matches("file://"))
        .decode_utf8_lossy()
        .into_owned();
    let at = |key: &str| {
        let path = format!("/physicalLocation/region/{key}");
        at(&path).and_then(Value::as_u64).unwrap_or(0)
    };
    let message = result
        .pointer("/message/text")
        .or_else(|| rule?.pointer("/shortDescription/text"))
        .and_then(Value::as_str)
        .unwrap_or(id);
    // What is about a file has no other subject: two of one rule in two files are two.
    let subject = uri.clone();
    Found {
        severity: severity_of(level),
        // Some print the template of their message as help.
        remedy: help.filter(|help| !help.contains('{')).map(str::to_owned),
        ..Found::new(id, subject, message)
    }
    .at(&uri, at("startLine"), at("startColumn"))
}

/// `goss validate --format json`.
fn goss(answer: &str) -> Result<Answer, String> {
    let document = document(answer, "goss's JSON")?;
    let Some(results) = document.get("results").and_then(Value::as_array) else {
        return Err("what it printed is not goss's JSON: it has no `results`".to_owned());
    };
    let mut found = Vec::new();
    for result in results {
        let Some(successful) = result.get("successful").and_then(Value::as_bool) else {
            return Err("a result does not say whether it was `successful`".to_owned());
        };
        let is_skipped = result.get("skipped").and_then(Value::as_bool) == Some(true)
            || number(result, "result") == 2;
        if successful || is_skipped {
            continue;
        }
        let (kind, property) = (
            text(result, &["resource-type"]),
            text(result, &["property"]),
        );
        let message = text(result, &["summary-line", "summary-line-compact", "title"]);
        let message = if message.is_empty() {
            "it failed"
        } else {
            message
        };
        found.push(Found::new(
            &format!("{}.{property}", kind.to_ascii_lowercase()),
            text(result, &["resource-id"]),
            message,
        ));
    }
    let counted = document
        .pointer("/summary/failed-count")
        .and_then(Value::as_u64);
    if counted.is_some_and(|failed| failed > found.len() as u64) {
        return Err("its summary counts more failures than its results have".to_owned());
    }
    Ok(Answer::with_results(found, results.len()))
}

/// The Test Anything Protocol, <https://testanything.org/>.
fn tap(answer: &str) -> Result<Answer, String> {
    let mut planned: Option<usize> = None;
    let mut found: Vec<Found> = Vec::new();
    let mut ran = 0_usize;
    let mut skipped = None;
    let mut is_failing = false;
    for line in answer.lines() {
        if let Some(why) = line.strip_prefix("Bail out!") {
            return Err(format!("it gave up: {}", why.trim()));
        }
        if let Some(plan) = line.strip_prefix("1..") {
            let (count, directive) = plan.split_once('#').unwrap_or((plan, ""));
            planned = Some(
                count
                    .trim()
                    .parse()
                    .map_err(|_| format!("what it printed is not TAP: {}", shown(line)))?,
            );
            let directive = directive.trim();
            if planned == Some(0) && directive.to_ascii_lowercase().starts_with("skip") {
                skipped = Some(directive[4..].trim().to_owned());
            }
            continue;
        }
        let (is_good, rest) = if let Some(rest) = line.strip_prefix("not ok") {
            (false, rest)
        } else if let Some(rest) = line.strip_prefix("ok") {
            (true, rest)
        } else {
            // Notes, and what belongs to the test above, which is indented.
            let is_detail = line.starts_with([' ', '\t']) && is_failing;
            if let Some(last) = found.last_mut().filter(|_| is_detail) {
                last.detail.push_str(line);
                last.detail.push('\n');
            }
            continue;
        };
        if !rest.is_empty() && !rest.starts_with(' ') {
            continue;
        }
        ran += 1;
        let (title, directive) = rest.rsplit_once(" # ").unwrap_or((rest, ""));
        let directive = directive.to_ascii_lowercase();
        let is_expected = directive.starts_with("todo") || directive.starts_with("skip");
        is_failing = !is_good && !is_expected;
        if !is_failing {
            continue;
        }
        let title = title
            .trim_start()
            .trim_start_matches(|c: char| c.is_ascii_digit());
        let title = title.trim_start_matches([' ', '-']).trim();
        let title = if title.is_empty() {
            format!("test {ran}")
        } else {
            title.to_owned()
        };
        found.push(Found::new(
            "not_ok",
            title.clone(),
            format!("not ok: {title}"),
        ));
    }
    match planned {
        None => Err("what it printed is not TAP, or it ended early: there is no plan".to_owned()),
        Some(planned) if planned != ran => {
            Err(format!("{planned} tests were planned, and {ran} ran"))
        }
        Some(_) => Ok(Answer {
            skipped,
            ..Answer::with_results(found, ran)
        }),
    }
}

/// A plugin for Nagios and its relatives, <https://nagios-plugins.org/doc/guidelines.html>.
fn nagios(printed: Printed<'_>) -> Result<Answer, String> {
    let (line, detail) = printed
        .answer
        .trim()
        .split_once('\n')
        .unwrap_or((printed.answer, ""));
    let message = line.split('|').next().unwrap_or_default().trim();
    let (rule, severity) = match printed.status {
        0 => return Ok(Answer::with_results(Vec::new(), 1)),
        1 => ("warning", Severity::Warning),
        2 => ("critical", Severity::Critical),
        3 => return Err(format!("it does not know: {message}")),
        other => {
            return Err(format!(
                "exited with {other}, which is no state of a plugin: {message}"
            ));
        }
    };
    let found = Found {
        severity: Some(severity),
        detail: detail.to_owned(),
        ..Found::new(rule, "", message)
    };
    Ok(Answer::with_results(vec![found], 1))
}
