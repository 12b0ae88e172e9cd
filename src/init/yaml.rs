//! YAML as a small tree with the line of each node: bounded in size and depth, aliases counted as what
//! they stand for, merge keys (`<<`) carried out.
//!
//! The tree knows what was asked for: what no reader took is left, and can be named (see `left`). The readers of
//! other formats make the same tree.

use std::cell::Cell;
use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};

/// Most nodes of a file, each alias counted with all that it stands for.
const NODES_MAX: usize = 50_000;
/// Deepest nesting.
const DEPTH_MAX: usize = 64;
/// A table of more keys than this, none of which was taken, is named as a whole.
const LEFT_KEYS_MAX: usize = 8;

/// A value with the line where it begins.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Node {
    pub value: Value,
    /// 1-based.
    pub line: u32,
    /// It takes the place of what it is laid over, and is not added to it: `!override`, and `!reset` to nothing.
    pub replaces: bool,
    /// Somebody has taken what it says.
    taken: Cell<bool>,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) enum Value {
    #[default]
    Null,
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

impl Node {
    pub(super) fn new(value: Value, line: u32) -> Self {
        Self {
            value,
            line,
            replaces: false,
            taken: Cell::new(false),
        }
    }

    pub(super) fn of_text(text: impl Into<String>, line: u32) -> Self {
        Self::new(Value::Text(text.into()), line)
    }

    /// Takes the whole of it.
    pub(super) fn take(&self) {
        self.mark(true);
    }

    /// Gives back what was looked at and cannot be used: it is named again.
    pub(super) fn refuse(&self) {
        self.mark(false);
    }

    /// Gives back the value at a path of keys, if there is one.
    pub(super) fn refuse_at(&self, path: &[&str]) {
        if let Some(node) = self.at(path) {
            node.refuse();
        }
    }

    fn mark(&self, taken: bool) {
        self.taken.set(taken);
        for item in self.items() {
            item.mark(taken);
        }
        for (_, node) in self.entries() {
            node.mark(taken);
        }
    }

    fn is_touched(&self) -> bool {
        self.taken.get()
            || self.items().iter().any(Self::is_touched)
            || self.entries().iter().any(|(_, node)| node.is_touched())
    }

    /// The keys that nobody took, with their lines: `deploy.resources.limits.memory`.
    pub(super) fn left(&self) -> Vec<(String, u32)> {
        if self.peek().is_some() || !self.items().is_empty() {
            return vec![("what stands where a table belongs".to_owned(), self.line)];
        }
        let mut left = Vec::new();
        self.add_left("", &mut left);
        left.dedup();
        left
    }

    fn add_left(&self, path: &str, left: &mut Vec<(String, u32)>) {
        match &self.value {
            Value::Null => {}
            Value::Text(_) => {
                if !self.taken.get() {
                    left.push((path.to_owned(), self.line));
                }
            }
            Value::List(items) => {
                if !items.is_empty() && !self.is_touched() {
                    left.push((path.to_owned(), self.line));
                    return;
                }
                for (at, item) in items.iter().enumerate() {
                    item.add_left(&format!("{path}[{at}]"), left);
                }
            }
            Value::Map(entries) => {
                if entries.len() > LEFT_KEYS_MAX && !path.is_empty() && !self.is_touched() {
                    left.push((format!("{path} ({} keys)", entries.len()), self.line));
                    return;
                }
                for (key, node) in entries {
                    let below = match path {
                        "" => key.clone(),
                        path => format!("{path}.{key}"),
                    };
                    node.add_left(&below, left);
                }
            }
        }
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        self.entries()
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, node)| node)
    }

    /// The value at a path of keys.
    pub(super) fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |node, key| node.get(key))
    }

    pub(super) fn entries(&self) -> &[(String, Self)] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    pub(super) fn items(&self) -> &[Self] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// The text, which is taken by this.
    pub(super) fn text(&self) -> Option<&str> {
        let text = self.peek()?;
        self.taken.set(true);
        Some(text)
    }

    /// The text, which is only looked at.
    pub(super) fn peek(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The last text of a key that may stand more than once.
    pub(super) fn last_text(&self, key: &str) -> Option<&str> {
        self.get(key)?.texts().last().copied()
    }

    /// The text of a key.
    pub(super) fn text_of(&self, key: &str) -> Option<&str> {
        self.get(key)?.text()
    }

    /// The text below a key, which nobody takes by it.
    pub(super) fn peek_at(&self, key: &str) -> Option<&str> {
        let entry = self.entries().iter().find(|(known, _)| known == key)?;
        entry.1.peek()
    }

    pub(super) fn is_true(&self) -> bool {
        self.text()
            .is_some_and(|text| matches!(text, "true" | "True" | "TRUE" | "yes" | "on"))
    }

    /// Texts of a list, or the one text.
    pub(super) fn texts(&self) -> Vec<&str> {
        match &self.value {
            Value::Text(_) => self.text().into_iter().collect(),
            Value::List(items) => items.iter().filter_map(Self::text).collect(),
            _ => Vec::new(),
        }
    }
}

