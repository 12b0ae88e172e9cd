//! What `ubs top` shows and what a key does to it. Pure: no terminal, no file, no clock.

use std::collections::{BTreeMap, VecDeque};

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use regex::Regex;

use crate::domain::event::ServiceOrder;
use crate::domain::health::Health;
use crate::domain::ids::At;

/// Lines of output that one can scroll back to.
pub(super) const LINES_MAX: usize = 5_000;
/// Longest text that can be typed.
const INPUT_CHARS_MAX: usize = 200;
/// Rows that Page Up and Page Down move by.
const PAGE: usize = 10;

/// What a service uses.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Use {
    /// Per cent of one processor; `None` until it was looked at twice.
    pub cpu_percent: Option<f64>,
    pub memory_bytes: u64,
}

/// A mission that is open.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct MissionRow {
    pub slug: String,
    pub status: &'static str,
    pub awaits_approval: bool,
    pub needs_person: bool,
    pub text: String,
}

/// The system as it was last seen.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Seen {
    pub at: At,
    pub health: Health,
    /// The supervisor answers; otherwise all of this is what the log says.
    pub runs: bool,
    /// Why the supervisor that runs did not answer.
    pub silent: Option<String>,
    pub uses: BTreeMap<String, Use>,
    pub missions: Vec<MissionRow>,
}

/// A line of output of the service that is selected.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LogLine {
    pub at: String,
    pub text: String,
}

/// Where keys go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Focus {
    Services,
    Output,
    Missions,
}

/// Something that is asked before it is done, or typed.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Mode {
    Looking,
    Help,
    /// What to look for in the output.
    Search(String),
    /// Why a fix is rejected.
    Reason {
        slug: String,
        text: String,
    },
    /// Yes or no.
    Confirm(Order),
}

/// What a key asks of the supervisor.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Order {
    Steer {
        service: String,
        order: ServiceOrder,
    },
    Approve {
        slug: String,
    },
    Reject {
        slug: String,
        reason: String,
    },
}

impl Order {
    /// As a sentence that begins.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Steer { service, order } => format!("{} {service}", order.as_str()),
            Self::Approve { slug } => format!("approve {slug}"),
            Self::Reject { slug, .. } => format!("reject {slug}"),
        }
    }
}

/// What is to be done after a key.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Then {
    Nothing,
    Quit,
    Do(Order),
    /// Another service's output is wanted.
    ShowOutput(String),
}

/// All that is shown.
#[derive(Debug)]
pub(super) struct Model {
    pub seen: Option<Seen>,
    pub focus: Focus,
    pub mode: Mode,
    /// Number of the service that is selected, in the order of the layers.
    pub service: usize,
    pub mission: usize,
    pub lines: VecDeque<LogLine>,
    /// Whose lines these are.
    pub lines_of: String,
    /// Lines between the end of the output and the last one that is shown; 0: it is followed.
    pub back: usize,
    pub search: Option<Regex>,
    /// What was said last.
    pub said: String,
}

impl Model {
    pub(super) fn new() -> Self {
        Self {
            seen: None,
            focus: Focus::Services,
            mode: Mode::Looking,
            service: 0,
            mission: 0,
            lines: VecDeque::new(),
            lines_of: String::new(),
            back: 0,
            search: None,
            said: String::new(),
        }
    }

    /// Names of the services, in the order of the layers.
    pub(super) fn services(&self) -> Vec<&str> {
        let layers = self.seen.iter().flat_map(|seen| &seen.health.layers);
        let services = layers.flat_map(|layer| &layer.services);
        services.map(|service| service.name.as_str()).collect()
    }

    pub(super) fn selected(&self) -> Option<&str> {
        self.services().get(self.service).copied()
    }

    fn selected_mission(&self) -> Option<&MissionRow> {
        self.seen.as_ref()?.missions.get(self.mission)
    }

    /// The system was looked at again. What is selected stays selected, wherever it is now.
    pub(super) fn see(&mut self, seen: Seen) -> Then {
        let service = self.selected().map(str::to_owned);
        let mission = self.selected_mission().map(|mission| mission.slug.clone());
        self.seen = Some(seen);
        let services = self.services();
        let found = service.and_then(|name| services.iter().position(|known| *known == name));
        let last = services.len().saturating_sub(1);
        self.service = found.unwrap_or(self.service).min(last);
        let missions = self.seen.iter().flat_map(|seen| &seen.missions);
        let found = mission.and_then(|slug| missions.clone().position(|known| known.slug == slug));
        self.mission = found
            .unwrap_or(self.mission)
            .min(missions.count().saturating_sub(1));
        self.show_selected()
    }

