//! What a client asked for and the server has not yet answered. Pure.

use std::ops::Range;
use std::sync::Arc;

use super::message::{Format, Request, recorded_value};
use super::recording::{Parameter, RecordedValue};
use super::statement::{StatementKind, kind_of, refusal};
use crate::database::sql::text::sql_statements;

/// Types from here on are made in each database, and have another number in each (`FirstNormalObjectId`,
/// src/include/access/transam.h).
const OWN_TYPES_FROM: u32 = 16_384;
/// Statements of one text.
const STATEMENTS_MAX: usize = 100_000;

/// A request that is answered, in the order in which the server answers.
pub(super) enum Expected {
    Query(Query),
    Parse {
        name: Vec<u8>,
        prepared: Arc<PreparedStatement>,
    },
    Bind {
        portal: Vec<u8>,
        statement: Vec<u8>,
        /// `None`: a value is a text that is none.
        values: Option<Vec<RecordedValue>>,
    },
    Describe,
    Execute {
        portal: Vec<u8>,
    },
    Close {
        is_statement: bool,
        name: Vec<u8>,
    },
    Sync,
    Call,
    /// Not answered; ends the rows of a COPY.
    CopyEnd,
}

/// One or several statements, sent as one text.
pub(super) struct Query {
    pub text: String,
    /// Where each stands in the text.
    pub parts: Vec<(Range<usize>, StatementKind)>,
    /// How many took effect.
    pub done: usize,
    pub problem: Option<String>,
    pub refused: Option<&'static str>,
}

/// A prepared statement.
pub(super) struct PreparedStatement {
    pub sql: String,
    /// `None`: it is empty.
    pub kind: Option<StatementKind>,
    pub oids: Vec<u32>,
    pub problem: Option<String>,
    pub refused: Option<&'static str>,
}

impl Query {
    pub(super) fn new(sql: &[u8]) -> Self {
        let text = String::from_utf8_lossy(sql).into_owned();
        let mut query = Self {
            text: String::new(),
            parts: Vec::new(),
            done: 0,
            problem: (text.len() != sql.len() || text.as_bytes() != sql)
                .then(|| NOT_UTF8.to_owned()),
            refused: None,
        };
        for statement in sql_statements(&text) {
            match statement {
                Ok(_) if query.parts.len() == STATEMENTS_MAX => {
                    query.problem =
                        Some(format!("a text has more than {STATEMENTS_MAX} statements"));
                }
                Ok(statement) => {
                    // The statement is a part of the text.
                    let begin = statement.text.as_ptr().addr() - text.as_ptr().addr();
                    let kind = kind_of(&statement);
                    query.refused = query.refused.or(refusal(&statement));
                    query
                        .parts
                        .push((begin..begin + statement.text.len(), kind));
                }
                Err(why) => {
                    query.problem = Some(format!("a text cannot be taken apart: {why}"));
                }
            }
        }
        query.text = text;
        query
    }

    /// The statement that takes effect next.
    pub(super) fn next(&self) -> Option<(&str, &StatementKind)> {
        let (range, kind) = self.parts.get(self.done)?;
        Some((self.text.get(range.clone())?, kind))
    }
}

const NOT_UTF8: &str = "a statement is no UTF-8";

impl PreparedStatement {
    fn new(sql: &[u8], oids: Vec<u32>) -> Self {
        let mut query = Query::new(sql);
        let (sql, kind) = match query.next() {
            Some((sql, kind)) => (sql.to_owned(), Some(kind.clone())),
            None => (String::new(), None),
        };
        Self {
            sql,
            kind,
            oids,
            problem: query.problem.take(),
            refused: query.refused,
        }
    }

    /// How much room it takes.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.sql.len() + self.oids.len() * size_of::<u32>()
    }

    /// The values with their types.
    pub(super) fn parameters(&self, values: &[RecordedValue]) -> Vec<Parameter> {
        let oid = |at: usize| match self.oids.get(at) {
            Some(oid) if *oid < OWN_TYPES_FROM => *oid,
            _ => 0,
        };
        let each = values.iter().enumerate();
        each.map(|(at, value)| Parameter {
            oid: oid(at),
            value: value.clone(),
        })
        .collect()
    }
}

/// What the server answers a request with; `None` if with nothing.
pub(super) fn expected(request: Request<'_>) -> Option<Expected> {
    Some(match request {
        Request::Query(sql) => Expected::Query(Query::new(sql)),
        Request::Parse { name, sql, oids } => Expected::Parse {
            name: name.to_vec(),
            prepared: Arc::new(PreparedStatement::new(sql, oids)),
        },
        Request::Bind {
            portal,
            statement,
            values,
        } => Expected::Bind {
            portal: portal.to_vec(),
            statement: statement.to_vec(),
            values: recorded_values(&values),
        },
        Request::Describe => Expected::Describe,
        Request::Execute { portal } => Expected::Execute {
            portal: portal.to_vec(),
        },
        Request::Close { is_statement, name } => Expected::Close {
            is_statement,
            name: name.to_vec(),
        },
        Request::Sync => Expected::Sync,
        Request::Call => Expected::Call,
        Request::CopyEnd => Expected::CopyEnd,
        Request::Silent => return None,
    })
}

fn recorded_values(values: &[(Format, Option<&[u8]>)]) -> Option<Vec<RecordedValue>> {
    values
        .iter()
        .map(|(format, value)| recorded_value(*format, *value))
        .collect()
}

impl Expected {
    /// How much room it takes while it waits; the same as long as it does.
    pub(super) fn bytes(&self) -> usize {
        let more = match self {
            Self::Query(query) => query.text.len() + size_of_val(query.parts.as_slice()),
            Self::Parse { name, prepared } => name.len() + prepared.bytes(),
            Self::Bind {
                portal,
                statement,
                values,
            } => {
                let values = values.as_deref().unwrap_or_default();
                let of_values: usize = values.iter().map(RecordedValue::bytes).sum();
                portal.len() + statement.len() + size_of_val(values) + of_values
            }
            Self::Execute { portal } => portal.len(),
            Self::Close { name, .. } => name.len(),
            Self::Describe | Self::Sync | Self::Call | Self::CopyEnd => 0,
        };
        size_of::<Self>() + more
    }

    /// Why it is not let through.
    pub(super) fn refused(&self) -> Option<&'static str> {
        match self {
            Self::Query(query) => query.refused,
            Self::Parse { prepared, .. } => prepared.refused,
            _ => None,
        }
    }
}
