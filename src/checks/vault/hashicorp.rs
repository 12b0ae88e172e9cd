//! HashiCorp Vault and OpenBao: healthy, unsealed, the token valid, each key there.
//!
//! Sources: the API pages /sys/health, /auth/token (lookup-self), /secret/kv/kv-v1 and /secret/kv/kv-v2
//! (subkeys, data) of <https://developer.hashicorp.com/vault/api-docs>. `subkeys` gives the names without the
//! values; where it is not allowed or not known, the secret is read, and its values dropped as they are parsed.

use std::collections::BTreeMap;
use std::time::Duration;

use hyper::header::{HeaderName, HeaderValue};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::asked::{Asked, block_on, key_name};
use super::names::{Filled, Names};
use crate::domain::code::Code;
use crate::domain::finding::{Finding, Severity};
use crate::domain::remedy::MAY_PASS;
use crate::http::{Answer, BodyLimit, Client, HttpError, Target};
use crate::manifest::{UnreadFile, VaultKey, VaultKind, percent_encoded, read_small};

/// A token that ends sooner than this is worth a word.
const TOKEN_SECONDS_MIN: u64 = 24 * 60 * 60;
/// Largest file with a token.
const TOKEN_BYTES_MAX: u64 = 16 << 10;

/// What is wrong with the vault.
pub(super) fn check(asked: &Asked<'_>) -> Vec<Finding> {
    match prepare(asked) {
        Ok(mut visit) => {
            let limit = Duration::from_millis(asked.vault.timeout_ms);
            let ended = block_on(async { tokio::time::timeout(limit, visit.ask()).await });
            let late = match ended {
                Ok(Ok(Ok(()))) => return visit.findings,
                Ok(Ok(Err(finding))) => *finding,
                Ok(Err(_)) => {
                    let why = format!("did not answer within {} ms", limit.as_millis());
                    visit.unreachable(&why)
                }
                Err(error) => visit.unreachable(&format!("cannot be asked: {error}")),
            };
            visit.findings.push(late);
            visit.findings
        }
        Err(finding) => vec![*finding],
    }
}

/// Largest body of an answer.
const BODY_BYTES_MAX: usize = 1 << 20;

/// Who asks.
struct Credentials {
    token: Zeroizing<String>,
    namespace: Option<String>,
}

impl Credentials {
    /// The headers that say it; nothing secret is sent without them.
    fn headers(&self) -> Result<Vec<(HeaderName, HeaderValue)>, HttpError> {
        let value = |text: &str, what: &str| {
            HeaderValue::from_str(text)
                .map_err(|_| HttpError::Invalid(format!("the {what} contains invalid characters")))
        };
        let mut token = value(&self.token, "token")?;
        token.set_sensitive(true);
        let mut headers = vec![(HeaderName::from_static("x-vault-token"), token)];
        if let Some(namespace) = &self.namespace {
            let name = HeaderName::from_static("x-vault-namespace");
            headers.push((name, value(namespace, "namespace")?));
        }
        Ok(headers)
    }
}

/// One visit to the vault.
struct Visit<'a> {
    asked: &'a Asked<'a>,
    place: String,
    client: Client,
    who: Option<Credentials>,
    mount: String,
    kv: Option<u32>,
    findings: Vec<Finding>,
}