    fn show_selected(&mut self) -> Then {
        match self.selected() {
            Some(name) if name != self.lines_of => {
                let name = name.to_owned();
                self.lines.clear();
                self.back = 0;
                self.lines_of.clone_from(&name);
                Then::ShowOutput(name)
            }
            _ => Then::Nothing,
        }
    }

    /// A service printed something.
    pub(super) fn add_lines(&mut self, service: &str, lines: Vec<LogLine>) {
        if service != self.lines_of {
            return;
        }
        if self.back > 0 {
            // What is looked at stays where it is.
            self.back += lines.len();
        }
        self.lines.extend(lines);
        let excess = self.lines.len().saturating_sub(LINES_MAX);
        self.lines.drain(..excess);
        self.back = self.back.min(self.lines.len().saturating_sub(1));
    }

    pub(super) fn key(&mut self, key: KeyEvent) -> Then {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        if control && key.code == KeyCode::Char('c') {
            return Then::Quit;
        }
        match std::mem::replace(&mut self.mode, Mode::Looking) {
            Mode::Looking => self.key_looking(key.code, control),
            Mode::Help => Then::Nothing,
            Mode::Search(text) => self.key_search(key.code, text),
            Mode::Reason { slug, text } => self.key_reason(key.code, slug, text),
            Mode::Confirm(order) => {
                if matches!(key.code, KeyCode::Char('y' | 'Y')) {
                    return self.order(order);
                }
                self.said = format!("not done: {}", order.words());
                Then::Nothing
            }
        }
    }

    fn key_looking(&mut self, code: KeyCode, control: bool) -> Then {
        use KeyCode as K;
        match code {
            K::Char('q') | K::F(10) => return Then::Quit,
            K::Char('?') | K::F(1) => self.mode = Mode::Help,
            K::Char('r') if control => return self.steer(ServiceOrder::Restart),
            K::Char('d') if control => self.go(PAGE as isize),
            K::Char('u') if control => self.go(-(PAGE as isize)),
            _ if control => {}
            K::Tab | K::Right | K::Char('l') => self.next_focus(1),
            K::BackTab | K::Left | K::Char('h') => self.next_focus(2),
            K::Enter => self.focus = Focus::Output,
            K::Char('m') => self.focus = Focus::Missions,
            K::Down | K::Char('j') => self.go(1),
            K::Up | K::Char('k') => self.go(-1),
            K::PageDown => self.go(PAGE as isize),
            K::PageUp => self.go(-(PAGE as isize)),
            K::Home | K::Char('g') => self.go(isize::MIN + 1),
            K::End | K::Char('G' | 'f') => self.go(isize::MAX),
            K::Char('/') => self.mode = Mode::Search(String::new()),
            K::Char('n') => self.find(true),
            K::Char('N') => self.find(false),
            K::Esc => {
                self.search = None;
                self.said.clear();
                self.focus = Focus::Services;
            }
            K::Char('r') => return self.steer(ServiceOrder::Restart),
            K::Char('s') | K::F(9) => return self.steer(ServiceOrder::Stop),
            K::Char('u') | K::F(7) => return self.steer(ServiceOrder::Start),
            K::Char('a') => self.ask_approval(),
            K::Char('x') => self.ask_reason(),
            _ => {}
        }
        self.show_selected()
    }

    fn next_focus(&mut self, by: usize) {
        let all = [Focus::Services, Focus::Output, Focus::Missions];
        let has_missions = self.seen.as_ref().is_some_and(|s| !s.missions.is_empty());
        let all = &all[..if has_missions { 3 } else { 2 }];
        let at = all.iter().position(|focus| *focus == self.focus);
        let by = if by == 1 { 1 } else { all.len() - 1 };
        self.focus = all[(at.unwrap_or(0) + by) % all.len()];
    }

    /// Moves down by so many rows, or up.
    fn go(&mut self, by: isize) {
        let moved =
            |at: usize, count: usize| at.saturating_add_signed(by).min(count.saturating_sub(1));
        match self.focus {
            Focus::Services => self.service = moved(self.service, self.services().len()),
            Focus::Missions => {
                let missions = self.seen.as_ref().map_or(0, |seen| seen.missions.len());
                self.mission = moved(self.mission, missions);
            }
            // Counted from the end.
            Focus::Output => {
                let back = self.back.saturating_add_signed(-by);
                self.back = back.min(self.lines.len().saturating_sub(1));
            }
        }
    }

