//! Packages that are missing, or of a version that does not do, in an environment of the workspace: from wheels in a
//! directory that the environment's own `pip.conf` names. No network.

use std::io::Write;
use std::process::Command;

use crate::support::{Workspace, venv};

const MANIFEST: &str = "[app]\nname = \"shop\"\nstable_after = \"100ms\"\n[python]\npath = [\".\"]\n\
    [heal]\nattempts = 3\nbackoff = \"1ms\"\n[[layer]]\nname = \"web\"\nrehearse = { imports = [\"app\"] }\n\
    [[layer.service]]\nname = \"web\"\nrun = \"python -m app\"\noneshot = true\n";

/// Makes wheels as anybody's build would: a zip with metadata.
const MAKE_WHEELS: &str = "
import base64, hashlib, sys, zipfile
def wheel(name, version, text, needs=()):
    info = f'{name}-{version}.dist-info'
    meta = f'Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n'
    meta += ''.join(f'Requires-Dist: {need}\\n' for need in needs)
    files = {f'{name}.py': text, f'{info}/METADATA': meta,
        f'{info}/WHEEL': 'Wheel-Version: 1.0\\nGenerator: hand\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n'}
    def digest(content):
        return base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).decode().rstrip('=')
    lines = [f'{path},sha256={digest(content)},{len(content)}\\n' for path, content in files.items()]
    files[f'{info}/RECORD'] = ''.join(lines) + f'{info}/RECORD,,\\n'
    with zipfile.ZipFile(f'wheels/{name}-{version}-py3-none-any.whl', 'w') as archive:
        for path, content in files.items():
            archive.writestr(path, content)
wheel('greet', '1.0', 'from dep import hello\\n', ['dep>=1'])
wheel('dep', '1.0', 'def hello(): ...\\n')
wheel('dep', '1.1', 'def hello(): ...\\n')
wheel('dep', '2.0', 'def other(): ...\\n')
wheel('other', '1.0', '')
";

/// An application with an environment of its own, in which `installed` is; none without a pip for it.
fn application(text: &str, requirements: &str, installed: &[&str]) -> Option<Workspace> {
    let workspace = Workspace::with_manifest(MANIFEST);
    workspace.write("app.py", text);
    workspace.write("requirements.txt", requirements);
    std::fs::create_dir(workspace.path("wheels")).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new("python3");
        command.args(arguments).current_dir(workspace.root());
        command.env_remove("PIP_FIND_LINKS");
        let output = command.output().ok()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() {
            venv::skipped("python3 with venv and pip 22.3", &said);
            return None;
        }
        Some(())
    };
    run(&["-c", MAKE_WHEELS])?;
    run(&["-m", "venv", "--without-pip", ".venv"])?;
    let wheels = workspace.path("wheels");
    let mut conf = std::fs::File::create(workspace.path(".venv/pip.conf")).unwrap();
    write!(
        conf,
        "[global]\nno-index = true\nfind-links = {}\n",
        wheels.display()
    )
    .unwrap();
    let mut install = vec![
        "-m",
        "pip",
        "--python",
        ".venv/bin/python",
        "install",
        "-q",
        "--no-deps",
    ];
    install.extend(installed);
    if !installed.is_empty() {
        run(&install)?;
    }
    Some(workspace)
}