fn prepare<'a>(asked: &'a Asked<'a>) -> Result<Visit<'a>, Box<Finding>> {
    let VaultKind::Hashicorp {
        address,
        token,
        token_file,
        namespace,
        mount,
        kv,
        ca_file,
    } = &asked.vault.kind
    else {
        let message = "this is no vault that is asked over HTTP".to_owned();
        return Err(Box::new(asked.about(
            Code::VaultUnreachable,
            Severity::Critical,
            message,
        )));
    };
    let address = asked.expand(address, "the address")?;
    let target = Target::parse(&address).map_err(|why| {
        let message = format!("the address of the vault {why}");
        let finding = asked.about(Code::VaultUnreachable, Severity::Critical, message);
        Box::new(finding.remedy("write it as https://host:8200"))
    })?;
    let ca_file = ca_file
        .as_ref()
        .map(|file| asked.expand(file, "ca_file"))
        .transpose()?
        .map(|file| asked.root.join(file));
    let namespace = namespace
        .as_ref()
        .map(|namespace| asked.expand(namespace, "the namespace"))
        .transpose()?;
    let place = target.to_string();
    let mut findings = Vec::new();
    if !target.tls && !target.is_loopback() {
        let message =
            format!("{place} is asked without TLS: anyone on the network path can read the token");
        let finding = asked.about(Code::VaultInsecure, Severity::Warning, message);
        findings.push(
            finding.remedy("give the vault a certificate, and write its address with https://"),
        );
    }
    // Before anything is sent: a vault that cannot prove who it is gets no token.
    let client = Client::new(target, ca_file.as_deref()).map_err(|why| {
        Box::new(asked.about(
            Code::VaultInsecure,
            Severity::Critical,
            format!("{place}: {why}"),
        ))
    })?;
    let token = match (token_file, token) {
        (Some(file), _) => Some(read_token(asked, &asked.expand(file, "the token file")?)?),
        (None, Some(token)) => match asked.expand(token, "the token") {
            Ok(token) => Some(Zeroizing::new(token)),
            Err(finding) => {
                // The health of the vault can still be asked.
                findings.push(*finding);
                None
            }
        },
        (None, None) => None,
    };
    Ok(Visit {
        asked,
        place,
        client,
        who: token.map(|token| Credentials { token, namespace }),
        mount: mount.clone(),
        kv: *kv,
        findings,
    })
}

fn read_token(asked: &Asked<'_>, file: &str) -> Result<Zeroizing<String>, Box<Finding>> {
    let bad = |why: &str| {
        let message = format!("the token file {file} {why}");
        let finding = asked.about(Code::VaultTokenInvalid, Severity::Critical, message);
        Box::new(finding.remedy("put the token into it, readable for the user that runs ubs only"))
    };
    let bytes = match read_small(&asked.root.join(file), TOKEN_BYTES_MAX) {
        Ok(bytes) => Zeroizing::new(bytes),
        Err(UnreadFile::Missing) => return Err(bad("does not exist")),
        Err(UnreadFile::Io(_)) => return Err(bad("cannot be read")),
        Err(UnreadFile::NotRegular(_) | UnreadFile::TooLarge(_)) => {
            return Err(bad("is not a token file"));
        }
    };
    match std::str::from_utf8(&bytes).map(str::trim) {
        Ok(token) if !token.is_empty() => Ok(Zeroizing::new(token.to_owned())),
        _ => Err(bad("holds no token")),
    }
}

#[derive(Deserialize)]
struct VaultHealth {
    initialized: bool,
    sealed: bool,
}

#[derive(Deserialize)]
struct Data<T> {
    data: T,
}

#[derive(Deserialize)]
struct VaultToken {
    /// Seconds until it ends; 0 if it never does.
    #[serde(default)]
    ttl: u64,
    #[serde(default)]
    renewable: bool,
}

#[derive(Deserialize)]
struct Mount {
    #[serde(default)]
    options: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct Subkeys {
    subkeys: Option<BTreeMap<String, serde::de::IgnoredAny>>,
}

#[derive(Deserialize)]
struct Versioned {
    data: Option<BTreeMap<String, Filled>>,
}

type Asking<T> = Result<T, Box<Finding>>;

impl Visit<'_> {
    fn unreachable(&self, why: &str) -> Finding {
        let message = format!("the vault at {} {why}", self.place);
        let finding = self
            .asked
            .about(Code::VaultUnreachable, Severity::Critical, message);
        finding
            .remedy("start the vault, or correct the address and the way to it")
            .fact(MAY_PASS, "true")
    }

    fn invalid(&self, why: &str) -> Box<Finding> {
        let message = format!("the vault at {} {why}", self.place);
        let finding = self
            .asked
            .about(Code::VaultAnswerInvalid, Severity::Critical, message);
        Box::new(finding.remedy(
            "check that the address is the vault's own, not that of a proxy in front of it",
        ))
    }

    fn sealed(&self, why: &str, remedy: &str) -> Box<Finding> {
        let message = format!("the vault at {} {why}", self.place);
        let finding = self
            .asked
            .about(Code::VaultSealed, Severity::Critical, message);
        Box::new(finding.remedy(remedy))
    }

