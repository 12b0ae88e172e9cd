//! Healthy applications in places where people keep them: each is GO, and what it lacks is healed. Each as who runs
//! the tests and, where that is root, as an ordinary user.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::venv;
use crate::support::{Run, ubs_binary};

const MODELS: &str = "from sqlalchemy import Column, Integer, String
from sqlalchemy.orm import declarative_base
Base = declarative_base()

class User(Base):
    __tablename__ = 'users'
    id = Column(Integer, primary_key=True)
    name = Column(String(80))

class Note(Base):
    __tablename__ = 'notes'
    id = Column(Integer, primary_key=True)
    text = Column(String(80))
";
const TABLES: &str = "CREATE TABLE users (id INTEGER NOT NULL PRIMARY KEY, name VARCHAR(80));
    CREATE TABLE notes (id INTEGER NOT NULL PRIMARY KEY, text VARCHAR(80));
    INSERT INTO users (name) VALUES ('ann');";

/// An application somewhere, and whoever runs `ubs` for it.
struct Place {
    base: PathBuf,
    root: PathBuf,
    python: PathBuf,
    user: Option<u32>,
    /// Removed with it: a directory of the host outside of `base`.
    elsewhere: Option<PathBuf>,
    _keeps: tempfile::TempDir,
}

impl Place {
    /// `root` and `python` below a directory of its own; an interpreter in `home` if asked for.
    fn new(user: Option<u32>, root: &str) -> Option<Self> {
        let python = ["/usr/bin/python3", "/usr/local/bin/python3"].map(PathBuf::from);
        let Some(python) = python.into_iter().find(|path| path.exists()) else {
            venv::skipped("Python of the system", "no /usr/bin/python3");
            return None;
        };
        let keeps = tempfile::Builder::new()
            .prefix("ubs-places-")
            .permissions(fs::Permissions::from_mode(0o755))
            .tempdir_in("/var/tmp")
            .expect("a directory in /var/tmp");
        let base = keeps.path().canonicalize().expect("its real name");
        for name in ["bin", "home", "lib", "envs"] {
            fs::create_dir(base.join(name)).expect("a directory");
        }
        fs::copy(ubs_binary(), base.join("bin/ubs")).expect("ubs is copied");
        let root = base.join(root);
        fs::create_dir_all(&root).expect("a directory");
        Some(Self {
            root,
            python,
            user,
            elsewhere: None,
            base,
            _keeps: keeps,
        })
    }

