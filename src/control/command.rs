//! What other commands of `ubs` do, done by them: each in a process of its own, with `--json`.
//!
//! So there is one implementation of each; a trial that takes minutes, or that a hostile proposal makes fail, is not
//! the supervisor's; and what is asked here waits for locks as a person's command does.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::answer::{document, failure};

/// Commands at a time.
const COMMANDS_MAX: usize = 8;
/// Longest answer of a command.
const OUTPUT_BYTES_MAX: u64 = 64 << 20;

/// Runs commands of `ubs` for the application of this supervisor.
#[derive(Clone)]
pub(super) struct Commands {
    /// The program, and the options that lead it to the application.
    program: Arc<[OsString]>,
    running: Arc<Semaphore>,
}

/// What a command is given.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Line {
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its standard input.
    pub input: Option<String>,
    /// It only names a thing: one that is called wrongly is not there.
    pub names: bool,
    /// What it says is the answer, also if that is no: it was only asked.
    pub asks: bool,
}

/// What a command said, and its exit code.
struct Said {
    code: Option<i32>,
    document: Value,
}

impl Commands {
    pub(super) fn new(program: Vec<OsString>) -> Self {
        Self {
            program: program.into(),
            running: Arc::new(Semaphore::new(COMMANDS_MAX)),
        }
    }

    /// Runs it to its end. One whose caller goes away goes on: the log says what came of it.
    pub(super) async fn answer(&self, line: Line) -> Response {
        let Ok(permit) = Arc::clone(&self.running).try_acquire_owned() else {
            let message = format!("{COMMANDS_MAX} requests of this kind are at work; try again");
            return failure(
                StatusCode::SERVICE_UNAVAILABLE,
                "too_many_commands",
                message,
            );
        };
        let program = Arc::clone(&self.program);
        let (names, asks) = (line.names, line.asks);
        let ran = tokio::task::spawn_blocking(move || {
            let said = run(&program, line);
            drop(permit);
            said
        });
        match ran.await {
            Ok(Ok(said)) => answer_of(said, names, asks),
            Ok(Err(why)) => failure(StatusCode::INTERNAL_SERVER_ERROR, "failed", why),
            Err(error) => failure(
                StatusCode::INTERNAL_SERVER_ERROR,
                "failed",
                format!("the command was lost: {error}"),
            ),
        }
    }
}

fn run(program: &[OsString], line: Line) -> Result<Said, String> {
    let cannot = |error: std::io::Error| format!("ubs cannot be run for this: {error}");
    let (file, options) = program
        .split_first()
        .ok_or_else(|| "this supervisor runs no commands".to_owned())?;
    let stdin = match line.input {
        Some(_) => Stdio::piped(),
        None => Stdio::null(),
    };
    let mut child = Command::new(file)
        .args(options)
        .arg("--json")
        .args(&line.arguments)
        // The caller says who it is.
        .env_remove("UBS_WORKER")
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        // Ctrl-C is for the supervisor.
        .process_group(0)
        .spawn()
        .map_err(cannot)?;
    // Both ends at once: neither side waits for the other for ever.
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let mut output = Vec::new();
    let read = std::thread::scope(|scope| {
        if let (Some(mut stdin), Some(input)) = (stdin, &line.input) {
            // One that ends without reading all of it says why itself.
            scope.spawn(move || drop(stdin.write_all(input.as_bytes())));
        }
        let stdout = stdout.ok_or_else(|| std::io::Error::other("it has no output"))?;
        stdout.take(OUTPUT_BYTES_MAX).read_to_end(&mut output)
    });
    let status = child.wait().map_err(cannot)?;
    read.map_err(cannot)?;
    let document = match serde_json::from_slice(&output) {
        Ok(document) => document,
        Err(_) => {
            return Err(format!(
                "the command ended with {status} and gave no document"
            ));
        }
    };
    let code = status.code();
    Ok(Said { code, document })
}

fn answer_of(said: Said, names: bool, asks: bool) -> Response {
    let error = said.document.get("error").and_then(Value::as_object);
    let Some(error) = error else {
        return match said.code {
            Some(0) => document(StatusCode::OK, &said.document),
            Some(1) if asks => document(StatusCode::OK, &said.document),
            // Nothing was there to be taken.
            _ if said.document.is_null() => failure(
                StatusCode::NOT_FOUND,
                "no_mission",
                "no mission can be taken now",
            ),
            // The mission did not move on; the document says why.
            _ => document(StatusCode::CONFLICT, &said.document),
        };
    };
    let text = |key: &str| error.get(key).and_then(Value::as_str).unwrap_or("");
    let message = match (text("message"), text("help")) {
        (message, "") => message.to_owned(),
        (message, help) => format!("{message}; {help}"),
    };
    // The stable names of docs/missions.md.
    match text("code") {
        "not_found" => failure(StatusCode::NOT_FOUND, "not_found", message),
        "usage" if names => failure(StatusCode::NOT_FOUND, "not_found", message),
        code @ ("ambiguous" | "bad_lease" | "bad_proposal") => {
            failure(StatusCode::BAD_REQUEST, code, message)
        }
        code @ ("held" | "not_holder" | "too_early" | "wrong_status" | "changed_meanwhile"
        | "no_trial" | "not_applied" | "not_undone") => {
            failure(StatusCode::CONFLICT, code, message)
        }
        _ if said.code == Some(2) => failure(StatusCode::BAD_REQUEST, "bad_request", message),
        _ => failure(StatusCode::INTERNAL_SERVER_ERROR, "failed", message),
    }
}
