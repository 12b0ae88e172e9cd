//! The scripts of the workspace that a service is started by, as text.

use std::path::Path;

use crate::manifest::Service;

/// Endings of scripts for a shell.
pub(super) const SHELL: &[&str] = &[".sh", ".bash"];
/// A script that is looked into, in bytes.
const BYTES_MAX: u64 = 256 << 10;

/// The texts of those that the command names and that have one of these endings, without what is commented out: that
/// does not run.
pub(super) fn start_scripts<'s>(
    root: &'s Path,
    service: &'s Service,
    endings: &'static [&'static str],
) -> impl Iterator<Item = String> + 's {
    let words = service.run.iter();
    let words = words.filter(move |word| endings.iter().any(|ending| word.ends_with(ending)));
    words.filter_map(move |word| script(root, service, word))
}

fn script(root: &Path, service: &Service, word: &str) -> Option<String> {
    if word.contains("${") {
        return None;
    }
    let root = root.canonicalize().ok()?;
    let directory = service.cwd.as_deref().unwrap_or("");
    let path = root.join(directory).join(word).canonicalize().ok()?;
    let found = path.metadata().ok()?;
    let is_ours = path.starts_with(&root) && found.is_file() && found.len() <= BYTES_MAX;
    let text = is_ours
        .then(|| std::fs::read_to_string(&path).ok())
        .flatten()?;
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    Some(lines.collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Manifest;

    #[test]
    fn only_scripts_of_the_workspace_are_read_and_only_what_runs_of_them() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("app");
        std::fs::create_dir_all(root.join("bin")).unwrap();
        std::fs::write(root.join("bin/a.sh"), "one\n # two\nthree\n").unwrap();
        std::fs::write(root.join("bin/b.py"), "four\n").unwrap();
        std::fs::write(dir.path().join("c.sh"), "five\n").unwrap();
        let text = "[app]\nname = \"x\"\n[[layer]]\nname = \"l\"\n[[layer.service]]\nname = \"s\"\n\
                    cwd = \"bin\"\nrun = [\"sh\", \"a.sh\", \"b.py\", \"../../c.sh\", \"no.sh\"]\n";
        let manifest = Manifest::parse(text, &root.join("ubs.toml")).unwrap();
        let (_, service) = manifest.service("s").unwrap();
        let texts = |endings| start_scripts(&root, service, endings).collect::<Vec<_>>();
        assert_eq!(texts(SHELL), ["one\nthree"]);
        assert_eq!(texts(&[".py"]), ["four"]);
    }
}
