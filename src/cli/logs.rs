//! `ubs logs`: what a service printed, as the supervisor kept it.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::context::{AppPaths, CliError, Ui};
use super::exit;
use super::options::Global;
use crate::domain::redact::sanitise;

/// Time between two looks at the file with `--follow`.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(100);
/// Lines printed when none are asked for.
const LINES_DEFAULT: usize = 100;

/// Print what a service printed.
///
/// With --json and a service one document a line: service, moment, text.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which service; without it, the names of those that have output
    #[arg(value_name = "SERVICE")]
    service: Option<String>,
    /// The last so many lines
    #[arg(short = 'n', long, default_value_t = LINES_DEFAULT, value_name = "N")]
    lines: usize,
    /// Go on with what is printed, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
}

pub(crate) fn run(ui: &Ui, global: &Global, args: Args) -> Result<u8, CliError> {
    let place = AppPaths::find(global)?;
    let directory = place.state_dir.join("logs");
    let names = names_in(&directory);
    let Some(service) = args.service else {
        if ui.json {
            ui.print_json(&names)?;
        } else if names.is_empty() {
            ui.note("no service has printed anything here yet");
        } else {
            ui.print(&format!("{}\n", names.join("\n")))?;
        }
        return Ok(exit::GOOD);
    };
    // Only names that are there: nothing that a person types becomes a path.
    if !names.contains(&service) {
        let near = super::context::nearest(&service, &names);
        return Err(CliError::usage(
            format!("no output of a service `{service}` is kept here{near}"),
            "`ubs logs` lists the services that have output",
        ));
    }
    let path = directory.join(format!("{service}.log"));
    let cannot = |error: std::io::Error| {
        CliError::usage(
            format!("cannot read {}: {error}", path.display()),
            "run this as the user who booted the application",
        )
    };
    let mut file = BufReader::new(File::open(&path).map_err(cannot)?);
    let mut last: VecDeque<String> = VecDeque::new();
    let mut line = Vec::new();
    while file.read_until(b'\n', &mut line).map_err(cannot)? > 0 {
        if last.len() == args.lines {
            last.pop_front();
        }
        if args.lines > 0 {
            last.push_back(clean(&line));
        }
        line.clear();
    }
    for text in &last {
        print_line(ui, &service, text)?;
    }
    if args.follow {
        follow(ui, &service, &path, file)?;
    }
    Ok(exit::GOOD)
}

fn names_in(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            entry
                .file_name()
                .to_str()?
                .strip_suffix(".log")
                .map(str::to_owned)
        })
        .collect();
    names.sort();
    names
}

fn clean(line: &[u8]) -> String {
    sanitise(String::from_utf8_lossy(line).trim_end_matches('\n'))
}

/// With `--json` one document a line: the moment that the supervisor wrote, and the text.
fn print_line(ui: &Ui, service: &str, text: &str) -> Result<(), CliError> {
    if !ui.json {
        return ui.print(&format!("{text}\n"));
    }
    let (at, text) = text.split_once(' ').unwrap_or(("", text));
    ui.print_json_line(&json!({ "service": service, "at": at, "text": text }))
}

fn follow(ui: &Ui, service: &str, path: &Path, mut file: BufReader<File>) -> Result<(), CliError> {
    let mut line = Vec::new();
    loop {
        match file.read_until(b'\n', &mut line) {
            Ok(0) => {}
            Ok(_) if line.ends_with(b"\n") => {
                print_line(ui, service, &clean(&line))?;
                line.clear();
                continue;
            }
            Ok(_) => {}
            Err(error) => return Err(CliError::usage(error.to_string(), "try again")),
        }
        std::thread::sleep(FOLLOW_INTERVAL);
        // Put aside because it was full: go on with the new one.
        let (Ok(here), Ok(there)) = (file.get_ref().metadata(), fs::metadata(path)) else {
            continue;
        };
        let at_end = file.stream_position().is_ok_and(|at| at >= here.len());
        if at_end
            && here.ino() != there.ino()
            && let Ok(new) = File::open(path)
        {
            file = BufReader::new(new);
            line.clear();
        }
    }
}
