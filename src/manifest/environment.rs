//! The environment of the application: reads the environment files, puts the process environment
//! over them, and expands `${NAME}` in values of the manifest.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::env::{EnvFile, Environment, ForeignByte, Origin};
use super::interpolate::{EXPANDED_BYTES_MAX, Piece, pieces};
use super::measure::show_size;
use super::percent::percent_encoded;
use super::read::{UnreadFile, read_small};
use super::types::Manifest;

/// Largest environment file.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// A file with more bytes that are no UTF-8 is no text.
const FOREIGN_MAX: usize = 1_000;
/// Variables that steer `ubs` itself and mean nothing to what it starts.
const OWN_VARIABLES: [&str; 3] = ["UBS_CRASH_AT", "UBS_LOG", "UBS_PROFILES"];
/// What a program needs to find others and to speak the user's language.
const BASIC_VARIABLES: [&str; 4] = ["PATH", "LANG", "LC_ALL", "TZ"];
/// What a service with `clean_env` keeps of the environment of `ubs`.
const KEPT_VARIABLES: [&str; 4] = ["PATH", "HOME", "LANG", "TZ"];
/// Ends of names that say that the value is a secret.
const SECRET_ENDINGS: [&str; 11] = [
    "_KEY",
    "_SECRET",
    "_TOKEN",
    "_CREDENTIAL",
    "_CREDENTIALS",
    "_DSN",
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "APIKEY",
    "_PWD",
];
/// Names that are a secret as a whole.
const SECRET_NAMES: [&str; 3] = ["SECRET", "TOKEN", "CREDENTIALS"];
/// Shorter values of variables that nobody declared secret are no secrets.
const GUESSED_SECRET_BYTES_MIN: usize = 4;
/// The same for variables of the process environment, which has much that is not the application's.
const GUESSED_PROCESS_SECRET_BYTES_MIN: usize = 8;

/// The environment cannot be read, or a text in the manifest cannot be expanded with it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnvironmentError {
    /// An environment file cannot be read.
    #[error("{path}: cannot be read: {source}; make it readable for the user that runs ubs", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Something else than a file stands there.
    #[error("{path}: is {what}, not a file; name a file in config.files", path = path.display())]
    NotRegular {
        /// The path.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// An environment file is larger than 1 MiB.
    #[error("{path}: has {bytes} bytes, and an environment file may have {max}; is it the right file?", path = path.display(), max = show_size(FILE_BYTES_MAX))]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// An environment file is not UTF-8.
    #[error("{path}:{line}: is not UTF-8 text; save the file as UTF-8", path = path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// The first line that is not, 1-based.
        line: u32,
    },
    /// A text asks for a variable that has no value.
    #[error(
        "variable {name} is not set; set it in an environment file or in the environment, or write ${{{name}:-default}}"
    )]
    Unset {
        /// Name of the variable.
        name: String,
    },
    /// A text has something after `${` that is no reference.
    #[error("{why}; {help}")]
    BadReference {
        /// What is wrong.
        why: String,
        /// What to do.
        help: &'static str,
    },
    /// A text grows past 1 MiB as variables are put in.
    #[error("a text grows past {max} when variable {name} is put in; give it a shorter value", max = show_size(EXPANDED_BYTES_MAX as u64))]
    TooLong {
        /// Name of the variable.
        name: String,
    },
}

