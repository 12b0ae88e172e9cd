//! `ubs init`: looks at a workspace and writes a commented `ubs.toml`. Runs nothing of the application.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::context::{CliError, Ui};
use super::exit;
use super::options::Global;
use super::render;
use crate::init::{InitError, Survey, look};
use crate::manifest::MANIFEST_NAME;

/// What is said on the terminal of what is unsure; the file has all of it.
const UNSURE_SHOWN_MAX: usize = 12;

/// Look at the workspace and write a commented ubs.toml
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Replace a manifest that is there already
    #[arg(long)]
    force: bool,
    /// Print the manifest on standard output and write nothing
    #[arg(long)]
    print: bool,
}

pub(crate) fn run(ui: &Ui, global: &Global, args: Args) -> Result<u8, CliError> {
    let (workspace, path) = place(global)?;
    let writes = !args.print;
    // Said before the sources are read; a file that comes meanwhile is not overwritten either.
    if writes && !args.force && path.symlink_metadata().is_ok() {
        return Err(exists(&path));
    }
    if ui.progress {
        ui.note(&format!("looking at {} ...", workspace.display()));
    }
    let survey = look(&workspace)?;
    if writes {
        survey
            .save(&path, args.force)
            .map_err(|error| match error {
                InitError::Exists(path) => exists(&path),
                other => other.into(),
            })?;
    }
    if ui.json {
        let mut document = json!({
            "path": path.display().to_string(),
            "workspace": workspace.display().to_string(),
            "written": writes,
            "found": survey.found,
            "unsure": survey.unsure,
            "not_carried": survey.not_carried,
            "messages": survey.messages,
        });
        if args.print {
            document["text"] = json!(survey.text);
        }
        ui.print_json(&document)?;
    } else if args.print {
        ui.print(&survey.text)?;
        for message in &survey.messages {
            ui.note(message);
        }
    } else {
        ui.print(&text(ui, &path, &survey))?;
    }
    Ok(exit::GOOD)
}

/// The workspace, and where its manifest is written.
fn place(global: &Global) -> Result<(PathBuf, PathBuf), CliError> {
    let parent = global
        .manifest
        .as_deref()
        .and_then(Path::parent)
        .filter(|parent| !parent.as_os_str().is_empty());
    let start = global.workspace.as_deref().or(parent);
    let start = start.unwrap_or(Path::new("."));
    let wrong = |why: String| {
        CliError::usage(
            format!("cannot look at {}: {why}", start.display()),
            "give the application's directory with -C DIR",
        )
    };
    let workspace = start
        .canonicalize()
        .map_err(|error| wrong(error.to_string()))?;
    if !workspace.is_dir() {
        return Err(wrong("it is not a directory".to_owned()));
    }
    let path = match &global.manifest {
        Some(file) => std::path::absolute(file).map_err(|error| wrong(error.to_string()))?,
        None => workspace.join(MANIFEST_NAME),
    };
    Ok((workspace, path))
}

fn exists(path: &Path) -> CliError {
    CliError::usage(
        format!("{} is there already", path.display()),
        "--force replaces it; --print only shows what would be written",
    )
}

fn text(ui: &Ui, path: &Path, survey: &Survey) -> String {
    let strong = |text: &str| ui.paint.tone(render::Tone::Strong, text);
    let mut text = format!("wrote {}\n", strong(&path.display().to_string()));
    if ui.quiet {
        return text;
    }
    let found = &survey.found;
    if survey.is_empty() {
        text.push_str(
            "\nNothing was found here that could be checked or started: no Python application, no variables,\n\
             no service of another process manager. The file explains what can be declared.\n",
        );
    } else {
        let from = match found.from[..] {
            [] => String::new(),
            _ => format!(" (from {})", found.from.join(", ")),
        };
        let none = |text: String| {
            if text.is_empty() {
                "none".to_owned()
            } else {
                text
            }
        };
        text.push('\n');
        for (what, value) in [
            ("sources", render::count(found.python_files, "Python file")),
            ("application", none(found.applications.join(", "))),
            (
                "variables",
                format!("{}, {} of them required", found.variables, found.required),
            ),
            ("schemas", found.schemas.to_string()),
            ("services", format!("{} expected", found.services)),
            ("layers", format!("{}{from}", none(found.layers.join(", ")))),
        ] {
            text.push_str(&wrapped(ui.width, &format!("  {what:<13}"), &value));
        }
    }
    if !survey.messages.is_empty() {
        text.push_str("\nnot used:\n");
        for message in &survey.messages {
            text.push_str(&wrapped(ui.width, "  ", message));
        }
    }
    if !survey.not_carried.is_empty() {
        text.push_str("\nnot carried over, because a manifest has no such key:\n");
        for left in &survey.not_carried {
            let service = left.service.iter().map(|name| format!(" {name}"));
            let service: String = service.collect();
            let line = format!("{}{service}: {}", left.place, left.keys.join(", "));
            text.push_str(&wrapped(ui.width, "  ", &line));
        }
    }
    // What was not carried over is told above, all of it.
    let unsure = survey.unsure.iter();
    let unsure: Vec<_> = unsure.filter(|unsure| !unsure.not_carried).collect();
    if !unsure.is_empty() {
        text.push_str(&format!(
            "\n{} to review, marked `# unsure:` in the file:\n",
            render::count(unsure.len(), "thing")
        ));
        for unsure in unsure.iter().take(UNSURE_SHOWN_MAX) {
            let line = format!("{}: {}", unsure.subject, unsure.message);
            text.push_str(&wrapped(ui.width, "  ", &line));
        }
        let more = unsure.len().saturating_sub(UNSURE_SHOWN_MAX);
        if more > 0 {
            text.push_str(&format!("  and {more} more\n"));
        }
    }
    text.push_str("\nnext: ubs preflight\n");
    text
}

/// Lines of this width, those behind the first one set in.
fn wrapped(width: usize, first: &str, text: &str) -> String {
    let indent = if first.trim().is_empty() {
        format!("{first}  ")
    } else {
        " ".repeat(first.chars().count())
    };
    let options = textwrap::Options::new(width)
        .initial_indent(first)
        .subsequent_indent(&indent);
    let mut lines = textwrap::fill(text, options);
    lines.push('\n');
    lines
}
