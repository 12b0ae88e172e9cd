//! Text that a caller gives: read within a bound of size, and without secrets.

use std::io::{self, Read};

use super::super::context::{AppPaths, CliError};
use crate::domain::redact::Redactor;

/// Longest text that a caller may file, bytes.
pub(super) const TEXT_BYTES_MAX: usize = 64 << 10;

/// Longest file that a caller may give, bytes: a proposal may be as long.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Text of a caller, without secrets: those of the application where its manifest can be read.
pub(super) fn clean(place: &AppPaths, text: &str) -> Result<String, CliError> {
    Ok(redactor(place).clean(text, TEXT_BYTES_MAX))
}

pub(super) fn redactor(place: &AppPaths) -> Redactor {
    let secrets = place.manifest().ok().and_then(|manifest| {
        let environment = crate::manifest::Environment::load(
            &manifest,
            &manifest.workspace,
            AppPaths::process_env().into_iter(),
        );
        Some(environment.ok()?.secret_values(&manifest))
    });
    Redactor::new(secrets.unwrap_or_default())
}

/// The text of a file, or of standard input: at most [`FILE_BYTES_MAX`] bytes, and never of a device or a pipe that
/// the path names, which may have no end.
pub(super) fn read_text(path: &std::path::Path) -> Result<String, CliError> {
    let read = if path.as_os_str() == "-" {
        bounded(std::io::stdin().lock())
    } else {
        open_file(path).and_then(bounded)
    };
    read.map_err(|error| {
        CliError::usage(
            format!("cannot read {}: {error}", path.display()),
            "give a file of UTF-8 text, or `-` for standard input",
        )
    })
}

fn open_file(path: &std::path::Path) -> io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    let file = std::fs::OpenOptions::new()
        .read(true)
        // A pipe without a writer would wait.
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("it is not a file"))
    }
}

fn bounded(from: impl Read) -> io::Result<String> {
    let mut text = String::new();
    from.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        let max = FILE_BYTES_MAX >> 20;
        return Err(io::Error::other(format!("it has more than {max} MiB")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_end_is_not_read() {
        for path in ["/dev/zero", "/dev"] {
            let error = read_text(std::path::Path::new(path)).unwrap_err();
            assert!(error.to_string().contains("not a file"), "{error}");
        }
        let error = bounded(std::io::repeat(b'x')).unwrap_err();
        assert!(error.to_string().contains("16 MiB"), "{error}");
    }

    #[test]
    fn a_pipe_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(read_text(&pipe).is_err());
    }
}