impl Environment {
    /// Reads the environment files below `root` and merges them under the process environment.
    ///
    /// A file that does not exist is no error. Malformed lines, and bytes that are no UTF-8 but text in Windows-1252,
    /// are kept in [`Environment::files`].
    ///
    /// # Errors
    /// A file cannot be read, is no regular file, is larger than 1 MiB or is no text.
    pub(crate) fn load(
        manifest: &Manifest,
        root: &Path,
        process: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, EnvironmentError> {
        let process: BTreeMap<String, String> = process.collect();
        let mut environment = Self::default();
        let mut earlier: BTreeMap<String, String> = BTreeMap::new();
        for name in &manifest.config.files {
            let file = read_text(&root.join(name))?.map(|(text, not_utf8)| EnvFile {
                not_utf8,
                ..EnvFile::parse(&text, &process, &earlier)
            });
            for entry in file.iter().flat_map(|file| &file.entries) {
                let origin = Origin::File(name.into(), entry.line);
                let value = entry.value.clone();
                earlier.insert(entry.name.clone(), value.clone());
                environment
                    .values
                    .insert(entry.name.clone(), (value, origin));
            }
            environment.files.push((name.clone(), file));
        }
        let process = process.into_iter();
        let process = process.map(|(name, value)| (name, (value, Origin::Process)));
        environment.values.extend(process);
        Ok(environment)
    }

    /// # Errors
    /// A file is not UTF-8: what its values are is a guess.
    pub(crate) fn require_utf8(&self, root: &Path) -> Result<(), EnvironmentError> {
        let files = self.files.iter();
        let mut foreign =
            files.filter_map(|(name, file)| Some((name, file.as_ref()?.not_utf8.first()?)));
        match foreign.next() {
            Some((name, first)) => Err(EnvironmentError::NotUtf8 {
                path: root.join(name),
                line: first.line,
            }),
            None => Ok(()),
        }
    }

    /// With the variables that services of the manifest set for themselves and that nobody else sets: what the checks
    /// look at. Of several services that set one, the first counts. What cannot be expanded is left out.
    #[must_use]
    pub(crate) fn with_services(&self, manifest: &Manifest) -> Self {
        let mut with = self.clone();
        let services = manifest.layers.iter().flat_map(|layer| &layer.services);
        for service in services {
            let mut own = BTreeMap::new();
            for file in &service.env_files {
                if let Ok(path) = self.expand(&file.path) {
                    // One that is missing or broken is a finding of its own.
                    let _ = add_env_file(&mut own, &manifest.workspace.join(path));
                }
            }
            for (name, text) in &service.env {
                if let Ok(value) = self.expand(text) {
                    own.insert(name.clone(), value);
                }
            }
            for (name, value) in own {
                let origin = Origin::Service(service.name.clone());
                with.values.entry(name).or_insert((value, origin));
            }
        }
        with
    }

    /// Without what [`Self::with_services`] added: what every service gets.
    #[must_use]
    pub(crate) fn of_all_services(&self) -> Self {
        let mut all = self.clone();
        all.values
            .retain(|_, (_, origin)| !matches!(origin, Origin::Service(_)));
        all
    }

    /// `text` with each `${NAME}` and `${NAME:-default}` replaced; `$$` is a dollar sign.
    ///
    /// The default stands in for a variable that is unset or empty, as in a shell. A lone `$` and
    /// `$NAME` stay as they are, and values are not looked into again.
    ///
    /// # Errors
    /// A variable without default is not set, a reference is broken, or the result is longer than 1 MiB.
    pub(crate) fn expand(&self, text: &str) -> Result<String, EnvironmentError> {
        self.expand_with(text, |_, value| Cow::Borrowed(value))
    }

    /// The same for a URL: in front of its `@`, a value stands for itself, and what would end it there is encoded, as
    /// the password `a@b/c` in `postgresql://ann:${PASSWORD}@host/app`. One that is encoded already stays.
    ///
    /// # Errors
    /// As [`Environment::expand`].
    pub(crate) fn expand_url(&self, text: &str) -> Result<String, EnvironmentError> {
        let begin = text.find("://").map(|at| at + 3);
        let login = begin.and_then(|begin| {
            let end = text[begin..]
                .find(['/', '?'])
                .map_or(text.len(), |end| begin + end);
            Some(begin..begin + text[begin..end].rfind('@')?)
        });
        self.expand_with(text, |at, value| match &login {
            Some(login) if login.contains(&at) => encoded(value),
            _ => Cow::Borrowed(value),
        })
    }

    /// `put_in`: what is put in for a value whose name stands at that byte of the text.
    fn expand_with(
        &self,
        text: &str,
        put_in: impl for<'v> Fn(usize, &'v str) -> Cow<'v, str>,
    ) -> Result<String, EnvironmentError> {
        let parts = pieces(text).map_err(|bad| {
            let (why, help) = bad.explain();
            EnvironmentError::BadReference { why, help }
        })?;
        let mut expanded = String::with_capacity(text.len());
        for part in parts {
            match part {
                Piece::Text(text) => expanded.push_str(text),
                Piece::Variable { name, default } => {
                    let value = self.values.get(name).map(|(value, _)| value.as_str());
                    let value = match default {
                        Some(default) => value.filter(|value| !value.is_empty()).or(Some(default)),
                        None => value,
                    };
                    let owned = || name.to_owned();
                    let value = value.ok_or_else(|| EnvironmentError::Unset { name: owned() })?;
                    let at = name.as_ptr().addr() - text.as_ptr().addr();
                    let value = put_in(at, value);
                    expanded.push_str(&value);
                    if expanded.len() > EXPANDED_BYTES_MAX {
                        return Err(EnvironmentError::TooLong { name: owned() });
                    }
                }
            }
        }
        Ok(expanded)
    }

    /// The environment of a service: everything but the variables that steer `ubs` itself.
    #[must_use]
    pub(crate) fn child_env(&self) -> BTreeMap<String, String> {
        self.select(|_, _| true)
    }

