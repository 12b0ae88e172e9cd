//! With tools that are a few lines of shell: nothing is asked of an index.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::fix::apply::edited;

const DECLARED: &str =
    "[project]\nname = \"shop\"\nversion = \"1\"\ndependencies = [\"dep==1.1\"]\n";
const LOCKED: &str = "version = 1\n\n[[package]]\nname = \"dep\"\nversion = \"2.0\"\n\
                      files = [{ file = \"dep-2.0-py3-none-any.whl\", hash = \"sha256:0\" }]\n\n\
                      [[package]]\nname = \"other\"\nversion = \"1.0\"\n\
                      files = [{ file = \"other-1.0-py3-none-any.whl\", hash = \"sha256:0\" }]\n";
/// Takes the pinned version.
const TAKES: &str = "sed -i 's/2\\.0/1.1/' \"$1.lock\"";

struct Project {
    dir: tempfile::TempDir,
    process_env: BTreeMap<String, String>,
}

impl Project {
    /// With a tool of each name that says how it was called, and then does `script`.
    fn new(locked: &str, script: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let bin = root.join("bin");
        fs::create_dir_all(root.join("app")).unwrap();
        fs::create_dir(&bin).unwrap();
        for tool in ["uv", "poetry", "pdm"] {
            fs::write(root.join(format!("app/{tool}.lock")), locked).unwrap();
            let text = format!(
                "#!/bin/sh\necho \"$@\" >>{0}/called; env >{0}/env; ls >{0}/seen; set -- {tool}\n{script}\n",
                root.display()
            );
            let program = bin.join(tool);
            fs::write(&program, text).unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let path = format!("{}:/usr/bin:/bin", bin.display());
        let process_env = [("PATH", path.as_str()), ("UV_PROJECT", "/elsewhere")];
        let process_env = process_env.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self {
            process_env: BTreeMap::from(process_env),
            dir,
        }
    }

    fn renew(
        &self,
        file: &str,
        declared: &str,
        install: &[&str],
    ) -> Result<Option<String>, String> {
        let workspace = self.dir.path().join("app");
        let installer = Installer {
            workspace: &workspace,
            environment: ".venv",
            process_env: &self.process_env,
            at: None,
            base: None,
        };
        let lock = LOCKS.iter().find(|lock| lock.file == file).unwrap();
        let install: Vec<String> = install.iter().map(|one| (*one).to_owned()).collect();
        let scratch = self.dir.path().join("scratch");
        let change = lock.renew(&installer, declared, &[("dep", "1.1")], &install, &scratch);
        assert!(!scratch.exists());
        let live = fs::read_to_string(workspace.join(file)).unwrap();
        Ok(change?.map(|change| {
            let Change::Edit { before, edits, .. } = change else {
                panic!("{change:?}");
            };
            assert_eq!(before, Digest::of(live.as_bytes()));
            String::from_utf8(edited(live.as_bytes(), &edits).unwrap()).unwrap()
        }))
    }

    fn said(&self, file: &str) -> String {
        fs::read_to_string(self.dir.path().join(file)).unwrap_or_default()
    }
}

#[test]
fn each_tool_writes_its_lock_file_beside_nothing_of_the_application_and_is_told_to_build_nothing() {
    let project = Project::new(LOCKED, TAKES);
    fs::write(project.dir.path().join("app/setup.py"), "").unwrap();
    fs::write(project.dir.path().join("app/uv.toml"), "").unwrap();
    for (file, called, set) in [
        ("uv.lock", "lock --no-build", "UV_PYTHON_DOWNLOADS=never"),
        ("poetry.lock", "--no-plugins", "VIRTUALENV_CREATOR=none"),
        ("pdm.lock", "--skip :all", "PDM_ONLY_BINARY=:all:"),
    ] {
        let after = project.renew(file, DECLARED, &["dep==1.1"]).unwrap();
        assert_eq!(after, Some(LOCKED.replace("2.0", "1.1")), "{file}");
        let env = project.said("env");
        assert!(env.lines().any(|line| line == set), "{env}");
        assert!(!env.contains("UV_PROJECT="), "{env}");
        assert!(project.said("called").contains(called), "{file}");
        let seen = project.said("seen");
        let lines: Vec<&str> = seen.lines().collect();
        assert_eq!(lines.len(), 3, "{seen}");
        assert!(
            ["pyproject.toml", "uv.toml"]
                .iter()
                .all(|one| lines.contains(one))
        );
    }
}

#[test]
fn poetry_of_before_2_keeps_what_it_has_and_a_later_one_knows_no_such_option() {
    let script = format!(
        "grep -q no-update {{}}/called && [ ! -e {{}}/new ] || {{ {TAKES}; exit; }}\n\
         >{{}}/new; echo 'The option \"--no-update\" does not exist' >&2; exit 1"
    );
    let project = Project::new(LOCKED, "");
    let root = project.dir.path().display().to_string();
    let program = project.dir.path().join("bin/poetry");
    let text = fs::read_to_string(&program).unwrap() + &script.replace("{}", &root);
    fs::write(&program, text).unwrap();
    let after = project.renew("poetry.lock", DECLARED, &[]).unwrap();
    assert_eq!(after, Some(LOCKED.replace("2.0", "1.1")));
    let called = project.said("called");
    assert_eq!(called.lines().count(), 2, "{called}");
    assert!(!called.lines().last().unwrap().contains("--no-update"));
}

#[test]
fn what_would_be_built_or_was_not_tried_is_left_to_a_person() {
    let project = Project::new(LOCKED, TAKES);
    let refused =
        |declared: &str, install: &[&str]| project.renew("uv.lock", declared, install).unwrap_err();
    for (declared, why) in [
        ("[tool.poetry]\n".to_owned(), "to code"),
        (
            DECLARED.replace("version = \"1\"", "dynamic = [\"version\"]"),
            "to code",
        ),
        (
            DECLARED.replace("==1.1", " @ https://me:pw@host/dep.tar.gz"),
            "build dep, ",
        ),
        (
            DECLARED.to_owned() + "[tool.uv.sources]\ndep = { path = \"../dep\" }\n",
            "build dep",
        ),
        (
            DECLARED.to_owned() + "[tool.uv.sources]\ndep = [{ git = \"https://host/dep\" }]\n",
            "build dep",
        ),
        (
            DECLARED.to_owned() + "[dependency-groups]\ndev = [\"-e .\"]\n",
            "by its place",
        ),
        (
            DECLARED.to_owned() + "[tool.uv.workspace]\nmembers = [\"a\"]\n",
            "several projects",
        ),
    ] {
        let found = refused(&declared, &[]);
        assert!(found.contains(why), "{declared}: {found}");
    }
    let found = refused(DECLARED, &["dep==1.1", "other==0.9"]);
    assert!(found.contains("does not take other 0.9"), "{found}");
    assert_eq!(project.said("called").lines().count(), 1);
    // An index is no place of a dependency.
    let index = DECLARED.to_owned()
        + "[project.urls]\nhome = \"https://host/x\"\n[[tool.uv.index]]\nurl = \"https://host\"\n\
           [tool.uv.sources]\ndep = { index = \"x\" }\n";
    assert!(project.renew("uv.lock", &index, &[]).unwrap().is_some());
    assert!(project.renew("pdm.lock", &index, &[]).unwrap().is_some());

    let sdist = LOCKED.replace("other-1.0-py3-none-any.whl", "other-1.0.tar.gz");
    let project = Project::new(&sdist, TAKES);
    let found = project.renew("poetry.lock", DECLARED, &[]).unwrap_err();
    assert!(found.contains("no wheel of other 1.0"), "{found}");
    assert_eq!(project.said("called"), "");
}

#[test]
fn a_tool_that_fails_or_leaves_the_other_version_or_is_not_there_is_named() {
    let project = Project::new(LOCKED, "echo 'error: no such host' >&2; exit 2");
    let found = project.renew("uv.lock", DECLARED, &[]).unwrap_err();
    assert!(found.contains("uv: error: no such host"), "{found}");
    let project = Project::new(LOCKED, "true");
    let found = project.renew("pdm.lock", DECLARED, &[]).unwrap_err();
    assert!(found.contains("does not take dep 1.1"), "{found}");
    let mut project = Project::new(LOCKED, TAKES);
    project.process_env.insert("PATH".into(), "/nowhere".into());
    let found = project.renew("uv.lock", DECLARED, &[]).unwrap_err();
    assert_eq!(found, "uv is not found");
}
