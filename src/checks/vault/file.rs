//! A vault in a file: encrypted with Fernet, or plain JSON that only its owner may read.

use std::os::unix::fs::MetadataExt;

use zeroize::Zeroizing;

use super::asked::Asked;
use super::fernet;
use super::names::read_names;
use crate::domain::code::Code;
use crate::domain::finding::{Finding, Severity};
use crate::manifest::{UnreadFile, VaultFormat, VaultKind, read_small};

/// Largest vault, closed or open.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Largest file with a key.
const KEY_BYTES_MAX: u64 = 64 << 10;
/// Bits of a file's mode that let others than its owner do anything.
const OTHERS: u32 = 0o077;

/// What is wrong with the file vault.
pub(super) fn check(asked: &Asked<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Err(finding) = open_and_compare(asked, &mut findings) {
        findings.push(*finding);
    }
    findings
}

fn open_and_compare(asked: &Asked<'_>, findings: &mut Vec<Finding>) -> Result<(), Box<Finding>> {
    let VaultKind::File {
        path,
        format,
        key,
        key_file,
    } = &asked.vault.kind
    else {
        return Ok(());
    };
    let path = asked.expand(path, "the path")?;
    let bytes = read(asked, &path, FILE_BYTES_MAX, Code::VaultUnreachable)?;
    if *format == VaultFormat::Json {
        findings.extend(exposed(asked, &path));
    }
    let opened = match format {
        VaultFormat::Json => bytes,
        VaultFormat::Fernet => {
            let key = match (key, key_file) {
                (_, Some(file)) => {
                    let file = asked.expand(file, "the key file")?;
                    findings.extend(exposed(asked, &file));
                    text(asked, &file)?
                }
                (Some(key), None) => Zeroizing::new(asked.expand(key, "the key")?),
                (None, None) => return Ok(()),
            };
            fernet::open(&bytes, &key).map_err(|why| closed(asked, &path, &why.to_string()))?
        }
    };
    let names = read_names(&opened).map_err(|why| {
        let finding = asked.about(
            Code::VaultAnswerInvalid,
            Severity::Critical,
            format!("what is in the vault {path} {why}"),
        );
        Box::new(finding.remedy("write it as one JSON object, or as lines of NAME=value"))
    })?;
    findings.extend(asked.missing_keys(&names, &path));
    Ok(())
}

fn closed(asked: &Asked<'_>, path: &str, why: &str) -> Box<Finding> {
    let message = format!("the vault {path} cannot be opened: {why}");
    let finding = asked.about(Code::VaultSealed, Severity::Critical, message);
    Box::new(finding.remedy("give the key that the file was encrypted with"))
}

/// The bytes of a file that somebody else may have put there.
fn read(
    asked: &Asked<'_>,
    path: &str,
    bytes_max: u64,
    code: Code,
) -> Result<Zeroizing<Vec<u8>>, Box<Finding>> {
    let why = match read_small(&asked.root.join(path), bytes_max) {
        Ok(bytes) => return Ok(Zeroizing::new(bytes)),
        Err(UnreadFile::Missing) => "does not exist".to_owned(),
        Err(UnreadFile::NotRegular(what)) => format!("is {what}, not a file"),
        Err(UnreadFile::TooLarge(_)) => format!("has more than {bytes_max} bytes"),
        Err(UnreadFile::Io(error)) => format!("cannot be read: {error}"),
    };
    let finding = asked.about(code, Severity::Critical, format!("{path} {why}"));
    Err(Box::new(finding.remedy(
        "put the file where the manifest says, readable for the user that runs ubs",
    )))
}

/// The text of a file that holds a key.
fn text(asked: &Asked<'_>, path: &str) -> Result<Zeroizing<String>, Box<Finding>> {
    let bytes = read(asked, path, KEY_BYTES_MAX, Code::VaultSealed)?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(closed(asked, path, "the key in it is not text")),
    }
}

/// A finding if others than the user that runs ubs can read or change the file.
fn exposed(asked: &Asked<'_>, path: &str) -> Option<Finding> {
    let metadata = std::fs::metadata(asked.root.join(path)).ok()?;
    let mode = metadata.mode() & 0o7777;
    let message = if mode & OTHERS != 0 {
        format!("{path} can be used by others than its owner (mode {mode:04o})")
    } else if metadata.uid() != nix::unistd::geteuid().as_raw() {
        format!("{path} belongs to another user than the one that runs ubs")
    } else {
        return None;
    };
    let finding = asked.about(Code::VaultInsecure, Severity::Warning, message);
    Some(finding.remedy(format!(
        "chmod 600 {path}, and let it belong to the user that runs ubs"
    )))
}
