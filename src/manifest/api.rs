//! `[api]`: the control interface over TCP.

use std::net::SocketAddr;

use super::keys::API;
use super::problem::{Fault, shown};
use super::section::{Section, values};
use super::types::{Api, ApiToken};
use super::words::{inside_or_absolute_path, variable_name};

/// `[api]`, if there is one.
pub(super) fn read_api(root: &Section<'_>) -> Option<Api> {
    let section = root.section("api", &API)?;
    if !section.has("listen") {
        section.missing("listen", "\"127.0.0.1:7717\"");
    }
    let listen = section.parse("listen", address);
    section.one_only("token_file", "token_env", "token_env");
    let file = section.parse("token_file", |text| {
        inside_or_absolute_path(text).map(ApiToken::File)
    });
    let variable = section.parse("token_env", |text| {
        variable_name(text).map(ApiToken::Variable)
    });
    let token = file.or(variable);
    let listen = listen?;
    if token.is_none() && !listen.ip().is_loopback() {
        section.fault(
            "listen",
            Fault::new(
                "open to others",
                format!("{listen} is reached from other hosts, and [api] names no token"),
                "name a file that holds one (`token_file = \"/etc/myapp/api.token\"`), a variable (`token_env`), \
                 or listen on 127.0.0.1",
            ),
        );
    }
    Some(Api {
        listen,
        token,
        hosts: section.list("hosts", host).map_or(vec![], values),
    })
}

fn address(text: &str) -> Result<SocketAddr, Fault> {
    let local = text
        .strip_prefix("localhost:")
        .map(|port| format!("127.0.0.1:{port}"));
    let text = local.as_deref().unwrap_or(text);
    text.parse().map_err(|_| {
        Fault::new(
            "not an address",
            format!("`{}` is no address with a port", shown(text)),
            "write for example \"127.0.0.1:7717\" or \"[::1]:7717\"",
        )
    })
}

fn host(text: &str) -> Result<String, Fault> {
    let good = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
    if !text.is_empty() && text.chars().all(good) {
        return Ok(text.to_owned());
    }
    Err(Fault::new(
        "not a host",
        format!("`{}` is no name of a host", shown(text)),
        "write the name alone, as in \"ops.example.com\"",
    ))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::manifest::Manifest;

    fn read(api: &str) -> Result<Option<Api>, String> {
        let text = format!("[app]\nname = \"x\"\n[api]\n{api}");
        let read = Manifest::parse(&text, Path::new("/w/ubs.toml"));
        read.map(|manifest| manifest.api).map_err(|error| {
            let problems = error.problems();
            problems.iter().map(|p| p.message.clone()).collect()
        })
    }

    #[test]
    fn off_loopback_a_token_is_needed() {
        let here = read("listen = \"localhost:7717\"\nhosts = [\"ops.example.com\"]").unwrap();
        let here = here.unwrap();
        assert_eq!(here.listen.to_string(), "127.0.0.1:7717");
        assert_eq!(here.token, None);
        assert!(read("listen = \"[::1]:7717\"").is_ok());
        let open = read("listen = \"0.0.0.0:7717\"\ntoken_file = \"/t\"").unwrap();
        assert_eq!(open.unwrap().token, Some(ApiToken::File("/t".to_owned())));
        for (bad, wanted) in [
            ("listen = \"0.0.0.0:7717\"", "names no token"),
            ("listen = \"[::]:7717\"", "names no token"),
            ("listen = \"10.1.2.3:7717\"", "names no token"),
            ("listen = \"7717\"", "no address"),
            ("listen = \"example.com:80\"", "no address"),
            ("hosts = [\"a\"]", "no `listen`"),
            (
                "listen = \"127.0.0.1:1\"\ntoken_env = \"${A}\"",
                "cannot be the name of a variable",
            ),
            (
                "listen = \"127.0.0.1:1\"\ntoken_env = \"1A\"",
                "cannot be the name of a variable",
            ),
            (
                "listen = \"127.0.0.1:1\"\nhosts = [\"http://a/\"]",
                "no name of a host",
            ),
            (
                "listen = \"127.0.0.1:1\"\ntoken_env = \"A\"\ntoken_file = \"b\"",
                "stand for the same",
            ),
        ] {
            let error = read(bad).unwrap_err();
            assert!(error.contains(wanted), "{bad}: {error}");
        }
    }
}