/// Why a file is no YAML that is read here, with its line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadYaml {
    pub line: u32,
    pub why: String,
}

/// What is open while events come in.
enum Open {
    List(Vec<Node>),
    Map {
        entries: Vec<(String, Node)>,
        /// A key that waits for its value, with its line.
        key: Option<(String, u32)>,
    },
}

/// How a node is laid over another one, by its tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Laid {
    Over,
    Instead,
    /// What it says does not count either.
    Nothing,
}

impl Laid {
    fn of(tag: Option<&Tag>) -> Self {
        match tag.map(|tag| (tag.handle.as_str(), tag.suffix.as_str())) {
            Some(("!", "override")) => Self::Instead,
            Some(("!", "reset")) => Self::Nothing,
            _ => Self::Over,
        }
    }

    fn node(self, value: Value, line: u32) -> Node {
        let value = match self {
            Self::Nothing => Value::Null,
            Self::Over | Self::Instead => value,
        };
        Node {
            replaces: self != Self::Over,
            ..Node::new(value, line)
        }
    }
}

struct OpenNode {
    open: Open,
    line: u32,
    anchor: usize,
    laid: Laid,
    /// Nodes when it began.
    begun_at: usize,
}

/// The first document of a file; `Null` if there is none.
pub(super) fn parse(text: &str) -> Result<Node, BadYaml> {
    let mut reader = YamlReader {
        stack: Vec::new(),
        anchors: HashMap::new(),
        nodes: 0,
        root: None,
    };
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| BadYaml {
            line: narrow(error.marker().line()),
            why: error.info().to_owned(),
        })?;
        let line = narrow(span.start.line());
        let done = reader
            .take(event, line)
            .map_err(|why| BadYaml { line, why })?;
        if done {
            break;
        }
    }
    Ok(reader.root.unwrap_or_default())
}

fn narrow(line: usize) -> u32 {
    u32::try_from(line).unwrap_or(u32::MAX)
}

struct YamlReader {
    stack: Vec<OpenNode>,
    /// Finished nodes that have an anchor, with their number of nodes.
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
    root: Option<Node>,
}

