//! How things look: colours, widths, marks, durations. Text only; decides nothing.
//!
//! Everything that came from an application, a log or a worker is cleaned of control characters
//! here once more, whoever wrote it.

use crate::domain::finding::{
    CheckReport, CheckStatus, Decision, Finding, Measured, Severity, VAULT_STATE,
};
use crate::domain::ids::At;
use crate::domain::redact::sanitise;
use crate::domain::remedy::Cause;
pub(crate) use crate::domain::words::count;

/// Colours, or none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paint {
    on: bool,
}

/// What a text means; each meaning has one colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Good,
    Warn,
    Bad,
    Accent,
    Dim,
    Strong,
    /// Of a name, by its number in [`NAME_COLORS`].
    Name(usize),
}

/// Colours of names: all but red, which means something, and black and white, which may be the background.
const NAME_COLORS: [&str; 9] = ["36", "33", "32", "35", "34", "96", "93", "92", "95"];

/// The colour of a name, the same each time.
pub(crate) fn name_tone(name: &str) -> Tone {
    let hash = blake3::hash(name.as_bytes());
    Tone::Name(usize::from(hash.as_bytes()[0]) % NAME_COLORS.len())
}

/// Widest column of names.
const NAME_WIDTH_MAX: usize = 20;

/// Columns of these names.
pub(crate) fn names_width<'a>(names: impl Iterator<Item = &'a str>) -> usize {
    let width = names.map(str::len).max();
    width.unwrap_or(0).clamp(1, NAME_WIDTH_MAX)
}

/// The name of a service before a line of it.
pub(crate) fn name_label(paint: Paint, name: &str, width: usize) -> String {
    let label = format!("{:width$} |", cut(name, width));
    paint.tone(name_tone(name), &label)
}

impl Paint {
    pub(crate) fn new(on: bool) -> Self {
        Self { on }
    }

    pub(crate) fn is_on(self) -> bool {
        self.on
    }

