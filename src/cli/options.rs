//! The options of every command.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;

use crate::manifest::{Choice, ChoiceError, Manifest, duration_of};

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

/// Which services a command is about.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Chosen {
    /// Only these services, with what they need
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// Services of this profile, too; may be given several times
    #[arg(
        long = "profile",
        value_name = "NAME",
        value_delimiter = ',',
        env = "UBS_PROFILES"
    )]
    profiles: Vec<String>,
}

impl Chosen {
    /// Leaves in the manifest what was chosen.
    ///
    /// # Errors
    /// The manifest has no such service or profile.
    pub(crate) fn apply(&self, manifest: &mut Manifest) -> Result<(), ChoiceError> {
        manifest.choose(&self.choice())
    }

    /// What leads another `ubs` to the same choice.
    pub(crate) fn as_arguments(&self) -> Vec<String> {
        let choice = self.choice();
        let profiles = choice
            .profiles
            .iter()
            .map(|name| format!("--profile={name}"));
        profiles
            .chain(["--".to_owned()])
            .chain(choice.services)
            .collect()
    }

    fn choice(&self) -> Choice {
        let given = self.profiles.iter().filter(|name| !name.is_empty());
        Choice {
            services: self.services.clone(),
            profiles: given.cloned().collect(),
        }
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

/// A length of time on the command line: `500ms`, `60s`, `5m`; a number alone counts seconds.
pub(crate) fn length_of_time(text: &str) -> Result<Duration, String> {
    // Longer than a clock can be added to is as good as for ever.
    let seconds = text
        .parse()
        .ok()
        .map(|s: u64| Duration::from_secs(s.min(u64::from(u32::MAX))));
    let with_unit = || duration_of(text).map(Duration::from_millis);
    seconds
        .or_else(with_unit)
        .ok_or_else(|| "it is not a length of time; give one such as 500ms, 60s or 5m".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_has_a_unit_or_counts_seconds() {
        assert_eq!(length_of_time("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(length_of_time("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(length_of_time("60"), Ok(Duration::from_secs(60)));
        assert!(length_of_time("soon").is_err());
    }
}
