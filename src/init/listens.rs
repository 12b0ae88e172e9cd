//! Where a program that starts its own server listens, as its source says: `uvicorn.run(app, port=8000)`,
//! `app.run(port=int(os.environ.get("PORT", 5000)))`.

use super::text::is_variable_name;
use crate::source::{GivenValue, ServerCall};

/// Where they listen if nothing is said.
const UVICORN: &str = "8000";
const AIOHTTP: &str = "8080";
const FLASK: &str = "5000";

/// A port, as a number or `${NAME:-number}`, and its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listening {
    pub port: String,
    pub line: u32,
}

/// The port of the one server that this file starts. `flask`: names of its Flask applications.
pub(super) fn listening(calls: &[ServerCall], file: &str, flask: &[&str]) -> Option<Listening> {
    let mut found: Option<Listening> = None;
    for call in calls.iter().filter(|call| call.place.file == file) {
        let default = match (call.owner.as_str(), call.method.as_str()) {
            ("uvicorn", "run") => UVICORN,
            ("web", "run_app") => AIOHTTP,
            ("socketio", "run") => FLASK,
            (name, "run") if flask.contains(&name) => FLASK,
            _ => continue,
        };
        let port = match &call.port {
            _ if !call.is_known => return None,
            None => default.to_owned(),
            Some(given) => written(given)?,
        };
        match &found {
            Some(before) if before.port != port => return None,
            Some(_) => {}
            None => {
                let line = call.place.line;
                found = Some(Listening { port, line });
            }
        }
    }
    found
}

/// As the manifest spells it.
fn written(given: &GivenValue) -> Option<String> {
    let is_port = |port: &&str| port.parse::<u16>().is_ok_and(|port| port > 0);
    let port = given.text.as_deref().filter(is_port)?;
    match &given.variable {
        None => Some(port.to_owned()),
        Some(name) if is_variable_name(name) => Some(format!("${{{name}:-{port}}}")),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Place;

    fn call(
        owner: &str,
        method: &str,
        line: u32,
        port: Option<(Option<&str>, &str)>,
    ) -> ServerCall {
        let owned = |text: &str| text.to_owned();
        ServerCall {
            place: Place {
                file: "a.py".to_owned(),
                line,
                column: 1,
            },
            owner: owned(owner),
            method: owned(method),
            is_known: true,
            port: port.map(|(variable, text)| GivenValue {
                variable: variable.map(owned),
                text: Some(owned(text)),
                is_beside: false,
            }),
        }
    }

    #[test]
    fn the_port_of_a_program_is_that_of_its_one_server() {
        let port = |calls: &[ServerCall]| listening(calls, "a.py", &["app"]).map(|l| l.port);
        let given = |owner, port| call(owner, "run", 3, port);
        let is = |calls: &[ServerCall], expected: Option<&str>| {
            assert_eq!(port(calls).as_deref(), expected, "{calls:?}");
        };
        is(&[given("uvicorn", Some((None, "8123")))], Some("8123"));
        is(&[given("app", None)], Some("5000"));
        is(
            &[given("app", Some((Some("PORT"), "80")))],
            Some("${PORT:-80}"),
        );
        is(&[call("web", "run_app", 1, None)], Some("8080"));
        // Not known, another program, two, no port.
        let mut unknown = given("app", None);
        unknown.is_known = false;
        is(&[unknown], None);
        is(&[given("runner", Some((None, "8123")))], None);
        is(&[given("app", None), given("uvicorn", None)], None);
        is(&[given("app", Some((None, "99999")))], None);
        assert_eq!(
            listening(&[given("uvicorn", None)], "a.py", &[])
                .unwrap()
                .line,
            3
        );
        assert_eq!(listening(&[given("uvicorn", None)], "b.py", &[]), None);
    }
}