    /// The text in the colour of its meaning.
    pub(crate) fn tone(self, tone: Tone, text: &str) -> String {
        if !self.on {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Good => "32",
            Tone::Warn => "33",
            Tone::Bad => "31",
            Tone::Accent => "36",
            Tone::Dim => "2",
            Tone::Strong => "1",
            Tone::Name(number) => NAME_COLORS[number % NAME_COLORS.len()],
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// Columns of a rule on a wide terminal.
pub(crate) const RULE_WIDTH: usize = 72;

/// A full-width rule.
pub(crate) fn rule(width: usize, with: char) -> String {
    std::iter::repeat_n(with, width.min(RULE_WIDTH)).collect()
}

/// A line behind a label, wrapped, the label in the colour of its meaning.
pub(crate) fn labelled(paint: Paint, width: usize, label: &str, tone: Tone, text: &str) -> String {
    let wrapped = wrap(label, text, width);
    let rest = wrapped.strip_prefix(label).unwrap_or(&wrapped);
    format!("{}{rest}\n", paint.tone(tone, label))
}

/// Text wrapped to `width`, the first line behind `first`, the others behind as many spaces.
pub(crate) fn wrap(first: &str, text: &str, width: usize) -> String {
    let text = sanitise(text);
    let indent = " ".repeat(textwrap::core::display_width(first));
    let options = textwrap::Options::new(width)
        .initial_indent(first)
        .subsequent_indent(&indent)
        // Paths and names stay whole where they can.
        .word_separator(textwrap::WordSeparator::AsciiSpace)
        .word_splitter(textwrap::WordSplitter::NoHyphenation);
    textwrap::fill(&text, options)
}

/// One line of at most `width` columns, cut with an ellipsis.
pub(crate) fn cut(text: &str, width: usize) -> String {
    let text: String = sanitise(text).replace(['\n', '\t'], " ");
    if textwrap::core::display_width(&text) <= width {
        return text;
    }
    let (mut short, mut columns) = (String::new(), 1); // The ellipsis takes one.
    for character in text.chars() {
        columns += textwrap::core::display_width(character.encode_utf8(&mut [0; 4]));
        if columns > width {
            break;
        }
        short.push(character);
    }
    short.push('…');
    short
}

/// A duration for people: `12 ms`, `3.4 s`, `5 min 2 s`, `3 h 4 min`.
pub(crate) fn duration(ms: u64) -> String {
    match ms {
        0..=999 => format!("{ms} ms"),
        1_000..=59_999 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        60_000..=3_599_999 => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1_000),
        _ => format!("{} h {} min", ms / 3_600_000, ms % 3_600_000 / 60_000),
    }
}

/// Time since the start, as a timeline shows it: `+0.012s`.
pub(crate) fn offset(at: At, start: At) -> String {
    let ms = at.ms_since(start);
    if ms < 3_600_000 {
        format!("+{}.{:03}s", ms / 1_000, ms % 1_000)
    } else {
        format!(
            "+{}h{:02}m{:02}s",
            ms / 3_600_000,
            ms % 3_600_000 / 60_000,
            ms % 60_000 / 1_000
        )
    }
}

/// A moment for people: `2026-11-24 10:00:00Z`.
pub(crate) fn moment(at: At) -> String {
    match at.to_datetime() {
        Some(moment) => moment.format("%Y-%m-%d %H:%M:%SZ").to_string(),
        None => at.to_string(),
    }
}

pub(crate) fn tone_of_status(status: CheckStatus) -> Tone {
    match status {
        CheckStatus::Healthy => Tone::Good,
        CheckStatus::Skipped => Tone::Dim,
        CheckStatus::Warning => Tone::Warn,
        CheckStatus::Critical | CheckStatus::Error => Tone::Bad,
    }
}

pub(crate) fn tone_of_decision(decision: Decision) -> Tone {
    match decision {
        Decision::Go => Tone::Good,
        Decision::GoDegraded | Decision::GoUnproven => Tone::Warn,
        Decision::NoGo => Tone::Bad,
    }
}

fn mark_of(severity: Severity) -> (&'static str, Tone) {
    match severity {
        Severity::Critical => ("✗", Tone::Bad),
        Severity::Warning => ("!", Tone::Warn),
        Severity::Info => ("·", Tone::Dim),
    }
}

/// One finding: mark, code, place, message, remedy.
pub(crate) fn finding(paint: Paint, width: usize, finding: &Finding, verbose: bool) -> String {
    let (mark, tone) = mark_of(finding.severity);
    let place = finding
        .location
        .as_ref()
        .map(|l| format!(" ({l})"))
        .unwrap_or_default();
    let mut text = format!(
        "    {} {}{}\n",
        paint.tone(tone, mark),
        paint.tone(Tone::Strong, &sanitise(finding.code.as_str())),
        sanitise(&place)
    );
    text.push_str(&wrap("      ", &finding.message, width));
    text.push('\n');
    if let Some(remedy) = &finding.remedy {
        text.push_str(&paint.tone(Tone::Accent, &wrap("      → ", remedy, width)));
        text.push('\n');
    }
    if verbose && !finding.detail.is_empty() {
        for line in sanitise(&finding.detail).lines() {
            text.push_str(&paint.tone(Tone::Dim, &format!("      | {line}")));
            text.push('\n');
        }
    }
    text
}

/// The report of one check, with the lines that its kind has (`[REHEARSAL] database: PASS`).
pub(crate) fn check(
    paint: Paint,
    width: usize,
    number: usize,
    of: usize,
    report: &CheckReport,
    verbose: bool,
) -> String {
    use crate::domain::finding::RehearsalOutcome;
    let status = report.status.as_str().to_uppercase();
    let head = format!("[CHECK {number}/{of}] {}...", report.name.title());
    let mut text = format!(
        "{} {} {}\n",
        paint.tone(Tone::Strong, &head),
        paint.tone(tone_of_status(report.status), &status),
        paint.tone(Tone::Dim, &duration(report.duration_ms))
    );
    let (summary, vault) = report
        .summary
        .split_once(VAULT_STATE)
        .map_or((report.summary.as_str(), None), |(summary, vault)| {
            (summary, Some(vault))
        });
    if !summary.is_empty() {
        text.push_str(&wrap("    ", summary, width));
        text.push('\n');
    }
    if let Some(vault) = vault {
        let line = format!("[LINT] Secrets vault: {vault}");
        text.push_str(&wrap("    ", &sanitise(&line), width));
        text.push('\n');
    }
    if let Measured::Rehearsal { layers, .. } = &report.measured {
        for layer in layers {
            let (word, tone) = match layer.outcome {
                RehearsalOutcome::Pass => ("PASS", Tone::Good),
                RehearsalOutcome::Degraded => ("DEGRADED", Tone::Warn),
                RehearsalOutcome::Failed => ("FAIL", Tone::Bad),
            };
            text.push_str(&format!(
                "    [REHEARSAL] {}: {} {}\n",
                sanitise(&layer.layer),
                paint.tone(tone, word),
                paint.tone(Tone::Dim, &duration(layer.duration_ms))
            ));
        }
    }
    if let Measured::Declared { checks } = &report.measured {
        for run in checks {
            let word = match run.status {
                CheckStatus::Healthy => "PASS".to_owned(),
                other => other.as_str().to_uppercase(),
            };
            let line = format!(
                "{}: {} {}",
                sanitise(&run.name),
                paint.tone(tone_of_status(run.status), &word),
                paint.tone(Tone::Dim, &duration(run.duration_ms))
            );
            text.push_str(&format!("    [DECLARED] {line}\n"));
            if matches!(run.status, CheckStatus::Skipped) {
                let why = wrap("      ", &sanitise(&run.summary), width);
                text.push_str(&paint.tone(Tone::Dim, &why));
                text.push('\n');
            }
        }
    }
    if let Some(word) = well(report) {
        text.push_str(&format!("    {}\n", paint.tone(Tone::Good, word)));
    }
    let shown = report
        .findings
        .iter()
        .filter(|found| found.severity > Severity::Info || verbose);
    for group in group_by_exception(shown) {
        text.push_str(&finding(paint, width, group[0], verbose));
        if let [_, others @ ..] = group.as_slice()
            && !others.is_empty()
        {
            let subjects: Vec<&str> = others.iter().map(|f| f.subject.as_str()).collect();
            let line = wrap("      the same: ", &subjects.join(", "), width);
            text.push_str(&paint.tone(Tone::Dim, &line));
            text.push('\n');
        }
    }
    let infos = report
        .findings
        .iter()
        .filter(|f| f.severity == Severity::Info)
        .count();
    if infos > 0 && !verbose {
        let note = format!("    · {} (shown with -v)\n", count(infos, "further note"));
        text.push_str(&paint.tone(Tone::Dim, &note));
    }
    text
}

/// That all of it is well, in a word.
fn well(report: &CheckReport) -> Option<&'static str> {
    let is_healthy = report.status == CheckStatus::Healthy;
    match &report.measured {
        Measured::Config { .. } if is_healthy => Some("Config healthy"),
        Measured::Schema { .. } if is_healthy => Some("Schema healthy"),
        Measured::Rehearsal {
            layers_tested,
            layers_passed,
            ..
        } if is_healthy && *layers_tested > 0 && layers_passed == layers_tested => {
            Some("All dependencies healthy")
        }
        Measured::Registration {
            expected, mounted, ..
        } if is_healthy && *expected > 0 && mounted == expected => Some("All services registered"),
        _ => None,
    }
}

fn exception_of(finding: &Finding) -> Option<&str> {
    match &finding.cause {
        Some(Cause::Exception(text)) => Some(text),
        _ => None,
    }
}

/// One defect may stop many layers: findings that one exception explains are shown as one.
fn group_by_exception<'a>(findings: impl Iterator<Item = &'a Finding>) -> Vec<Vec<&'a Finding>> {
    let mut groups: Vec<Vec<&Finding>> = Vec::new();
    for finding in findings {
        let exception = exception_of(finding);
        let same = groups.iter_mut().find(|group| {
            exception.is_some()
                && exception_of(group[0]) == exception
                && group[0].code == finding.code
        });
        match same {
            Some(group) => group.push(finding),
            None => groups.push(vec![finding]),
        }
    }
    groups
}

