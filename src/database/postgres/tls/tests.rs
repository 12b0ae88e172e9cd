//! A real server with certificates of our own making, asked in every mode.

use super::*;
use std::path::Path;
use std::process::Command;

use crate::checks::testing::postgres::Server;
use crate::database::handle::Live;

/// A certificate and its key, in files of those names.
fn openssl(dir: &Path, args: &str) {
    let output = Command::new("openssl")
        .args(args.split('|'))
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{args}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn every_mode_asks_of_the_certificate_what_libpq_asks() {
    if Command::new("openssl").arg("version").output().is_err() {
        eprintln!("SKIPPED: there is no openssl");
        assert!(std::env::var_os("CI").is_none(), "CI must have openssl");
        return;
    }
    let Some(server) = Server::start() else {
        return;
    };
    let keys = tempfile::tempdir().unwrap();
    let dir = keys.path();
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
    for name in ["ca", "stranger"] {
        openssl(
            dir,
            &format!(
                "req|-x509|-newkey|rsa:2048|-nodes|-days|9|-subj|/CN={name}|-keyout|{name}.key|-out|{name}.crt"
            ),
        );
    }
    std::fs::write(
        dir.join("host.ext"),
        "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n",
    )
    .unwrap();
    openssl(
        dir,
        "req|-newkey|rsa:2048|-nodes|-subj|/CN=localhost|-keyout|host.key|-out|host.csr",
    );
    openssl(
        dir,
        "x509|-req|-in|host.csr|-CA|ca.crt|-CAkey|ca.key|-CAcreateserial|-days|9|-extfile|host.ext|-out|host.crt",
    );
    // What most people make by hand: its own authority.
    openssl(
        dir,
        "req|-x509|-newkey|rsa:2048|-nodes|-days|9|-subj|/CN=localhost|-addext|subjectAltName=DNS:localhost|-keyout|own.key|-out|own.crt",
    );
    let ask = |host: &str, query: &str| {
        let url = server
            .url("postgresql", "postgres")
            .replace("127.0.0.1", host);
        let query = query.replace("DIR", &dir.display().to_string());
        let live = Live::postgres(&format!("{url}?{query}")).map_err(|why| why.to_string())?;
        let rows = live
            .read_table("pg_stat_ssl", &["ssl", "pid"], 100)
            .map_err(|why| why.to_string())?;
        let Live::Postgres(server) = &live else {
            panic!("another kind of database");
        };
        let pid = server.rows("SELECT pg_backend_pid()").unwrap()[0]
            .get(0)
            .map(str::to_owned);
        let own = rows.unwrap().into_iter().find(|row| row[1] == pid).unwrap();
        Ok::<bool, String>(own[0].as_deref() == Some("true"))
    };
    // Without TLS at the server.
    assert_eq!(ask("127.0.0.1", "sslmode=prefer"), Ok(false));
    assert!(ask("127.0.0.1", "sslmode=verify-ca&sslrootcert=DIR/ca.crt").is_err());
    let cases: [(&str, &str, &str, Result<bool, &str>); 18] = [
        ("host", "127.0.0.1", "sslmode=disable", Ok(false)),
        ("host", "127.0.0.1", "sslmode=prefer", Ok(true)),
        ("host", "127.0.0.1", "sslmode=require", Ok(true)),
        ("host", "127.0.0.1", "ssl=true", Ok(true)),
        (
            "host",
            "127.0.0.1",
            "sslmode=verify-ca&sslrootcert=DIR/ca.crt",
            Ok(true),
        ),
        (
            "host",
            "localhost",
            "sslmode=verify-ca&sslrootcert=DIR/ca.crt",
            Ok(true),
        ),
        (
            "host",
            "localhost",
            "ssl=verify-full&sslrootcert=DIR/ca.crt",
            Ok(true),
        ),
        (
            "host",
            "127.0.0.1",
            "sslmode=verify-full&sslrootcert=DIR/ca.crt",
            Err("does not name the host"),
        ),
        (
            "host",
            "127.0.0.1",
            "sslmode=verify-ca&sslrootcert=DIR/stranger.crt",
            Err("signed by nobody"),
        ),
        (
            "host",
            "localhost",
            "sslmode=verify-full&sslrootcert=DIR/stranger.crt",
            Err("signed by nobody"),
        ),
        (
            "host",
            "127.0.0.1",
            "sslmode=require&sslrootcert=DIR/stranger.crt",
            Err("signed by nobody"),
        ),
        (
            "host",
            "127.0.0.1",
            "sslmode=prefer&sslrootcert=DIR/stranger.crt",
            Ok(true),
        ),
        (
            "host",
            "localhost",
            "sslmode=verify-ca&sslrootcert=DIR/none.crt",
            Err("none.crt"),
        ),
        (
            "host",
            "localhost",
            "sslmode=verify-ca&sslrootcert=DIR/host.ext",
            Err("no certificate to trust"),
        ),
        (
            "own",
            "127.0.0.1",
            "sslmode=verify-ca&sslrootcert=DIR/own.crt",
            Ok(true),
        ),
        (
            "own",
            "localhost",
            "sslmode=verify-full&sslrootcert=DIR/own.crt",
            Ok(true),
        ),
        (
            "own",
            "127.0.0.1",
            "sslmode=verify-full&sslrootcert=DIR/own.crt",
            Err("does not name the host"),
        ),
        (
            "own",
            "127.0.0.1",
            "sslmode=verify-ca&sslrootcert=DIR/ca.crt",
            Err("signed by nobody"),
        ),
    ];
    let mut spoken = "";
    for (certificate, host, query, expected) in cases {
        if spoken != certificate {
            spoken = certificate;
            server.speak_tls(
                &read(&format!("{certificate}.crt")),
                &read(&format!("{certificate}.key")),
            );
        }
        match (ask(host, query), expected) {
            (Ok(is_encrypted), Ok(expected)) => {
                assert_eq!(is_encrypted, expected, "{certificate} {host} {query}")
            }
            (Err(why), Err(expected)) => {
                assert!(
                    why.contains(expected) && !why.contains("p@ss"),
                    "{certificate} {host} {query}: {why}"
                );
            }
            (found, _) => panic!("{certificate} {host} {query}: {found:?}"),
        }
    }
    // A certificate that is trusted by its name alone ends, too.
    let url = format!(
        "postgresql://localhost/x?sslmode=verify-full&sslrootcert={}/own.crt",
        dir.display()
    );
    let url = PostgresUrl::parse(&url).unwrap();
    let trusted = trusted(&url).unwrap();
    let own = trusted[0].clone();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(trusted.iter().cloned());
    let provider = Arc::new(ring::default_provider());
    let verifier = Verifier {
        provider,
        demanded: Some(Demanded {
            roots,
            trusted,
            is_named: true,
        }),
    };
    let host = ServerName::try_from("localhost").unwrap();
    let in_days = |days: u64| {
        let now = UnixTime::now().as_secs() + days * 24 * 60 * 60;
        UnixTime::since_unix_epoch(std::time::Duration::from_secs(now))
    };
    let verify = |days| verifier.verify_server_cert(&own, &[], &host, &[], in_days(days));
    assert!(verify(8).is_ok());
    let why = verify(10).unwrap_err().to_string();
    assert!(why.contains("has expired"), "{why}");
}
