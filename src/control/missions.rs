//! What can be done with missions and fixes: each request becomes the command line of `ubs` that does it.

use serde_json::{Map, Value};

use super::command::Line;

/// What one thing that can be done with a mission is, and what it takes.
pub(super) struct Deed {
    pub(super) name: &'static str,
    fields: &'static [Field],
    /// It only asks: what it says is the answer, also if that is no.
    asks: bool,
}

/// Bytes of a request.
pub(super) const BYTES_MAX: usize = 64 << 10;
/// Bytes of one that proposes a fix.
const PROPOSAL_BYTES_MAX: usize = 1 << 20;

impl Deed {
    const fn new(name: &'static str, fields: &'static [Field]) -> Self {
        Self {
            name,
            fields,
            asks: false,
        }
    }

    fn bytes_max(&self) -> usize {
        let proposes = |field: &Field| field.kind == Kind::Proposal;
        if self.fields.iter().any(proposes) {
            PROPOSAL_BYTES_MAX
        } else {
            BYTES_MAX
        }
    }
}

/// Most bytes of the body of a request for this path.
pub(super) fn bytes_max_of(path: &str) -> usize {
    let mut parts = path.split('/').skip(1);
    let (noun, _, name) = (parts.next(), parts.next(), parts.next());
    let deeds: &[Deed] = match noun {
        Some("missions") => &DEEDS,
        Some("fixes") => &FIX_DEEDS,
        _ => &[],
    };
    let deed = deeds.iter().find(|deed| Some(deed.name) == name);
    deed.filter(|_| parts.next().is_none())
        .map_or(BYTES_MAX, Deed::bytes_max)
}

/// A key of the request's document.
struct Field {
    key: &'static str,
    kind: Kind,
    required: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// `--KEY=TEXT`.
    Text,
    /// `--KEY=TEXT`; who asks, if it is not said.
    Who,
    /// `--KEY=NUMBER`.
    Number,
    /// Text on standard input, as `--KEY=-` reads it.
    Input,
    /// A proposal, as text or as the document itself, on standard input, as `--file=-` reads it.
    Proposal,
}

const fn may(key: &'static str, kind: Kind) -> Field {
    let required = false;
    Field {
        key,
        kind,
        required,
    }
}

const fn must(key: &'static str, kind: Kind) -> Field {
    let required = true;
    Field {
        key,
        kind,
        required,
    }
}

const WORKER: Field = may("worker", Kind::Who);
const LEASE: Field = may("lease", Kind::Number);
const BY: Field = may("by", Kind::Who);

/// Files one.
pub(super) const FILE: Deed = Deed::new(
    "file",
    &[
        must("subject", Kind::Text),
        must("error", Kind::Text),
        may("layer", Kind::Text),
        may("traceback", Kind::Input),
    ],
);

/// Takes one; without a mission the oldest.
pub(super) const CLAIM: Deed = Deed::new("claim", &[WORKER, LEASE]);

/// Everything that can be done with one mission.
pub(super) static DEEDS: [Deed; 10] = [
    CLAIM,
    Deed::new("heartbeat", &[WORKER, LEASE]),
    Deed::new("propose", &[WORKER, must("proposal", Kind::Proposal)]),
    Deed {
        asks: true,
        ..Deed::new("try", &[WORKER, must("proposal", Kind::Proposal)])
    },
    Deed::new("complete", &[WORKER, may("resolution", Kind::Text)]),
    Deed::new("fail", &[WORKER, must("reason", Kind::Text)]),
    Deed::new("approve", &[BY]),
    Deed::new("reject", &[BY, must("reason", Kind::Text)]),
    Deed::new("release", &[WORKER, may("reason", Kind::Text)]),
    Deed::new("requeue", &[BY]),
];

/// Everything that can be done with one fix.
pub(super) static FIX_DEEDS: [Deed; 2] = [
    Deed::new("keep", &[BY]),
    Deed::new("undo", &[BY, may("reason", Kind::Text)]),
];

/// What a command line is about.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Noun {
    Missions,
    Fixes,
}

impl Noun {
    fn as_str(self) -> &'static str {
        match self {
            Self::Missions => "missions",
            Self::Fixes => "fixes",
        }
    }
}

/// The command line that shows one.
pub(super) fn show(noun: Noun, name: &str) -> Line {
    let mut arguments = Vec::from([noun.as_str(), "show", "--"].map(str::to_owned));
    arguments.push(name.to_owned());
    Line {
        arguments,
        names: true,
        ..Line::default()
    }
}

