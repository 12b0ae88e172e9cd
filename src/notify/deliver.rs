//! Delivers one document: to a program, or to an address.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hyper::header::{CONTENT_TYPE, HeaderValue};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::http::{BodyLimit, Client, Target};
use crate::manifest::{Environment, Notify, NotifyBy, WebhookShape};

/// Time between two looks at a program that runs.
const POLL: Duration = Duration::from_millis(10);
/// How much is read of an answer.
const ANSWER_BYTES: usize = 4 << 10;

/// Where it goes, with every variable filled in.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Address {
    Program {
        argv: Vec<String>,
        workspace: std::path::PathBuf,
    },
    Webhook {
        url: String,
        shape: WebhookShape,
    },
}

impl Address {
    /// # Errors
    /// A variable has no value. Its name is said, never a value.
    pub(super) fn of(
        entry: &Notify,
        workspace: &Path,
        environment: &Environment,
    ) -> Result<Self, String> {
        let expand = |text: &String| environment.expand(text).map_err(|e| e.to_string());
        Ok(match &entry.by {
            NotifyBy::Exec(argv) => Self::Program {
                argv: argv.iter().map(expand).collect::<Result<_, _>>()?,
                workspace: workspace.to_owned(),
            },
            NotifyBy::Webhook { url, shape } => Self::Webhook {
                url: expand(url)?,
                shape: *shape,
            },
        })
    }
}

/// Delivers it within the time.
///
/// # Errors
/// Why not. It never holds the address, which may be a secret.
pub(super) fn deliver(
    address: &Address,
    document: &serde_json::Value,
    within: Duration,
) -> Result<(), String> {
    match address {
        Address::Program { argv, workspace } => {
            run(argv, workspace, document.to_string().as_bytes(), within)
        }
        Address::Webhook { url, shape } => {
            let body = match shape {
                WebhookShape::Json => document.to_string(),
                WebhookShape::Slack => super::notice::slack(document).to_string(),
            };
            post(url, body, within)
        }
    }
}

fn run(argv: &[String], workspace: &Path, input: &[u8], within: Duration) -> Result<(), String> {
    let (program, arguments) = argv.split_first().ok_or("the command is empty")?;
    let until = Instant::now() + within;
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(workspace)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|error| format!("the program cannot be run: {error}"))?;
    // The document is smaller than a pipe, so that this waits for nobody.
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(input).and_then(|()| stdin.write_all(b"\n"));
    }
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(format!("the program ended with {status}")),
            Ok(None) if Instant::now() < until => std::thread::sleep(POLL),
            Ok(None) => {
                // All of it: what it started must not go on for ever. It is not yet waited for, so the group is ours.
                if let Ok(group) = i32::try_from(child.id()) {
                    let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
                }
                let _ = child.wait();
                let after = within.as_secs_f32();
                return Err(format!("the program did not end within {after:.1} s"));
            }
            Err(error) => return Err(format!("the program cannot be waited for: {error}")),
        }
    }
}

fn post(url: &str, body: String, within: Duration) -> Result<(), String> {
    let (target, path) = Target::of_url(url).map_err(|why| format!("the address {why}"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(|error| format!("no runtime: {error}"))?;
    let posted = async {
        let mut client = Client::new(target, None).map_err(|error| error.to_string())?;
        let headers = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        let posted = client.post(&path, &headers, body, BodyLimit::First(ANSWER_BYTES));
        let answer = posted.await.map_err(|error| error.to_string())?;
        match answer.status {
            200..=299 => Ok(()),
            status => Err(format!("it answers with status {status}")),
        }
    };
    let outcome = runtime.block_on(async {
        let timed = tokio::time::timeout(within, posted).await;
        timed.unwrap_or_else(|_| Err(format!("no answer within {:.1} s", within.as_secs_f32())))
    });
    // The name of a host that is still being looked up must not hold us up.
    runtime.shutdown_background();
    outcome
}
