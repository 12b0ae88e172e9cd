//! A vault of each kind, and all that can be wrong with it. The server gives the answers that the API pages
//! of HashiCorp Vault document (see `hashicorp.rs`).

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio_rustls::rustls;

use crate::checks::testing::{App, only, problems, venv};
use crate::domain::finding::{CheckName, CheckReport, Severity};
use crate::manifest::{Vault, VaultFormat, VaultKey, VaultKind};

const TOKEN: &str = "hvs.test-token-of-the-vault";
const HEALTHY: &str = r#"{"initialized":true,"sealed":false,"standby":false,"version":"1.17.0"}"#;
const ROOT_TOKEN: &str = r#"{"data":{"ttl":0,"renewable":false,"expire_time":null}}"#;
const V2: &str = r#"{"data":{"type":"kv","options":{"version":"2"}}}"#;
const V1: &str = r#"{"data":{"type":"kv","options":{"version":"1"}}}"#;

type Log = Arc<Mutex<Vec<String>>>;

/// Answers each request by `answer(path)`: status and body. What it was asked is kept.
fn serve(
    answer: impl Fn(&str) -> (u16, String) + Send + Sync + 'static,
    tls: Option<Arc<rustls::ServerConfig>>,
) -> (u16, Log) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let log = Log::default();
    let (answer, seen) = (Arc::new(answer), Arc::clone(&log));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (answer, seen, tls) = (Arc::clone(&answer), Arc::clone(&seen), tls.clone());
            std::thread::spawn(move || match tls {
                None => converse(stream, &*answer, &seen),
                Some(config) => {
                    let connection = rustls::ServerConnection::new(config).unwrap();
                    converse(
                        rustls::StreamOwned::new(connection, stream),
                        &*answer,
                        &seen,
                    );
                }
            });
        }
    });
    (port, log)
}

fn converse(stream: impl Read + Write, answer: &dyn Fn(&str) -> (u16, String), log: &Log) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        log.lock().unwrap().push(head);
        let (status, body) = answer(&path);
        let text = format!(
            "HTTP/1.1 {status} X\r\nLocation: http://127.0.0.1:1/elsewhere\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        if stream.get_mut().write_all(text.as_bytes()).is_err() || stream.get_mut().flush().is_err()
        {
            return;
        }
    }
}

fn keys(names: &[&str]) -> Vec<VaultKey> {
    let key = |name: &&str| {
        let (path, field) = match name.split_once('#') {
            Some((path, field)) => (path, Some(field.to_owned())),
            None => (*name, None),
        };
        VaultKey {
            path: path.into(),
            field,
            line: 5,
        }
    };
    names.iter().map(key).collect()
}

fn app(kind: VaultKind, names: &[&str]) -> App {
    let mut app = App::with_interpreter(None);
    app.manifest.vault = Some(Vault {
        kind,
        keys: keys(names),
        timeout_ms: 5_000,
        line: 3,
    });
    app
}

fn hashicorp(address: String, names: &[&str]) -> App {
    let kind = VaultKind::Hashicorp {
        address,
        token: Some("${VAULT_TOKEN}".into()),
        token_file: None,
        namespace: None,
        mount: "secret".into(),
        kv: None,
        ca_file: None,
    };
    let mut app = app(kind, names);
    app.process.insert("VAULT_TOKEN".into(), TOKEN.into());
    app
}

