//! The OpenAPI document and the router say the same, and what is answered is what the document says.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::routes::routes;
use super::*;

fn document() -> Value {
    serde_json::from_str(include_str!("../../../schema/openapi.json")).unwrap()
}

/// What of this part of the document stands elsewhere in it.
fn resolved<'d>(document: &'d Value, part: &'d Value) -> &'d Value {
    match part.get("$ref").and_then(Value::as_str) {
        Some(place) => document.pointer(&place[1..]).expect(place),
        None => part,
    }
}

/// Why the value is none of this schema; the keywords that the document uses.
fn fault(document: &Value, schema: &Value, value: &Value, at: &str) -> Option<String> {
    let schema = resolved(document, schema);
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let is_kind = |wanted: &Value| *wanted == kind || (*wanted == "number" && kind == "integer");
    for (keyword, rule) in schema.as_object().expect(at) {
        let fault = match keyword.as_str() {
            "type" => {
                let good = match rule {
                    Value::Array(kinds) => kinds.iter().any(is_kind),
                    kind => is_kind(kind),
                };
                (!good).then(|| format!("{at} is {kind}, not {rule}"))
            }
            "enum" => {
                let words = rule.as_array().unwrap();
                (!words.contains(value)).then(|| format!("{at} is {value}, not of {rule}"))
            }
            "anyOf" => {
                let choices = rule.as_array().unwrap().iter();
                let faults: Option<Vec<_>> = choices
                    .map(|choice| fault(document, choice, value, at))
                    .collect();
                faults.map(|faults| faults.join("; or "))
            }
            "required" if value.is_object() => {
                let mut names = rule.as_array().unwrap().iter();
                let lacking = names.find(|name| value.get(name.as_str().unwrap()).is_none());
                lacking.map(|name| format!("{at} has no {name}"))
            }
            "properties" if value.is_object() => {
                let known = rule.as_object().unwrap();
                let mut names = value.as_object().unwrap().keys();
                let other = names.find(|name| !known.contains_key(name.as_str()));
                let other = other.map(|name| format!("{at} has {name} too"));
                let mut known = known.iter();
                other.or_else(|| {
                    known.find_map(|(name, rule)| {
                        let at = format!("{at}.{name}");
                        fault(document, rule, value.get(name)?, &at)
                    })
                })
            }
            "items" => {
                let mut entries = value.as_array().into_iter().flatten();
                entries.find_map(|entry| fault(document, rule, entry, &format!("{at}[]")))
            }
            "required"
            | "properties"
            // What is not described is a fault in any case.
            | "additionalProperties"
            | "description"
            | "format"
            | "default"
            | "minimum"
            | "maximum" => None,
            other => panic!("the checker does not know {other}"),
        };
        if fault.is_some() {
            return fault;
        }
    }
    None
}

#[test]
fn the_checker_finds_what_is_wrong() {
    let none = json!({});
    let schema = json!({
        "type": "object", "required": ["a"], "additionalProperties": false,
        "properties": { "a": { "type": ["string", "null"] }, "b": { "type": "array", "items": { "enum": [1] } } },
    });
    let check = |value: Value| fault(&none, &schema, &value, "it").unwrap_or_default();
    assert_eq!(check(json!({ "a": null, "b": [1] })), "");
    assert_eq!(check(json!({ "b": [1] })), "it has no \"a\"");
    assert_eq!(
        check(json!({ "a": 1 })),
        "it.a is integer, not [\"string\",\"null\"]"
    );
    assert_eq!(check(json!({ "a": "", "c": 1 })), "it has c too");
    assert_eq!(
        check(json!({ "a": "", "b": [2] })),
        "it.b[] is 2, not of [1]"
    );
    let either = json!({ "anyOf": [{ "type": "null" }, { "type": "string" }] });
    assert!(
        fault(&none, &either, &json!(1), "it")
            .unwrap()
            .contains("; or ")
    );
}

#[test]
fn the_document_has_every_path_of_the_router_and_no_other() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    let mut documented = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            documented.insert(format!("{} {path}", method.to_uppercase()));
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "{id} stands twice");
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let named: BTreeSet<&str> = parameters
                .filter(|parameter| parameter["in"] == "path")
                .map(|parameter| parameter["name"].as_str().unwrap())
                .collect();
            let in_path = path.split('{').skip(1);
            let in_path: BTreeSet<&str> = in_path.map(|p| p.split('}').next().unwrap()).collect();
            assert_eq!(named, in_path, "{path}");
        }
    }
    let routed: BTreeSet<String> = routes()
        .iter()
        .map(|(method, path, _)| format!("{method} {path}"))
        .collect();
    assert_eq!(documented, routed);
}