impl YamlReader {
    /// True at the end of the first document.
    fn take(&mut self, event: Event<'_>, line: u32) -> Result<bool, String> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.count(1)?;
                let null = style == ScalarStyle::Plain
                    && matches!(text.as_ref(), "" | "~" | "null" | "Null" | "NULL");
                let value = if null {
                    Value::Null
                } else {
                    Value::Text(text.into_owned())
                };
                let key = matches!(
                    self.stack.last(),
                    Some(OpenNode {
                        open: Open::Map { key: None, .. },
                        ..
                    })
                );
                let node = Laid::of(tag.as_deref()).node(value, line);
                if anchor > 0 && !key {
                    self.anchors.insert(anchor, (node.clone(), 1));
                }
                self.place(node)?;
            }
            Event::SequenceStart(anchor, tag) => {
                let laid = Laid::of(tag.as_deref());
                self.open(Open::List(Vec::new()), line, anchor, laid)?;
            }
            Event::MappingStart(anchor, tag) => self.open(
                Open::Map {
                    entries: Vec::new(),
                    key: None,
                },
                line,
                anchor,
                Laid::of(tag.as_deref()),
            )?,
            Event::SequenceEnd | Event::MappingEnd => self.close()?,
            Event::Alias(anchor) => {
                let Some((node, size)) = self.anchors.get(&anchor) else {
                    return Err("an alias stands for something that it is part of".to_owned());
                };
                let (size, node) = (*size, node);
                // Counted before it is copied.
                if self.nodes + size > NODES_MAX {
                    return Err(too_much());
                }
                let node = node.clone();
                self.nodes += size;
                self.place(node)?;
            }
            Event::DocumentEnd => return Ok(true),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) => {}
        }
        Ok(false)
    }

    fn count(&mut self, nodes: usize) -> Result<(), String> {
        self.nodes += nodes;
        if self.nodes > NODES_MAX {
            return Err(too_much());
        }
        Ok(())
    }

    fn open(&mut self, open: Open, line: u32, anchor: usize, laid: Laid) -> Result<(), String> {
        let begun_at = self.nodes;
        self.count(1)?;
        if self.stack.len() >= DEPTH_MAX {
            return Err(format!("it is nested deeper than {DEPTH_MAX} levels"));
        }
        self.stack.push(OpenNode {
            open,
            line,
            anchor,
            laid,
            begun_at,
        });
        Ok(())
    }

    fn close(&mut self) -> Result<(), String> {
        let Some(frame) = self.stack.pop() else {
            return Ok(());
        };
        let value = match frame.open {
            Open::List(items) => Value::List(items),
            Open::Map { entries, .. } => Value::Map(merged(entries)),
        };
        let node = frame.laid.node(value, frame.line);
        if frame.anchor > 0 {
            let size = self.nodes - frame.begun_at;
            self.anchors.insert(frame.anchor, (node.clone(), size));
        }
        self.place(node)
    }

    fn place(&mut self, node: Node) -> Result<(), String> {
        match self.stack.last_mut() {
            None => {
                self.root.get_or_insert(node);
            }
            Some(OpenNode {
                open: Open::List(items),
                ..
            }) => items.push(node),
            Some(OpenNode {
                open: Open::Map { entries, key },
                ..
            }) => match key.take() {
                // People look for the key.
                Some((key, line)) => entries.push((key, Node { line, ..node })),
                None => match node.value {
                    Value::Text(text) => *key = Some((text, node.line)),
                    Value::Null => *key = Some((String::new(), node.line)),
                    _ => return Err("a key is not a text".to_owned()),
                },
            },
        }
        Ok(())
    }
}

fn too_much() -> String {
    format!("it stands for more than {NODES_MAX} values, its aliases carried out")
}

/// Later keys win over earlier ones, and all of them over what is merged in.
fn merged(entries: Vec<(String, Node)>) -> Vec<(String, Node)> {
    let mut own: Vec<(String, Node)> = Vec::with_capacity(entries.len());
    let mut index: HashMap<String, usize> = HashMap::new();
    let mut put = |own: &mut Vec<(String, Node)>, key: String, node: Node, replace: bool| {
        if let Some(at) = index.get(&key) {
            if replace {
                own[*at].1 = node;
            }
        } else {
            index.insert(key.clone(), own.len());
            own.push((key, node));
        }
    };
    let mut bases = Vec::new();
    for (key, node) in entries {
        if key == "<<" {
            bases.push(node);
        } else {
            put(&mut own, key, node, true);
        }
    }
    for base in bases {
        let maps = match base.value {
            Value::List(items) => items,
            _ => vec![base],
        };
        for map in maps {
            if let Value::Map(entries) = map.value {
                for (key, node) in entries {
                    put(&mut own, key, node, false);
                }
            }
        }
    }
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_and_merge_keys_are_carried_out() {
        let text = "x-base: &base\n  image: a\n  env: [1, two]\nservices:\n  web:\n    <<: *base\n    image: b\n  off: ~\n";
        let root = parse(text).unwrap();
        let web = root.at(&["services", "web"]).unwrap();
        assert_eq!(web.text_of("image"), Some("b"));
        assert_eq!(web.get("env").unwrap().texts(), ["1", "two"]);
        assert_eq!(web.get("image").unwrap().line, 7);
        assert_eq!(root.at(&["services", "off"]).unwrap().value, Value::Null);
        assert_eq!(parse("").unwrap(), Node::default());
    }

    #[test]
    fn bombs_and_garbage_are_refused_with_a_line() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let before = level - 1;
            let aliases = vec![format!("*a{before}"); 10].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
        }
        let bad = parse(&bomb).unwrap_err();
        assert!(bad.why.contains("50000"), "{bad:?}");
        assert!(bad.line > 1);
        assert!(parse(&"[".repeat(1000)).is_err());
        assert!(parse("a: &a [*a]").is_err());
        assert!(parse("a: b: c: [").is_err());
        assert!(parse("? [a, b]\n: c\n").is_err());
        assert!(parse("a: \"b\n").unwrap_err().line > 0);
    }
}