/// The report, after a look that neither the token nor a value is in it.
fn check(app: &App) -> CheckReport {
    let report = app.check(CheckName::Config);
    let shown = format!("{report:?}");
    for secret in [TOKEN, "s3cr3t-value"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    report
}

fn usual(path: &str, version: &str) -> (u16, String) {
    match path {
        "/v1/sys/health" => (200, HEALTHY.into()),
        "/v1/auth/token/lookup-self" => (200, ROOT_TOKEN.into()),
        "/v1/sys/internal/ui/mounts/secret" => (200, version.into()),
        _ => (404, r#"{"errors":[]}"#.into()),
    }
}

#[test]
fn keys_of_both_engines_are_compared_by_name() {
    let (port, log) = serve(
        |path| match path {
            "/v1/secret/subkeys/shop/prod?depth=1" => (
                200,
                r#"{"data":{"subkeys":{"A":null,"B":null},"metadata":{"version":3}}}"#.into(),
            ),
            // `subkeys` is not known to every server.
            "/v1/secret/data/old%20one" => (
                200,
                r#"{"data":{"data":{"A":"s3cr3t-value","EMPTY":"","N":7},"metadata":{}}}"#.into(),
            ),
            "/v1/secret/data/deleted" => (404, r#"{"data":{"data":null,"metadata":{}}}"#.into()),
            "/v1/secret/subkeys/denied?depth=1" | "/v1/secret/data/denied" => {
                (403, r#"{"errors":["permission denied"]}"#.into())
            }
            other => usual(other, V2),
        },
        None,
    );
    let names = [
        "shop/prod#A",
        "shop/prod#C",
        "shop/prod",
        "old one#A",
        "old one#EMPTY",
        "old one#N",
        "deleted#X",
        "denied#X",
    ];
    let report = check(&hashicorp(format!("http://127.0.0.1:{port}"), &names));
    assert_eq!(
        problems(&report),
        [
            "vault.key_missing deleted#X",
            "vault.key_missing old one#EMPTY",
            "vault.key_missing shop/prod#C",
            "vault.key_missing denied#X",
        ]
    );
    assert_eq!(
        report.findings[0].location.as_ref().unwrap().to_string(),
        "ubs.toml:5"
    );
    let log = log.lock().unwrap();
    assert!(
        !log[0].contains(TOKEN),
        "the health is asked without the token"
    );
    assert!(log[1].contains(TOKEN));

    let (port, _) = serve(
        |path| match path {
            "/v1/secret/shop" => (200, r#"{"data":{"A":"s3cr3t-value"}}"#.into()),
            other => usual(other, V1),
        },
        None,
    );
    let report = check(&hashicorp(
        format!("http://127.0.0.1:{port}"),
        &["shop#A", "shop#B"],
    ));
    assert_eq!(problems(&report), ["vault.key_missing shop#B"]);
}

/// What a vault of this table is asked, and what is found.
fn asked_with(lines: &str) -> String {
    let answer = |path: &str| match path {
        "/v1/sys/internal/ui/mounts/secret" | "/v1/sys/internal/ui/mounts/other" => {
            (200, V2.to_owned())
        }
        other => usual(other, V2),
    };
    let (port, log) = serve(answer, None);
    let text = format!(
        "[app]\nname = 'a'\n[vault]\nkind = 'hashicorp'\naddress = 'http://127.0.0.1:{port}'\nkeys = ['shop#A']\n{lines}"
    );
    let mut app = App::with_interpreter(None).file("token", "from-a-file\n");
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(app.root().join("token"), private).unwrap();
    app.manifest.vault = crate::manifest::Manifest::parse(&text, &app.manifest.path)
        .unwrap()
        .vault;
    app.process.insert("VAULT_TOKEN".into(), TOKEN.into());
    app.process
        .insert("OTHER_TOKEN".into(), "another-token".into());
    let found = problems(&check(&app));
    let log = log.lock().unwrap().join("\n");
    format!("{found:?}\n{}", log.replace(&port.to_string(), "PORT"))
}

#[test]
fn each_key_of_a_server_changes_what_it_is_asked() {
    let plain = asked_with("");
    assert_eq!(plain, asked_with(""));
    for line in [
        "token = '${OTHER_TOKEN}'",
        "token_file = 'token'",
        "namespace = 'team'",
        "mount = 'other'",
        "kv = 1",
    ] {
        assert_ne!(asked_with(line), plain, "{line}");
    }
}

#[test]
fn health_and_token_are_judged_by_their_status() {
    let of = |health: (u16, &'static str), token: (u16, &'static str)| {
        let (port, _) = serve(
            move |path| match path {
                "/v1/sys/health" => (health.0, health.1.into()),
                "/v1/auth/token/lookup-self" => (token.0, token.1.into()),
                _ => (403, "{}".into()),
            },
            None,
        );
        problems(&check(&hashicorp(format!("http://127.0.0.1:{port}"), &[])))
    };
    let sealed = r#"{"initialized":true,"sealed":true}"#;
    let good = (200, ROOT_TOKEN);
    assert_eq!(of((200, HEALTHY), good), [""; 0]);
    for standby in [429, 473] {
        assert_eq!(of((standby, HEALTHY), good), [""; 0]);
    }
    assert_eq!(of((472, HEALTHY), good), ["vault.unreachable vault"]);
    assert_eq!(of((501, "{}"), good), ["vault.sealed vault"]);
    assert_eq!(of((503, sealed), good), ["vault.sealed vault"]);
    assert_eq!(of((200, sealed), good), ["vault.sealed vault"]);
    assert_eq!(
        of((200, "<html>welcome"), good),
        ["vault.answer_invalid vault"]
    );
    assert_eq!(of((500, "{}"), good), ["vault.answer_invalid vault"]);
    assert_eq!(of((301, ""), good), ["vault.answer_invalid vault"]);
    assert_eq!(
        of((200, HEALTHY), (307, "")),
        ["vault.answer_invalid vault"]
    );
    assert_eq!(
        of((200, HEALTHY), (403, "{}")),
        ["vault.token_invalid vault"]
    );
    assert_eq!(
        of((200, HEALTHY), (200, "[]")),
        ["vault.answer_invalid vault"]
    );
    let short = r#"{"data":{"ttl":3600,"renewable":false}}"#;
    assert_eq!(
        of((200, HEALTHY), (200, short)),
        ["vault.token_invalid vault"]
    );
    let renewable = r#"{"data":{"ttl":3600,"renewable":true}}"#;
    assert_eq!(of((200, HEALTHY), (200, renewable)), [""; 0]);
}

#[test]
fn a_hostile_server_costs_its_timeout_and_gives_a_finding() {
    // What is answered must not race with the timeout; what never ends must meet it.
    const LONG_MS: u64 = 20_000;
    const SHORT_MS: u64 = 400;
    let raw = |timeout_ms: u64, talk: fn(TcpStream)| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || talk(stream));
            }
        });
        let mut app = hashicorp(format!("http://127.0.0.1:{port}"), &["a#b"]);
        app.manifest.vault.as_mut().unwrap().timeout_ms = timeout_ms;
        let begun = Instant::now();
        let report = check(&app);
        // What is answered at once is not waited for, on a machine that has time.
        let most = Duration::from_millis(timeout_ms) + Duration::from_secs(5);
        assert!(begun.elapsed() < most, "{:?}", begun.elapsed());
        problems(&report)
    };
    // Hangs; drips; answers garbage; never ends.
    let hangs = raw(SHORT_MS, |stream| {
        std::thread::sleep(Duration::from_secs(20));
        drop(stream);
    });
    assert_eq!(hangs, ["vault.unreachable vault"]);
    let drips = raw(SHORT_MS, |mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
        while stream.write_all(b" ").is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    assert_eq!(drips, ["vault.unreachable vault"]);
    let garbage = raw(LONG_MS, |mut stream| {
        // What comes before the question is no answer to it.
        let _ = stream.read(&mut [0; 1 << 10]);
        let _ = stream.write_all(b"\x00\xff SSH-2.0 what?\r\n\r\n");
        std::thread::sleep(Duration::from_secs(1));
    });
    assert_eq!(garbage, ["vault.answer_invalid vault"]);
    let floods = raw(LONG_MS, |mut stream| {
        let _ = stream.read(&mut [0; 1 << 10]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n");
        while stream.write_all(&[b'x'; 65536]).is_ok() {}
    });
    assert_eq!(floods, ["vault.answer_invalid vault"]);
    // Nobody listens.
    let gone = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let report = check(&hashicorp(format!("http://{gone}"), &[]));
    assert_eq!(problems(&report), ["vault.unreachable vault"]);
    assert!(only(&report, "vault.unreachable").remedy.is_some());
}

#[test]
fn tls_is_verified_with_the_named_authority_only() {
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::new(vec![]).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()])
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            rustls::pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        )
        .unwrap();
    let (port, log) = serve(|path| usual(path, V2), Some(Arc::new(config)));
    // The certificate names the address, and not `localhost`.
    for (host, file, expected) in [
        ("127.0.0.1", Some("ca.pem"), vec![]),
        ("127.0.0.1", None, vec!["vault.insecure vault"]),
        ("localhost", Some("ca.pem"), vec!["vault.insecure vault"]),
        ("127.0.0.1", Some("gone.pem"), vec!["vault.insecure vault"]),
        ("127.0.0.1", Some("empty.pem"), vec!["vault.insecure vault"]),
    ] {
        log.lock().unwrap().clear();
        let mut app = hashicorp(format!("https://{host}:{port}"), &[])
            .file("ca.pem", &ca_pem)
            .file("empty.pem", "");
        if let Some(Vault {
            kind: VaultKind::Hashicorp { ca_file, .. },
            ..
        }) = &mut app.manifest.vault
        {
            *ca_file = file.map(str::to_owned);
        }
        assert_eq!(problems(&check(&app)), expected, "{host} {file:?}");
        assert_eq!(
            log.lock().unwrap().is_empty(),
            !expected.is_empty(),
            "nothing is asked untrusted"
        );
    }
}

