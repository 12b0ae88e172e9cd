//! A real PostgreSQL server in a directory of its own, for one test; gone with it.
//!
//! Included with `#[path]`. Where the machine has no server program, a test says so loudly and is
//! skipped; in CI that is a failure.

#![allow(dead_code)] // Each includer uses what it needs.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take until it answers.
const START_MAX: Duration = Duration::from_secs(60);

/// The password of the user `ann`; not trivial in a URL.
pub const PASSWORD: &str = "p@ss/w%rd";

/// A running server.
pub struct Server {
    child: Child,
    pub port: u16,
    programs: PathBuf,
    dir: tempfile::TempDir,
}

impl Server {
    /// Starts a server, or says why the test is skipped.
    pub fn start() -> Option<Self> {
        match Self::try_start() {
            Ok(server) => Some(server),
            Err(why) => {
                eprintln!("SKIPPED: no PostgreSQL server for this test: {why}");
                assert!(
                    std::env::var_os("CI").is_none(),
                    "CI must have PostgreSQL: {why}"
                );
                None
            }
        }
    }

    fn try_start() -> Result<Self, String> {
        let programs = programs().ok_or("the program `postgres` is not installed")?;
        let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
        let user = unprivileged();
        if let Some(user) = &user {
            run(Command::new("chown").arg(user).arg(dir.path()))?;
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
        let data = dir.path().join("data");
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
                .current_dir(dir.path()))
        })?;
        let port = std::net::TcpListener::bind(("127.0.0.1", 0))
            .and_then(|listener| listener.local_addr())
            .map_err(|e| e.to_string())?
            .port();
        let child = command("postgres")
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(dir.path())
            .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-F"])
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| e.to_string())?;
        let server = Self {
            child,
            port,
            programs,
            dir,
        };
        let begin = Instant::now();
        while let Err(why) = server.try_sql("postgres", "SELECT 1") {
            if begin.elapsed() > START_MAX {
                return Err(format!("it does not answer: {why}"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let password = PASSWORD.replace('\'', "''");
        server.sql(
            "postgres",
            &format!("CREATE USER ann SUPERUSER PASSWORD '{password}'"),
        );
        Ok(server)
    }

    /// The directory of the Unix socket.
    pub fn socket(&self) -> &Path {
        self.dir.path()
    }

    /// Lets the server speak TLS with these, in PEM form, from the next connection on.
    pub fn speak_tls(&self, certificate: &str, key: &str) {
        use std::os::unix::fs::PermissionsExt;
        let data = self.dir.path().join("data");
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
        std::fs::write(self.dir.path().join("data/pg_hba.conf"), lines).unwrap();
        self.reload();
    }

    /// One of its processes is killed, so that it ends all connections and starts anew.
    pub fn crash(&self) {
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
        let script = run(Command::new(self.programs.join("pg_dump"))
            .args(["--schema-only", "-U", "postgres", "-h"])
            .arg(self.dir.path())
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
        let mut command = Command::new(self.programs.join("psql"));
        command
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"])
            .args(["-U", "postgres", "-h"])
            .arg(self.dir.path())
            .args(["-p", &self.port.to_string(), "-d", database]);
        command
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
        // SIGINT: close the connections and end in order.
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args(["-INT", &pid]).status();
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(10) {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
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
