//! Certificates and keys that variables name (`TLS_CERT`, `SSL_KEYFILE`): whether their file is there, until when a
//! certificate holds, and whether the key is its own.

use std::path::PathBuf;

use chrono::Utc;

use super::named_files::end_of;
use crate::checks::context::CheckContext;
use crate::domain::code::Code;
use crate::domain::finding::{Finding, Severity};
use crate::http::fits;
use crate::manifest::Origin;

/// Ends of the names of variables that name a certificate.
const CERTIFICATES: [&str; 6] = [
    "_CERT",
    "_CERTFILE",
    "_CERT_FILE",
    "_CERT_PATH",
    "_CERTIFICATE",
    "_SSLROOTCERT",
];
/// Ends of the names of variables that name a key.
const KEYS: [&str; 4] = ["_KEYFILE", "_KEY_FILE", "_KEY_PATH", "_TLS_KEY"];
/// Ends of the names of such files.
const FILES: [&str; 5] = [".pem", ".crt", ".cer", ".key", ".cert"];

/// Warnings only: who reads the variable, and whether it starts without, is not known.
pub(super) fn variable_certificates(context: &CheckContext<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, (value, origin)) in &context.environment.values {
        // What the host's own environment has may be another program's.
        if *origin == Origin::Process && !context.manifest.config.vars.contains_key(name) {
            continue;
        }
        let named = |ends: &[&str]| {
            ends.iter()
                .any(|end| name.to_ascii_uppercase().ends_with(end))
        };
        let is_certificate = named(&CERTIFICATES);
        if !(is_certificate || named(&KEYS)) {
            continue;
        }
        let Some(path) = file_of(context, value) else {
            continue;
        };
        let shown = context.redactor.clean(value, 256);
        let said = |code, message: String, remedy: String| {
            let finding = Finding::new(code, Severity::Warning, name.as_str(), message);
            context.at_variable(finding, name).remedy(remedy)
        };
        if path
            .metadata()
            .is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
        {
            findings.push(said(
                Code::ConfigFileMissing,
                format!("{name} names the file {shown}, which is not there"),
                format!("put {shown} there, or correct {name}"),
            ));
            continue;
        }
        if !is_certificate {
            continue;
        }
        let other = other_name(context, name)
            .filter(|(_, key)| file_of(context, key).is_some_and(|key| !fits(&path, &key)));
        if let Some((key_name, _)) = other {
            findings.push(said(
                Code::ConfigInvalid,
                format!(
                    "the key that {key_name} names is not that of the certificate {shown} ({name})"
                ),
                format!("let {key_name} name the key that {shown} was made for"),
            ));
        } else if let Some(when) = end_of(&path, Utc::now()) {
            findings.push(said(
                Code::ConfigCertificateEnds,
                format!("the certificate {shown}, which {name} names, {when}"),
                "renew the certificate".to_owned(),
            ));
        }
    }
    findings
}

/// The path, if the value is one: not the certificate itself, and no switch.
fn file_of(context: &CheckContext<'_>, value: &str) -> Option<PathBuf> {
    let is_path = FILES.iter().any(|end| value.ends_with(end))
        && !value.contains(['\n', '$', '{', '~'])
        && !value.contains("://")
        && value.len() <= 1024;
    // What lies outside of the workspace may belong to another host, or is mounted when the service starts.
    let path = context.root.join(value);
    (is_path && path.starts_with(context.root)).then_some(path)
}

/// The variable of the key beside that of a certificate, and its value.
fn other_name(context: &CheckContext<'_>, name: &str) -> Option<(String, String)> {
    let spelt = [
        name.replace("CERTIFICATE", "KEY"),
        name.replace("CERT", "KEY"),
        name.replace("CERT", "PRIVATE_KEY"),
    ];
    spelt.into_iter().find_map(|other| {
        let (value, _) = context.environment.values.get(&other)?;
        (other != name).then(|| (other, value.clone()))
    })
}

#[cfg(test)]
mod tests {
    use crate::checks::testing::App;
    use crate::domain::finding::{CheckName, Severity};
    use crate::manifest::Manifest;

    #[test]
    fn certificates_that_variables_name_are_there_and_have_their_key() {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = |year| {
            let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            params.not_after = rcgen::date_time_ymd(year, 1, 1);
            params.self_signed(&key).unwrap().pem()
        };
        let files = [
            ("good.pem", certificate(2099)),
            ("old.pem", certificate(2020)),
            ("good.key", key.serialize_pem()),
            (
                "other.key",
                rcgen::KeyPair::generate().unwrap().serialize_pem(),
            ),
        ];
        let told = |run: &str, set: &str| {
            let mut app = App::with_interpreter(None).file(".env", set);
            for (name, text) in &files {
                app = app.file(name, text);
            }
            let text = format!(
                "[app]\nname='a'\n[config]\nfiles=['.env']\n[[layer]]\nname='web'\n[[layer.service]]\nname='web'\n\
                 run='{run}'\n"
            );
            app.manifest = Manifest::parse(&text, &app.manifest.path).unwrap();
            let report = app.check(CheckName::Config);
            let codes = [
                "config.file_missing",
                "config.invalid",
                "config.certificate_ends",
            ];
            let mut found = report
                .findings
                .into_iter()
                .filter(|f| codes.contains(&f.code.as_str()));
            found
                .next()
                .map(|finding| (finding.severity, finding.message))
        };
        for (set, said) in [
            ("TLS_CERT=good.pem\nTLS_KEY=good.key\n", ""),
            (
                "TLS_CERT=good.pem\nTLS_KEY=other.key\n",
                "is not that of the certificate",
            ),
            ("SSL_CERTFILE=old.pem\nSSL_KEYFILE=good.key\n", "ended on"),
            ("SSL_CERTFILE=gone.pem\n", "which is not there"),
            ("SSL_KEYFILE=gone.key\n", "which is not there"),
            ("TLS_CERT=/etc/elsewhere.pem\nHAS_CERT=yes\n", ""),
        ] {
            let found = told("sleep 1", set);
            let text = found.as_ref().map_or("", |(_, message)| message);
            assert_eq!(
                (found.is_some(), text.contains(said)),
                (!said.is_empty(), true),
                "{set}: {text}"
            );
            assert!(found.is_none_or(|(severity, _)| severity == Severity::Warning));
        }
        let served = |key: &str| {
            told(
                &format!("uvicorn a:b --ssl-certfile good.pem --ssl-keyfile {key}"),
                "",
            )
        };
        assert_eq!(served("good.key"), None);
        let (severity, message) = served("other.key").unwrap();
        assert_eq!(severity, Severity::Critical);
        assert!(
            message.contains("is not that of its certificate good.pem"),
            "{message}"
        );
    }
}