/// What is installed, as names of metadata directories.
fn installed(workspace: &Workspace) -> Vec<String> {
    let lib = workspace.path(".venv/lib");
    let python = std::fs::read_dir(lib).unwrap().next().unwrap().unwrap();
    let entries = std::fs::read_dir(python.path().join("site-packages")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names
        .filter_map(|name| Some(name.strip_suffix(".dist-info")?.to_owned()))
        .collect();
    names.sort();
    names
}

#[test]
fn the_newest_version_that_works_is_taken_pinned_and_given_back() {
    let requirements = "greet>=1  # why\ndep<3\n";
    let Some(workspace) = application("import greet\n", requirements, &["greet", "dep"]) else {
        return;
    };
    assert_eq!(installed(&workspace), ["dep-2.0", "greet-1.0"]);
    workspace.ubs(&["boot", "--until-ready"]).expect(0);
    assert_eq!(installed(&workspace), ["dep-1.1", "greet-1.0"]);
    assert_eq!(
        workspace.read("requirements.txt"),
        "greet>=1  # why\ndep==1.1\n"
    );
    let fixes = workspace.ubs(&["fixes", "--json"]).expect(0).json();
    let id = fixes[0]["id"].to_string();
    let undo = ["fixes", "undo", &id, "--by", "ann", "--reason", "no"];
    workspace.ubs(&undo).expect(0);
    assert_eq!(installed(&workspace), ["dep-2.0", "greet-1.0"]);
    assert_eq!(workspace.read("requirements.txt"), requirements);
}

#[test]
fn a_declared_package_is_installed_also_after_a_kill_in_the_middle() {
    let Some(mut workspace) = application("import other\n", "other\n", &[]) else {
        return;
    };
    workspace.set_env("UBS_CRASH_AT", "promote.packages_installed");
    let killed = workspace.ubs(&["boot", "--until-ready"]);
    assert_ne!(killed.code, 0, "{}", killed.stdout);
    workspace.set_env("UBS_CRASH_AT", "");
    workspace.ubs(&["boot", "--until-ready"]).expect(0);
    assert_eq!(installed(&workspace), ["other-1.0"]);
    let left = std::fs::read_dir(workspace.root()).unwrap();
    let left = left.filter(|e| {
        e.as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with(".ubs-")
    });
    assert_eq!(left.count(), 0, "an environment was left beside");
}

#[test]
fn what_nobody_declares_is_not_installed() {
    let Some(workspace) = application("import other\n", "greet\ndep<2\n", &["greet", "dep==1.1"])
    else {
        return;
    };
    let run = workspace.ubs(&["boot", "--until-ready"]).expect(1);
    assert!(
        run.stdout.contains("No module named 'other'"),
        "{}",
        run.stdout
    );
    assert_eq!(installed(&workspace), ["dep-1.1", "greet-1.0"]);
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn a_package_whose_files_are_cut_off_is_installed_anew() {
    let Some(workspace) = application("import dep\ndep.hello()\n", "dep<2\n", &["dep==1.1"]) else {
        return;
    };
    let lib = std::fs::read_dir(workspace.path(".venv/lib")).unwrap();
    let module = lib.map(|python| python.unwrap().path().join("site-packages/dep.py"));
    let module = module.into_iter().next().unwrap();
    std::fs::write(&module, "def hell").unwrap();
    workspace.ubs(&["boot", "--until-ready"]).expect(0);
    assert_eq!(
        std::fs::read_to_string(module).unwrap(),
        "def hello(): ...\n"
    );
    assert_eq!(installed(&workspace), ["dep-1.1"]);
    assert_eq!(workspace.read("requirements.txt"), "dep<2\n");
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn an_environment_without_an_interpreter_is_made_anew_and_given_back() {
    let Some(workspace) = application("import other\n", "other\n", &["other"]) else {
        return;
    };
    let python = workspace.path(".venv/bin/python");
    let kept = workspace.path(".venv/kept");
    std::fs::write(&kept, "of before").unwrap();
    std::fs::remove_file(&python).unwrap();
    std::os::unix::fs::symlink("/nowhere/python3", &python).unwrap();
    workspace.ubs(&["boot", "--until-ready"]).expect(0);
    assert!(python.is_file() && !kept.exists());
    let names = installed(&workspace);
    assert!(names.contains(&"other-1.0".to_owned()), "{names:?}");
    let fixes = workspace.ubs(&["fixes", "--json"]).expect(0).json();
    // The trial ran in the one that it made.
    let checks = fixes[0]["proof"]["checks"].as_array().unwrap();
    let rehearsal = checks.iter().find(|one| one["check"] == "rehearsal");
    assert_eq!(rehearsal.unwrap()["after"], "healthy", "{fixes:#}");
    let id = fixes[0]["id"].to_string();
    let undo = ["fixes", "undo", &id, "--by", "ann", "--reason", "no"];
    workspace.ubs(&undo).expect(0);
    assert!(!python.exists() && kept.exists());
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn what_only_a_lock_file_names_waits_for_approval_and_is_declared_then() {
    let Some(workspace) = application("import other\n", "dep<2\n", &["dep==1.1"]) else {
        return;
    };
    workspace.write(
        "poetry.lock",
        "[[package]]\nname = \"other\"\nversion = \"1.0\"\n",
    );
    workspace.ubs(&["boot", "--until-ready"]).expect(1);
    assert_eq!(installed(&workspace), ["dep-1.1"]);
    let missions = workspace.ubs(&["missions", "--json"]).expect(0).json();
    let slug = missions[0]["slug"].as_str().unwrap();
    assert_eq!(missions[0]["status"], "awaiting_approval", "{missions:#}");
    workspace
        .ubs(&["missions", "approve", slug, "--by", "ann"])
        .expect(0);
    assert_eq!(installed(&workspace), ["dep-1.1", "other-1.0"]);
    assert_eq!(workspace.read("requirements.txt"), "dep<2\nother==1.0\n");
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn a_lock_file_is_written_by_its_own_tool_and_given_back() {
    let Some(workspace) = application("import greet\n", "", &["greet", "dep"]) else {
        return;
    };
    std::fs::remove_file(workspace.path("requirements.txt")).unwrap();
    let project =
        "[project]\nname = \"shop\"\nversion = \"1\"\ndependencies = [\"greet>=1\", \"dep<3\"]\n";
    let lock = "[[package]]\nname = \"dep\"\nversion = \"2.0\"\n\n[[package]]\nname = \"greet\"\nversion = \"1.0\"\n";
    workspace.write("pyproject.toml", project);
    workspace.write("poetry.lock", lock);
    let tool = ".venv/bin/poetry";
    workspace.write(
        tool,
        "#!/bin/sh\nexec sed -i 's/\"2.0\"/\"1.1\"/' poetry.lock\n",
    );
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(workspace.path(tool), mode).unwrap();
    workspace.ubs(&["boot", "--until-ready"]).expect(0);
    assert_eq!(installed(&workspace), ["dep-1.1", "greet-1.0"]);
    assert_eq!(
        workspace.read("pyproject.toml"),
        project.replace("dep<3", "dep==1.1")
    );
    assert_eq!(workspace.read("poetry.lock"), lock.replace("2.0", "1.1"));
    let fixes = workspace.ubs(&["fixes", "--json"]).expect(0).json();
    let id = fixes[0]["id"].to_string();
    let undo = ["fixes", "undo", &id, "--by", "ann", "--reason", "no"];
    workspace.ubs(&undo).expect(0);
    assert_eq!(installed(&workspace), ["dep-2.0", "greet-1.0"]);
    assert_eq!(workspace.read("pyproject.toml"), project);
    assert_eq!(workspace.read("poetry.lock"), lock);
}

/// From the real index: what plain pip installs, which then cannot be imported.
#[track_caller]
fn real(name: &str, text: &str, requirements: &str, more: &[&str]) {
    let workspace = Workspace::with_manifest(MANIFEST);
    workspace.write("app.py", text);
    workspace.write("requirements.txt", requirements);
    let run = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        let output = command
            .args(arguments)
            .current_dir(workspace.root())
            .output();
        output.is_ok_and(|output| output.status.success())
    };
    let python = workspace.path(".venv/bin/python").display().to_string();
    let mut install = vec!["-m", "pip", "install", "-q"];
    install.extend(requirements.lines());
    install.extend(more);
    if !run("python3", &["-m", "venv", ".venv"]) || !run(&python, &install) {
        venv::skipped("index of packages", name);
        return;
    }
    assert!(!run(&python, &["app.py"]), "{name} can be imported");
    let begun = std::time::Instant::now();
    let said = workspace.ubs(&["boot", "--until-ready"]).expect(0).stdout;
    let applied = said.lines().find(|line| line.contains("APPLIED"));
    let took = begun.elapsed().as_secs();
    eprintln!(
        "{name}: healed in {took} s: {}",
        applied.unwrap_or_default().trim()
    );
    assert!(run(&python, &["app.py"]), "{name}: {said}");
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn real_mlflow_with_an_sqlalchemy_that_it_cannot_import() {
    let text = "import mlflow\nmlflow.tracking.MlflowClient('sqlite:///ml.db')\n";
    real("mlflow", text, "mlflow==3.4.0\n", &[]);
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn real_flask_with_werkzeug_3() {
    real("flask", "import flask\n", "flask<2.2.3\n", &["werkzeug>=3"]);
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn real_passlib_with_bcrypt_5() {
    let text = "from passlib.hash import bcrypt\nbcrypt.hash('x')\n";
    real("passlib", text, "passlib\nbcrypt\n", &[]);
}

#[test]
#[ignore = "long: `.ci/run --all`"]
fn real_setuptools_without_pkg_resources() {
    real("fs", "import fs\n", "fs==2.4.16\n", &["setuptools>=82"]);
}