#[test]
fn an_address_without_tls_and_a_token_that_is_not_set_are_said() {
    let mut app = hashicorp("http://vault.invalid:8200".into(), &[]);
    app.process.remove("VAULT_TOKEN");
    let report = check(&app);
    let mut found = problems(&report);
    found.sort();
    assert_eq!(
        found,
        [
            "config.missing VAULT_TOKEN",
            "vault.insecure vault",
            "vault.unreachable vault"
        ]
    );
    assert_eq!(only(&report, "vault.insecure").severity, Severity::Warning);
    let app = hashicorp("${NO_SUCH_ADDRESS}".into(), &[]);
    assert_eq!(problems(&check(&app)), ["config.missing NO_SUCH_ADDRESS"]);
    let app = hashicorp("https://u:s3cr3t-value@".into(), &[]);
    assert_eq!(problems(&check(&app)), ["vault.unreachable vault"]);
}

fn file_vault(format: VaultFormat, names: &[&str]) -> App {
    let kind = VaultKind::File {
        path: "vault".into(),
        format,
        key: (format == VaultFormat::Fernet).then(|| "${FERNET_KEY}".into()),
        key_file: None,
    };
    app(kind, names)
}

fn chmod(app: &App, file: &str, mode: u32) {
    std::fs::set_permissions(app.root().join(file), std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_json_vault_is_for_its_owner_only() {
    let app = file_vault(VaultFormat::Json, &["A", "B", "C"])
        .file("vault", r#"{"A":"s3cr3t-value","B":"","D":{"x":1}}"#);
    chmod(&app, "vault", 0o600);
    assert_eq!(
        problems(&check(&app)),
        ["vault.key_missing B", "vault.key_missing C"]
    );
    chmod(&app, "vault", 0o640);
    let report = check(&app);
    assert!(
        only(&report, "vault.insecure")
            .message
            .contains("mode 0640")
    );
    let app = file_vault(VaultFormat::Json, &[]).file("vault", r#"{"A": s3cr3t-value"#);
    chmod(&app, "vault", 0o400);
    assert_eq!(problems(&check(&app)), ["vault.answer_invalid vault"]);
    let app = file_vault(VaultFormat::Json, &[]);
    assert_eq!(problems(&check(&app)), ["vault.unreachable vault"]);
}

#[test]
fn an_age_vault_is_opened_by_the_program_that_the_manifest_names() {
    // What age does with `-d -i IDENTITY FILE`, without its cryptography.
    let program = "#!/bin/sh\n[ \"$1 $2\" = '-d -i' ] || exit 2\n\
                   grep -q '^AGE-SECRET-KEY-1' \"$3\" || { echo 'age: error: no identity matched' >&2; exit 1; }\n\
                   cat \"$4\"\n";
    let of = |identity: &str, vault: &str| {
        let argv = ["bin/age", "-d", "-i", "key.txt", "secrets.age"];
        let argv = argv.map(str::to_owned).to_vec();
        let app = app(VaultKind::Command(argv), &["A", "B", "C"])
            .file("bin/age", program)
            .file("key.txt", identity)
            .file("secrets.age", vault);
        chmod(&app, "bin/age", 0o755);
        check(&app)
    };
    let identity = "# made for a test\nAGE-SECRET-KEY-1TEST\n";
    let report = of(identity, "A=s3cr3t-value\nB=\"two\nlines\"\n");
    assert_eq!(problems(&report), ["vault.key_missing C"]);
    let shown = serde_json::to_string(&report.findings).unwrap();
    assert!(!shown.contains("s3cr3t-value"), "{shown}");
    assert_eq!(
        problems(&of(identity, r#"{"A": "x", "B": "y", "C": ""}"#)),
        ["vault.key_missing C"]
    );
    let report = of("# empty\n", "A=s3cr3t-value\n");
    assert_eq!(problems(&report), ["vault.unreachable vault"]);
    let report = of(identity, "no age file");
    assert_eq!(problems(&report), ["vault.answer_invalid vault"]);
}

#[test]
fn a_fernet_vault_made_by_python_opens_with_its_key() {
    let Some(python) = venv::python_with(&venv::WIDE_PACKAGES) else {
        return;
    };
    let program = "from cryptography.fernet import Fernet; k = Fernet.generate_key(); \
                   print(k.decode()); print(Fernet(k).encrypt(b'{\"A\": \"s3cr3t-value\"}').decode())";
    let output = std::process::Command::new(python)
        .args(["-c", program])
        .output()
        .unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    let (key, token) = output.trim().split_once('\n').unwrap();
    let of = |key: &str, token: &str| {
        let mut app = file_vault(VaultFormat::Fernet, &["A", "B"]).file("vault", token);
        app.process.insert("FERNET_KEY".into(), key.into());
        problems(&check(&app))
    };
    assert_eq!(of(key, token), ["vault.key_missing B"]);
    // The token is random: what it has there must not be what is put there.
    let other = if &token[40..41] == "A" { "B" } else { "A" };
    assert_eq!(
        of(key, &format!("{}{other}{}", &token[..40], &token[41..])),
        ["vault.sealed vault"]
    );
    assert_eq!(of(key, &token[..40]), ["vault.sealed vault"]);
    assert_eq!(of("c2hvcnQ=", token), ["vault.sealed vault"]);
}

#[test]
fn the_vectors_of_the_fernet_specification() {
    // https://github.com/fernet/spec: generate.json and invalid.json.
    let key = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=";
    let token = b"gAAAAAAdwJ6wAAECAwQFBgcICQoLDA0ODy021cpGVWKZ_eEwCGM4BLLF_5CV9dOPmrhuVUPgJobwOz7JcbmrR64jVmpU4IwqDA==";
    assert_eq!(
        super::fernet::open(token, key).unwrap().as_slice(),
        b"hello"
    );
    let mut bad = token.to_vec();
    bad[60] ^= 1;
    assert_eq!(
        super::fernet::open(&bad, key).unwrap_err(),
        super::fernet::NotOpened::Mac
    );
}

#[test]
fn a_command_is_bounded_and_only_names_are_kept() {
    let of = |script: &str| {
        let argv = ["sh", "-c", script].map(str::to_owned).to_vec();
        let mut app = app(VaultKind::Command(argv), &["A", "B"]);
        app.manifest.vault.as_mut().unwrap().timeout_ms = 1_500;
        let begun = Instant::now();
        let found = problems(&check(&app));
        assert!(
            begun.elapsed() < Duration::from_secs(8),
            "{:?}",
            begun.elapsed()
        );
        found
    };
    assert_eq!(
        of("echo A=s3cr3t-value; echo s3cr3t-value >&2"),
        ["vault.key_missing B"]
    );
    assert_eq!(of(r#"echo '{"A": "s3cr3t-value", "B": [1]}'"#), [""; 0]);
    assert_eq!(of("echo s3cr3t-value"), ["vault.answer_invalid vault"]);
    assert_eq!(of("exit 3"), ["vault.unreachable vault"]);
    assert_eq!(of("sleep 60"), ["vault.unreachable vault"]);
    assert_eq!(of("yes"), ["vault.unreachable vault"]);
    // What it leaves behind is killed, and nobody waits for it.
    assert_eq!(of("sleep 60 & echo A=1; echo B=2"), [""; 0]);
}
