//! The metadata of what is installed: `*.dist-info/METADATA` and the older `*.egg-info`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pep508_rs::PackageName;
use pep508_rs::pep440_rs::Version;
use sha2::{Digest as _, Sha256};

use super::need::Need;

/// Directories of one interpreter's path that are looked at.
const DIRECTORIES_MAX: usize = 200;
/// Distributions that are read.
const DISTRIBUTIONS_MAX: usize = 10_000;
/// Of a metadata file, its headers; a description may follow.
const HEADERS_BYTES_MAX: u64 = 1 << 20;
/// Of the list of files.
const RECORD_BYTES_MAX: u64 = 8 << 20;
/// Requirements of one distribution.
const NEEDS_MAX: usize = 2_000;
/// Readers at once: each waits for the disk mostly.
const THREADS_MAX: usize = 4;

/// One installed distribution.
#[derive(Debug, Clone)]
pub(super) struct Distribution {
    /// As it calls itself.
    pub name: String,
    /// As it says; `version` is `None` if that is no version.
    pub version_text: String,
    pub version: Option<Version>,
    /// `Requires-Dist`, those that can be understood.
    pub needs: Vec<Need>,
    /// Its metadata directory, or file.
    place: PathBuf,
    /// Read when somebody first asks.
    modules: OnceLock<BTreeSet<String>>,
    damaged: OnceLock<bool>,
}

/// Everything on the path; the first of a name counts, as for Python.
pub(super) fn read(path: &[String]) -> BTreeMap<PackageName, Distribution> {
    let mut places = Vec::new();
    for directory in path.iter().take(DIRECTORIES_MAX) {
        let Ok(entries) = fs::read_dir(directory) else {
            continue;
        };
        let mut here: Vec<PathBuf> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|place| {
                place
                    .extension()
                    .is_some_and(|end| end == "dist-info" || end == "egg-info")
            })
            .collect();
        here.sort();
        places.extend(here);
    }
    places.truncate(DISTRIBUTIONS_MAX);
    let share = places.len().div_ceil(THREADS_MAX).max(1);
    let read: Vec<Option<Distribution>> = std::thread::scope(|scope| {
        let readers: Vec<_> = places
            .chunks(share)
            .map(|chunk| scope.spawn(|| chunk.iter().map(|p| read_one(p)).collect::<Vec<_>>()))
            .collect();
        readers
            .into_iter()
            .flat_map(|reader| {
                reader
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    });
    let mut installed = BTreeMap::new();
    for distribution in read.into_iter().flatten() {
        if let Ok(name) = PackageName::from_str(&distribution.name) {
            installed.entry(name).or_insert(distribution);
        }
    }
    installed
}

fn read_one(place: &Path) -> Option<Distribution> {
    let metadata = if place.is_file() {
        place.to_owned()
    } else if place.extension().is_some_and(|end| end == "egg-info") {
        place.join("PKG-INFO")
    } else {
        place.join("METADATA")
    };
    let mut found = parse_headers(open(&metadata, HEADERS_BYTES_MAX)?)?;
    found.place = place.to_owned();
    if let Some(file) =
        open(&place.join("requires.txt"), HEADERS_BYTES_MAX).filter(|_| found.needs.is_empty())
    {
        found.needs = parse_requires(file);
    }
    Some(found)
}

/// A regular file, to be read up to a bound: a pipe of that name would wait for ever.
fn open(path: &Path, bytes_max: u64) -> Option<impl BufRead + use<>> {
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    Some(BufReader::new(File::open(path).ok()?.take(bytes_max)))
}

/// Lines as text, whatever bytes they have.
fn lines(mut from: impl BufRead) -> impl Iterator<Item = String> {
    std::iter::from_fn(move || {
        let mut line = Vec::new();
        let read = from.read_until(b'\n', &mut line).ok()?;
        (read > 0).then(|| {
            String::from_utf8_lossy(&line)
                .trim_end_matches(['\n', '\r'])
                .to_owned()
        })
    })
}

/// The headers that matter, up to the empty line (core metadata, PEP 566).
fn parse_headers(file: impl BufRead) -> Option<Distribution> {
    let (mut name, mut version, mut needs) = (None, None, Vec::new());
    // A requirement may go on in the next line, indented (RFC 822).
    let mut unfolded: Vec<String> = Vec::new();
    for line in lines(file) {
        if line.is_empty() {
            break;
        }
        match unfolded.last_mut() {
            Some(last) if line.starts_with([' ', '\t']) => last.push_str(&line),
            _ => unfolded.push(line),
        }
    }
    for line in &unfolded {
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        let value = value.trim();
        match key.to_ascii_lowercase().as_str() {
            "name" => _ = name.get_or_insert(value),
            "version" => _ = version.get_or_insert(value),
            "requires-dist" if needs.len() < NEEDS_MAX => needs.extend(Need::from_str(value)),
            _ => {}
        }
    }
    let version = version?.to_owned();
    Some(Distribution {
        name: name?.to_owned(),
        version: Version::from_str(&version).ok(),
        version_text: version,
        needs,
        place: PathBuf::new(),
        modules: OnceLock::new(),
        damaged: OnceLock::new(),
    })
}

/// setuptools' `requires.txt`: sections `[extra:marker]`, each with requirements.
fn parse_requires(file: impl BufRead) -> Vec<Need> {
    let mut condition = String::new();
    let mut needs = Vec::new();
    for line in lines(file) {
        let line = line.trim();
        if let Some(section) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            let (extra, marker) = section.split_once(':').unwrap_or((section, ""));
            let parts: Vec<String> = [
                (!extra.is_empty()).then(|| format!("extra == '{extra}'")),
                (!marker.is_empty()).then(|| format!("({marker})")),
            ]
            .into_iter()
            .flatten()
            .collect();
            condition = parts.join(" and ");
        } else if !line.is_empty() && needs.len() < NEEDS_MAX {
            let text = match (line.split_once(';'), condition.is_empty()) {
                (_, true) => line.to_owned(),
                (None, _) => format!("{line} ; {condition}"),
                (Some((need, marker)), _) => format!("{need} ; ({marker}) and {condition}"),
            };
            needs.extend(Need::from_str(&text));
        }
    }
    needs
}