    async fn get(&mut self, path: &str, with_token: bool) -> Asking<Answer> {
        // The servers refuse requests that a browser was tricked into without it.
        let name = HeaderName::from_static("x-vault-request");
        let mut headers = vec![(name, HeaderValue::from_static("true"))];
        let who = self.who.as_ref().filter(|_| with_token);
        let answer = match who.map_or(Ok(Vec::new()), Credentials::headers) {
            Ok(who) => {
                headers.extend(who);
                let wanted = BodyLimit::AtMost(BODY_BYTES_MAX);
                self.client.get(path, &headers, wanted).await
            }
            Err(error) => Err(error),
        };
        let answer = answer.map_err(|why| match why {
            HttpError::Unreachable(why) => {
                Box::new(self.unreachable(&format!("does not answer: {why}")))
            }
            HttpError::Invalid(why) => {
                self.invalid(&format!("does not answer like a vault: {why}"))
            }
            HttpError::Untrusted(why) => {
                let message = format!("the vault at {} cannot be trusted: {why}", self.place);
                let finding = self
                    .asked
                    .about(Code::VaultInsecure, Severity::Critical, message);
                Box::new(finding.remedy("name the authority's certificate as vault.ca_file"))
            }
        })?;
        match answer.status {
            300..=399 => Err(self.invalid(&format!(
                "redirects (status {}), and a token is not sent to another place",
                answer.status
            ))),
            503 => Err(self.sealed("is sealed", "unseal it")),
            _ => Ok(answer),
        }
    }

    fn parse<T: for<'de> Deserialize<'de>>(&self, answer: &Answer, what: &str) -> Asking<T> {
        // What the parser says may repeat a value.
        serde_json::from_slice(&answer.body).map_err(|_| {
            self.invalid(&format!(
                "answers {what} with something that is not its JSON"
            ))
        })
    }

    async fn ask(&mut self) -> Asking<()> {
        self.ask_health().await?;
        if self.who.is_none() {
            return Ok(());
        }
        let token_is_known = self.ask_token().await?;
        if self.asked.vault.keys.is_empty() {
            return if token_is_known {
                Ok(())
            } else {
                Err(self.refused())
            };
        }
        let kv = match self.kv {
            Some(version) => version,
            None => self.ask_version().await?,
        };
        let mut by_path: BTreeMap<&str, Vec<&VaultKey>> = BTreeMap::new();
        for key in &self.asked.vault.keys {
            by_path.entry(key.path.as_str()).or_default().push(key);
        }
        let mut denied = Vec::new();
        let mut any_allowed = false;
        for (path, keys) in by_path {
            match self.ask_names(kv, path).await? {
                Read::Denied => denied.extend(keys),
                Read::Names(names) => {
                    any_allowed = true;
                    let missing = keys
                        .iter()
                        .filter_map(|key| self.compare(key, names.as_ref()));
                    let missing: Vec<Finding> = missing.collect();
                    self.findings.extend(missing);
                }
            }
        }
        // A token need not be allowed to ask about itself; one that is refused everywhere is not valid.
        if !token_is_known && !any_allowed {
            return Err(self.refused());
        }
        for key in denied {
            let message = format!("{} may not be read with this token", key_name(key));
            self.findings.push(
                self.asked
                    .missing_key(key, message)
                    .remedy("give the token a policy that allows to read it"),
            );
        }
        Ok(())
    }

    fn refused(&self) -> Box<Finding> {
        let message = format!("the vault at {} refuses the token", self.place);
        let finding = self
            .asked
            .about(Code::VaultTokenInvalid, Severity::Critical, message);
        Box::new(finding.remedy("log in again, and give ubs the new token"))
    }

    /// /sys/health: 200 active, 429 standby, 472 secondary for disaster recovery, 473 performance standby,
    /// 501 not initialised, 503 sealed. Asked without the token.
    async fn ask_health(&mut self) -> Asking<()> {
        let answer = self.get("/v1/sys/health", false).await?;
        match answer.status {
            200 | 429 | 473 => {}
            472 => {
                return Err(Box::new(self.unreachable(
                    "is a secondary for disaster recovery, which gives no secrets",
                )));
            }
            501 => return Err(self.sealed("is not initialised", "initialise and unseal it")),
            status => {
                return Err(self.invalid(&format!(
                    "answers status {status} when asked for its health"
                )));
            }
        }
        let health: VaultHealth = self.parse(&answer, "the question for its health")?;
        match health {
            VaultHealth {
                initialized: false, ..
            } => Err(self.sealed("is not initialised", "initialise and unseal it")),
            VaultHealth { sealed: true, .. } => Err(self.sealed("is sealed", "unseal it")),
            VaultHealth { .. } => Ok(()),
        }
    }

