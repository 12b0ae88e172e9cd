//! What a pre-flight found, as programs of CI read it: SARIF 2.1.0, JUnit's XML, GitHub's annotations.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::domain::finding::{
    CheckReport, CheckStatus, Decision, DeclaredRun, Finding, Measured, Severity,
};

/// How the findings are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    Sarif,
    Junit,
    Github,
}

/// The whole text, with a line break at its end.
pub(crate) fn for_ci(
    format: Format,
    app: &str,
    reports: &[CheckReport],
    decision: Decision,
) -> String {
    match format {
        Format::Sarif => format!("{:#}\n", sarif(reports, decision)),
        Format::Junit => junit(app, reports),
        Format::Github => github(reports, decision),
    }
}

fn findings(reports: &[CheckReport]) -> impl Iterator<Item = &Finding> {
    reports.iter().flat_map(|report| &report.findings)
}

/// The message, and what to do.
fn said(finding: &Finding) -> String {
    match &finding.remedy {
        Some(remedy) => format!(
            "{}: {}. To fix it: {remedy}",
            finding.subject, finding.message
        ),
        None => format!("{}: {}", finding.subject, finding.message),
    }
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "error",
        Severity::Warning => "warning",
        Severity::Info => "note",
    }
}

/// <https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/sarif-v2.1.0-os.html>
fn sarif(reports: &[CheckReport], decision: Decision) -> Value {
    let mut rules: BTreeMap<&str, usize> = BTreeMap::new();
    for finding in findings(reports) {
        rules.entry(finding.code.as_str()).or_default();
    }
    for (index, place) in rules.values_mut().enumerate() {
        *place = index;
    }
    let results: Vec<Value> = findings(reports)
        .map(|finding| {
            let code = finding.code.as_str();
            let mut result = json!({
                "ruleId": code,
                "ruleIndex": rules.get(code),
                "level": level(finding.severity),
                "message": { "text": said(finding) },
                "partialFingerprints": { "ubs/v1": format!("{code} {}", finding.subject) },
            });
            if let Some(at) = &finding.location {
                let mut place = json!({ "artifactLocation": { "uri": uri(&at.file) } });
                if at.line > 0 {
                    place["region"] = json!({ "startLine": at.line });
                    if at.column > 0 {
                        place["region"]["startColumn"] = json!(at.column);
                    }
                }
                result["locations"] = json!([{ "physicalLocation": place }]);
            }
            result
        })
        .collect();
    let lost = reports
        .iter()
        .any(|report| report.status == CheckStatus::Error);
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "ubs",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules.keys().map(|code| json!({ "id": code })).collect::<Vec<_>>(),
            } },
            "columnKind": "unicodeCodePoints",
            "invocations": [{ "executionSuccessful": !lost }],
            "properties": { "decision": decision.as_str() },
            "results": results,
        }],
    })
}

/// A path as a URI: absolute ones with their scheme, relative ones to the workspace.
fn uri(file: &str) -> String {
    const KEPT: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
        .remove(b'/')
        .remove(b'-')
        .remove(b'_')
        .remove(b'.')
        .remove(b'~');
    let path = percent_encoding::utf8_percent_encode(file, KEPT);
    if file.starts_with('/') {
        format!("file://{path}")
    } else {
        path.to_string()
    }
}

/// A suite a check. Each finding from `warning` on is a test that failed, notes are none; a check without one is a test
/// that passed, or was skipped.
fn junit(app: &str, reports: &[CheckReport]) -> String {
    let mut suites = String::new();
    let (mut tests, mut failures, mut errors, mut skipped) = (0, 0, 0, 0);
    for report in reports {
        let name = report.name.as_str();
        let mut cases = String::new();
        let mut count = [0; 4];
        let mut case = |class: &str, title: &str, ms: u64, inside: String| {
            let time = seconds(ms);
            let (class, title) = (xml(class), xml(title));
            let _ = writeln!(
                cases,
                "    <testcase classname=\"{class}\" name=\"{title}\" time=\"{time}\">{inside}</testcase>"
            );
        };
        let bad: Vec<&Finding> = report
            .findings
            .iter()
            .filter(|found| found.severity > Severity::Info)
            .collect();
        for finding in &bad {
            count[0] += 1;
            let is_error = finding.code.as_str().ends_with(".error");
            let tag = if is_error { "error" } else { "failure" };
            count[if is_error { 2 } else { 1 }] += 1;
            let place = finding
                .location
                .as_ref()
                .map_or(String::new(), |at| format!("{at}\n"));
            let inside = format!(
                "<{tag} type=\"{}\" message=\"{}\">{}</{tag}>",
                xml(level(finding.severity)),
                xml(&finding.message),
                xml(&format!("{place}{}\n{}", said(finding), finding.detail)),
            );
            let title = format!("{} {}", finding.code, finding.subject);
            case(&format!("ubs.{name}"), &title, 0, inside);
        }
        // One that passed is a test too: a report without a test is read as one that did not run.
        let declared: &[DeclaredRun] = match &report.measured {
            Measured::Declared { checks } => checks,
            _ => &[],
        };
        for run in declared {
            let quiet = matches!(run.status, CheckStatus::Healthy | CheckStatus::Skipped);
            if quiet {
                count[0] += 1;
                let is_skipped = run.status == CheckStatus::Skipped;
                count[3] += usize::from(is_skipped);
                let title = format!("check.{}", run.name);
                case(
                    "ubs.declared",
                    &title,
                    run.duration_ms,
                    skip(is_skipped, &run.summary),
                );
            }
        }
        if declared.is_empty() && bad.is_empty() {
            count[0] += 1;
            let is_skipped = report.status == CheckStatus::Skipped;
            count[3] += usize::from(is_skipped);
            case(
                "ubs",
                name,
                report.duration_ms,
                skip(is_skipped, &report.summary),
            );
        }
        let [all, failed, broken, left] = count;
        let time = seconds(report.duration_ms);
        let _ = writeln!(
            suites,
            "  <testsuite name=\"{name}\" tests=\"{all}\" failures=\"{failed}\" errors=\"{broken}\" skipped=\"{left}\" \
             time=\"{time}\">\n{cases}  </testsuite>"
        );
        tests += all;
        failures += failed;
        errors += broken;
        skipped += left;
    }
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"{}\" tests=\"{tests}\" failures=\"{failures}\" \
         errors=\"{errors}\" skipped=\"{skipped}\">\n{suites}</testsuites>\n",
        xml(&format!("ubs preflight {app}"))
    )
}