    /// A virtual environment with `SQLAlchemy`, as files: no installation, which takes long. Its code in C is for
    /// another Python and is not used.
    fn environment(&self, at: &Path) -> PathBuf {
        run(Command::new(&self.python)
            .args(["-m", "venv", "--without-pip"])
            .arg(at));
        let packages = packages(at);
        let built = venv::application_python().expect("an environment");
        let from = self::packages(built.ancestors().nth(2).expect("its prefix"));
        for entry in fs::read_dir(from).expect("packages").flatten() {
            let name = entry.file_name().to_string_lossy().to_lowercase();
            if ["sqlalchemy", "typing_extensions"]
                .iter()
                .any(|p| name.starts_with(p))
            {
                run(Command::new("cp")
                    .arg("-r")
                    .arg(entry.path())
                    .arg(&packages));
            }
        }
        at.join("bin/python")
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.root.join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, text).expect("a file");
    }

    /// The manifest, the models and a service that imports `code`; a full database.
    fn application(&self, interpreter: &str, code: &str, more: &str) {
        self.write(
            "ubs.toml",
            &format!(
                "[app]\nname = \"w\"\n[python]\ninterpreter = {interpreter:?}\n{more}\n[heal]\nattempts = 3\n\
                 backoff = \"1ms\"\n[[schema]]\nname = \"main\"\ndatabase = \"sqlite:///app.db\"\n\
                 expect = \"sqlalchemy:models:Base\"\n[[layer]]\nname = \"work\"\nrehearse = {{ imports = [\"work\"] }}\n\
                 [[layer.service]]\nname = \"work\"\nrun = [{interpreter:?}, \"-m\", \"work\"]\noneshot = true\n"
            ),
        );
        self.write("models.py", MODELS);
        // By its own absolute path, as many do.
        let own = self.root.join("data.txt");
        self.write("data.txt", "x");
        self.write(
            "work.py",
            &format!(
                "import models\nassert open({:?}).read() == 'x'\n{code}",
                own.display().to_string()
            ),
        );
        if !self.root.join("app.db").exists() {
            self.fill(TABLES);
        }
        if let Some(user) = self.user {
            let all = self.elsewhere.iter().chain([&self.base]);
            all.for_each(|path| own_by(path, user));
        }
    }

    fn fill(&self, sql: &str) {
        let connection = Connection::open(self.root.join("app.db")).expect("a database");
        connection.execute_batch(sql).expect("it is filled");
    }

    fn tables(&self) -> i64 {
        let connection = Connection::open(self.root.join("app.db")).expect("a database");
        let count = "SELECT count(*) FROM sqlite_schema WHERE type = 'table'";
        connection
            .query_row(count, [], |row| row.get(0))
            .expect("a count")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.base.join("bin/ubs"));
        command
            .args(arguments)
            .current_dir(&self.root)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", self.base.join("home"))
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null());
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command
    }

    #[track_caller]
    fn ubs(&self, arguments: &[&str]) -> Run {
        let output = self.command(arguments).output().expect("ubs runs");
        Run {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// GO without a word; and a table that is missing is made, after a trial of that.
    #[track_caller]
    fn expect_go_and_healed(&self) {
        let said = self.ubs(&["preflight", "--json"]).expect(0).json();
        assert_eq!(said["decision"], "go", "{said:#}");
        assert_eq!(problems(&said), [""; 0], "{said:#}");
        self.fill("DROP TABLE notes;");
        let said = self.ubs(&["boot", "--until-up", "--json"]).expect(0).json();
        assert_eq!(said["decision"], "go", "{said:#}");
        assert_eq!(self.tables(), 2, "{said:#}");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(path) = &self.elsewhere {
            let _ = fs::remove_dir_all(path);
        }
    }
}

fn run(command: &mut Command) {
    let status = command.status().expect("it runs");
    assert!(status.success(), "{command:?}");
}

/// `lib/python3.X/site-packages` of an environment.
fn packages(prefix: &Path) -> PathBuf {
    let found = fs::read_dir(prefix.join("lib")).expect("a library");
    let mut found = found.flatten().map(|entry| entry.path());
    found.next().expect("one Python").join("site-packages")
}

fn own_by(path: &Path, user: u32) {
    std::os::unix::fs::lchown(path, Some(user), Some(user)).expect("chown");
    if path.is_dir() && !path.is_symlink() {
        for entry in fs::read_dir(path).expect("a directory").flatten() {
            own_by(&entry.path(), user);
        }
    }
}

/// Everything above `info`, but for what the host's own isolation lacks.
fn problems(report: &Value) -> Vec<String> {
    let checks = report["checks"].as_array().expect("checks").iter();
    let findings = checks.flat_map(|check| check["findings"].as_array().expect("findings"));
    findings
        .filter(|finding| finding["severity"] != "info")
        .map(|f| format!("{}: {}", f["code"], f["message"]))
        .collect()
}

/// Who runs `ubs`: this user, and an ordinary one.
fn users() -> Vec<Option<u32>> {
    match nix::unistd::geteuid().is_root() {
        true => vec![None, Some(65534)],
        false => vec![None],
    }
}

fn is_ready() -> bool {
    venv::application_python().is_some()
}

/// The environment in the workspace; an editable installation outside of it, as pip and as setuptools did it before.
fn editable(user: Option<u32>, style: &str) -> Option<Place> {
    let place = Place::new(user, "app")?;
    place.environment(&place.root.join(".venv"));
    let packages = packages(&place.root.join(".venv"));
    let project = place.base.join("lib/pricing-project");
    fs::create_dir_all(project.join("src/pricing")).expect("a package");
    fs::write(project.join("src/pricing/__init__.py"), "PRICE = 3\n").expect("a module");
    let source = project.join("src").display().to_string();
    let info = packages.join("pricing-1.0.dist-info");
    match style {
        "path file" => {
            fs::write(packages.join("easy-install.pth"), format!("{source}\n")).expect("a file");
            fs::write(packages.join("pricing.egg-link"), format!("{source}\n../")).expect("a file");
        }
        "finder" => {
            fs::create_dir(&info).expect("a directory");
            fs::write(
                info.join("METADATA"),
                "Metadata-Version: 2.1\nName: pricing\nVersion: 1.0\n",
            )
            .expect("metadata");
            let url = json!({"dir_info": {"editable": true}, "url": format!("file://{}", project.display())});
            fs::write(info.join("direct_url.json"), url.to_string()).expect("a file");
            fs::write(
                packages.join("__editable__.pricing-1.0.pth"),
                "import __editable___pricing_finder; __editable___pricing_finder.install()",
            )
            .expect("a file");
            fs::write(
                packages.join("__editable___pricing_finder.py"),
                format!("import sys\ndef install():\n    sys.path.append({source:?})\n"),
            )
            .expect("a file");
        }
        _ => panic!("{style}"),
    }
    place.application(
        ".venv/bin/python",
        "import pricing\nassert pricing.PRICE == 3\n",
        "",
    );
    Some(place)
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn an_editable_installation_outside_of_the_workspace_is_seen() {
    if !is_ready() {
        return;
    }
    for user in users() {
        if let Some(place) = editable(user, "finder") {
            place.expect_go_and_healed();
        }
    }
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn an_old_editable_installation_is_seen() {
    if !is_ready() {
        return;
    }
    for user in users() {
        if let Some(place) = editable(user, "path file") {
            place.expect_go_and_healed();
        }
    }
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn a_workspace_in_usr_src_is_one_like_any_other() {
    if !is_ready() || !nix::unistd::geteuid().is_root() {
        return;
    }
    for user in users() {
        let Some(mut place) = Place::new(user, "app") else {
            return;
        };
        let own = format!("ubs-test-{}-{}", std::process::id(), user.unwrap_or(0));
        let above = Path::new("/usr/src").join(own);
        place.root = above.join("app");
        fs::create_dir_all(&place.root).expect("a directory");
        place.elsewhere = Some(above);
        place.environment(&place.root.join(".venv"));
        place.application(".venv/bin/python", "", "");
        place.expect_go_and_healed();
    }
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn a_home_that_holds_the_workspace_and_the_interpreter_is_fine() {
    if !is_ready() {
        return;
    }
    for user in users() {
        let Some(mut place) = Place::new(user, "home/app") else {
            return;
        };
        let prefix = place.base.join("home/.local/share/uv/python/cpython-3");
        fs::create_dir_all(prefix.join("bin")).expect("a directory");
        fs::create_dir_all(prefix.join("lib")).expect("a directory");
        let library = Command::new(&place.python)
            .args(["-c", "import os, sys; print(os.path.dirname(os.__file__))"])
            .output()
            .expect("Python runs");
        let library = String::from_utf8_lossy(&library.stdout).trim().to_owned();
        run(Command::new("cp")
            .args(["-r", &library])
            .arg(prefix.join("lib")));
        let python = prefix.join("bin/python3");
        let real = place.python.canonicalize().expect("a program");
        fs::copy(&real, &python).expect("it is copied");
        // Nothing of what the home holds beside that is seen.
        fs::write(place.base.join("home/.netrc"), "secret").expect("a file");
        place.python = python;
        place.environment(&place.root.join(".venv"));
        let code = format!(
            "import os\nassert not (os.environ.get('UBS_SANDBOX') and os.path.exists({:?}))\n",
            place.base.join("home/.netrc").display().to_string()
        );
        place.application(".venv/bin/python", &code, "");
        place.expect_go_and_healed();
    }
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn an_environment_elsewhere_or_behind_a_link_is_found() {
    if !is_ready() {
        return;
    }
    for user in users() {
        for how in ["outside", "link", "below"] {
            let Some(place) = Place::new(user, "app") else {
                return;
            };
            let mut at = place.base.join("envs/shop");
            let mut python = at.join("bin/python").display().to_string();
            if how == "below" {
                at = place.root.join("backend/.venv");
                fs::create_dir(place.root.join("backend")).expect("a directory");
                python = "backend/.venv/bin/python".to_owned();
            }
            place.environment(&at);
            if how == "link" {
                symlink(&at, place.root.join(".venv")).expect("a link");
                python = ".venv/bin/python".to_owned();
            }
            place.application(&python, "", "");
            place.expect_go_and_healed();
        }
    }
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn a_directory_outside_is_read_if_the_manifest_names_it() {
    if !is_ready() {
        return;
    }
    for user in users() {
        let Some(place) = Place::new(user, "app") else {
            return;
        };
        place.environment(&place.root.join(".venv"));
        let models = place.base.join("lib/models");
        fs::create_dir(&models).expect("a directory");
        fs::write(models.join("model.bin"), "y").expect("a file");
        let models = models.display().to_string();
        let code = format!("assert open('{models}/model.bin').read() == 'y'\n");
        let read = format!("[sandbox]\nread = [{models:?}]");
        place.application(".venv/bin/python", &code, &read);
        place.expect_go_and_healed();
        // Without the name it is not decided, and the finding says what to write.
        place.application(".venv/bin/python", &code, "");
        let said = place.ubs(&["preflight", "--json"]);
        let said = said.expect(0).json();
        let found = problems(&said);
        assert!(
            found.len() == 1 && found[0].contains("rehearsal.outside_path"),
            "{found:?}"
        );
        assert!(said.to_string().contains("`read` of [sandbox]"), "{said:#}");
    }
}

/// Two missions, two workers, at the same time.
#[test]
fn two_trials_side_by_side_both_come_to_a_verdict() {
    two_trials(None);
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn two_trials_of_another_user_both_come_to_a_verdict() {
    for user in users().into_iter().filter(Option::is_some) {
        two_trials(user);
    }
}

fn two_trials(user: Option<u32>) {
    if !is_ready() {
        return;
    }
    let Some(place) = Place::new(user, "app") else {
        return;
    };
    let python = place.environment(&place.base.join("envs/shop"));
    place.application(&python.display().to_string(), "", "");
    let broken = ["one", "two"];
    let mut manifest = fs::read_to_string(place.root.join("ubs.toml")).expect("a manifest");
    for name in broken {
        place.write(&format!("{name}.py"), &format!("import nothing_{name}\n"));
        manifest.push_str(&format!(
            "[[layer]]\nname = \"{name}\"\nrehearse = {{ imports = [\"{name}\"] }}\n"
        ));
    }
    place.write("ubs.toml", &manifest);
    if let Some(user) = user {
        own_by(&place.root, user);
    }
    place.ubs(&["boot", "--until-up"]).expect(1);
    let open = place.ubs(&["missions", "--json"]).expect(0).json();
    let trials: Vec<_> = broken
        .iter()
        .map(|name| {
            let missions = open.as_array().expect("missions").iter();
            let slug = missions
                .filter_map(|mission| mission["slug"].as_str())
                .find(|slug| slug.contains(name))
                .unwrap_or_else(|| panic!("no mission for {name}: {open:#}"));
            // The built-in fixers gave it up.
            place.ubs(&["missions", "requeue", slug]);
            place
                .ubs(&["missions", "claim", slug, "--worker", name])
                .expect(0);
            let path = format!("{name}.py");
            let text = fs::read(place.root.join(&path)).expect("a file");
            let before = blake3::hash(&text).to_string();
            let change = json!({"write": {"path": path, "before": before, "text": "x = 1\n"}});
            let proposal = json!({"summary": "a fix", "changes": [change]}).to_string();
            let file = place.base.join(format!("{name}.json"));
            fs::write(&file, proposal).expect("a proposal");
            let file = file.to_str().expect("UTF-8");
            place
                .command(&[
                    "missions", "propose", slug, "--worker", name, "--file", file, "--json",
                ])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("ubs runs")
        })
        .collect();
    for trial in trials {
        let output = trial.wait_with_output().expect("an end");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let answer: Value = serde_json::from_str(&said).unwrap_or_else(|_| {
            panic!("{said}{}", String::from_utf8_lossy(&output.stderr));
        });
        assert!(
            ["proved", "promoted", "awaiting_approval"]
                .contains(&answer["outcome"].as_str().unwrap_or("")),
            "{answer:#}"
        );
    }
}
