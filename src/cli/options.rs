//! The options of every command.

use std::path::PathBuf;

use clap::ValueEnum;

/// Options of every command.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// The workspace: the application's directory
    #[arg(short = 'C', long = "workspace", global = true, value_name = "DIR")]
    pub(crate) workspace: Option<PathBuf>,
    /// The manifest [default: ubs.toml, searched upwards from the workspace]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) manifest: Option<PathBuf>,
    /// Where ubs keeps its log and state [default: .ubs in the workspace]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// Print one JSON document on standard output, and nothing else there
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Colour
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub(crate) color: Color,
    /// Print only the outcome
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Print more: details and tracebacks; twice: also what ubs itself does
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

impl Global {
    /// It says where the application is.
    pub(crate) fn names_a_place(&self) -> bool {
        self.workspace.is_some() || self.manifest.is_some() || self.state.is_some()
    }
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}
