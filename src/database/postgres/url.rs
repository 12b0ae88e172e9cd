//! A PostgreSQL URL in the forms that SQLAlchemy, libpq and asyncpg accept, taken apart. Pure.
//!
//! Nothing here prints the password: what is shown of a server is its host, port and database.

use std::path::PathBuf;

use crate::database::url::{is_postgres, percent_decode};
use crate::manifest::percent_encoded;

/// The port of a server that names none.
const PORT: u16 = 5432;

/// How far the connection has to be protected (postgresql.org/docs/current/libpq-ssl.html).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TlsMode {
    /// Never.
    Disable,
    /// If the server can; whose certificate is not looked at.
    Prefer,
    /// Always; whose certificate is not looked at.
    Require,
    /// Always, and the certificate must be signed by somebody known.
    VerifyCa,
    /// Likewise, and it must name the host.
    VerifyFull,
}

/// One server and database. No `Debug`: it holds a password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PostgresUrl {
    /// A name, an address, or the directory of a Unix socket.
    pub host: String,
    pub port: u16,
    pub user: String,
    pub password: Option<String>,
    pub database: String,
    /// `-c name=value`, for `search_path`.
    pub options: Option<String>,
    pub tls: TlsMode,
    pub root_certificate: Option<PathBuf>,
}

/// Whether two URLs lead to one database, whoever connects by whatever driver.
#[must_use]
pub(crate) fn is_same_database(one: &str, other: &str) -> bool {
    let place = |url: &str| {
        let url = is_postgres(url).then(|| PostgresUrl::parse(url).ok())??;
        let is_loopback = ["localhost", "127.0.0.1", "::1"].contains(&url.host.as_str());
        let host = if is_loopback {
            "localhost".to_owned()
        } else {
            url.host
        };
        Some((host, url.port, url.database))
    };
    place(one).is_some_and(|here| place(other) == Some(here))
}

impl PostgresUrl {
    /// Takes a URL apart.
    ///
    /// # Errors
    /// What cannot be understood, in words without the password.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        let (_, rest) = url.trim().split_once("://").ok_or("the URL has no `://`")?;
        let (login, rest) = split_login(rest);
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (place, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (user, Some(percent_decode(password))),
            None => (login, None),
        };
        let place = place.split(',').next().unwrap_or_default();
        let (host, port) = split_port(place)?;
        let mut parsed = Self {
            host: percent_decode(host),
            port: port.unwrap_or(PORT),
            user: percent_decode(user),
            password,
            database: percent_decode(database),
            options: None,
            tls: TlsMode::Prefer,
            root_certificate: None,
        };
        for (key, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            parsed.set(key, percent_decode(&value.replace('+', " ")))?;
        }
        parsed.fill_in();
        Ok(parsed)
    }

    /// The same server and user, another database. `database` needs no encoding.
    pub(crate) fn with_database(url: &str, database: &str) -> String {
        let (scheme, rest) = url.trim().split_once("://").unwrap_or(("postgresql", url));
        let rest = without(rest, |key| ["dbname", "database"].contains(&key));
        let (rest, query) = match rest.split_once('?') {
            Some((rest, query)) => (rest, format!("?{query}")),
            None => (rest.as_str(), String::new()),
        };
        let authority = rest
            .split_once('/')
            .map_or(rest, |(authority, _)| authority);
        format!("{scheme}://{authority}/{database}{query}")
    }

    /// The same server and database, another user. Neither needs encoding.
    pub(crate) fn with_login(url: &str, user: &str, password: &str) -> String {
        let (scheme, rest) = url.trim().split_once("://").unwrap_or(("postgresql", url));
        let (_, rest) = split_login(rest);
        let rest = without(rest, |key| ["user", "password", "passfile"].contains(&key));
        format!("{scheme}://{user}:{password}@{rest}")
    }

    fn set(&mut self, key: &str, value: String) -> Result<(), String> {
        match key {
            "host" => {
                // `host=a:5433` is a form of SQLAlchemy; several hosts are tried by libpq in order.
                let first = value.split(',').next().unwrap_or_default().to_owned();
                let (host, port) = split_port(&first)?;
                self.host = host.to_owned();
                self.port = port.unwrap_or(self.port);
            }
            "port" => {
                let first = value.split(',').next().unwrap_or_default();
                self.port = first.parse().map_err(|_| format!("{first:?} is no port"))?;
            }
            "user" => self.user = value,
            "password" => self.password = Some(value),
            "dbname" | "database" => self.database = value,
            // The name of pg8000, with the socket itself.
            "unix_sock" => {
                let (dir, socket) = value.rsplit_once('/').unwrap_or((&value, ""));
                let port = socket.strip_prefix(".s.PGSQL.").unwrap_or_default();
                self.port = port.parse().unwrap_or(self.port);
                self.host = dir.to_owned();
            }
            "options" => self.options = Some(value),
            "sslrootcert" => self.root_certificate = Some(PathBuf::from(value)),
            // The name of asyncpg is `ssl`, with the same words or a yes.
            "sslmode" | "ssl" => {
                self.tls = match value.to_lowercase().as_str() {
                    "disable" | "false" | "0" => TlsMode::Disable,
                    "allow" | "prefer" => TlsMode::Prefer,
                    "require" | "true" | "1" => TlsMode::Require,
                    "verify-ca" => TlsMode::VerifyCa,
                    "verify-full" => TlsMode::VerifyFull,
                    other => return Err(format!("{other:?} is no sslmode")),
                };
            }
            _ => {}
        }
        Ok(())
    }

    /// What libpq assumes where the URL is silent.
    fn fill_in(&mut self) {
        // Whoever names the certificates to trust has them looked at.
        self.tls = match (self.tls, &self.root_certificate) {
            (TlsMode::Prefer | TlsMode::Require, Some(file)) if file.as_os_str() == "system" => {
                TlsMode::VerifyFull
            }
            (TlsMode::Require, Some(_)) => TlsMode::VerifyCa,
            (mode, _) => mode,
        };
        if self.host.is_empty() {
            self.host = ["/run/postgresql", "/var/run/postgresql", "/tmp"]
                .iter()
                .find(|dir| {
                    let socket = format!("{dir}/.s.PGSQL.{}", self.port);
                    std::path::Path::new(&socket).exists()
                })
                .map_or_else(|| "localhost".to_owned(), |dir| (*dir).to_owned());
        }
        if self.user.is_empty() {
            self.user = nix::unistd::User::from_uid(nix::unistd::Uid::effective())
                .ok()
                .flatten()
                .map_or_else(|| "postgres".to_owned(), |user| user.name);
        }
        if self.database.is_empty() {
            self.database.clone_from(&self.user);
        }
    }

    pub(crate) fn is_socket(&self) -> bool {
        self.host.starts_with('/')
    }

    /// For people: where it is, without who connects.
    pub(crate) fn shown(&self) -> String {
        if self.is_socket() {
            format!("{} at {}/.s.PGSQL.{}", self.database, self.host, self.port)
        } else {
            format!("{} at {}:{}", self.database, self.host, self.port)
        }
    }
}