    /// The environment of a service that gets nothing of ours but `PATH`, `HOME`, `LANG` and `TZ`: the variables of the
    /// environment files, as those set them.
    #[must_use]
    pub(crate) fn clean_env(&self) -> BTreeMap<String, String> {
        let kept = |name: &str| KEPT_VARIABLES.contains(&name);
        let mut env = self.select(|name, origin| *origin == Origin::Process && kept(name));
        // What we inherited may hide what a file says.
        let in_files = self
            .entries()
            .filter(|(name, _)| !OWN_VARIABLES.contains(name));
        env.extend(in_files.map(|(name, value)| (name.to_owned(), value.to_owned())));
        env
    }

    /// The environment of a sandboxed check: variables of the environment files, declared variables,
    /// and `PATH`, `LANG`, `LC_ALL` and `TZ`; nothing else of the process environment.
    #[must_use]
    pub(crate) fn declared_env(&self, manifest: &Manifest) -> BTreeMap<String, String> {
        let in_files: BTreeSet<&str> = self.entries().map(|(name, _)| name).collect();
        self.select(|name, origin| {
            matches!(origin, Origin::Service(_))
                || in_files.contains(name)
                || manifest.config.vars.contains_key(name)
                || BASIC_VARIABLES.contains(&name)
        })
    }

    fn select(&self, wanted: impl Fn(&str, &Origin) -> bool) -> BTreeMap<String, String> {
        self.values
            .iter()
            .filter(|(name, (_, origin))| {
                !OWN_VARIABLES.contains(&name.as_str()) && wanted(name, origin)
            })
            .map(|(name, (value, _))| (name.clone(), value.clone()))
            .collect()
    }

    /// Names and values of every assignment in the environment files, those that do not count too.
    fn entries(&self) -> impl Iterator<Item = (&str, &str)> {
        let files = self.files.iter().filter_map(|(_, file)| file.as_ref());
        files
            .flat_map(|file| &file.entries)
            .map(|entry| (entry.name.as_str(), entry.value.as_str()))
    }

    /// What must not reach the log or a terminal: the values of variables marked secret, also where an
    /// environment file assigns one that does not count; the values of undeclared variables whose name
    /// says that they are secret; and passwords inside URLs of declared variables and environment files
    /// (not where the password is the user's name, which is no secret).
    #[must_use]
    pub(crate) fn secret_values(&self, manifest: &Manifest) -> Vec<String> {
        let mut secrets: BTreeSet<String> = BTreeSet::new();
        let mut collect = |name: &str, value: &str, bytes_min: usize, is_ours: bool| {
            let declared = manifest.config.vars.get(name);
            let is_secret = match declared {
                Some(var) => var.secret,
                None => sounds_secret(name) && value.len() >= bytes_min,
            };
            if is_secret {
                secrets.insert(value.to_owned());
            }
            if is_ours || declared.is_some() {
                secrets.extend(url_passwords(value));
            }
        };
        for (name, value) in self.entries() {
            collect(name, value, GUESSED_SECRET_BYTES_MIN, true);
        }
        for (name, (value, _)) in &self.values {
            collect(name, value, GUESSED_PROCESS_SECRET_BYTES_MIN, false);
        }
        secrets.retain(|secret| !secret.trim().is_empty());
        secrets.into_iter().collect()
    }
}

/// Adds what an environment file of one service says; `${NAME}` in it stands for what is in `env`. `false` if there
/// is no such file.
///
/// # Errors
/// The file cannot be read as one, or has a line that is no assignment.
pub(crate) fn add_env_file(
    env: &mut BTreeMap<String, String>,
    path: &Path,
) -> Result<bool, String> {
    let text = read_file(path).map_err(|error| error.to_string())?;
    let Some(text) = text else {
        return Ok(false);
    };
    let file = EnvFile::parse(&text, &BTreeMap::new(), env);
    if let Some((line, why)) = file.malformed.first() {
        return Err(format!("{}:{line}: {why}", path.display()));
    }
    let entries = file.entries.into_iter();
    env.extend(entries.map(|entry| (entry.name, entry.value)));
    Ok(true)
}

/// The values in it that are secret by their names, and passwords in URLs.
pub(crate) fn secrets_among<'e>(
    entries: impl Iterator<Item = (&'e str, &'e str)>,
) -> impl Iterator<Item = String> {
    entries.flat_map(|(name, value)| {
        let is_secret = sounds_secret(name) && value.len() >= GUESSED_SECRET_BYTES_MIN;
        let whole = is_secret.then(|| value.to_owned());
        whole.into_iter().chain(url_passwords(value))
    })
}

