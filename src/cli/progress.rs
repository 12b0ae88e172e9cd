//! A boot as it happens: the banner, each check as it ends (in the order of the report), the
//! decision, missions and fixes, layers coming up.

use std::collections::BTreeMap;

use super::context::Ui;
use super::render::{self, Tone};
use super::timeline::{Depth, describe, is_headline};
use crate::domain::boot::BootState;
use crate::domain::event::{CheckPhase, Event};
use crate::domain::finding::{CheckName, CheckReport, Decision, grounds};
use crate::domain::ids::BootId;
use crate::log::Recorded;

/// Prints a boot while it happens.
pub(crate) struct Progress<'a> {
    ui: &'a Ui,
    /// Reports that wait for those before them, so that the order is always the same.
    waiting: BTreeMap<CheckName, CheckReport>,
    printed: usize,
    write: Box<dyn FnMut(String) + 'a>,
}

impl<'a> Progress<'a> {
    /// Prints on standard output. A reader that went away must not stop a boot: nothing more is printed then.
    pub(crate) fn new(ui: &'a Ui) -> Self {
        let mut failed = false;
        Self::to(ui, move |text| {
            failed = failed || ui.print(&text).is_err();
        })
    }

    /// Hands what it prints to `write`.
    pub(crate) fn to(ui: &'a Ui, write: impl FnMut(String) + 'a) -> Self {
        Self {
            ui,
            waiting: BTreeMap::new(),
            printed: 0,
            write: Box::new(write),
        }
    }

    /// Prints what there is to say about one event.
    pub(crate) fn show(&mut self, recorded: &Recorded, state: &BootState) {
        if self.ui.json || self.ui.quiet {
            return;
        }
        let text = self.text_of(recorded, state);
        if !text.is_empty() {
            (self.write)(text);
        }
    }

    fn text_of(&mut self, recorded: &Recorded, state: &BootState) -> String {
        let Some(event) = recorded.event() else {
            return self.line_of(recorded, state);
        };
        match event {
            Event::BootStarted { .. } => banner(self.ui, state, recorded.boot),
            Event::AttemptStarted { attempt } => {
                self.waiting.clear();
                self.printed = 0;
                attempt_header(self.ui, *attempt, state)
            }
            Event::CheckFinished {
                report,
                phase: CheckPhase::Preflight,
            } => {
                self.waiting.insert(report.name, report.clone());
                self.flush_checks(state)
            }
            Event::DecisionMade { .. } => {
                let line = describe(recorded, state);
                let because = line.text.split_once(": ").map_or("", |(_, rest)| rest);
                match state.decision {
                    Some(decision) => {
                        let grounds = grounds(state.reports.values());
                        let because = match decision {
                            Decision::Go => &grounds,
                            _ => because,
                        };
                        format!(
                            "\n{}",
                            render::decision(self.ui.paint, self.ui.width, decision, because)
                        )
                    }
                    None => String::new(),
                }
            }
            event if is_headline(event) || self.ui.verbose => self.line_of(recorded, state),
            _ => String::new(),
        }
    }

    fn flush_checks(&mut self, state: &BootState) -> String {
        let mut text = String::new();
        let checks = &state.plan.checks;
        while let Some(report) = checks
            .get(self.printed)
            .and_then(|name| self.waiting.remove(name))
        {
            self.printed += 1;
            text.push('\n');
            text.push_str(&render::check(
                self.ui.paint,
                self.ui.width,
                self.printed,
                checks.len(),
                &report,
                self.ui.verbose,
            ));
        }
        text
    }

    fn line_of(&self, recorded: &Recorded, state: &BootState) -> String {
        let line = describe(recorded, state);
        let indent = match line.depth {
            Depth::Part => "  ",
            Depth::Boot | Depth::Attempt => "",
        };
        let label = format!("{indent}[{}] ", line.label);
        render::labelled(self.ui.paint, self.ui.width, &label, line.tone, &line.text)
    }
}

fn banner(ui: &Ui, state: &BootState, boot: Option<BootId>) -> String {
    let rule = ui.paint.tone(Tone::Accent, &render::rule(ui.width, '='));
    let id = boot.map(|id| id.to_string()).unwrap_or_default();
    format!(
        "{rule}\n{}\n  {} · mode {} · boot {id}\n{rule}\n",
        ui.paint.tone(Tone::Strong, "  UNBREAKABLE BOOT SYSTEM"),
        render::cut(&state.app, 40),
        state.plan.mode.as_str(),
    )
}

fn attempt_header(ui: &Ui, attempt: u32, state: &BootState) -> String {
    if state.plan.attempts_max <= 1 {
        return String::new();
    }
    let text = format!(
        "--- attempt {attempt} of at most {} ",
        state.plan.attempts_max
    );
    let fill = ui.width.min(render::RULE_WIDTH).saturating_sub(text.len());
    format!(
        "\n{}\n",
        ui.paint
            .tone(Tone::Strong, &format!("{text}{}", "-".repeat(fill)))
    )
}
