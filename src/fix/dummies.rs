//! Dummies in the place of secrets, for a trial of code that nobody approved: it has no network, yet
//! what it prints comes back to whoever proposed it, and could be encoded so that no redactor knows it.
//!
//! A dummy has the length of the secret, and at each place a character of the same class, so that what
//! parses the one parses the other. What checks a signature, or decrypts, fails with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::apply::ApplyError;
use crate::manifest::{
    EnvFile, Environment, Manifest, Origin, set_variable, sounds_secret, url_passwords,
};

/// Shorter values are too common to be replaced wherever they stand.
const SECRET_BYTES_MIN: usize = 4;
/// Shorter values are replaced in environment files only, and so are those that may be a word.
const SECRET_BYTES_ANYWHERE_MIN: usize = 8;
/// Larger files are not looked at.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// In the name of an environment file that is an example and holds no secrets.
const EXAMPLES: [&str; 5] = ["example", "sample", "template", "dist", "defaults"];
/// Endings of files that are program code: a key in it is no file of keys.
const CODE: [&str; 6] = ["py", "pyi", "js", "ts", "md", "rst"];

/// A secret, and what stands for it.
struct Dummy {
    secret: String,
    stands_for_it: String,
}

/// What stands for each secret, the longest first: one may be a part of another.
struct Dummies(Vec<Dummy>);

impl Dummies {
    fn draw(secrets: BTreeSet<String>) -> Result<Self, ApplyError> {
        let mut secrets: Vec<String> = secrets.into_iter().collect();
        secrets.retain(|secret| secret.len() >= SECRET_BYTES_MIN);
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        let drawn = secrets.into_iter().map(|secret| {
            let stands_for_it = dummy_of(&secret)?;
            Ok(Dummy {
                secret,
                stands_for_it,
            })
        });
        drawn.collect::<Result<_, ApplyError>>().map(Self)
    }

    /// Wherever they stand.
    fn replace(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, dummy| {
            text.replace(dummy.secret.as_str(), &dummy.stands_for_it)
        })
    }

    /// In a file of the application: a password that is a word stands there for other things too.
    fn replace_in_file(&self, text: &str) -> String {
        let unlike_words = self.0.iter().filter(|dummy| !may_be_word(&dummy.secret));
        unlike_words.fold(text.to_owned(), |text, dummy| {
            text.replace(dummy.secret.as_str(), &dummy.stands_for_it)
        })
    }

    /// An environment file. A value may be written with escapes.
    fn replace_in_environment(&self, text: &str) -> String {
        let mut hidden = self.replace(text);
        for entry in parse(&hidden).entries {
            let dummy = self.replace(&entry.value);
            if dummy != entry.value {
                hidden = set_variable(&hidden, &entry.name, &dummy);
            }
        }
        hidden
    }
}

fn may_be_word(secret: &str) -> bool {
    secret.len() < SECRET_BYTES_ANYWHERE_MIN
        || secret
            .chars()
            .all(|c| c.is_alphabetic() || "-_. /".contains(c))
}

fn parse(text: &str) -> EnvFile {
    let none = BTreeMap::new();
    EnvFile::parse(text, &none, &none)
}

/// Replaces every secret of `environment` and of the live workspace in the text files below `root`, the copy, and
/// those of environment files that the manifest does not name; private keys become empty. Gives the variables of the
/// process environment that have to be replaced too.
pub(super) fn replace_secrets(
    manifest: &Manifest,
    environment: &Environment,
    root: &Path,
) -> Result<BTreeMap<String, String>, ApplyError> {
    let files = text_files(root)?;
    let mut secrets: BTreeSet<String> = environment.secret_values(manifest).into_iter().collect();
    // The copy may have lost an assignment whose value stands elsewhere too.
    let of_process = environment
        .values
        .iter()
        .filter(|(_, (_, origin))| matches!(origin, Origin::Process))
        .map(|(name, (value, _))| (name.clone(), value.clone()));
    if let Ok(live) = Environment::load(manifest, &manifest.workspace, of_process) {
        secrets.extend(live.secret_values(manifest));
    }
    for path in files.iter().filter(|path| is_environment_file(path)) {
        let text = fs::read(path).map_err(|error| io(root, path, "read", error))?;
        for entry in parse(&String::from_utf8_lossy(&text)).entries {
            if sounds_secret(&entry.name) && !entry.value.trim().is_empty() {
                secrets.insert(entry.value.clone());
            }
            secrets.extend(url_passwords(&entry.value));
        }
    }
    let dummies = Dummies::draw(secrets)?;
    for path in &files {
        hide_in_file(root, path, &dummies)?;
    }
    for name in &manifest.config.files {
        replace_in_named_file(root, name, &dummies)?;
    }
    Ok(environment
        .declared_env(manifest)
        .into_iter()
        .filter_map(|(name, value)| {
            let dummy = dummies.replace(&value);
            (dummy != value).then_some((name, dummy))
        })
        .collect())
}

