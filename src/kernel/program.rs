//! Which file a program's name means.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Where programs are looked up if the environment has no `PATH`, as execvp(3) does.
const PATH_DEFAULT: &str = "/usr/local/bin:/usr/bin:/bin";

/// What was found is taken for so long.
const FOUND_KEPT: Duration = Duration::from_secs(1);

/// The file that `name` means to a process with that environment and working directory, as an
/// absolute path: a name with a `/` is relative to `cwd`, another one is looked up in `PATH` of `env`.
///
/// # Errors
/// Not found, no file, or not executable: the text names what was tried.
pub(crate) fn find_program(
    name: &str,
    env: &BTreeMap<String, String>,
    cwd: &Path,
) -> io::Result<PathBuf> {
    if name.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the command is empty",
        ));
    }
    if !cwd.is_dir() {
        let text = format!("the working directory {} does not exist", cwd.display());
        return Err(io::Error::new(io::ErrorKind::NotFound, text));
    }
    let cwd = std::path::absolute(cwd)?;
    if name.contains('/') {
        return executable(&cwd.join(name));
    }
    let path = env.get("PATH").map_or(PATH_DEFAULT, String::as_str);
    let mut denied = None;
    for dir in path.split(':') {
        match executable(&cwd.join(dir).join(name)) {
            Ok(file) => return Ok(file),
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => denied = Some(e),
            Err(_) => {}
        }
    }
    Err(denied.unwrap_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            format!("{name} is not in PATH ({path})"),
        )
    }))
}

/// Where a program was found: its name, `PATH` and the directory.
type Lookup = (String, Option<String>, PathBuf);

/// What was found within the last [`FOUND_KEPT`], and since when.
static FOUND: Mutex<Option<(Instant, BTreeMap<Lookup, PathBuf>)>> = Mutex::new(None);

/// As [`find_program`], for the start of many: what was found within the last second is only looked at again, and not
/// the directories before it.
///
/// # Errors
/// As [`find_program`].
pub(crate) fn find_program_again(
    name: &str,
    env: &BTreeMap<String, String>,
    cwd: &Path,
) -> io::Result<PathBuf> {
    let lookup = (name.to_owned(), env.get("PATH").cloned(), cwd.to_owned());
    let mut kept = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    let (_, found) = match &mut *kept {
        Some(kept) if kept.0.elapsed() < FOUND_KEPT => kept,
        kept => kept.insert((Instant::now(), BTreeMap::new())),
    };
    if let Some(file) = found.get(&lookup)
        && cwd.is_dir()
        && executable(file).is_ok()
    {
        return Ok(file.clone());
    }
    let file = find_program(name, env, cwd)?;
    found.insert(lookup, file.clone());
    Ok(file)
}

fn executable(file: &Path) -> io::Result<PathBuf> {
    let found = std::fs::metadata(file)
        .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", file.display())))?;
    if !found.is_file() || found.permissions().mode() & 0o111 == 0 {
        let text = format!("{} is not an executable file", file.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    Ok(file.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_childs_path_counts_and_not_ours() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("prog");
        std::fs::write(&file, "#!/bin/sh\n").unwrap();
        let env = BTreeMap::from([("PATH".to_owned(), dir.path().display().to_string())]);
        let find = |name: &str| {
            find_program(name, &env, dir.path()).map_err(|e| (e.kind(), e.to_string()))
        };
        assert_eq!(find("prog").unwrap_err().0, io::ErrorKind::PermissionDenied);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find("prog").unwrap(), file);
        let again = |name: &str| find_program_again(name, &env, dir.path()).ok();
        assert_eq!(again("prog"), Some(file.clone()));
        assert_eq!(again("prog"), Some(file.clone()));
        assert_eq!(again("sh"), None);
        std::fs::remove_file(&file).unwrap();
        assert_eq!(again("prog"), None, "what is gone is not found again");
        std::fs::write(&file, "").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find("./prog").unwrap(), dir.path().join("./prog"));
        assert!(find("sh").unwrap_err().1.contains("sh is not in PATH"));
        assert!(find("").is_err());
        assert!(find_program("sh", &BTreeMap::new(), dir.path()).is_ok());
        assert!(
            find_program("sh", &env, &dir.path().join("gone"))
                .unwrap_err()
                .to_string()
                .contains("gone")
        );
    }
}