/// A server as code in the sandbox reaches it: at the loopback device, without TLS, and without a password. No
/// `Debug`: it holds the real one.
pub(crate) struct LoopbackServer {
    /// As the application would write it.
    pub url: String,
    /// The server's own, so that it is right for whoever writes `localhost` and a port.
    pub port: u16,
    /// As the server calls it.
    pub database: String,
    /// Where the server really is.
    host: String,
    /// What the server is really given.
    password: Option<String>,
}

impl LoopbackServer {
    /// For the server of a URL.
    ///
    /// # Errors
    /// The URL cannot be understood.
    pub(crate) fn of(url: &str) -> Result<Self, String> {
        const OF_THE_SERVER: [&str; 14] = [
            "host",
            "hostaddr",
            "port",
            "user",
            "password",
            "passfile",
            "dbname",
            "database",
            "service",
            "unix_sock",
            "channel_binding",
            "gssencmode",
            "require_auth",
            "target_session_attrs",
        ];
        let parsed = PostgresUrl::parse(url)?;
        let (scheme, rest) = url.trim().split_once("://").unwrap_or(("postgresql", url));
        let (_, rest) = split_login(rest);
        let query = rest.split_once('?').map_or("", |(_, query)| query);
        let query = without(&format!("?{query}"), |key| {
            key.starts_with("ssl") || OF_THE_SERVER.contains(&key)
        });
        Ok(Self {
            url: format!(
                "{scheme}://{}:none@127.0.0.1:{}/{}{query}",
                percent_encoded(&parsed.user),
                parsed.port,
                percent_encoded(&parsed.database)
            ),
            port: parsed.port,
            database: parsed.database,
            host: parsed.host,
            password: parsed.password,
        })
    }

    /// What a variable has instead that holds a part of the server's URL, if that part leads elsewhere or is secret.
    #[must_use]
    pub(crate) fn instead_of(&self, part: &str) -> Option<&'static str> {
        let is = |whole: &str| !part.is_empty() && (part == whole || percent_decode(part) == whole);
        if is(&self.host) {
            Some("127.0.0.1")
        } else if self.password.as_deref().is_some_and(is) {
            Some("none")
        } else {
            None
        }
    }
}

