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
import sys, zipfile
def wheel(name, version, text, needs=()):
    info = f'{name}-{version}.dist-info'
    meta = f'Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n'
    meta += ''.join(f'Requires-Dist: {need}\\n' for need in needs)
    files = {f'{name}.py': text, f'{info}/METADATA': meta,
        f'{info}/WHEEL': 'Wheel-Version: 1.0\\nGenerator: hand\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n'}
    files[f'{info}/RECORD'] = ''.join(f'{path},,\\n' for path in [*files, f'{info}/RECORD'])
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
