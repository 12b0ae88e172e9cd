//! The command line: one file a command; what they print is made in `render`.

mod boot;
mod boots;
mod ci;
mod context;
mod demo;
mod diff;
pub(crate) mod exit;
mod fixes;
mod health;
mod init;
mod log;
mod logs;
mod missions;
mod options;
mod pager;
mod preflight;
mod progress;
mod reload;
mod render;
mod replay;
mod report;
mod running;
mod sandbox;
mod screen;
mod shell;
mod signal;
mod steer;
mod stop;
mod timeline;
mod top;
mod validate;
mod wait;
mod worker;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use context::Ui;
use options::Global;

/// Unbreakable Boot System: checks an application before it boots, boots it layer by layer, heals
/// what fails, and remembers everything.
#[derive(Debug, Parser)]
#[command(
    name = "ubs",
    version,
    max_term_width = 100,
    disable_help_subcommand = true
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Unpack a real, broken application, heal it, boot it, show what happened
    Demo(demo::Args),
    /// Look at the workspace and write a commented ubs.toml
    Init(init::Args),
    /// Run the checks and decide GO or NO-GO, without a boot
    Preflight(preflight::Args),
    /// Check, heal, start the layers, and supervise; Ctrl-C stops everything in order
    Boot(boot::Args),
    /// Ask the running supervisor how things stand: all of it, or one service
    Status(health::StatusArgs),
    /// Show the running system on the whole terminal: services, output, missions
    Top(top::Args),
    /// Start services that are stopped, done or given up
    Start(steer::StartArgs),
    /// Stop the running system in order, or only some services
    Stop(stop::Args),
    /// Stop services and start them again, with the environment as it is now
    Restart(steer::RestartArgs),
    /// Send a signal to the main process of a service
    Signal(signal::Args),
    /// Read the manifest again, and do what its changes ask for, and nothing else
    Reload(reload::Args),
    /// Run the checks on the running system now
    Validate(validate::Args),
    /// Wait until the system or a service is ready, stable or stopped
    Wait(wait::Args),
    /// Print what services printed, several of them merged by time
    Logs(logs::Args),
    /// Show the health projection, also of a past moment
    Health(health::Args),
    /// List the boots, newest first
    Boots(boots::Args),
    /// Show what happened in a boot, as a timeline, a state or events
    Replay(replay::Args),
    /// Show what the checks of a boot found, and how it stands or ended
    Report(report::Args),
    /// Show what was different between two boots
    Diff(diff::Args),
    /// The missions: list, show, and work on them
    Missions(missions::Args),
    /// Try a fix of a mission, and only say what came of it
    Try(missions::ProposeArgs),
    /// The fixes that were applied: list, show, take back
    Fixes(fixes::Args),
    /// Claim missions and work on them with the built-in fixers
    Worker(worker::Args),
    /// Run a command in the sandbox, or show what this host isolates
    Sandbox(sandbox::Args),
    /// Print completions for bash, zsh or fish
    Completions(shell::CompletionsArgs),
    /// Print the manual page, or write those of all commands
    Man(shell::ManArgs),
    /// The event log: verify, rebuild, export, import, backup, prune, stats
    Log(log::Args),
}

/// Runs the program; gives its exit code.
#[must_use]
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; a broken pipe while printing them is nobody's fault.
            let code = if error.use_stderr() {
                exit::USAGE
            } else {
                exit::GOOD
            };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let ui = Ui::new(&cli.global);
    start_tracing(cli.global.verbose);
    let outcome = match cli.command {
        Command::Demo(args) => demo::run(&ui, &cli.global, args),
        Command::Init(args) => init::run(&ui, &cli.global, args),
        Command::Preflight(args) => preflight::run(&ui, &cli.global, args),
        Command::Boot(args) => boot::run(&ui, &cli.global, args),
        Command::Status(args) => health::run_status(&ui, &cli.global, args),
        Command::Top(args) => top::run(&ui, &cli.global, args),
        Command::Start(args) => steer::run_start(&ui, &cli.global, args),
        Command::Stop(args) => stop::run(&ui, &cli.global, args),
        Command::Restart(args) => steer::run_restart(&ui, &cli.global, args),
        Command::Signal(args) => signal::run(&ui, &cli.global, args),
        Command::Reload(args) => reload::run(&ui, &cli.global, args),
        Command::Validate(args) => validate::run(&ui, &cli.global, args),
        Command::Wait(args) => wait::run(&ui, &cli.global, args),
        Command::Logs(args) => logs::run(&ui, &cli.global, args),
        Command::Health(args) => health::run(&ui, &cli.global, args),
        Command::Boots(args) => boots::run(&ui, &cli.global, args),
        Command::Replay(args) => replay::run(&ui, &cli.global, args),
        Command::Report(args) => report::run(&ui, &cli.global, args),
        Command::Diff(args) => diff::run(&ui, &cli.global, args),
        Command::Missions(args) => {
            let outcome = missions::run(&ui, &cli.global, args);
            running::poke(&cli.global);
            outcome
        }
        Command::Try(args) => missions::run_try(&ui, &cli.global, &args),
        Command::Fixes(args) => {
            let outcome = fixes::run(&ui, &cli.global, args);
            running::poke(&cli.global);
            outcome
        }
        Command::Worker(args) => worker::run(&ui, &cli.global, args),
        Command::Sandbox(args) => sandbox::run(&ui, &cli.global, args),
        Command::Completions(args) => shell::run_completions(&ui, Cli::command(), args),
        Command::Man(args) => shell::run_man(&ui, Cli::command(), &args),
        Command::Log(args) => log::run(&ui, &cli.global, args),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            ui.error(&error);
            // Programs get their one document all the same.
            if ui.json {
                let _ = ui.print_json_line(&error.to_json());
            }
            ExitCode::from(error.exit_code())
        }
    }
}

/// What ubs itself does, on standard error: off, unless asked for with `-vv` or `UBS_LOG`.
fn start_tracing(verbose: u8) {
    use tracing_subscriber::EnvFilter;
    let default = if verbose >= 2 {
        "ubs=debug"
    } else {
        "ubs=warn,ubs::said=info"
    };
    let filter = EnvFilter::try_from_env("UBS_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    // A second initialisation is harmless: the first one stays.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .try_init();
}
