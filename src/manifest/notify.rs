//! `[[notify]]`: who hears of what happens.

use super::command::read_command;
use super::keys::NOTIFY;
use super::problem::{Fault, shown};
use super::section::{Section, values};
use super::words::one_of;

/// Most entries.
const COUNT_MAX: usize = 16;

/// What somebody wants to hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum NotifyOn {
    /// The checks say NO-GO, or the boot failed.
    NoGo,
    /// A fix waits for a person.
    Approval,
    /// A fix was taken back.
    RolledBack,
    /// A needed layer stopped working.
    Unhealthy,
    /// A service or a mission was given up.
    GaveUp,
    /// What a mission was filed for is gone.
    Healed,
}

/// Every word of `on`.
const WORDS: [(&str, NotifyOn); 6] = [
    ("no_go", NotifyOn::NoGo),
    ("approval", NotifyOn::Approval),
    ("rolled_back", NotifyOn::RolledBack),
    ("unhealthy", NotifyOn::Unhealthy),
    ("gave_up", NotifyOn::GaveUp),
    ("healed", NotifyOn::Healed),
];

impl NotifyOn {
    pub(crate) fn as_str(self) -> &'static str {
        let word = WORDS.iter().find(|(_, on)| *on == self);
        word.map_or("", |(word, _)| word)
    }
}

/// What a webhook is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum WebhookShape {
    /// The event.
    #[default]
    Json,
    /// `{"text": ...}`, which Slack and its like take.
    Slack,
}

/// How somebody hears of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotifyBy {
    /// A program that gets the event as JSON on its standard input.
    Exec(Vec<String>),
    /// An address that it is posted to, with `${VARIABLE}`.
    Webhook { url: String, shape: WebhookShape },
}

/// One `[[notify]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notify {
    pub on: Vec<NotifyOn>,
    pub by: NotifyBy,
}

pub(super) fn read_notify(root: &Section<'_>) -> Vec<Notify> {
    let sections = root.sections("notify", &NOTIFY, COUNT_MAX);
    sections.iter().filter_map(read_one).collect()
}

fn read_one(section: &Section<'_>) -> Option<Notify> {
    if !section.has("on") {
        section.missing("on", "[\"no_go\", \"approval\", \"unhealthy\"]");
    }
    let on = section.list("on", |text| one_of(text, &WORDS));
    let mut on: Vec<NotifyOn> = on.map_or(vec![], values);
    on.sort_unstable();
    on.dedup();
    if on.is_empty() && section.has("on") {
        let help = "name what somebody should hear of, or take the table out";
        section.fault("on", Fault::new("nothing", "`on` names nothing", help));
    }
    let shape = section.parse("shape", |text| {
        one_of(
            text,
            &[("json", WebhookShape::Json), ("slack", WebhookShape::Slack)],
        )
    });
    match (section.has("exec"), section.has("webhook")) {
        (true, true) => {
            let help = "write a [[notify]] for each";
            let message = "a [[notify]] has `exec` or `webhook`, not both";
            section.fault("webhook", Fault::new("one too many", message, help));
        }
        (false, false) => section.missing("exec", "[\"program\", \"argument\"]"),
        (true, false) if section.has("shape") => {
            let help = "take it out; a program gets the event as JSON";
            let message = "`shape` is for a webhook";
            section.fault("shape", Fault::new("not for a program", message, help));
        }
        _ => {}
    }
    let exec = section.has("exec").then(|| read_command(section, "exec"));
    let by = match exec.flatten() {
        Some(exec) => NotifyBy::Exec(exec),
        None => NotifyBy::Webhook {
            url: section.parse("webhook", url)?,
            shape: shape.unwrap_or_default(),
        },
    };
    Some(Notify { on, by })
}

fn url(text: &str) -> Result<String, Fault> {
    let is_whole = ["https://", "http://"].iter().any(|s| text.starts_with(s));
    // The whole address may be in a variable, since whoever knows it may post to it.
    if is_whole || text.starts_with("${") {
        return Ok(text.to_owned());
    }
    Err(Fault::new(
        "not an address",
        format!("`{}` is no address of a webhook", shown(text)),
        "write for example \"https://hooks.example.com/T0/B0\", or \"${WEBHOOK_URL}\"",
    ))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::manifest::Manifest;

    #[test]
    fn somebody_hears_of_something_in_one_way() {
        let read = |text: &str| {
            let text = format!("[app]\nname = \"x\"\n[[notify]]\n{text}");
            let read = Manifest::parse(&text, Path::new("/w/ubs.toml"));
            read.map(|manifest| manifest.notify).map_err(|error| {
                let problems = error.problems();
                problems
                    .iter()
                    .map(|p| p.message.clone())
                    .collect::<String>()
            })
        };
        let slack = read("on=['healed','no_go','no_go']\nwebhook='${HOOK}'\nshape='slack'");
        let by = NotifyBy::Webhook {
            url: "${HOOK}".to_owned(),
            shape: WebhookShape::Slack,
        };
        let on = vec![NotifyOn::NoGo, NotifyOn::Healed];
        assert_eq!(slack.unwrap(), [Notify { on, by }]);
        let exec = read("on=['approval']\nexec='mail -s ubs'").unwrap();
        let argv = ["mail", "-s", "ubs"].map(str::to_owned).to_vec();
        assert_eq!(exec[0].by, NotifyBy::Exec(argv));
        for (bad, wanted) in [
            ("exec='x'", "no `on`"),
            ("on=[]\nexec='x'", "names nothing"),
            ("on=['nogo']\nexec='x'", "nogo"),
            ("on=['no_go']", "no `exec`"),
            ("on=['no_go']\nexec='x'\nwebhook='https://a'", "not both"),
            ("on=['no_go']\nexec='x'\nshape='slack'", "for a webhook"),
            ("on=['no_go']\nwebhook='ftp://a'", "no address"),
        ] {
            let error = read(bad).unwrap_err();
            assert!(error.contains(wanted), "{bad}: {error}");
        }
    }
}
