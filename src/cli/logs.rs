//! `ubs logs`: what services printed, as the supervisor kept it, several of them merged by time.

use std::path::{Path, PathBuf};
use std::time::Duration;

use regex::Regex;
use serde_json::json;

use super::context::{AppPaths, CliError, Ui, find_boot, moment_of, nearest};
use super::exit;
use super::options::Global;
use super::render::{name_label, names_width};
use crate::control::{Entry, ServiceLog, names_in};
use crate::domain::ids::At;
use crate::log::now;

/// Time between two looks at the files with `--follow`.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(100);
/// New services are looked for at each so manieth look.
const LOOKS_FOR_NAMES: u64 = 10;
/// Lines printed when nothing says which.
const LINES_DEFAULT: usize = 100;
/// The last lines of a boot are read a little after its services ended.
const AFTER_END_US: i64 = 1_000_000;

/// Print what services printed, several of them merged by time.
///
/// Without a service all of them. With --json one document a line: service, at, text.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which services; without any, all that have output
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// The last so many lines [default: 100, or all that --since, --until and --boot say]
    #[arg(short = 'n', long, value_name = "N")]
    lines: Option<usize>,
    /// Go on with what is printed, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// Not older than this: 10m, 2h, or a time in RFC 3339
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Not newer than this
    #[arg(long, value_name = "WHEN", conflicts_with = "follow")]
    until: Option<String>,
    /// Only lines that match this regular expression
    #[arg(long, value_name = "RE")]
    grep: Option<String>,
    /// Only lines of this boot: last, last~1, or an id
    #[arg(long, value_name = "BOOT")]
    boot: Option<String>,
}

/// Which lines are wanted.
struct Wanted {
    since: Option<At>,
    until: Option<At>,
    grep: Option<Regex>,
}

impl Wanted {
    fn is(&self, entry: &Entry) -> bool {
        self.since.is_none_or(|since| entry.at >= since)
            && self.until.is_none_or(|until| entry.at <= until)
            && self.matches(entry)
    }

    fn matches(&self, entry: &Entry) -> bool {
        let grep = self.grep.as_ref();
        grep.is_none_or(|grep| grep.is_match(&entry.line.text))
    }
}

/// The output of one service.
struct Source {
    name: String,
    path: PathBuf,
    log: ServiceLog,
}

impl Source {
    fn open(directory: &Path, name: String, since: Option<At>) -> Result<Self, CliError> {
        let path = directory.join(format!("{name}.log"));
        let log = ServiceLog::open(&path, since).map_err(|e| unreadable(&path, &e))?;
        Ok(Self { name, path, log })
    }

    fn cannot(&self, error: &std::io::Error) -> CliError {
        unreadable(&self.path, error)
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> CliError {
    CliError::usage(
        format!("cannot read {}: {error}", path.display()),
        "run this as the user who booted the application",
    )
}

pub(crate) fn run(ui: &Ui, global: &Global, args: Args) -> Result<u8, CliError> {
    let place = AppPaths::find(global)?;
    let wanted = wanted(&place, &args)?;
    let directory = directory_of(&place);
    let known = names_in(&directory);
    let names = if args.services.is_empty() {
        if known.is_empty() {
            ui.note("no service has printed anything here yet");
        }
        known.clone()
    } else {
        args.services.clone()
    };
    let mut sources: Vec<Source> = Vec::new();
    for name in names {
        // Only names that are there: nothing that a person types becomes a path.
        if !known.contains(&name) {
            let near = nearest(&name, &known);
            let help = match known.as_slice() {
                [] => "no service has printed anything here yet".to_owned(),
                known => format!("there is output of {}", known.join(", ")),
            };
            let message = format!("no output of a service `{name}` is kept here{near}");
            return Err(CliError::usage(message, help));
        }
        if sources.iter().all(|source| source.name != name) {
            sources.push(Source::open(&directory, name, wanted.since)?);
        }
    }
    let printer = Printer::new(ui, &sources);
    let names_lines = [&args.since, &args.until, &args.boot];
    let is_bounded = names_lines.iter().any(|given| given.is_some());
    match args.lines.or((!is_bounded).then_some(LINES_DEFAULT)) {
        Some(number) => print_last(&printer, &mut sources, number, &wanted)?,
        None => print_all(&printer, &mut sources, &wanted)?,
    }
    if args.follow {
        let of_all = args.services.is_empty().then_some(directory.as_path());
        follow(&printer, &mut sources, &wanted, of_all)?;
    }
    Ok(exit::GOOD)
}

fn wanted(place: &AppPaths, args: &Args) -> Result<Wanted, CliError> {
    let moment = |text: &Option<String>| text.as_deref().map(moment_of).transpose();
    let grep = args.grep.as_deref().map(|pattern| {
        Regex::new(pattern).map_err(|error| {
            CliError::usage(
                format!("--grep: `{pattern}` is no regular expression: {error}"),
                "put a backslash before a character that stands for itself",
            )
        })
    });
    let (mut since, mut until) = (moment(&args.since)?, moment(&args.until)?);
    if let Some(name) = &args.boot {
        let reader = place.existing_reader()?;
        let boot = find_boot(&reader, name)?;
        let state = reader.boot(boot)?.unwrap_or_default();
        let ended = state.ended_at.map(|at| At(at.0 + AFTER_END_US));
        since = since.max(Some(state.started_at));
        // The next boot, which may begin at once, has its own lines.
        let boots = reader.boots(u32::MAX)?.into_iter();
        let later = boots.map(|boot| boot.started_at);
        let next = later.filter(|at| *at > state.started_at).min();
        let before_next = next.map(|at| At(at.0 - 1));
        until = [until, ended, before_next].into_iter().flatten().min();
    }
    Ok(Wanted {
        since,
        until,
        grep: grep.transpose()?,
    })
}

/// Where the manifest says that output lies; without a manifest that can be read, where it lies by default.
pub(super) fn directory_of(place: &AppPaths) -> PathBuf {
    let manifest = place.manifest();
    let logs = manifest.map(|manifest| manifest.logs).unwrap_or_default();
    logs.directory_in(&place.workspace, &place.state_dir)
}

/// How a line looks.
struct Printer<'a> {
    ui: &'a Ui,
    /// Columns of names; `None` if there is only one service.
    width: Option<usize>,
}

impl<'a> Printer<'a> {
    fn new(ui: &'a Ui, sources: &[Source]) -> Self {
        let names = sources.iter().map(|source| source.name.as_str());
        let width = (sources.len() > 1).then(|| names_width(names));
        Self { ui, width }
    }

