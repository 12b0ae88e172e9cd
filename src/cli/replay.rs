//! `ubs replay`: what happened in a boot, from the log alone; the application need not run.

use std::time::Duration;

use serde_json::{Value, json};

use super::context::{AppPaths, CliError, Ui, find_boot, moment_of, supervisor_lives};
use super::exit;
use super::fixes::lines_between;
use super::health;
use super::options::Global;
use super::render::{self, Tone};
use super::timeline::{Depth, describe};
use crate::domain::boot::BootState;
use crate::domain::health::Health;
use crate::domain::ids::{At, BootId, Seq};
use crate::log::{EventFilter, Reader, Recorded, Replay};

/// Time between two looks at the log with `--follow`.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(100);

/// Show what happened in a boot, as a timeline, a state or events.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which boot: an id, its beginning, `last`, `last~1` or `last-good`
    #[arg(default_value = "last", value_name = "BOOT")]
    boot: String,
    /// Only up to this event (its number) or moment (RFC 3339, or so long ago), and the state then
    #[arg(long, value_name = "SEQ|WHEN")]
    until: Option<String>,
    /// The events themselves; with --json one a line
    #[arg(long)]
    events: bool,
    /// Go on with what happens, until the boot ends
    #[arg(short, long, conflicts_with = "until")]
    follow: bool,
}

pub(crate) fn run(ui: &Ui, global: &Global, args: Args) -> Result<u8, CliError> {
    let place = AppPaths::find(global)?;
    let reader = place.existing_reader()?;
    let boot = find_boot(&reader, &args.boot)?;
    let filter = match &args.until {
        Some(text) => until(text)?,
        None => EventFilter::default(),
    };
    let problem = reader.chain_problem()?;
    let mut show = Show {
        ui,
        events: args.events,
        lines: ui.json && (args.events || args.follow),
        document: Vec::new(),
        fixes_before: Vec::new(),
        start: None,
        state: BootState::default(),
        seen: Seq(0),
        problem,
    };
    show.head()?;
    show.fixes_before(&fixes_before(&reader, boot)?)?;
    let mut replay = Replay::new(&reader, boot, filter)?;
    for step in &mut replay {
        let (recorded, state) = step?;
        show.event(&recorded, state)?;
    }
    drop(replay);
    if args.follow {
        follow(&reader, boot, &mut show)?;
    }
    show.end(&reader, boot, args.until.is_some())
}

fn until(text: &str) -> Result<EventFilter, CliError> {
    match text.parse::<u64>() {
        Ok(seq) => Ok(EventFilter {
            until: Some(Seq(seq)),
            ..EventFilter::default()
        }),
        Err(_) => Ok(EventFilter {
            until_at: Some(moment_of(text)?),
            ..EventFilter::default()
        }),
    }
}

/// Looks for more until the boot has ended, or its supervisor is gone.
fn follow(reader: &Reader, boot: BootId, show: &mut Show<'_>) -> Result<(), CliError> {
    while !show.state.is_ended() {
        let alive = supervisor_lives(&show.state);
        let filter = EventFilter {
            boot: Some(boot),
            after: Some(show.seen),
            ..EventFilter::default()
        };
        let mut any = false;
        for recorded in reader.events(filter)? {
            let recorded = recorded?;
            let mut state = std::mem::take(&mut show.state);
            if let Some(event) = recorded.event() {
                state = crate::domain::boot::evolve(state, recorded.at, recorded.mission, event);
            }
            show.event(&recorded, state)?;
            any = true;
        }
        if !any && !alive {
            show.ui
                .note("the supervisor died; `ubs boot` records it and starts again");
            break;
        }
        if !any {
            std::thread::sleep(FOLLOW_INTERVAL);
        }
    }
    Ok(())
}

/// What replay prints, and how far it is.
struct Show<'a> {
    ui: &'a Ui,
    /// The events themselves, not a timeline.
    events: bool,
    /// One JSON document a line.
    lines: bool,
    /// The timeline's entries, for one JSON document at the end.
    document: Vec<Value>,
    /// Fixes that were applied between the boot before and this one.
    fixes_before: Vec<String>,
    start: Option<At>,
    state: BootState,
    seen: Seq,
    /// Where the log is not what was written.
    problem: Option<String>,
}

/// What was applied between the boot before and this one: it belongs to its story.
pub(super) fn fixes_before(reader: &Reader, boot: BootId) -> Result<Vec<String>, CliError> {
    let boots = reader.boots(u32::MAX)?;
    let mut older = boots.iter().skip_while(|one| one.boot_id != boot);
    let Some(own) = older.next() else {
        return Ok(vec![]);
    };
    let after = older.next().map_or(Seq(0), |before| before.seq_last);
    lines_between(reader, after, own.seq_first)
}

