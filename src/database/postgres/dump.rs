//! A PostgreSQL database as its own programs copy it (`pg_dump`, `pg_restore`), if they are installed.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::database::postgres::own_database::OwnDatabase;
use crate::database::postgres::url::{PostgresUrl, TlsMode};

/// How long a dump of definitions may take.
const DUMP_MAX: Duration = Duration::from_secs(60);
/// How long a copy with rows may take.
const COPY_MAX: Duration = Duration::from_secs(300);
/// How much it may write.
const DUMP_BYTES_MAX: u64 = 32 << 20;
const MESSAGE_BYTES_MAX: usize = 300;

/// The script that makes an empty database have the definitions of the one at `url`.
///
/// # Errors
/// Why there is none, in words without user and password.
pub(crate) fn dump_schema(url: &str) -> Result<String, String> {
    let url = PostgresUrl::parse(url)?;
    let mut command = dumper(&url);
    command.args(["--schema-only", "--encoding=UTF8"]);
    let (succeeded, script, said) = run(&mut command)?;
    if !succeeded {
        return Err(failed("pg_dump", &said));
    }
    Ok(without_marks_for_psql(&script))
}

/// Copies definitions and rows of the database at `url` into `clone`, which is empty, and whose owner gets all of
/// it. `without_rows`: tables, by their names in quotes, of which the definitions suffice.
///
/// # Errors
/// Why it cannot be copied, in words without user and password.
pub(crate) fn copy_into(
    url: &str,
    clone: &OwnDatabase,
    without_rows: &[String],
) -> Result<(), String> {
    let (from, to) = (PostgresUrl::parse(url)?, PostgresUrl::parse(&clone.url())?);
    let mut dump = dumper(&from);
    dump.arg("--format=custom").arg("--compress=0");
    for table in without_rows {
        dump.arg(format!("--exclude-table-data={table}"));
    }
    let mut restore = program("pg_restore", &to);
    restore
        .args([
            "--no-owner",
            "--no-privileges",
            "--exit-on-error",
            "--dbname",
        ])
        .arg(&to.database);
    let mut dumping = start("pg_dump", &mut dump)?;
    let archive = dumping.stdout.take().map_or_else(Stdio::null, Stdio::from);
    restore.stdin(archive);
    let restoring = match start("pg_restore", &mut restore) {
        Ok(child) => child,
        Err(why) => {
            let _ = dumping.kill();
            let _ = dumping.wait();
            return Err(why);
        }
    };
    // Once one of them has ended badly, the other one ends too: the pipe between them is closed.
    let dumped = std::thread::spawn(move || finish("pg_dump", dumping, COPY_MAX));
    let restored = finish("pg_restore", restoring, COPY_MAX);
    let dumped = dumped
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    // What the second one says of a dump that breaks off is no news.
    let (is_dumped, _, said_by_dump) = dumped?;
    let has_said = !said_by_dump.trim().is_empty() && !said_by_dump.contains("Broken pipe");
    if !is_dumped && has_said {
        return Err(failed("pg_dump", &said_by_dump));
    }
    match restored? {
        (true, _, _) if is_dumped => Ok(()),
        (true, _, _) => Err(failed("pg_dump", &said_by_dump)),
        (false, _, said) => Err(failed("pg_restore", &said)),
    }
}

fn failed(program: &str, said: &str) -> String {
    let said = crate::domain::redact::truncate(said.trim(), MESSAGE_BYTES_MAX);
    format!("{program} failed: {}", said.replace('\n', " "))
}

fn dumper(url: &PostgresUrl) -> Command {
    let mut command = program("pg_dump", url);
    command
        .args(["--no-owner", "--no-privileges", "--no-comments"])
        .args([
            "--no-publications",
            "--no-subscriptions",
            "--no-security-labels",
            "--no-tablespaces",
            "--lock-wait-timeout=5000",
        ])
        .stdin(Stdio::null());
    command
}

/// One of the server's programs, which connects with this URL and asks nothing.
fn program(name: &str, url: &PostgresUrl) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut command = Command::new(name);
    command
        .arg("--no-password")
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
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // Not as an argument, which everybody on the host can read.
    if let Some(password) = &url.password {
        command.env("PGPASSWORD", password);
    }
    if let Some(file) = &url.root_certificate {
        command.env("PGSSLROOTCERT", file);
    }
    command
}

/// Without the lines `\restrict` and `\unrestrict`, with which `pg_dump` begins and ends a script for psql.
/// Their places stay, so that lines keep their numbers.
pub(crate) fn without_marks_for_psql(script: &str) -> String {
    let is_mark = |line: &str| line.starts_with("\\restrict ") || line.starts_with("\\unrestrict ");
    script
        .split_inclusive('\n')
        .map(|line| if is_mark(line) { "\n" } else { line })
        .collect()
}

/// Runs it to its end, within its limits: whether it succeeded, what it wrote, what it said.
fn run(command: &mut Command) -> Result<(bool, String, String), String> {
    finish("pg_dump", start("pg_dump", command)?, DUMP_MAX)
}

fn start(name: &str, command: &mut Command) -> Result<Child, String> {
    command.spawn().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("the program {name} is not installed"),
        _ => format!("{name} cannot be started: {error}"),
    })
}

fn finish(
    name: &str,
    mut child: Child,
    time_max: Duration,
) -> Result<(bool, String, String), String> {
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
            Ok(None) if begun.elapsed() > time_max => {
                break Err(format!("{name} took longer than {} s", time_max.as_secs()));
            }
            Ok(None) => std::thread::sleep(Duration::from_millis(20)),
            Err(error) => break Err(format!("{name} cannot be waited for: {error}")),
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
        return Err(format!("{name} wrote more than {DUMP_BYTES_MAX} bytes"));
    }
    let script = String::from_utf8(stdout).map_err(|_| format!("{name} wrote no UTF-8"))?;
    let said = String::from_utf8_lossy(&stderr).into_owned();
    Ok((status.success(), script, said))
}