/// The last lines of a pre-flight: the verdict, and what decided it.
pub(crate) fn decision(paint: Paint, width: usize, decision: Decision, because: &str) -> String {
    let tone = tone_of_decision(decision);
    let verdict = format!("DECISION: {}", decision.title());
    let mut text = match decision {
        Decision::Go if !because.is_empty() => labelled(
            paint,
            width,
            &format!("{verdict} "),
            tone,
            &format!("({because})"),
        ),
        _ => format!("{}\n", paint.tone(tone, &verdict)),
    };
    if decision == Decision::GoDegraded {
        text.push_str(&paint.tone(tone, "Boot continues (non-critical)"));
        text.push('\n');
    }
    let last = match decision {
        Decision::Go => "GO FOR BOOT: All critical checks passed".to_owned(),
        Decision::GoDegraded => format!("GO FOR BOOT: All critical checks passed; {because}"),
        Decision::GoUnproven => format!("GO FOR BOOT (unproven): {because}"),
        Decision::NoGo => format!("NO-GO: {because}"),
    };
    text.push_str(&paint.tone(tone, &wrap("", &last, width)));
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        assert_eq!(duration(12), "12 ms");
        assert_eq!(duration(3_456), "3.4 s");
        assert_eq!(duration(302_000), "5 min 2 s");
        assert_eq!(duration(11_040_000), "3 h 4 min");
    }

    #[test]
    fn nothing_hostile_reaches_the_terminal() {
        let mut found = Finding::new("x.y", Severity::Critical, "s", "a\u{1b}[2Jb\u{7}c");
        found.remedy = Some("\u{1b}]0;title\u{7}do".into());
        let text = finding(Paint::new(false), 80, &found, true);
        assert!(
            !text.contains('\u{1b}') && !text.contains('\u{7}'),
            "{text:?}"
        );
    }

    #[test]
    fn lines_keep_within_the_width() {
        let long = "word ".repeat(60);
        assert!(
            wrap("    ", &long, 80)
                .lines()
                .all(|line| line.chars().count() <= 80)
        );
        assert!(textwrap::core::display_width(&cut(&"表".repeat(100), 20)) <= 20);
    }
}