impl Show<'_> {
    fn fixes_before(&mut self, fixes: &[String]) -> Result<(), CliError> {
        self.fixes_before = fixes.to_vec();
        if self.lines || self.ui.json || self.events {
            return Ok(());
        }
        for fix in fixes {
            let label = "           [FIX] ";
            let text = format!("applied before this boot: {fix}");
            let said = render::labelled(self.ui.paint, self.ui.width, label, Tone::Good, &text);
            self.ui.print(&said)?;
        }
        Ok(())
    }

    /// Says first of all that what follows may not be what happened.
    fn head(&self) -> Result<(), CliError> {
        let Some(problem) = &self.problem else {
            return Ok(());
        };
        let text =
            format!("the log is not what was written: {problem}; `ubs log verify` tells all");
        if self.ui.json || self.events {
            self.ui.note(&format!("warning: {text}"));
            return Ok(());
        }
        let (paint, width) = (self.ui.paint, self.ui.width);
        let head = "[LOG] NOT INTACT: ";
        self.ui
            .print(&render::labelled(paint, width, head, Tone::Bad, &text))
    }

    fn event(&mut self, recorded: &Recorded, state: BootState) -> Result<(), CliError> {
        self.state = state;
        self.seen = recorded.seq;
        let start = *self.start.get_or_insert(recorded.at);
        if self.lines {
            return self.ui.print_json_line(&recorded.to_json());
        }
        if self.ui.json {
            let line = describe(recorded, &self.state);
            self.document.push(json!({
                "seq": recorded.seq,
                "at": recorded.at,
                "offset_ms": recorded.at.ms_since(start),
                "kind": recorded.kind,
                "label": line.label,
                "text": line.text,
            }));
            return Ok(());
        }
        if self.events {
            let payload = recorded.to_json()["payload"].to_string();
            let head = format!("{:>6} {} {} ", recorded.seq.0, recorded.at, recorded.kind);
            return self.ui.print(&format!(
                "{}{}\n",
                head,
                crate::domain::redact::sanitise(&payload)
            ));
        }
        self.ui
            .print(&timeline_line(self.ui, recorded, &self.state, start))
    }

    fn end(self, reader: &Reader, boot: BootId, with_state: bool) -> Result<u8, CliError> {
        if self.lines {
            return Ok(exit::GOOD);
        }
        // Those of then: only the newest boot, while it runs, has those of now.
        let is_now = !with_state && !self.state.is_ended() && reader.last_boot()? == Some(boot);
        let (open, need_person) = if is_now {
            reader.mission_counts()?
        } else {
            reader
                .health_at(self.state.updated_at)
                .map(|h| (h.missions_open, h.missions_need_person))?
        };
        let alive = (!with_state).then(|| supervisor_lives(&self.state));
        let health = Health::of(boot, &self.state, alive, open, need_person);
        if self.ui.json {
            self.ui.print_json(&json!({
                "boot_id": boot,
                "fixes_before": self.fixes_before,
                "log_problem": self.problem,
                "timeline": self.document,
                "state": health,
            }))?;
        } else if with_state && !self.events {
            let rule = render::rule(self.ui.width, '-');
            self.ui.print(&format!(
                "{rule}\nstate after event {}:\n{}",
                self.seen,
                health::text(self.ui, &health, Some(self.state.updated_at))
            ))?;
        }
        Ok(exit::GOOD)
    }
}

/// `  17   +0.012s  [LAYER] database: UP`, nested by attempt, layer and mission; the number is the one that
/// `--until` takes.
fn timeline_line(ui: &Ui, recorded: &Recorded, state: &BootState, start: At) -> String {
    let line = describe(recorded, state);
    let indent = match line.depth {
        Depth::Boot => "",
        Depth::Attempt => "  ",
        Depth::Part => "    ",
    };
    let offset = render::offset(recorded.at, start);
    let offset = format!("{:>4} {offset:>9}  ", recorded.seq.0);
    let label = format!("{offset}{indent}[{}] ", line.label);
    let wrapped = render::wrap(&label, &line.text, ui.width);
    let rest = wrapped.strip_prefix(&label).unwrap_or(&wrapped);
    format!(
        "{}{indent}{}{rest}\n",
        ui.paint.tone(Tone::Dim, &offset),
        ui.paint.tone(line.tone, &format!("[{}] ", line.label))
    )
}