fn skip(is_skipped: bool, why: &str) -> String {
    if is_skipped {
        format!("<skipped message=\"{}\"/>", xml(why))
    } else {
        String::new()
    }
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

/// Text for an element or an attribute; characters that XML 1.0 cannot have at all become `?`.
fn xml(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            '\n' | '\t' => escaped.push(c),
            '\u{fffe}' | '\u{ffff}' => escaped.push('?'),
            c if c < ' ' => escaped.push('?'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// <https://docs.github.com/actions/reference/workflow-commands-for-github-actions>
fn github(reports: &[CheckReport], decision: Decision) -> String {
    let mut text = String::new();
    for finding in findings(reports) {
        let command = match finding.severity {
            Severity::Critical => "error",
            Severity::Warning => "warning",
            Severity::Info => "notice",
        };
        let mut properties = Vec::new();
        if let Some(at) = &finding.location {
            properties.push(format!("file={}", property(&at.file)));
            if at.line > 0 {
                properties.push(format!("line={}", at.line));
                if at.column > 0 {
                    properties.push(format!("col={}", at.column));
                }
            }
        }
        properties.push(format!("title={}", property(finding.code.as_str())));
        let _ = writeln!(
            text,
            "::{command} {}::{}",
            properties.join(","),
            data(&said(finding))
        );
    }
    let _ = writeln!(text, "DECISION: {}", decision.title());
    text
}

/// What follows the last `::`.
fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// The value of a property.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::finding::CheckName;

    fn report(name: CheckName, findings: Vec<Finding>) -> CheckReport {
        CheckReport {
            name,
            status: CheckStatus::of(&findings),
            duration_ms: 1_204,
            summary: "1 < 2".into(),
            findings,
            measured: Measured::Nothing,
        }
    }

    fn reports() -> Vec<CheckReport> {
        let bad = Finding::new(
            "config.missing",
            Severity::Critical,
            "A&B",
            "50% of \"it\"\n is <missing>: a, b\u{1}",
        )
        .at("a b,c:d.env", 3, 7)
        .remedy("set it");
        let note = Finding::new("config.unused", Severity::Info, "X", "nothing reads it");
        vec![
            report(CheckName::Config, vec![bad, note]),
            report(CheckName::Schema, vec![]),
        ]
    }

    #[test]
    fn sarif_has_rules_levels_and_places() {
        let text = for_ci(Format::Sarif, "shop", &reports(), Decision::NoGo);
        let log: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(log["version"], "2.1.0");
        let run = &log["runs"][0];
        assert_eq!(run["invocations"][0]["executionSuccessful"], true);
        let results = run["results"].as_array().unwrap();
        assert_eq!(results.len(), 2);
        for result in results {
            let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
            assert_eq!(
                run["tool"]["driver"]["rules"][index]["id"],
                result["ruleId"]
            );
        }
        assert_eq!(results[0]["level"], "error");
        assert_eq!(results[1]["level"], "note");
        let place = &results[0]["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "a%20b%2Cc%3Ad.env");
        assert_eq!(place["region"], json!({ "startLine": 3, "startColumn": 7 }));
        assert_eq!(uri("/etc/a b"), "file:///etc/a%20b");
    }

    #[test]
    fn junit_is_xml_that_counts_what_it_has() {
        let text = for_ci(Format::Junit, "shop", &reports(), Decision::NoGo);
        let root = "<testsuites name=\"ubs preflight shop\" tests=\"2\" failures=\"1\" errors=\"0\" skipped=\"0\">";
        assert!(text.contains(root), "{text}");
        let failure = "<failure type=\"error\" message=\"50% of &quot;it&quot;\n is &lt;missing&gt;: a, b?\">";
        assert!(text.contains(failure), "{text}");
        assert!(text.contains("name=\"config.missing A&amp;B\""), "{text}");
        assert!(
            text.contains("<testcase classname=\"ubs\" name=\"schema\" time=\"1.204\"></testcase>"),
            "{text}"
        );
    }

    #[test]
    fn an_annotation_is_one_line() {
        let text = for_ci(Format::Github, "shop", &reports(), Decision::NoGo);
        let expected = "::error file=a b%2Cc%3Ad.env,line=3,col=7,title=config.missing::A&B: 50%25 of \"it\"%0A is \
                        <missing>: a, b\u{1}. To fix it: set it\n\
                        ::notice title=config.unused::X: nothing reads it\nDECISION: NO-GO\n";
        assert_eq!(text, expected);
    }
}