/// The command line that does this, with a mission or fix or without one.
pub(super) fn act(
    noun: Noun,
    deed: &Deed,
    name: Option<&str>,
    body: &[u8],
    who: &str,
) -> Result<Line, String> {
    let given: Map<String, Value> = if body.is_empty() {
        Map::new()
    } else {
        serde_json::from_slice(body)
            .map_err(|error| format!("the body is no JSON object: {error}"))?
    };
    let keys = || -> Vec<&str> { deed.fields.iter().map(|field| field.key).collect() };
    if let Some(key) = given.keys().find(|key| !keys().contains(&key.as_str())) {
        let (key, keys) = (super::answer::quoted(key), keys().join("`, `"));
        return Err(format!("{} takes `{keys}`, and not {key}", deed.name));
    }
    let mut line = Line {
        arguments: vec![noun.as_str().to_owned(), deed.name.to_owned()],
        asks: deed.asks,
        ..Line::default()
    };
    for Field {
        key,
        kind,
        required,
    } in deed.fields
    {
        let value = match (given.get(*key), kind) {
            (None | Some(Value::Null), Kind::Who) => who.to_owned(),
            (None | Some(Value::Null), _) if *required => {
                return Err(format!("`{key}` is missing"));
            }
            (None | Some(Value::Null), _) => continue,
            (Some(document @ Value::Object(_)), Kind::Proposal) => document.to_string(),
            (Some(Value::String(text)), Kind::Text | Kind::Who | Kind::Input | Kind::Proposal) => {
                text.clone()
            }
            (Some(Value::Number(number)), Kind::Number) if number.is_u64() => number.to_string(),
            (Some(_), Kind::Number) => return Err(format!("`{key}` is a whole number")),
            (Some(_), _) => return Err(format!("`{key}` is text")),
        };
        let read = match kind {
            Kind::Input => Some(*key),
            Kind::Proposal => Some("file"),
            Kind::Text | Kind::Who | Kind::Number => None,
        };
        if let Some(option) = read {
            line.arguments.push(format!("--{option}=-"));
            line.input = Some(value);
        } else if value.contains('\0') {
            return Err(format!("`{key}` holds a null character"));
        } else {
            line.arguments.push(format!("--{key}={value}"));
        }
    }
    if let Some(name) = name {
        line.arguments
            .extend(["--".to_owned(), name.replace('\0', "")]);
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(name: &str, mission: Option<&str>, body: &str) -> Result<String, String> {
        let deed = DEEDS.iter().find(|deed| deed.name == name);
        let deed = deed.expect("it can be done");
        let line = act(Noun::Missions, deed, mission, body.as_bytes(), "me")?;
        let input = line
            .input
            .map_or_else(String::new, |text| format!(" < {text}"));
        Ok(format!("{}{input}", line.arguments.join(" ")))
    }

    #[test]
    fn a_request_becomes_a_command_line() {
        for (name, mission, body, wanted) in [
            ("claim", None, "", "missions claim --worker=me"),
            (
                "claim",
                Some("-x"),
                r#"{"worker":"--json","lease":60}"#,
                "missions claim --worker=--json --lease=60 -- -x",
            ),
            (
                "propose",
                Some("m"),
                r#"{"proposal":{"summary":"s"}}"#,
                r#"missions propose --worker=me --file=- -- m < {"summary":"s"}"#,
            ),
            (
                "reject",
                Some("m"),
                r#"{"by":"Ann","reason":"no"}"#,
                "missions reject --by=Ann --reason=no -- m",
            ),
        ] {
            assert_eq!(arguments(name, mission, body).as_deref(), Ok(wanted));
        }
        assert!(DEEDS.iter().all(|deed| deed.name != "destroy"));
    }

    #[test]
    fn only_what_proposes_a_fix_may_be_large() {
        for path in ["/missions/m/propose", "/missions/m/try"] {
            assert_eq!(bytes_max_of(path), PROPOSAL_BYTES_MAX, "{path}");
        }
        for path in [
            "/missions/m/reject",
            "/missions",
            "/fixes/f/undo",
            "/services/propose/propose",
            "/missions/m/x/propose",
            "/services/try/signal",
            "/try",
        ] {
            assert_eq!(bytes_max_of(path), BYTES_MAX, "{path}");
        }
        let asks = DEEDS.iter().chain(&FIX_DEEDS).filter(|deed| deed.asks);
        assert_eq!(asks.map(|deed| deed.name).collect::<Vec<_>>(), ["try"]);
    }

    #[test]
    fn what_is_no_such_document_is_refused() {
        for (name, body, wanted) in [
            ("reject", "{}", "`reason` is missing"),
            ("fail", "[]", "the body is no JSON object"),
            ("fail", "{", "the body is no JSON object"),
            ("claim", r#"{"lease":"x"}"#, "`lease` is a whole number"),
            ("claim", r#"{"lease":-1}"#, "`lease` is a whole number"),
            ("claim", r#"{"worker":7}"#, "`worker` is text"),
            ("claim", r#"{"state":"/"}"#, "and not `state`"),
            ("requeue", r#"{"by":"a\u0000"}"#, "a null character"),
        ] {
            let error = arguments(name, Some("m"), body).unwrap_err();
            assert!(error.contains(wanted), "{name} {body}: {error}");
        }
    }
}
