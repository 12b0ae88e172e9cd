//! A relay in front of a real server, a client that speaks the protocol byte by byte, and the replay of a
//! recording by it.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use super::super::message::{put, put_text};
use super::super::recording::RecordedStatement;
use super::super::*;
use crate::checks::testing::postgres::Server;
use crate::database::postgres::session::Session;
use crate::fix::postgres::catalog::{Catalog, read_catalog};

/// More than anything here takes.
pub(in super::super) const PATIENCE: Duration = Duration::from_secs(60);

/// A relay and its port.
pub(in super::super) fn relay_to(url: String, databases: &[&str]) -> (Relay, u16) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, receiver) = crossbeam_channel::bounded(1);
    sender.send(listener).unwrap();
    let databases = databases.iter().map(|name| (*name).to_owned()).collect();
    let relay = Relay::start(Upstream { url, databases }, receiver).unwrap();
    (relay, port)
}

/// A relay to the database `app` of `bob`, under the name `live` too.
pub(in super::super) struct RelayTrial {
    pub server: Server,
    pub relay: Relay,
    pub port: u16,
}

impl RelayTrial {
    pub(in super::super) fn start(script: &str) -> Option<Self> {
        Self::with_url(script, |url, _| url)
    }

    pub(in super::super) fn with_url(
        script: &str,
        url: impl FnOnce(String, &Server) -> String,
    ) -> Option<Self> {
        let server = Server::start()?;
        let url = url(server.database_of_bob(script), &server);
        let (relay, port) = relay_to(url, &["live", "app"]);
        Some(Self {
            server,
            relay,
            port,
        })
    }
}

/// What is left of a trial.
pub(in super::super) struct TrialEnded(pub Server);

impl TrialEnded {
    /// Replays the recording on an empty database of its own, which must then be what the clone is.
    #[track_caller]
    pub(in super::super) fn expect_same_catalog(&self, recording: &Recording) {
        assert_eq!(recording.obstacle, None);
        self.0.sql("postgres", "CREATE DATABASE again");
        // Through another relay, which logs in, and records the same once more.
        let url = self.0.url("postgresql", "again");
        let (relay, port) = relay_to(url, &["again"]);
        let mut parameters = vec![("user", "eve"), ("database", "again")];
        let settings = recording.settings.iter();
        parameters.extend(settings.map(|(name, value)| (name.as_str(), value.as_str())));
        let mut raw = Raw::open(port, &parameters);
        raw.query("BEGIN");
        for recorded in &recording.statements {
            let answer = raw.run(recorded);
            assert!(
                !answer.contains(&b'E'),
                "{recorded:?}: {:?}",
                raw.last_error
            );
        }
        raw.query("COMMIT");
        drop(raw);
        // Done in one transaction, which has one end.
        let in_one = |mut recording: Recording| {
            recording
                .statements
                .iter_mut()
                .for_each(|one| one.is_last = false);
            recording
        };
        assert_eq!(in_one(relay.finish()), in_one(recording.clone()));
        let catalog = |database: &str| -> Catalog {
            let url = self.0.url("postgresql", database);
            read_catalog(&Session::connect(&url).unwrap(), PATIENCE).unwrap()
        };
        let owned_by_ann = |catalog: Catalog| -> Vec<String> {
            let lines = catalog.lines.into_iter();
            lines.map(|line| line.replace("bob", "ann")).collect()
        };
        assert_eq!(owned_by_ann(catalog("app")), owned_by_ann(catalog("again")));
    }
}

/// Statements and values, one a line.
pub(in super::super) fn listed(recording: &Recording) -> Vec<String> {
    let value = |parameter: &Parameter| match &parameter.value {
        RecordedValue::Null => "NULL".to_owned(),
        RecordedValue::Text(text) => text.clone(),
        RecordedValue::Binary(bytes) => format!("{bytes:?}"),
    };
    let line = |recorded: &RecordedStatement| {
        let values: Vec<String> = recorded.parameters.iter().map(value).collect();
        match values.as_slice() {
            [] => recorded.sql.clone(),
            values => format!("{} <- {}", recorded.sql, values.join(", ")),
        }
    };
    recording.statements.iter().map(line).collect()
}

/// A client that sends what it is told.
pub(in super::super) struct Raw {
    pub stream: TcpStream,
    /// Fields of the last error, by their letter.
    pub last_error: BTreeMap<char, String>,
    pub parameters: BTreeMap<String, String>,
}