    /// /auth/token/lookup-self; `false`: it is refused, which need not mean that the token is invalid.
    async fn ask_token(&mut self) -> Asking<bool> {
        let answer = self.get("/v1/auth/token/lookup-self", true).await?;
        match answer.status {
            200 => {}
            401 | 403 => return Ok(false),
            status => {
                return Err(self.invalid(&format!(
                    "answers status {status} when asked about the token"
                )));
            }
        }
        let Data { data: token } =
            self.parse::<Data<VaultToken>>(&answer, "the question about the token")?;
        if token.ttl > 0 && token.ttl < TOKEN_SECONDS_MIN {
            let left = match token.ttl {
                seconds @ ..60 => format!("{seconds} s"),
                seconds @ 60..3600 => format!("{} min", seconds / 60),
                seconds => format!("{} h", seconds / 3600),
            };
            // Who renews short tokens does as the vault's makers advise.
            let (severity, more) = if token.renewable {
                (Severity::Info, "; somebody must renew it")
            } else {
                (Severity::Warning, ", and it cannot be renewed")
            };
            let message = format!("the vault's token ends in {left}{more}");
            let finding = self.asked.about(Code::VaultTokenInvalid, severity, message);
            self.findings
                .push(finding.remedy("log in again before it ends"));
        }
        Ok(true)
    }

    /// The version of the key-value engine; 2 where the vault does not say.
    async fn ask_version(&mut self) -> Asking<u32> {
        let path = format!("/v1/sys/internal/ui/mounts/{}", encoded(&self.mount));
        let answer = self.get(&path, true).await?;
        if answer.status != 200 {
            return Ok(2);
        }
        let Data { data: mount } =
            self.parse::<Data<Mount>>(&answer, "the question about its engine")?;
        let version = mount
            .options
            .and_then(|options| options.get("version").cloned());
        Ok(if version.as_deref() == Some("2") {
            2
        } else {
            1
        })
    }

    async fn ask_names(&mut self, kv: u32, path: &str) -> Asking<Read> {
        let (mount, path) = (encoded(&self.mount), encoded(path));
        if kv == 2 {
            let url = format!("/v1/{mount}/subkeys/{path}?depth=1");
            let answer = self.get(&url, true).await?;
            if answer.status == 200 {
                let Data { data } =
                    self.parse::<Data<Subkeys>>(&answer, "the question for a secret")?;
                let names = data
                    .subkeys
                    .map(|names| names.into_keys().map(|name| (name, true)).collect());
                return Ok(Read::Names(names));
            }
        }
        let url = if kv == 2 {
            format!("/v1/{mount}/data/{path}")
        } else {
            format!("/v1/{mount}/{path}")
        };
        let answer = self.get(&url, true).await?;
        let filled = |names: BTreeMap<String, Filled>| {
            names
                .into_iter()
                .map(|(name, Filled(is))| (name, is))
                .collect()
        };
        match answer.status {
            200 if kv == 2 => {
                let Data { data } =
                    self.parse::<Data<Versioned>>(&answer, "the question for a secret")?;
                Ok(Read::Names(data.data.map(filled)))
            }
            200 => {
                let Data { data } = self.parse::<Data<BTreeMap<String, Filled>>>(
                    &answer,
                    "the question for a secret",
                )?;
                Ok(Read::Names(Some(filled(data))))
            }
            404 => Ok(Read::Names(None)),
            401 | 403 => Ok(Read::Denied),
            status => {
                Err(self.invalid(&format!("answers status {status} when asked for a secret")))
            }
        }
    }

    fn compare(&self, key: &VaultKey, names: Option<&Names>) -> Option<Finding> {
        let what = key_name(key);
        let place = &self.place;
        let message = match (names, &key.field) {
            (None, _) => format!("the vault at {place} has no secret {}", key.path),
            (Some(_), None) => return None,
            (Some(names), Some(field)) => match names.get(field) {
                Some(true) => return None,
                Some(false) => format!("{what} is empty in the vault at {place}"),
                None => format!("the secret {} has no field {field}", key.path),
            },
        };
        Some(self.asked.missing_key(key, message))
    }
}

/// What reading one secret came to.
enum Read {
    Denied,
    /// Its fields; `None`: there is no such secret, or it was deleted.
    Names(Option<Names>),
}

/// A path as a part of a URL.
fn encoded(path: &str) -> String {
    let parts: Vec<String> = path.split('/').map(percent_encoded).collect();
    parts.join("/")
}
