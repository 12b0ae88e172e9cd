//! A real PostgreSQL server for a test: no other test uses it meanwhile, and it is as good as new.
//!
//! A test process starts as many servers as it has tests that need one at the same time: one for each thread of
//! tests. What a test leaves (databases, roles) is dropped when it gives its server back, and the next test gets the same
//! one. Tests look at what a whole server holds (that no role and no database is left behind), so they never share one at
//! the same moment. A test that changed settings or crashed its server keeps it to itself: it is ended with the test.
//!
//! Servers end with the test process, however that ends: a shell waits for the end of a pipe.
//!
//! Included with `#[path]`, beside `venv`. Where the machine has no server program, a test says so loudly and is
//! skipped; in CI that is a failure.

#![allow(dead_code, unreachable_pub)] // Each includer uses what it needs.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::venv::skipped;

/// How long a server may take until it answers.
const START_MAX: Duration = Duration::from_secs(60);

/// The password of the user `ann`; not trivial in a URL.
pub const PASSWORD: &str = "p@ss/w%rd";

/// Those that no test uses now.
static FREE: Mutex<Vec<Running>> = Mutex::new(Vec::new());

/// Ends the server (`$@` after the first) and removes its directory (`$1`) when its standard input is closed: when it
/// is asked to, or when the test process is gone.
const GUARD: &str = "dir=$1; shift; \"$@\" </dev/null & server=$!; trap '' INT TERM HUP; read -r line; \
                     kill -QUIT $server; wait $server; rm -rf \"$dir\"";

/// What a test may have left. Fails where something stays, and then the server is not used again.
const RESET: &str = "SELECT format('ALTER DATABASE %I IS_TEMPLATE false', datname) FROM pg_database WHERE datistemplate AND datname NOT LIKE 'template_' \\gexec
SELECT format('DROP DATABASE %I WITH (FORCE)', datname) FROM pg_database WHERE datname NOT LIKE 'template_' \\gexec
SELECT format('DROP ROLE %I', rolname) FROM pg_roles WHERE rolname <> 'postgres' AND rolname NOT LIKE 'pg\\_%' \\gexec
SELECT 1 / (count(*) = 0)::int FROM pg_db_role_setting;
SELECT 1 / (count(*) = 0)::int FROM pg_file_settings WHERE sourcefile LIKE '%.auto.conf';
SELECT 1 / (count(*) = 0)::int FROM pg_depend WHERE objid >= 16384;
SELECT 1 / (count(*) = 0)::int FROM pg_namespace WHERE oid >= 16384;
CREATE DATABASE postgres;
";

/// A server that one test has to itself.
pub struct Server {
    running: Option<Running>,
    pub port: u16,
    /// Its settings are no longer those of a new one.
    is_changed: AtomicBool,
}

/// A running server.
struct Running {
    /// The shell of [`GUARD`].
    guard: Child,
    port: u16,
    programs: PathBuf,
    dir: PathBuf,
}

impl Server {
    /// A server with a superuser `ann`, or says why the test is skipped.
    pub fn start() -> Option<Self> {
        let free = FREE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match free.map_or_else(Running::start, Ok) {
            Ok(running) => Some(Self {
                port: running.port,
                running: Some(running),
                is_changed: AtomicBool::new(false),
            }),
            Err(why) => {
                skipped("PostgreSQL server", &why);
                None
            }
        }
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("it runs until it is dropped")
    }

    /// The directory of the Unix socket.
    pub fn socket(&self) -> &Path {
        &self.running().dir
    }

    /// Lets the server speak TLS with these, in PEM form, from the next connection on.
    pub fn speak_tls(&self, certificate: &str, key: &str) {
        use std::os::unix::fs::PermissionsExt;
        self.is_changed.store(true, Ordering::Relaxed);
        let data = self.socket().join("data");
        for (name, text) in [("server.crt", certificate), ("server.key", key)] {
            let path = data.join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            if let Some(user) = unprivileged() {
                run(Command::new("chown").arg(user).arg(&path)).unwrap();
            }
        }
        self.sql("postgres", "ALTER SYSTEM SET ssl = on");
        self.reload();
    }

    /// Lets in whom these lines of `pg_hba.conf` say, from the next connection on.
    pub fn let_in(&self, lines: &str) {
        self.is_changed.store(true, Ordering::Relaxed);
        std::fs::write(self.socket().join("data/pg_hba.conf"), lines).unwrap();
        self.reload();
    }

