//! Database URLs: of which kind one is, and which file a SQLite URL names. Pure but for a look whether a file exists.

use std::path::{Path, PathBuf};

/// Whether a database URL means PostgreSQL: `postgresql[+driver]://`, `postgres://`.
#[must_use]
pub(crate) fn is_postgres(url: &str) -> bool {
    url.trim().split_once("://").is_some_and(|(scheme, _)| {
        let dialect = scheme.split('+').next().unwrap_or_default();
        ["postgresql", "postgres"]
            .iter()
            .any(|name| dialect.eq_ignore_ascii_case(name))
    })
}

/// What a SQLite URL means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Database {
    /// A file.
    File(PathBuf),
    /// Gone when the application ends.
    Memory,
    /// No SQLite database.
    Other,
}

/// The file that a SQLite URL names, as an application with working directory `root` would open it.
/// `None` for a database in memory, and for other databases.
#[must_use]
pub(crate) fn sqlite_path(url: &str, root: &Path) -> Option<PathBuf> {
    match parse_url(url, root) {
        Database::File(path) => Some(path),
        Database::Memory | Database::Other => None,
    }
}

/// Reads a database URL in the way of SQLAlchemy: `sqlite[+driver]:///path[?query]`.
pub(crate) fn parse_url(url: &str, root: &Path) -> Database {
    let Some((scheme, rest)) = url.trim().split_once("://") else {
        return Database::Other;
    };
    let dialect = scheme.split('+').next().unwrap_or_default();
    if !dialect.eq_ignore_ascii_case("sqlite") && !dialect.eq_ignore_ascii_case("sqlite3") {
        return Database::Other;
    }
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let Some(database) = rest.strip_prefix('/') else {
        // `sqlite://` is in memory; with a host it is an error of whoever wrote it.
        return if rest.is_empty() {
            Database::Memory
        } else {
            Database::Other
        };
    };
    let option = |name: &str| {
        query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.to_lowercase())
    };
    let is_uri = matches!(option("uri").as_deref(), Some("true" | "1" | "yes" | "on"));
    let in_memory = |name: &str| name.is_empty() || name == ":memory:";
    if is_uri && let Some(name) = database.strip_prefix("file:") {
        // `file:path`, `file:/path`, `file:///path`, `file://localhost/path` (sqlite.org/uri.html).
        let name = match name.strip_prefix("//") {
            Some(rest) => rest.find('/').map_or("", |slash| &rest[slash..]),
            None => name,
        };
        if in_memory(name) || option("mode").as_deref() == Some("memory") {
            return Database::Memory;
        }
        return Database::File(join(root, &percent_decode(name)));
    }
    if in_memory(database) {
        return Database::Memory;
    }
    let decoded = join(root, &percent_decode(database));
    let literal = join(root, database);
    // Older versions of SQLAlchemy take the path to the letter.
    if !decoded.exists() && literal.exists() {
        return Database::File(literal);
    }
    Database::File(decoded)
}

fn join(root: &Path, path: &str) -> PathBuf {
    // Without the `.` of `./app.db`, so that one file has one name.
    root.join(path).components().collect()
}

/// The text with its `%XX` decoded; as it is if that is no UTF-8.
pub(crate) fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes
            .get(at + 1..at + 3)
            .and_then(|pair| std::str::from_utf8(pair).ok())
            .filter(|pair| pair.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|pair| u8::from_str_radix(pair, 16).ok());
        match hex {
            Some(byte) if bytes[at] == b'%' => {
                decoded.push(byte);
                at += 3;
            }
            _ => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(decoded).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_the_file_that_the_application_opens() {
        let root = Path::new("/srv/app");
        for (url, expected) in [
            ("sqlite:///app.db", Some("/srv/app/app.db")),
            ("sqlite:///./data/app.db", Some("/srv/app/data/app.db")),
            ("sqlite:////var/lib/app.db", Some("/var/lib/app.db")),
            ("sqlite+aiosqlite:///app.db", Some("/srv/app/app.db")),
            (
                "sqlite+pysqlite:///app.db?timeout=5",
                Some("/srv/app/app.db"),
            ),
            ("SQLite:///app.db", Some("/srv/app/app.db")),
            ("sqlite:///my%20app.db", Some("/srv/app/my app.db")),
            ("sqlite:///100%.db", Some("/srv/app/100%.db")),
            (
                "sqlite:///file:app.db?mode=ro&uri=true",
                Some("/srv/app/app.db"),
            ),
            ("sqlite:///file:/var/app.db?uri=true", Some("/var/app.db")),
            ("sqlite:///file:///var/app.db?uri=true", Some("/var/app.db")),
            ("sqlite:///file:app.db", Some("/srv/app/file:app.db")),
            ("sqlite:///file:x?mode=memory&cache=shared&uri=true", None),
            ("sqlite:///file::memory:?cache=shared&uri=true", None),
            ("sqlite://", None),
            ("sqlite:///", None),
            ("sqlite:///:memory:", None),
            ("sqlite:///:memory:?cache=shared", None),
            ("sqlite://host/app.db", None),
            ("postgresql://ann@db/app", None),
            ("mysql+pymysql:///app.db", None),
            ("app.db", None),
            ("", None),
        ] {
            let path = sqlite_path(url, root);
            assert_eq!(path.as_deref(), expected.map(Path::new), "{url}");
        }
    }
}