/// What is asked, and the status that is wanted.
const ASKED: [(&str, &str, &str, u16); 59] = [
    ("GET", "/livez", "", 200),
    ("GET", "/readyz", "", 503),
    ("GET", "/health", "", 200),
    ("GET", "/status", "", 200),
    ("GET", "/services", "", 200),
    ("GET", "/services/web", "", 200),
    ("GET", "/services/wbe", "", 404),
    ("GET", "/services/%ff", "", 400),
    ("GET", "/services/web/logs", "", 200),
    ("GET", "/services/web/logs?lines=0", "", 200),
    ("GET", "/services/web/logs?lines=x", "", 400),
    ("GET", "/services/..%2f..%2fcontrol.sock/logs", "", 404),
    ("POST", "/services/web/start", "", 200),
    ("POST", "/services/web/stop", "", 200),
    ("POST", "/services/web/restart", "", 200),
    ("POST", "/services/wbe/restart", "", 404),
    ("POST", "/services/web/signal", r#"{"signal":"HUP"}"#, 200),
    ("POST", "/services/web/signal", r#"{"signal":"X"}"#, 400),
    ("POST", "/services/web/signal", "{}", 400),
    ("GET", "/boots", "", 200),
    ("GET", "/boots?number=-1", "", 400),
    ("GET", "/boots/current", "", 200),
    ("GET", "/boots/nobody", "", 404),
    ("GET", "/boots/broken", "", 500),
    ("GET", "/missions", "", 200),
    ("GET", "/missions?all=true", "", 200),
    ("GET", "/missions?all=1", "", 400),
    ("GET", "/missions/nobody", "", 404),
    ("GET", "/missions/broken", "", 500),
    ("POST", "/missions", r#"{"subject":"a","error":"b"}"#, 200),
    ("POST", "/missions", "{}", 400),
    ("POST", "/missions/claim", "", 404),
    ("POST", "/missions/claim", r#"{"lease":"x"}"#, 400),
    ("POST", "/missions/m/claim", "", 404),
    ("POST", "/missions/m/heartbeat", "[]", 400),
    (
        "POST",
        "/missions/m/propose",
        r#"{"proposal":{"summary":"s"}}"#,
        200,
    ),
    ("POST", "/missions/m/propose", "{}", 400),
    (
        "POST",
        "/missions/m/try",
        r#"{"proposal":{"summary":"s"}}"#,
        200,
    ),
    ("POST", "/missions/m/try", r#"{"proposal":7}"#, 400),
    ("GET", "/fixes", "", 200),
    ("GET", "/fixes/nobody", "", 404),
    ("GET", "/fixes/broken", "", 500),
    ("POST", "/fixes/7/keep", r#"{"by":"me"}"#, 200),
    ("POST", "/fixes/nobody/undo", "", 404),
    ("POST", "/fixes/7/undo", r#"{"why":"x"}"#, 400),
    ("POST", "/missions/m/complete", "", 409),
    ("POST", "/missions/m/fail", r#"{"reason":"no"}"#, 409),
    ("POST", "/missions/m/approve", r#"{"by":7}"#, 400),
    ("POST", "/missions/m/reject", "{}", 400),
    ("POST", "/missions/m/release", "no JSON", 400),
    ("POST", "/missions/m/requeue", r#"{"who":"x"}"#, 400),
    ("POST", "/reload?dry_run=true", "", 200),
    ("POST", "/reload?dry=true", "", 400),
    ("POST", "/reload", "{\"dry_run\": true}", 400),
    ("POST", "/validate", "", 200),
    ("POST", "/wake", "", 200),
    ("GET", "/events?after=x", "", 400),
    ("GET", "/metrics", "", 200),
    ("GET", "/openapi.json", "", 200),
];

#[test]
fn every_path_answers_as_the_document_says() {
    beside_a_door(|dir, _| async move {
        drop(crate::log::Log::open(&dir.join("log.db")).unwrap());
        std::fs::create_dir(dir.join("logs")).unwrap();
        std::fs::write(dir.join("logs/web.log"), "2026-01-01T00:00:00Z hello\n").unwrap();
        let document = document();
        let mut unasked: BTreeSet<String> = routes()
            .iter()
            .map(|(method, path, _)| format!("{method} {path}"))
            .collect();
        for (method, path, body, wanted) in ASKED {
            let length = body.len();
            let request = format!(
                "{method} {path} HTTP/1.1\r\nhost: ubs\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
            );
            let answer = say(&dir, request.as_bytes()).await;
            let (head, text) = answer.split_once("\r\n\r\n").expect(path);
            assert!(
                head.starts_with(&format!("HTTP/1.1 {wanted} ")),
                "{path}: {answer}"
            );
            let of_router = routes().into_iter().find(|(m, pattern, _)| {
                *m == method && matches(pattern, path.split('?').next().unwrap())
            });
            let pattern = of_router.expect(path).1;
            unasked.remove(&format!("{method} {pattern}"));
            let operation = &document["paths"][&pattern][method.to_lowercase()];
            let status = wanted.to_string();
            let response = resolved(&document, &operation["responses"][&status]);
            let kind = head
                .lines()
                .find_map(|line| line.strip_prefix("content-type: "));
            let kind = kind.unwrap().split(';').next().unwrap();
            let schema = &response["content"][kind]["schema"];
            assert!(schema.is_object(), "{method} {path}: no {status} of {kind}");
            // What stands for a command gives no mission.
            let is_stand_in = text.contains("\"done\"") || text.contains("\"proposal\"");
            let is_stand_in = is_stand_in || text.contains("\"rejected\"");
            if kind == "application/json" && !is_stand_in {
                let value: Value = serde_json::from_str(text).expect(path);
                assert_eq!(fault(&document, schema, &value, path), None);
            }
        }
        // It goes on for ever; its head is all that there is to see.
        let request = "GET /events HTTP/1.1\r\nhost: ubs\r\n\r\n";
        let short = ShortPath::of(&dir).unwrap();
        let mut stream = UnixStream::connect(short.to(NAME)).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = [0; 15];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 200 OK");
        assert_eq!(unasked, BTreeSet::new());
    });
}

/// The longest pattern without a name wins in the router: `/boots/current` before `/boots/{boot}`, by the order of the
/// table here.
fn matches(pattern: &str, path: &str) -> bool {
    let (mut pattern, mut path) = (pattern.split('/'), path.split('/'));
    loop {
        match (pattern.next(), path.next()) {
            (None, None) => return true,
            (Some(a), Some(b)) if a == b || a.starts_with('{') => {}
            _ => return false,
        }
    }
}