/// The name of a variable says that its value is nobody's business.
pub(crate) fn sounds_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    SECRET_NAMES.contains(&name.as_str())
        || SECRET_ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// The password of a URL, as written and as the server sees it.
pub(crate) fn url_passwords(value: &str) -> Vec<String> {
    let password = value.split_once("://").and_then(|(_, rest)| {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        // A password that nobody encoded may have an `@` of its own.
        let (user, password) = authority.rsplit_once('@')?.0.split_once(':')?;
        (user != password && !password.is_empty()).then_some(password)
    });
    let Some(password) = password else {
        return vec![];
    };
    let mut all = vec![password.to_owned()];
    all.extend(percent_decoded(password));
    all
}

/// RFC 3986, section 2.1. `None` if nothing is encoded, or it is no text.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail.get(..2).filter(|_| *first == b'%');
        let byte = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8(bytes)
        .ok()
        .filter(|decoded| decoded != text)
}

/// The text of an environment file; `None` if it does not exist.
fn read_file(path: &Path) -> Result<Option<String>, EnvironmentError> {
    let read = read_text(path)?;
    match read {
        Some((_, foreign)) if !foreign.is_empty() => Err(EnvironmentError::NotUtf8 {
            path: path.to_owned(),
            line: foreign[0].line,
        }),
        read => Ok(read.map(|(text, _)| text)),
    }
}

/// The text of an environment file, with the bytes that are no UTF-8 read as Windows-1252; `None` if it does not exist.
fn read_text(path: &Path) -> Result<Option<(String, Vec<ForeignByte>)>, EnvironmentError> {
    let path = || path.to_owned();
    let bytes = match read_small(&path(), FILE_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(UnreadFile::Missing) => return Ok(None),
        Err(UnreadFile::NotRegular(what)) => {
            return Err(EnvironmentError::NotRegular { path: path(), what });
        }
        Err(UnreadFile::TooLarge(bytes)) => {
            return Err(EnvironmentError::TooLarge {
                path: path(),
                bytes,
            });
        }
        Err(UnreadFile::Io(source)) => {
            return Err(EnvironmentError::Unreadable {
                path: path(),
                source,
            });
        }
    };
    let error = match String::from_utf8(bytes) {
        Ok(text) => return Ok(Some((text, Vec::new()))),
        Err(error) => error,
    };
    let good = error.utf8_error().valid_up_to();
    let line_at = |bytes: &[u8]| {
        let lines = bytes.iter().filter(|b| **b == b'\n').count();
        u32::try_from(lines + 1).unwrap_or(u32::MAX)
    };
    let bytes = error.as_bytes();
    recoded(bytes)
        .map(Some)
        .ok_or_else(|| EnvironmentError::NotUtf8 {
            path: path(),
            line: line_at(&bytes[..good]),
        })
}

/// The bytes as text; `None` if they are none in Windows-1252 either.
fn recoded(bytes: &[u8]) -> Option<(String, Vec<ForeignByte>)> {
    let (mut text, mut foreign) = (String::new(), Vec::new());
    let (mut at, mut line) = (0, 1);
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        line += u32::try_from(chunk.valid().matches('\n').count()).ok()?;
        at += chunk.valid().len();
        for byte in chunk.invalid() {
            if foreign.len() == FOREIGN_MAX {
                return None;
            }
            let one = [*byte];
            let (letter, _, is_wrong) = encoding_rs::WINDOWS_1252.decode(&one);
            let letter = letter
                .chars()
                .next()
                .filter(|c| !is_wrong && !c.is_control())?;
            let is_plain =
                |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_none_or(u8::is_ascii);
            text.push(letter);
            foreign.push(ForeignByte {
                line,
                at,
                letter,
                is_in_a_word: letter.is_alphabetic()
                    && is_plain(at.checked_sub(1))
                    && is_plain(at.checked_add(1)),
            });
            at += 1;
        }
    }
    (!text.contains('\0')).then_some((text, foreign))
}

/// A value as a part of a URL's login. One whose only special characters are those of an encoding is one already.
fn encoded(value: &str) -> Cow<'_, str> {
    let is_code = |at: usize| {
        let code = value.as_bytes().get(at + 1..at + 3);
        code.is_some_and(|code| code.iter().all(u8::is_ascii_hexdigit))
    };
    let ends_it = |(at, c): (usize, char)| match c {
        '%' => !is_code(at),
        c => "@/?#[]: ".contains(c),
    };
    if !value.char_indices().any(ends_it) {
        return Cow::Borrowed(value);
    }
    Cow::Owned(percent_encoded(value))
}

#[cfg(test)]
mod tests;