    /// One of its processes is killed, so that it ends all connections and starts anew.
    pub fn crash(&self) {
        self.is_changed.store(true, Ordering::Relaxed);
        let asked = "SELECT min(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
        let pid = self.sql("postgres", asked);
        run(Command::new("kill").args(["-KILL", pid.trim()])).unwrap();
        let begin = Instant::now();
        while self.try_sql("postgres", "SELECT 1").is_err() {
            assert!(begin.elapsed() < START_MAX, "the server does not come back");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn reload(&self) {
        let loaded = || self.sql("postgres", "SELECT pg_conf_load_time()");
        let before = loaded();
        self.sql("postgres", "SELECT pg_reload_conf()");
        // The server does it some moments later.
        let begin = Instant::now();
        while loaded() == before {
            assert!(
                begin.elapsed() < START_MAX,
                "the server does not read its settings"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A URL with a password over TCP, as an application would have it.
    pub fn url(&self, scheme: &str, database: &str) -> String {
        format!(
            "{scheme}://ann:p%40ss%2Fw%25rd@127.0.0.1:{}/{database}",
            self.port
        )
    }

    /// The database `app` of `bob`, who is no superuser and may create databases, after a script of his; its URL.
    pub fn database_of_bob(&self, script: &str) -> String {
        let password = PASSWORD.replace('\'', "''");
        self.sql(
            "postgres",
            &format!("CREATE USER bob CREATEDB PASSWORD '{password}'"),
        );
        self.sql("postgres", "CREATE DATABASE app OWNER bob");
        self.sql("app", &format!("SET ROLE bob; {script}"));
        self.url("postgresql+asyncpg", "app")
            .replace("ann:", "bob:")
    }

    /// Somebody who is connected to a database and does nothing, until this is dropped.
    pub fn stay_connected(&self, database: &str) -> Connected {
        let child = self
            .psql(database)
            .args(["-c", "SELECT pg_sleep(600)"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let asked = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}' AND query LIKE '%sleep(600)'"
        );
        let begin = Instant::now();
        while self.sql("postgres", &asked).trim() != "1" {
            assert!(begin.elapsed() < START_MAX, "nobody connects");
            std::thread::sleep(Duration::from_millis(20));
        }
        Connected(child)
    }

    /// Runs a script, which must succeed.
    pub fn sql(&self, database: &str, script: &str) -> String {
        self.try_sql(database, script)
            .unwrap_or_else(|why| panic!("{why}\n{script}"))
    }

    pub fn try_sql(&self, database: &str, script: &str) -> Result<String, String> {
        run(self.psql(database).args(["-c", script]))
    }

    /// The definitions of a database as a script, with owners and rights.
    pub fn dump(&self, database: &str) -> String {
        let script = run(Command::new(self.running().programs.join("pg_dump"))
            .args(["--schema-only", "-U", "postgres", "-h"])
            .arg(self.socket())
            .args(["-p", &self.port.to_string(), "-d", database]))
        .unwrap_or_else(|why| panic!("{why}"));
        // A word that is another one each time.
        let is_mark =
            |line: &&str| line.starts_with("\\restrict") || line.starts_with("\\unrestrict");
        script
            .lines()
            .filter(|line| !is_mark(line))
            .collect::<Vec<_>>()
            .join("\n")
    }

    fn psql(&self, database: &str) -> Command {
        self.running().psql(database)
    }
}

/// See [`Server::stay_connected`].
pub struct Connected(Child);

impl Drop for Connected {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(running) = self.running.take() else {
            return;
        };
        if self.is_changed.load(Ordering::Relaxed) || running.reset().is_err() {
            running.end();
        } else {
            FREE.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(running);
        }
    }
}

impl Running {
    fn start() -> Result<Self, String> {
        let programs = programs().ok_or("the program `postgres` is not installed")?;
        let kept = tempfile::tempdir().map_err(|e| e.to_string())?;
        let dir = kept.path();
        let user = unprivileged();
        if let Some(user) = &user {
            run(Command::new("chown").arg(user).arg(dir))?;
        }
        let command = |program: &str| {
            let path = programs.join(program);
            match &user {
                None => Command::new(path),
                // The server refuses to run as root.
                Some(user) => {
                    let mut command = Command::new("setpriv");
                    command.args(["--reuid", user, "--regid", user, "--clear-groups"]);
                    command.arg(path);
                    command
                }
            }
        };
        let data = dir.join("data");
        fill(&data, user.as_deref(), || {
            run(command("initdb")
                .args([
                    "-U",
                    "postgres",
                    "-A",
                    "scram-sha-256",
                    "--auth-local",
                    "trust",
                ])
                .args(["-E", "UTF8", "--locale", "C", "--no-sync", "-D"])
                .arg(&data)
                .current_dir(dir))
        })?;
        let port = std::net::TcpListener::bind(("127.0.0.1", 0))
            .and_then(|listener| listener.local_addr())
            .map_err(|e| e.to_string())?
            .port();
        let server = command("postgres");
        let guard = Command::new("sh")
            .args(["-c", GUARD, "sh"])
            .arg(dir)
            .arg(server.get_program())
            .args(server.get_args())
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(dir)
            .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-F"])
            .current_dir(dir)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| e.to_string())?;
        let server = Self {
            guard,
            port,
            programs,
            dir: kept.keep(),
        };
        let begin = Instant::now();
        while let Err(why) = run(server.psql("postgres").args(["-c", "SELECT 1"])) {
            if begin.elapsed() > START_MAX {
                server.end();
                return Err(format!("it does not answer: {why}"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        server.make_ann()?;
        Ok(server)
    }

    fn make_ann(&self) -> Result<(), String> {
        let password = PASSWORD.replace('\'', "''");
        let script = format!("CREATE USER ann SUPERUSER PASSWORD '{password}'");
        run(self.psql("postgres").args(["-c", &script])).map(drop)
    }

    /// Makes it as good as new.
    fn reset(&self) -> Result<(), String> {
        let mut psql = self
            .psql("template1")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| e.to_string())?;
        let sent = psql
            .stdin
            .take()
            .map(|mut pipe| pipe.write_all(RESET.as_bytes()));
        let ended = psql.wait().map_err(|e| e.to_string())?;
        if !ended.success() || !matches!(sent, Some(Ok(()))) {
            return Err("something stays".to_owned());
        }
        self.make_ann()
    }

    fn end(mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }

    fn psql(&self, database: &str) -> Command {
        let mut command = Command::new(self.programs.join("psql"));
        command
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"])
            .args(["-U", "postgres", "-h"])
            .arg(&self.dir)
            .args(["-p", &self.port.to_string(), "-d", database]);
        command
    }
}

/// Makes the directory of a server's data: by `initdb` once, which takes seconds, then as a copy of that.
fn fill(
    data: &Path,
    user: Option<&str>,
    initdb: impl FnOnce() -> Result<String, String>,
) -> Result<(), String> {
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let mut above = program.ancestors();
    let Some(target) = above.find(|dir| dir.join("CACHEDIR.TAG").exists()) else {
        return initdb().map(drop);
    };
    let version = run(Command::new(programs().ok_or("no server")?.join("postgres")).arg("-V"))?;
    let version: String = version
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect();
    let kept = target.join("test-postgres").join(version);
    std::fs::create_dir_all(kept.parent().unwrap_or(target)).map_err(|e| e.to_string())?;
    let copy = |from: &Path, to: &Path| run(Command::new("cp").arg("-a").arg(from).arg(to));
    // Test processes run side by side; one makes it, the others wait.
    let lock = std::fs::File::create(kept.with_extension("lock")).map_err(|e| e.to_string())?;
    lock.lock().map_err(|e| e.to_string())?;
    if !kept.exists() {
        initdb()?;
        let unfinished = kept.with_extension("unfinished");
        let _ = std::fs::remove_dir_all(&unfinished);
        copy(data, &unfinished)?;
        return std::fs::rename(&unfinished, &kept).map_err(|e| e.to_string());
    }
    drop(lock);
    copy(&kept, data)?;
    if let Some(user) = user {
        run(Command::new("chown").arg("-R").arg(user).arg(data))?;
    }
    Ok(())
}

/// The directory of a server's programs: `UBS_TEST_POSTGRES`, or that of the newest one that is installed.
fn programs() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("UBS_TEST_POSTGRES") {
        return Some(PathBuf::from(named));
    }
    let mut found: Vec<PathBuf> = glob::glob("/usr/lib/postgresql/*/bin/postgres")
        .ok()?
        .filter_map(Result::ok)
        .collect();
    found.sort();
    found.pop()?.parent().map(Path::to_owned)
}

/// Whom the server runs as where the test runs as root.
fn unprivileged() -> Option<String> {
    let id = run(Command::new("id").arg("-u")).ok()?;
    if id.trim() != "0" {
        return None;
    }
    let has_own = Command::new("id").args(["-u", "postgres"]).output();
    let has_own = has_own.is_ok_and(|output| output.status.success());
    Some(if has_own { "postgres" } else { "nobody" }.to_owned())
}

fn run(command: &mut Command) -> Result<String, String> {
    let output = command
        .output()
        .map_err(|e| format!("cannot run {command:?}: {e}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!(
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    ))
}
