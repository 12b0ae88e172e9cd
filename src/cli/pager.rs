//! Long text on a terminal goes through the user's pager.

use std::io::Write;
use std::process::{Command, Stdio};

/// Colours stay, and what fits on one screen is only printed; as git does it.
const LESS: [&str; 2] = ["less", "-FRX"];

/// Shows `text` with `$PAGER`, or with less. False if there is none; then nothing was shown.
pub(super) fn page(text: &str) -> bool {
    let wanted = std::env::var("PAGER")
        .ok()
        .filter(|pager| !pager.trim().is_empty());
    let argv = match &wanted {
        Some(pager) => shlex::split(pager).unwrap_or_default(),
        None => LESS.map(str::to_owned).to_vec(),
    };
    let Some((program, arguments)) = argv.split_first() else {
        return false;
    };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped());
    if std::env::var_os("LESS").is_none() {
        command.env("LESS", "FRX");
    }
    let Ok(mut pager) = command.spawn() else {
        return false;
    };
    if let Some(mut stdin) = pager.stdin.take() {
        // Who leaves the pager early has seen enough.
        let _ = stdin.write_all(text.as_bytes());
    }
    let _ = pager.wait();
    true
}
