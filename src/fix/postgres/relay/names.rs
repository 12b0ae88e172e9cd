//! What the names of prepared statements and portals stand for, on one connection. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use super::expected::PreparedStatement;
use super::recording::{RecordedStatement, RecordedValue};

/// Bytes of prepared statements and portals of one connection.
const BYTES_MAX: usize = 64 << 20;

/// What a portal runs.
pub(super) struct Portal {
    pub prepared: Arc<PreparedStatement>,
    values: Vec<RecordedValue>,
    /// It was recorded; running it further is the same statement.
    pub is_recorded: bool,
}

impl Portal {
    pub(super) fn new(prepared: Arc<PreparedStatement>, values: Vec<RecordedValue>) -> Self {
        Self {
            prepared,
            values,
            is_recorded: false,
        }
    }

    pub(super) fn recorded(&self) -> RecordedStatement {
        RecordedStatement {
            sql: self.prepared.sql.clone(),
            parameters: self.prepared.parameters(&self.values),
            is_last: false,
        }
    }

    fn bytes(&self) -> usize {
        let of_values: usize = self.values.iter().map(RecordedValue::bytes).sum();
        size_of::<Self>() + size_of_val(self.values.as_slice()) + of_values
    }
}

/// Names are bytes, as the client chose them.
#[derive(Default)]
pub(super) struct PreparedNames {
    statements: HashMap<Vec<u8>, Arc<PreparedStatement>>,
    portals: HashMap<Vec<u8>, Portal>,
    statement_bytes: usize,
    portal_bytes: usize,
}

impl PreparedNames {
    pub(super) fn is_too_much(&self) -> bool {
        self.statement_bytes + self.portal_bytes > BYTES_MAX
    }

    pub(super) fn statement(&self, name: &[u8]) -> Option<Arc<PreparedStatement>> {
        self.statements.get(name).cloned()
    }

    pub(super) fn portal(&mut self, name: &[u8]) -> Option<&mut Portal> {
        self.portals.get_mut(name)
    }

    pub(super) fn put_statement(&mut self, name: Vec<u8>, prepared: Arc<PreparedStatement>) {
        self.forget_statement(&name);
        self.statement_bytes += name.len() + prepared.bytes();
        self.statements.insert(name, prepared);
    }

    pub(super) fn put_portal(&mut self, name: Vec<u8>, portal: Portal) {
        self.forget_portal(&name);
        self.portal_bytes += name.len() + portal.bytes();
        self.portals.insert(name, portal);
    }

    /// Whether there was one of this name.
    pub(super) fn forget_statement(&mut self, name: &[u8]) -> bool {
        let old = self.statements.remove(name);
        if let Some(old) = &old {
            self.statement_bytes -= name.len() + old.bytes();
        }
        old.is_some()
    }

    pub(super) fn forget_portal(&mut self, name: &[u8]) {
        if let Some(old) = self.portals.remove(name) {
            self.portal_bytes -= name.len() + old.bytes();
        }
    }

    pub(super) fn forget_statements(&mut self) {
        self.statements.clear();
        self.statement_bytes = 0;
    }

    pub(super) fn forget_portals(&mut self) {
        self.portals.clear();
        self.portal_bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared(sql: &str) -> Arc<PreparedStatement> {
        Arc::new(PreparedStatement {
            sql: sql.to_owned(),
            kind: None,
            oids: Vec::new(),
            problem: None,
            refused: None,
        })
    }

    #[test]
    fn what_is_forgotten_takes_no_room() {
        let mut names = PreparedNames::default();
        let long = "SELECT ".repeat(1 << 20);
        for at in 0..100_u32 {
            // Under one name, a statement replaces the one before.
            names.put_statement(b"s".to_vec(), prepared(&long));
            let values = vec![RecordedValue::Text("x".repeat(1 << 20))];
            names.put_portal(b"p".to_vec(), Portal::new(prepared("SELECT 1"), values));
            assert!(!names.is_too_much(), "{at}");
        }
        assert!(names.forget_statement(b"s") && !names.forget_statement(b"s"));
        names.forget_portals();
        assert_eq!(names.statement_bytes + names.portal_bytes, 0);
        for at in 0..10 {
            names.put_statement(vec![at], prepared(&long));
        }
        assert!(names.is_too_much());
    }
}
