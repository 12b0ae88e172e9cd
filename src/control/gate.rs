//! Who may come in over TCP: by the token, and only under our own name, so that no page in a browser asks for it
//! (DNS rebinding).

use std::net::SocketAddr;

use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::Response;

use super::answer::{failure, quoted};

/// Where the interface listens beside its socket, and whom it lets in.
#[derive(Debug, Clone)]
pub(crate) struct Tcp {
    pub listen: SocketAddr,
    /// Whoever has it may ask; `None`: everybody on this host.
    pub token: Option<String>,
    /// Further names under which it is reached.
    pub hosts: Vec<String>,
}

/// The rules of one listener.
pub(super) struct Gate {
    listen: SocketAddr,
    /// Of a token only its digest is compared: in constant time, and whatever its length.
    token: Option<blake3::Hash>,
    hosts: Vec<String>,
}

impl Gate {
    /// `bound` is where it listens indeed.
    pub(super) fn new(tcp: &Tcp, bound: SocketAddr) -> Self {
        Self {
            listen: bound,
            token: tcp
                .token
                .as_ref()
                .map(|token| blake3::hash(token.as_bytes())),
            hosts: tcp.hosts.clone(),
        }
    }

    /// Why this request is not answered.
    pub(super) fn refusal(&self, request: &Parts) -> Option<Response> {
        let headers = &request.headers;
        let forbid =
            |code: &str, message: String| Some(failure(StatusCode::FORBIDDEN, code, message));
        let host = match (&request.uri.authority(), one(headers, &header::HOST)) {
            (Some(authority), _) => Some(authority.as_str()),
            (None, host) => host,
        };
        if !host.is_some_and(|host| self.is_ours(host)) {
            let host = quoted(host.unwrap_or(""));
            let how =
                "ask for the address that it listens on, or name the host in `hosts` of [api]";
            return forbid("other_host", format!("{host} is not this host; {how}"));
        }
        if headers.contains_key(header::ORIGIN) {
            let origin = one(headers, &header::ORIGIN);
            let asked = origin.and_then(|origin| origin.split_once("://"));
            if !asked.is_some_and(|(_, host)| self.is_ours(host)) {
                let origin = quoted(origin.unwrap_or(""));
                return forbid("other_origin", format!("pages of {origin} may not ask"));
            }
        }
        let wanted = self.token?;
        let given = one(headers, &header::AUTHORIZATION).and_then(bearer);
        match given {
            // Equality of digests takes the same time wherever they differ.
            Some(given) if blake3::hash(given.as_bytes()) == wanted => None,
            _ => {
                let message = "give the token of [api]: `Authorization: Bearer TOKEN`";
                let mut response = failure(StatusCode::UNAUTHORIZED, "no_token", message);
                let challenge = axum::http::HeaderValue::from_static("Bearer");
                response
                    .headers_mut()
                    .insert(header::WWW_AUTHENTICATE, challenge);
                Some(response)
            }
        }
    }

    fn is_ours(&self, host: &str) -> bool {
        let Ok(authority) = host.parse::<Authority>() else {
            return false;
        };
        // A name with somebody's name before it is no host.
        if host.contains('@') {
            return false;
        }
        let name = authority.host().trim_end_matches('.');
        if self
            .hosts
            .iter()
            .any(|known| known.eq_ignore_ascii_case(name) || known.eq_ignore_ascii_case(host))
        {
            return true;
        }
        if authority.port_u16().unwrap_or(80) != self.listen.port() {
            return false;
        }
        let ip = name.trim_start_matches('[').trim_end_matches(']');
        match ip.parse::<std::net::IpAddr>() {
            // Bound to every address: each of them is ours, and no name.
            Ok(ip) => {
                ip == self.listen.ip() || self.listen.ip().is_unspecified() || ip.is_loopback()
            }
            Err(_) => name.eq_ignore_ascii_case("localhost"),
        }
    }
}

/// The one value of a header; none if it stands there twice.
fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim_matches(' '))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;

    fn status(gate: &Gate, headers: &[(&str, &str)]) -> Option<u16> {
        let mut request = Request::get("/status");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        gate.refusal(&parts)
            .map(|response| response.status().as_u16())
    }

    fn gate(listen: &str, token: Option<&str>) -> Gate {
        let listen: SocketAddr = listen.parse().unwrap();
        let tcp = Tcp {
            listen,
            token: token.map(str::to_owned),
            hosts: vec!["ops.example.com".to_owned()],
        };
        Gate::new(&tcp, listen)
    }

    #[test]
    fn only_our_own_names_are_asked_for() {
        let here = gate("127.0.0.1:7717", None);
        for (host, good) in [
            ("127.0.0.1:7717", true),
            ("localhost:7717", true),
            ("LOCALHOST:7717", true),
            ("ops.example.com", true),
            ("ops.example.com:443", true),
            ("[::1]:7717", true),
            ("localhost", false),
            ("127.0.0.1:80", false),
            ("evil.example.com:7717", false),
            ("127.0.0.1.evil.com:7717", false),
            ("x@localhost:7717", false),
            ("10.0.0.1:7717", false),
            ("", false),
        ] {
            let wanted = if good { None } else { Some(403) };
            assert_eq!(status(&here, &[("host", host)]), wanted, "{host}");
        }
        assert_eq!(status(&here, &[]), Some(403));
        let host = ("host", "localhost:7717");
        assert_eq!(status(&here, &[host, host]), Some(403));
        for (origin, wanted) in [
            ("http://localhost:7717", None),
            ("https://ops.example.com", None),
            ("http://evil.example.com", Some(403)),
            ("null", Some(403)),
        ] {
            assert_eq!(
                status(&here, &[host, ("origin", origin)]),
                wanted,
                "{origin}"
            );
        }
        let everywhere = gate("0.0.0.0:7717", Some("t"));
        let token = ("authorization", "Bearer t");
        assert_eq!(
            status(&everywhere, &[("host", "10.0.0.1:7717"), token]),
            None
        );
        assert_eq!(
            status(&everywhere, &[("host", "evil.example.com:7717"), token]),
            Some(403)
        );
    }

    #[test]
    fn only_the_token_lets_in() {
        let gate = gate("127.0.0.1:7717", Some("open-sesame-open"));
        let host = ("host", "127.0.0.1:7717");
        for (given, wanted) in [
            ("Bearer open-sesame-open", None),
            ("bearer  open-sesame-open", None),
            ("Bearer open-sesame-ope", Some(401)),
            ("Bearer open-sesame-openx", Some(401)),
            ("Bearer", Some(401)),
            ("Basic open-sesame-open", Some(401)),
            ("open-sesame-open", Some(401)),
        ] {
            assert_eq!(
                status(&gate, &[host, ("authorization", given)]),
                wanted,
                "{given}"
            );
        }
        assert_eq!(status(&gate, &[host]), Some(401));
    }
}