    fn key_search(&mut self, code: KeyCode, text: String) -> Then {
        match typed(code, text) {
            Typed::More(text) => self.mode = Mode::Search(text),
            Typed::Left => {}
            Typed::Done(text) if text.is_empty() => self.search = None,
            Typed::Done(text) => {
                // What is no expression is looked for as it stands.
                let insensitive = |text: &str| Regex::new(&format!("(?i){text}"));
                let made = insensitive(&text).or_else(|_| insensitive(&regex::escape(&text)));
                self.search = made.ok();
                self.back = 0;
                self.focus = Focus::Output;
                self.find_from(self.lines.len(), false);
            }
        }
        Then::Nothing
    }

    /// Goes to the line before, or after, the one at the bottom that is found.
    fn find(&mut self, earlier: bool) {
        let bottom = self.lines.len().saturating_sub(1 + self.back);
        self.find_from(if earlier { bottom } else { bottom + 1 }, !earlier);
    }

    fn find_from(&mut self, from: usize, is_down: bool) {
        let Some(search) = &self.search else {
            self.said = "nothing is searched for; / begins".to_owned();
            return;
        };
        let is_found = |at: &usize| search.is_match(&self.lines[*at].text);
        let found = if is_down {
            (from..self.lines.len()).find(is_found)
        } else {
            (0..from.min(self.lines.len())).rev().find(is_found)
        };
        match found {
            Some(at) => {
                self.back = self.lines.len() - 1 - at;
                self.said.clear();
            }
            None => self.said = "no further line is found".to_owned(),
        }
    }

    fn steer(&mut self, order: ServiceOrder) -> Then {
        let Some(service) = self.selected().map(str::to_owned) else {
            self.said = "there is no service".to_owned();
            return Then::Nothing;
        };
        let order = Order::Steer { service, order };
        // Stopping is what one would not want to do by mistake.
        let is_stop = matches!(&order, Order::Steer { order, .. } if *order == ServiceOrder::Stop);
        if is_stop && self.runs() {
            self.mode = Mode::Confirm(order);
            return Then::Nothing;
        }
        self.order(order)
    }

    fn runs(&self) -> bool {
        self.seen.as_ref().is_some_and(|seen| seen.runs)
    }

    fn order(&mut self, order: Order) -> Then {
        if !self.runs() {
            self.said = format!("cannot {}: no supervisor answers here", order.words());
            return Then::Nothing;
        }
        self.said = format!("{} ...", order.words());
        Then::Do(order)
    }

    /// The mission that is meant; says why if there is none.
    fn mission_to_decide(&mut self) -> Option<String> {
        let missions = self.seen.as_ref().map(|seen| seen.missions.as_slice());
        let mut waiting = missions.unwrap_or_default().iter();
        let found = match self.focus {
            Focus::Missions => self.selected_mission().filter(|m| m.awaits_approval),
            _ => waiting.find(|mission| mission.awaits_approval),
        };
        let found = found.map(|mission| mission.slug.clone());
        if found.is_none() {
            self.said = "no fix of it waits for approval".to_owned();
        }
        found
    }

    fn ask_approval(&mut self) {
        if let Some(slug) = self.mission_to_decide() {
            self.mode = Mode::Confirm(Order::Approve { slug });
        }
    }

    fn ask_reason(&mut self) {
        if let Some(slug) = self.mission_to_decide() {
            let text = String::new();
            self.mode = Mode::Reason { slug, text };
        }
    }

    fn key_reason(&mut self, code: KeyCode, slug: String, text: String) -> Then {
        match typed(code, text) {
            Typed::More(text) => self.mode = Mode::Reason { slug, text },
            Typed::Left => {}
            Typed::Done(reason) if reason.trim().is_empty() => {
                self.said = "not rejected: say why".to_owned();
            }
            Typed::Done(reason) => return self.order(Order::Reject { slug, reason }),
        }
        Then::Nothing
    }
}

enum Typed {
    More(String),
    Done(String),
    Left,
}

fn typed(code: KeyCode, mut text: String) -> Typed {
    match code {
        KeyCode::Enter => return Typed::Done(text),
        KeyCode::Esc => return Typed::Left,
        KeyCode::Backspace => drop(text.pop()),
        KeyCode::Char(c) if !c.is_control() && text.chars().count() < INPUT_CHARS_MAX => {
            text.push(c);
        }
        _ => {}
    }
    Typed::More(text)
}