/// A file that the manifest names, whatever it is called, and also where it is a link.
fn replace_in_named_file(root: &Path, name: &str, dummies: &Dummies) -> Result<(), ApplyError> {
    let path = root.join(name);
    // Only what lies in the copy: a file elsewhere is the live one, and so is what a link leads to.
    if !Path::new(name).is_relative() || !path.is_file() {
        return Ok(());
    }
    let directory = path.parent().and_then(|parent| parent.canonicalize().ok());
    if !directory.is_some_and(|directory| directory.starts_with(root)) {
        return Err(ApplyError::Path {
            path: name.to_owned(),
            why: "it lies behind a symbolic link, so its secrets cannot be hidden from the trial",
        });
    }
    let text = fs::read_to_string(&path).map_err(|error| io(root, &path, "read", error))?;
    let hidden = dummies.replace_in_environment(&text);
    if hidden != text || path.is_symlink() {
        write_anew(&path, hidden.as_bytes()).map_err(|error| io(root, &path, "write", error))?;
    }
    Ok(())
}

fn hide_in_file(root: &Path, path: &Path, dummies: &Dummies) -> Result<(), ApplyError> {
    let bytes = fs::read(path).map_err(|error| io(root, path, "read", error))?;
    if bytes.contains(&0) {
        return Ok(());
    }
    if !is_environment_file(path) && is_private_key(path, &bytes) {
        return write_anew(path, b"").map_err(|error| io(root, path, "empty", error));
    }
    let hidden = match String::from_utf8(bytes.clone()) {
        Ok(text) if is_environment_file(path) => dummies.replace_in_environment(&text),
        Ok(text) => dummies.replace_in_file(&text),
        // In another encoding: what can be found without knowing it.
        Err(_) => return replace_ascii(root, path, &bytes, dummies),
    };
    if hidden.as_bytes() != bytes {
        write_anew(path, hidden.as_bytes()).map_err(|error| io(root, path, "write", error))?;
    }
    Ok(())
}

/// Every byte is taken for a character, so that nothing else changes.
fn replace_ascii(
    root: &Path,
    path: &Path,
    bytes: &[u8],
    dummies: &Dummies,
) -> Result<(), ApplyError> {
    let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
    let hidden = if is_environment_file(path) {
        dummies.replace(&text)
    } else {
        dummies.replace_in_file(&text)
    };
    if hidden == text {
        return Ok(());
    }
    let bytes: Vec<u8> = hidden
        .chars()
        .map(|c| u8::try_from(c).unwrap_or(b'?'))
        .collect();
    write_anew(path, &bytes).map_err(|error| io(root, path, "write", error))
}

/// PEM (RFC 7468), but not text of a program about it.
fn is_private_key(path: &Path, bytes: &[u8]) -> bool {
    let is_code = path
        .extension()
        .is_some_and(|ending| CODE.iter().any(|code| ending.eq_ignore_ascii_case(code)));
    !is_code
        && bytes.split(|byte| *byte == b'\n').any(|line| {
            let line = line.trim_ascii();
            line.starts_with(b"-----BEGIN ") && line.ends_with(b"PRIVATE KEY-----")
        })
}

/// By its name: `.env`, `.env.local`, `prod.env`; not an example.
fn is_environment_file(path: &Path) -> bool {
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    let is_one =
        name == ".env" || name.starts_with(".env.") || name.ends_with(".env") || name == ".envrc";
    is_one && !EXAMPLES.iter().any(|example| name.contains(example))
}

/// Regular files of a size to look at; no link is followed.
fn text_files(root: &Path) -> Result<Vec<PathBuf>, ApplyError> {
    let mut files = Vec::new();
    let mut left = vec![root.to_owned()];
    while let Some(directory) = left.pop() {
        let entries =
            fs::read_dir(&directory).map_err(|error| io(root, &directory, "list", error))?;
        for entry in entries {
            let entry = entry.map_err(|error| io(root, &directory, "list", error))?;
            let about = entry
                .metadata()
                .map_err(|error| io(root, &entry.path(), "read", error))?;
            if about.is_dir() {
                left.push(entry.path());
            } else if about.is_file() && about.len() <= FILE_BYTES_MAX {
                files.push(entry.path());
            }
        }
    }
    Ok(files)
}