    fn print(&self, service: &str, entry: &Entry) -> Result<(), CliError> {
        let line = &entry.line;
        if self.ui.json {
            let document = json!({ "service": service, "at": line.at, "text": line.text });
            return self.ui.print_json_line(&document);
        }
        let mut text = String::new();
        if let Some(width) = self.width {
            text.push_str(&name_label(self.ui.paint, service, width));
            text.push(' ');
        }
        if !line.at.is_empty() {
            text.push_str(&line.at);
            text.push(' ');
        }
        self.ui.print(&format!("{text}{}\n", line.text))
    }
}

/// Which of these comes first: the earliest, and of those the first.
fn earliest<'a>(next: impl Iterator<Item = Option<&'a Entry>>) -> Option<usize> {
    let moments = next.enumerate();
    let moments = moments.filter_map(|(place, entry)| Some((entry?.at, place)));
    moments.min().map(|(_, place)| place)
}

fn print_last(
    printer: &Printer<'_>,
    sources: &mut [Source],
    number: usize,
    wanted: &Wanted,
) -> Result<(), CliError> {
    let mut lasts = Vec::new();
    for source in sources.iter_mut() {
        let last = source.log.last(number, u64::MAX, |entry| wanted.is(entry));
        lasts.push(last.map_err(|error| source.cannot(&error))?);
    }
    let found: usize = lasts.iter().map(std::collections::VecDeque::len).sum();
    let mut skipped = found.saturating_sub(number);
    while let Some(place) = earliest(lasts.iter().map(|last| last.front())) {
        let Some(entry) = lasts[place].pop_front() else {
            break;
        };
        if skipped > 0 {
            skipped -= 1;
        } else {
            printer.print(&sources[place].name, &entry)?;
        }
    }
    Ok(())
}

/// Prints the lines that are there now, merged by time.
fn print_all(
    printer: &Printer<'_>,
    sources: &mut [Source],
    wanted: &Wanted,
) -> Result<(), CliError> {
    // What is printed meanwhile must not keep us here.
    let begun = now();
    let advance = |source: &mut Source| {
        let next = source.log.next().map_err(|error| source.cannot(&error))?;
        Ok::<_, CliError>(next)
    };
    let mut next = Vec::new();
    for source in sources.iter_mut() {
        next.push(advance(source)?);
    }
    while let Some(place) = earliest(next.iter().map(Option::as_ref)) {
        let Some(entry) = next[place].take() else {
            break;
        };
        if wanted.is(&entry) {
            printer.print(&sources[place].name, &entry)?;
        }
        // The last line of each is printed; the rest comes when following.
        if entry.at <= begun {
            next[place] = advance(&mut sources[place])?;
        }
    }
    Ok(())
}

/// Prints what comes, also of services that print for the first time in the directory `of_all`.
fn follow(
    printer: &Printer<'_>,
    sources: &mut Vec<Source>,
    wanted: &Wanted,
    of_all: Option<&Path>,
) -> Result<(), CliError> {
    for look in 1_u64.. {
        if let Some(directory) = of_all.filter(|_| look % LOOKS_FOR_NAMES == 0) {
            for name in names_in(directory) {
                if sources.iter().any(|source| source.name == name) {
                    continue;
                }
                sources.push(Source::open(directory, name, wanted.since)?);
            }
        }
        let mut new = Vec::new();
        for (place, source) in sources.iter_mut().enumerate() {
            let mut entries = Vec::new();
            match source.log.read_new(usize::MAX, &mut entries) {
                Ok(None) => {}
                Ok(Some(_)) => printer.ui.note(&format!(
                    "some output of {} was removed before it could be read",
                    source.name
                )),
                Err(error) => return Err(source.cannot(&error)),
            }
            let entries = entries.into_iter().filter(|entry| wanted.is(entry));
            new.extend(entries.map(|entry| (place, entry)));
        }
        new.sort_by_key(|(place, entry)| (entry.at, *place));
        for (place, entry) in &new {
            printer.print(&sources[*place].name, entry)?;
        }
        std::thread::sleep(FOLLOW_INTERVAL);
    }
    Ok(())
}
