//! The definitions of a PostgreSQL database as a script, by the server's own program `pg_dump`, if it is
//! installed.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::postgres_url::{PostgresUrl, TlsMode};

/// How long it may take.
const DUMP_MAX: Duration = Duration::from_secs(60);
/// How much it may write.
const DUMP_BYTES_MAX: u64 = 32 << 20;
const MESSAGE_BYTES_MAX: usize = 300;

/// The script that makes an empty database have the definitions of the one at `url`.
///
/// # Errors
/// Why there is none, in words without user and password.
pub fn dump_schema(url: &str) -> Result<String, String> {
    let url = PostgresUrl::parse(url)?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut command = Command::new("pg_dump");
    command
        .args([
            "--schema-only",
            "--no-owner",
            "--no-privileges",
            "--no-comments",
        ])
        .args([
            "--no-publications",
            "--no-subscriptions",
            "--no-security-labels",
            "--no-tablespaces",
        ])
        .args([
            "--no-password",
            "--encoding=UTF8",
            "--lock-wait-timeout=5000",
        ])
        .env_clear()
        .env("PATH", path)
        .env("PGHOST", &url.host)
        .env("PGPORT", url.port.to_string())
        .env("PGUSER", &url.user)
        .env("PGDATABASE", &url.database)
        .env("PGPASSFILE", "/dev/null")
        .env("PGCONNECT_TIMEOUT", "5")
        .env(
            "PGSSLMODE",
            match url.tls {
                TlsMode::Disable => "disable",
                TlsMode::Prefer => "prefer",
                TlsMode::Require => "require",
                TlsMode::VerifyCa => "verify-ca",
                TlsMode::VerifyFull => "verify-full",
            },
        )
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // Not as an argument, which everybody on the host can read.
    if let Some(password) = &url.password {
        command.env("PGPASSWORD", password);
    }
    if let Some(file) = &url.root_certificate {
        command.env("PGSSLROOTCERT", file);
    }
    let (succeeded, script, said) = run(&mut command)?;
    if !succeeded {
        let said = crate::domain::redact::truncate(said.trim(), MESSAGE_BYTES_MAX);
        return Err(format!("pg_dump failed: {}", said.replace('\n', " ")));
    }
    Ok(without_marks_for_psql(&script))
}

/// Without the lines `\restrict` and `\unrestrict`, with which `pg_dump` begins and ends a script for psql.
/// Their places stay, so that lines keep their numbers.
pub(super) fn without_marks_for_psql(script: &str) -> String {
    let is_mark = |line: &str| line.starts_with("\\restrict ") || line.starts_with("\\unrestrict ");
    script
        .split_inclusive('\n')
        .map(|line| if is_mark(line) { "\n" } else { line })
        .collect()
}

/// Runs it to its end, within its limits: whether it succeeded, what it wrote, what it said.
fn run(command: &mut Command) -> Result<(bool, String, String), String> {
    let mut child = command.spawn().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "the program pg_dump is not installed".to_owned(),
        _ => format!("pg_dump cannot be started: {error}"),
    })?;
    let read = |pipe: Option<Box<dyn Read + Send>>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = pipe.map(|pipe| pipe.take(DUMP_BYTES_MAX + 1).read_to_end(&mut bytes));
            bytes
        })
    };
    let stdout = read(child.stdout.take().map(|pipe| Box::new(pipe) as _));
    let stderr = read(child.stderr.take().map(|pipe| Box::new(pipe) as _));
    let begun = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Ok(status),
            Ok(None) if begun.elapsed() > DUMP_MAX => {
                break Err(format!("pg_dump took longer than {} s", DUMP_MAX.as_secs()));
            }
            Ok(None) => std::thread::sleep(Duration::from_millis(20)),
            Err(error) => break Err(format!("pg_dump cannot be waited for: {error}")),
        }
    };
    if status.is_err() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let text = |thread: std::thread::JoinHandle<Vec<u8>>| thread.join().unwrap_or_default();
    let (stdout, stderr) = (text(stdout), text(stderr));
    let status = status?;
    if stdout.len() as u64 > DUMP_BYTES_MAX {
        return Err(format!("pg_dump wrote more than {DUMP_BYTES_MAX} bytes"));
    }
    let script = String::from_utf8(stdout).map_err(|_| "pg_dump wrote no UTF-8".to_owned())?;
    let said = String::from_utf8_lossy(&stderr).into_owned();
    Ok((status.success(), script, said))
}
