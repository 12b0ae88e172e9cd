//! `ubs completions` and `ubs man`: made of the command line itself, so that they never differ from it.

use std::path::{Path, PathBuf};

use super::context::{CliError, Ui};
use super::exit;

/// Print completions of the commands and options for a shell.
///
/// bash: `source <(ubs completions bash)`; zsh: `ubs completions zsh > ~/.zfunc/_ubs`;
/// fish: `ubs completions fish > ~/.config/fish/completions/ubs.fish`.
#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArgs {
    /// For which shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

/// A shell that has completions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Print the manual page, or write that of each command into a directory.
#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// Where ubs.1, ubs-boot.1 and the others are written
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

pub(crate) fn run_completions(
    ui: &Ui,
    mut command: clap::Command,
    args: CompletionsArgs,
) -> Result<u8, CliError> {
    ui.print(&completions(&mut command, args.shell))?;
    Ok(exit::GOOD)
}

fn completions(command: &mut clap::Command, shell: Shell) -> String {
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, command, "ubs", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

pub(crate) fn run_man(ui: &Ui, command: clap::Command, args: &ManArgs) -> Result<u8, CliError> {
    let Some(directory) = &args.directory else {
        ui.print(&page(command)?)?;
        return Ok(exit::GOOD);
    };
    let cannot = |path: &Path, error: &std::io::Error| {
        CliError::usage(
            format!("cannot write {}: {error}", path.display()),
            "name a directory that may be written, such as ~/.local/share/man/man1",
        )
    };
    std::fs::create_dir_all(directory).map_err(|error| cannot(directory, &error))?;
    let mut written = Vec::new();
    for (name, text) in pages(command)? {
        let path = directory.join(format!("{name}.1"));
        std::fs::write(&path, text).map_err(|error| cannot(&path, &error))?;
        written.push(path.display().to_string());
    }
    if ui.json {
        ui.print_json(&written)?;
    } else if !ui.quiet {
        let count = super::render::count(written.len(), "page");
        ui.print(&format!("{count} in {}\n", directory.display()))?;
    }
    Ok(exit::GOOD)
}

fn page(command: clap::Command) -> Result<String, CliError> {
    let mut text = Vec::new();
    let page = clap_mangen::Man::new(command).section("1");
    page.render(&mut text).map_err(CliError::Output)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The page of each command, by its name.
fn pages(mut command: clap::Command) -> Result<Vec<(String, String)>, CliError> {
    command.build();
    let mut pages = Vec::new();
    let mut left = vec![("ubs".to_owned(), command)];
    while let Some((name, command)) = left.pop() {
        for below in command.get_subcommands().filter(|c| !c.is_hide_set()) {
            left.push((format!("{name}-{}", below.get_name()), below.clone()));
        }
        // clap keeps a name for the lifetime of the program, which is over after this.
        let title: &'static str = Box::leak(name.clone().into_boxed_str());
        pages.push((name, page(command.name(title))?));
    }
    Ok(pages)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn every_command_is_completed_and_has_a_page() {
        let mut command = Cli::command();
        let names: Vec<String> = command
            .get_subcommands()
            .map(|below| below.get_name().to_owned())
            .collect();
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = completions(&mut command, shell);
            for name in &names {
                assert!(script.contains(name.as_str()), "{shell:?}: {name}");
            }
            assert!(script.contains("until-ready"), "{shell:?}");
        }
        let pages = pages(Cli::command()).unwrap();
        for name in names {
            let page = pages
                .iter()
                .find(|(page, _)| *page == format!("ubs-{name}"));
            let (_, text) = page.expect(&name);
            assert!(text.contains(".SH SYNOPSIS"), "{name}");
        }
        assert!(pages.iter().any(|(name, _)| name == "ubs-log-verify"));
    }
}