/// The digest is that of a wheel's list: SHA-256 in the URL-safe alphabet of base 64, without padding.
fn is_of_digest(bytes: &[u8], digest: &str) -> bool {
    URL_SAFE_NO_PAD.encode(Sha256::digest(bytes)) == digest.trim_end_matches('=')
}

/// Bytes of files that are compared with the list.
const COMPARED_BYTES_MAX: u64 = 256 << 20;

impl Distribution {
    /// A module of it, by its list of files, is gone or has other bytes than when it was installed.
    pub(super) fn is_damaged(&self) -> bool {
        *self.damaged.get_or_init(|| self.compare())
    }

    fn compare(&self) -> bool {
        let Some(site) = self.place.parent() else {
            return false;
        };
        let Some(record) = open(&self.place.join("RECORD"), RECORD_BYTES_MAX) else {
            return false;
        };
        let mut left = COMPARED_BYTES_MAX;
        lines(record).any(|line| {
            // `path,sha256=digest,size`; a path with a comma is quoted, and not looked at.
            let parts: Vec<&str> = line.split(',').collect();
            let [file, digest, size] = parts[..] else {
                return false;
            };
            let is_code = file.ends_with(".py") || file.ends_with(".so") || file.contains(".so.");
            let (Some(digest), Ok(size)) = (digest.strip_prefix("sha256="), size.parse::<u64>())
            else {
                return false;
            };
            if !is_code || file.starts_with(['/', '"']) || file.split('/').any(|part| part == "..")
            {
                return false;
            }
            let path = site.join(file);
            let found = match fs::metadata(&path) {
                Ok(about) if about.is_file() => about.len(),
                _ => return true,
            };
            if found != size || size > left {
                return found != size;
            }
            left -= size;
            fs::read(&path).is_ok_and(|bytes| !is_of_digest(&bytes, digest))
        })
    }

    /// The top-level modules that it brings, by its list of files.
    pub(super) fn modules(&self) -> &BTreeSet<String> {
        self.modules.get_or_init(|| self.read_modules())
    }

    fn read_modules(&self) -> BTreeSet<String> {
        let mut modules = BTreeSet::new();
        if let Some(file) = open(&self.place.join("top_level.txt"), RECORD_BYTES_MAX) {
            modules.extend(lines(file).map(|line| line.trim().to_owned()));
        }
        let record = ["RECORD", "installed-files.txt"]
            .iter()
            .map(|name| self.place.join(name))
            .find_map(|path| open(&path, RECORD_BYTES_MAX));
        for line in record.into_iter().flat_map(lines) {
            let file = line.split(',').next().unwrap_or_default();
            let (top, inside) = match file.split_once('/') {
                Some((top, _)) => (top, true),
                None => (file, false),
            };
            // `fast.cpython-311-x86_64-linux-gnu.so` is the module `fast`.
            let is_code = file.ends_with(".py") || file.ends_with(".so") || file.ends_with(".pyi");
            let top = if inside {
                top
            } else {
                top.split('.').next().unwrap_or(top)
            };
            if is_code && !top.is_empty() && !top.contains(['.', '-']) {
                modules.insert(top.to_owned());
            }
        }
        modules
    }
}