/// In the place of what is there, link or file, whoever may write it.
fn write_anew(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mode = fs::metadata(path)?.permissions();
    fs::remove_file(path)?;
    fs::write(path, bytes)?;
    fs::set_permissions(path, mode)
}

fn io(root: &Path, path: &Path, verb: &'static str, source: std::io::Error) -> ApplyError {
    ApplyError::Io {
        verb,
        path: path
            .strip_prefix(root)
            .unwrap_or(path)
            .display()
            .to_string(),
        source,
    }
}

fn dummy_of(secret: &str) -> Result<String, ApplyError> {
    let mut random = vec![0; secret.chars().count()];
    getrandom::fill(&mut random).map_err(|error| ApplyError::Random(error.to_string()))?;
    let of_class = |first: u8, count: u8, random: u8| char::from(first + random % count);
    let drawn = secret.chars().zip(random).map(|(c, random)| match c {
        '0'..='9' => of_class(b'0', 10, random),
        'a'..='f' => of_class(b'a', 6, random),
        'g'..='z' => of_class(b'g', 20, random),
        'A'..='F' => of_class(b'A', 6, random),
        'G'..='Z' => of_class(b'G', 20, random),
        c => c,
    });
    Ok(drawn.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dummy_has_the_shape_and_nothing_else_of_the_secret() {
        let secret = "sk-0123456789abcdefXYZ.PQ_é==";
        let dummy = dummy_of(secret).unwrap();
        assert_ne!(dummy, secret);
        assert_eq!(dummy.len(), secret.len());
        for (a, b) in dummy.chars().zip(secret.chars()) {
            assert_eq!(a.is_ascii_digit(), b.is_ascii_digit());
            assert_eq!(a.is_ascii_lowercase(), b.is_ascii_lowercase());
            assert_eq!(a.is_ascii_hexdigit(), b.is_ascii_hexdigit());
            assert_eq!(a.is_alphanumeric(), b.is_alphanumeric());
        }
    }

    #[test]
    fn secrets_of_files_that_nobody_named_are_replaced_and_keys_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let live = root.join("live");
        let copy = root.join("copy");
        for place in [&live, &copy] {
            fs::create_dir_all(place.join("deploy")).unwrap();
            fs::write(
                place.join(".env"),
                "API_KEY=declared-1234567\nDB_PASSWORD=postgres\n",
            )
            .unwrap();
            fs::write(
                place.join(".env.production"),
                "STRIPE_TOKEN=sk_live_99887766\nPORT=8000\n",
            )
            .unwrap();
            fs::write(
                place.join("deploy/prod.env"),
                "URL=postgresql://a:pw0rd-4455@h/d\n",
            )
            .unwrap();
            fs::write(place.join(".env.example"), "API_KEY=put-yours-here-1\n").unwrap();
            fs::write(
                place.join("notes.txt"),
                "use sk_live_99887766 with postgres\n",
            )
            .unwrap();
            fs::write(place.join("old.ini"), b"caf\xe9 = declared-1234567\n").unwrap();
            fs::write(
                place.join("server.pem"),
                "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n",
            )
            .unwrap();
        }
        // A proposal that takes the assignment away does not keep the value.
        fs::write(copy.join(".env"), "DB_PASSWORD=postgres\n").unwrap();
        fs::write(
            live.join("ubs.toml"),
            "[app]\nname = 'a'\n[config]\nfiles = ['.env']\n",
        )
        .unwrap();
        let manifest = Manifest::load(&live.join("ubs.toml")).unwrap();
        let environment = Environment::load(&manifest, &copy, std::iter::empty()).unwrap();
        replace_secrets(&manifest, &environment, &copy).unwrap();
        let read =
            |name: &str| String::from_utf8_lossy(&fs::read(copy.join(name)).unwrap()).into_owned();
        for name in [
            ".env",
            ".env.production",
            "deploy/prod.env",
            "notes.txt",
            "old.ini",
        ] {
            let text = read(name);
            for secret in ["declared-1234567", "sk_live_99887766", "pw0rd-4455"] {
                assert!(!text.contains(secret), "{name}: {text}");
            }
        }
        assert!(read(".env.production").ends_with("PORT=8000\n"));
        assert!(!read(".env").contains("postgres"));
        assert!(
            read("notes.txt").ends_with("with postgres\n"),
            "a word is no secret of a text"
        );
        assert!(read("old.ini").starts_with("caf"));
        assert_eq!(read("server.pem"), "");
        assert_eq!(read(".env.example"), "API_KEY=put-yours-here-1\n");
        let live_key = fs::read_to_string(live.join(".env.production")).unwrap();
        assert!(live_key.contains("sk_live_99887766"));
    }
}