/// What follows `://` and the login, without those keys of the query.
fn without(rest: &str, is_unwanted: impl Fn(&str) -> bool) -> String {
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let key = |pair: &str| pair.split('=').next().unwrap_or_default().to_owned();
    let kept: Vec<&str> = query
        .split('&')
        .filter(|pair| !pair.is_empty() && !is_unwanted(&key(pair)))
        .collect();
    let mark = if kept.is_empty() { "" } else { "?" };
    format!("{rest}{mark}{}", kept.join("&"))
}

/// The login, and what comes after its `@`. A password may hold what nobody encoded: as for SQLAlchemy `/` and
/// `?` do not end it, and if there are several `@` in front of the next of these, the last one does.
fn split_login(rest: &str) -> (&str, &str) {
    let Some(first) = rest.find('@') else {
        return ("", rest);
    };
    let end = rest[first..]
        .find(['/', '?'])
        .map_or(rest.len(), |at| first + at);
    let last = rest[..end].rfind('@').unwrap_or(first);
    let (user, password) = rest[..last].split_once(':').unwrap_or((&rest[..last], ""));
    // `host/database?user=a@b` and `host:5432/database?user=a@b` have no login.
    let is_port = password
        .split_once('/')
        .is_some_and(|(port, _)| port.bytes().all(|b| b.is_ascii_digit()));
    if user.contains(['/', '?', '[']) || is_port {
        return ("", rest);
    }
    (&rest[..last], &rest[last + 1..])
}

