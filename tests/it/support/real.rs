//! Applications that nobody here wrote, checked out into workspaces.
//!
//! `tests/real/NAME/requirements.txt` pins all that plain `pip install` brought on the day when the
//! application was looked at; `truth.toml` says what is known of it. The application's own packages are
//! copied out of its environment into a workspace, as if it had been checked out.

use std::path::{Path, PathBuf};

use toml_edit::DocumentMut;

use super::{Workspace, venv};

/// The application in a workspace of its own, with its environment as `.venv`, its truth, and its
/// interpreter; `None` after saying why its environment cannot be had. It lies in `tests/ROOM/NAME`.
pub fn check_out_in(room: &str, name: &str) -> Option<(Workspace, DocumentMut, PathBuf)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(room)
        .join(name);
    let read = |file: &str| std::fs::read_to_string(directory.join(file)).unwrap();
    let truth: DocumentMut = read("truth.toml").parse().unwrap();
    let requirements = requirements(room, name);
    let packages: Vec<&str> = requirements.lines().filter(|l| !l.is_empty()).collect();
    let python = venv::python_with(&packages)?;
    let home = python.parent()?.parent()?;
    let libraries = std::fs::read_dir(home.join("lib")).unwrap();
    let site = libraries
        .map(|found| found.unwrap().path().join("site-packages"))
        .find(|site| site.is_dir())
        .expect("its packages");
    let workspace = Workspace::new();
    for name in strings(&truth, "sources") {
        copy(&site.join(name), &workspace.path(name));
    }
    if let Some(files) = truth.get("files").and_then(|files| files.as_table()) {
        for (name, text) in files {
            workspace.write(name, text.as_str().expect("the text of a file"));
        }
    }
    std::os::unix::fs::symlink(home, workspace.path(".venv")).unwrap();
    Some((workspace, truth, python))
}

/// What pins its environment, a line a package.
pub fn requirements(room: &str, name: &str) -> String {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let file = tests.join(room).join(name).join("requirements.txt");
    std::fs::read_to_string(&file).unwrap_or_else(|why| panic!("{}: {why}", file.display()))
}

/// A list of texts.
pub fn strings<'a>(truth: &'a DocumentMut, key: &str) -> Vec<&'a str> {
    let list = truth.get(key).and_then(|list| list.as_array());
    list.into_iter()
        .flatten()
        .filter_map(|v| v.as_str())
        .collect()
}

/// A directory with everything in it but compiled code.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_name() == "__pycache__" {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