impl Raw {
    pub(in super::super) fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream,
            last_error: BTreeMap::new(),
            parameters: BTreeMap::new(),
        }
    }

    pub(in super::super) fn open(port: u16, parameters: &[(&str, &str)]) -> Self {
        let mut raw = Self::connect(port);
        raw.start(parameters);
        assert!(raw.read_until(b'Z').contains(&b'R'));
        raw
    }

    pub(in super::super) fn start(&mut self, parameters: &[(&str, &str)]) {
        self.start_with(3 << 16, parameters);
    }

    pub(in super::super) fn start_with(&mut self, version: u32, parameters: &[(&str, &str)]) {
        let mut body = version.to_be_bytes().to_vec();
        for (name, value) in parameters {
            put_text(&mut body, name);
            put_text(&mut body, value);
        }
        body.push(0);
        let length = u32::try_from(body.len() + 4).unwrap();
        self.send(&[&length.to_be_bytes()[..], &body].concat());
    }

    pub(in super::super) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// The type and the body of the next message; `None` at the end.
    pub(in super::super) fn read(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; 5];
        self.stream.read_exact(&mut head).ok()?;
        let [kind, length @ ..] = head;
        let mut body = vec![0; u32::from_be_bytes(length) as usize - 4];
        self.stream.read_exact(&mut body).ok()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match kind {
            b'E' => {
                let fields = body
                    .split(|byte| *byte == 0)
                    .filter(|field| !field.is_empty());
                self.last_error = fields
                    .map(|field| (char::from(field[0]), text(&field[1..])))
                    .collect();
            }
            b'S' => {
                let mut parts = body.split(|byte| *byte == 0).map(text);
                let name = parts.next().unwrap();
                self.parameters.insert(name, parts.next().unwrap());
            }
            _ => {}
        }
        Some((kind, body))
    }

    /// The types of all messages up to one of this type, or to the end.
    pub(in super::super) fn read_until(&mut self, last: u8) -> Vec<u8> {
        let mut kinds = Vec::new();
        while let Some((kind, _)) = self.read() {
            kinds.push(kind);
            if kind == last {
                break;
            }
        }
        kinds
    }

    pub(in super::super) fn query(&mut self, sql: &str) -> String {
        self.send(&query(sql));
        self.answered()
    }

    /// The types of messages up to the end of an answer, without notices and parameters, and the
    /// state of the transaction.
    pub(in super::super) fn answered(&mut self) -> String {
        let mut told = String::new();
        while let Some((kind, body)) = self.read() {
            match kind {
                b'N' | b'S' => {}
                b'Z' => {
                    told.push(char::from(body[0]));
                    return told;
                }
                kind => told.push(char::from(kind)),
            }
        }
        told.push('.');
        told
    }

    fn run(&mut self, recorded: &RecordedStatement) -> Vec<u8> {
        let mut bytes = Vec::new();
        let count = (recorded.parameters.len() as u16).to_be_bytes();
        put(&mut bytes, b'P', |out| {
            put_text(out, "");
            put_text(out, &recorded.sql);
            out.extend(count);
            let oids = recorded.parameters.iter();
            oids.for_each(|parameter| out.extend(parameter.oid.to_be_bytes()));
        });
        put(&mut bytes, b'B', |out| {
            out.extend([0, 0]);
            out.extend(count);
            for parameter in &recorded.parameters {
                let is_binary = matches!(parameter.value, RecordedValue::Binary(_));
                out.extend(u16::from(is_binary).to_be_bytes());
            }
            out.extend(count);
            for parameter in &recorded.parameters {
                let bytes = match &parameter.value {
                    RecordedValue::Null => {
                        out.extend(u32::MAX.to_be_bytes());
                        continue;
                    }
                    RecordedValue::Text(text) => text.as_bytes(),
                    RecordedValue::Binary(bytes) => bytes,
                };
                out.extend((bytes.len() as u32).to_be_bytes());
                out.extend(bytes);
            }
            out.extend([0, 0]);
        });
        bytes.extend(execute("", 0));
        bytes.extend(SYNC);
        self.send(&bytes);
        self.read_until(b'Z')
    }
}

pub(in super::super) const SYNC: [u8; 5] = [b'S', 0, 0, 0, 4];

pub(in super::super) fn query(sql: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    put(&mut bytes, b'Q', |out| put_text(out, sql));
    bytes
}

pub(in super::super) fn parse(name: &str, sql: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    put(&mut bytes, b'P', |out| {
        put_text(out, name);
        put_text(out, sql);
        out.extend([0, 0]);
    });
    bytes
}

pub(in super::super) fn bind(portal: &str, statement: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    put(&mut bytes, b'B', |out| {
        put_text(out, portal);
        put_text(out, statement);
        out.extend([0; 6]);
    });
    bytes
}

pub(in super::super) fn execute(portal: &str, rows_max: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    put(&mut bytes, b'E', |out| {
        put_text(out, portal);
        out.extend(rows_max.to_be_bytes());
    });
    bytes
}

/// Parse, Bind and Execute without names.
pub(in super::super) fn extended(sql: &str) -> Vec<u8> {
    [parse("", sql), bind("", ""), execute("", 0)].concat()
}