/// `host`, `host:port`, `[::1]:port`, `/directory`.
fn split_port(place: &str) -> Result<(&str, Option<u16>), String> {
    let (host, port) = if let Some(rest) = place.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or("the URL's address has no `]`")?;
        (host, rest.strip_prefix(':'))
    } else {
        match place.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        }
    };
    match port {
        None | Some("") => Ok((host, None)),
        // Not shown: what stands there may be the end of a password.
        Some(port) => port
            .parse()
            .map(|port| (host, Some(port)))
            .map_err(|_| "the URL's port is no number".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(url: &str) -> String {
        let parsed = PostgresUrl::parse(url).unwrap_or_else(|why| panic!("{url}: {why}"));
        format!(
            "{}:{}@{} {:?}",
            parsed.user,
            parsed.password.as_deref().unwrap_or("-"),
            parsed.shown(),
            parsed.tls
        )
    }

    #[test]
    fn the_forms_of_sqlalchemy_and_libpq_are_understood() {
        for (url, expected) in [
            ("postgresql://ann:pw@db/app", "ann:pw@app at db:5432 Prefer"),
            ("postgres://ann@db:6000/app", "ann:-@app at db:6000 Prefer"),
            (
                "postgresql+asyncpg://ann:p%40ss%2Fw%25@db/app?ssl=require",
                "ann:p@ss/w%@app at db:5432 Require",
            ),
            (
                "postgresql+psycopg2://ann:p@ss@[::1]:7/app?sslmode=verify-full",
                "ann:p@ss@app at ::1:7 VerifyFull",
            ),
            (
                "postgresql://ann@db/app?sslmode=require&sslrootcert=/ca.pem",
                "ann:-@app at db:5432 VerifyCa",
            ),
            (
                "postgresql://ann@db/app?sslrootcert=system",
                "ann:-@app at db:5432 VerifyFull",
            ),
            (
                "postgresql://ann@db/app?sslrootcert=/ca.pem",
                "ann:-@app at db:5432 Prefer",
            ),
            (
                "postgresql+psycopg://ann@/app?host=/run/pg&port=9&sslmode=disable",
                "ann:-@app at /run/pg/.s.PGSQL.9 Disable",
            ),
            (
                "postgresql://ann@%2Frun%2Fpg/app",
                "ann:-@app at /run/pg/.s.PGSQL.5432 Prefer",
            ),
            ("postgresql://ann@one,two/", "ann:-@ann at one:5432 Prefer"),
            (
                "postgresql://ann:a/b?c@db/app",
                "ann:a/b?c@app at db:5432 Prefer",
            ),
            (
                "postgresql://ann:+%2B@db/app",
                "ann:++@app at db:5432 Prefer",
            ),
            (
                "postgresql://db/app?user=a@b",
                "a@b:-@app at db:5432 Prefer",
            ),
            (
                "postgresql://db:7/app?user=a@b&password=c",
                "a@b:c@app at db:7 Prefer",
            ),
            (
                "postgresql://[::1]:7/app?user=a@b",
                "a@b:-@app at ::1:7 Prefer",
            ),
            (
                "postgresql+pg8000://ann@/app?unix_sock=/run/pg/.s.PGSQL.7",
                "ann:-@app at /run/pg/.s.PGSQL.7 Prefer",
            ),
        ] {
            assert!(is_postgres(url));
            assert_eq!(shown(url), expected, "{url}");
        }
        for other in ["sqlite:///a.db", "mysql://a/b", "postgresql", ""] {
            assert!(!is_postgres(other), "{other}");
        }
    }

    #[test]
    fn what_cannot_be_understood_is_said_without_the_password() {
        for url in [
            "postgresql://ann:s3cr3t@db:port/app",
            "postgresql://ann:s3cr3t@[::1/app",
            "postgresql://ann:s3cr3t@db/app?sslmode=maybe",
            "postgresql://ann:s3cr3t@db/app?port=x",
        ] {
            let Err(why) = PostgresUrl::parse(url) else {
                panic!("{url} was understood");
            };
            assert!(!why.contains("s3cr3t"), "{why}");
        }
    }

    #[test]
    fn another_database_of_the_same_server() {
        for (url, expected) in [
            (
                "postgresql+asyncpg://ann:p%40@[::1]:7/app",
                "postgresql+asyncpg://ann:p%40@[::1]:7/other",
            ),
            (
                "postgres://ann@/?host=/run/pg&dbname=app",
                "postgres://ann@/other?host=/run/pg",
            ),
            ("postgresql://db", "postgresql://db/other"),
            ("postgresql://db/a?dbname=b", "postgresql://db/other"),
        ] {
            assert_eq!(PostgresUrl::with_database(url, "other"), expected);
            let parsed = PostgresUrl::parse(expected).unwrap_or_else(|why| panic!("{why}"));
            assert_eq!(parsed.database, "other");
        }
    }

    #[test]
    fn one_database_may_be_written_in_several_ways() {
        let one = "postgresql://ann:x@localhost/app";
        for (other, expected) in [
            (
                "postgresql+asyncpg://bob@127.0.0.1:5432/app?ssl=disable",
                true,
            ),
            ("postgres:///app?host=localhost&user=ann", true),
            ("postgresql://ann:x@localhost/other", false),
            ("postgresql://ann:x@localhost:5433/app", false),
            ("mysql://ann:x@localhost:5432/app", false),
            ("sqlite:///app", false),
            ("postgresql://", false),
        ] {
            assert_eq!(is_same_database(one, other), expected, "{other}");
        }
        assert!(!is_same_database("x", "x"));
    }

    #[test]
    fn another_user_of_the_same_database() {
        for (url, expected) in [
            (
                "postgresql+asyncpg://ann:p%40@[::1]:7/app?ssl=require",
                "postgresql+asyncpg://r:x@[::1]:7/app?ssl=require",
            ),
            (
                "postgres:///app?host=/run/pg&user=ann&password=s",
                "postgres://r:x@/app?host=/run/pg",
            ),
            ("postgresql://db", "postgresql://r:x@db"),
        ] {
            assert_eq!(PostgresUrl::with_login(url, "r", "x"), expected);
        }
    }

    #[test]
    fn a_server_on_the_loopback_device_needs_neither_password_nor_tls() {
        for (url, expected) in [
            (
                "postgresql+asyncpg://ann:s3cr3t@db.example:7/my%20app?ssl=require&options=-csearch_path%3Dx",
                "postgresql+asyncpg://ann:none@127.0.0.1:7/my%20app?options=-csearch_path%3Dx",
            ),
            (
                "postgres://a%40b:s3cr3t@/?host=/run/pg&dbname=app&sslmode=verify-full&sslrootcert=/c",
                "postgres://a%40b:none@127.0.0.1:5432/app",
            ),
        ] {
            let server = LoopbackServer::of(url).unwrap_or_else(|why| panic!("{why}"));
            assert_eq!(server.url, expected);
            assert_eq!(server.instead_of("s3cr%33t"), Some("none"));
            assert_eq!(server.instead_of("ann"), None);
        }
    }

    #[test]
    fn the_search_path_is_kept() {
        let url = "postgresql://a@db/app?options=-csearch_path%3Dsales,public";
        let options = PostgresUrl::parse(url).ok().and_then(|u| u.options);
        assert_eq!(options.as_deref(), Some("-csearch_path=sales,public"));
    }
}
