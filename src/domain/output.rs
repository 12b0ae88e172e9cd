//! A line of a service's output as it lies in its file: written by the supervisor, read by whoever shows it.

use serde::{Deserialize, Serialize};

use super::ids::At;
use super::redact::sanitise;

/// One line that a service printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OutputLine {
    /// When the supervisor read it, RFC 3339; empty if the file does not say.
    pub at: String,
    pub text: String,
}

impl OutputLine {
    /// Reads a line without its end: the moment, a space and the text, or a JSON document. What is neither is the text.
    /// The text is cleaned once more, whoever wrote the file.
    pub(crate) fn parse(line: &str) -> Self {
        let is_moment = |at: &str| at.starts_with(|c: char| c.is_ascii_digit());
        let (at, text) = if line.starts_with('{')
            && let Ok(read) = serde_json::from_str::<Self>(line)
        {
            (read.at, read.text)
        } else if let Some((at, text)) = line.split_once(' ').filter(|(at, _)| is_moment(at)) {
            (at.to_owned(), text.to_owned())
        } else {
            (String::new(), line.to_owned())
        };
        if at.parse::<At>().is_err() {
            return Self {
                at: String::new(),
                text: one_line(line),
            };
        }
        Self {
            at,
            text: one_line(&text),
        }
    }

    /// The moment, if the file says it.
    pub(crate) fn moment(&self) -> Option<At> {
        self.at.parse().ok()
    }
}

fn one_line(text: &str) -> String {
    sanitise(text).replace('\n', " ")
}

/// Adds the line with its end, as text.
pub(crate) fn push_text(bytes: &mut Vec<u8>, at: &str, text: &str) {
    for part in [at, " ", text, "\n"] {
        bytes.extend_from_slice(part.as_bytes());
    }
}

/// Adds the line with its end, as a JSON document.
pub(crate) fn push_json(bytes: &mut Vec<u8>, at: &str, service: &str, text: &str) {
    let document = serde_json::json!({ "at": at, "service": service, "text": text });
    bytes.extend_from_slice(document.to_string().as_bytes());
    bytes.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: &str = "2026-11-24T10:00:00.000001Z";

    #[test]
    fn what_is_written_is_read_in_both_shapes() {
        for text in ["a b", "", "{\"at\":1}", "ü \"x\" \\ y"] {
            let wanted = OutputLine {
                at: AT.to_owned(),
                text: text.to_owned(),
            };
            let (mut plain, mut json) = (Vec::new(), Vec::new());
            push_text(&mut plain, AT, text);
            push_json(&mut json, AT, "web", text);
            for bytes in [plain, json] {
                let line = std::str::from_utf8(&bytes).unwrap().strip_suffix('\n');
                assert_eq!(OutputLine::parse(line.unwrap()), wanted);
            }
        }
    }

    #[test]
    fn what_is_of_neither_shape_is_the_text_without_control_characters() {
        for line in [
            "no time here",
            "{\"at\":\"x\",\"text\":\"y\"}",
            "2026 was a year",
            "",
        ] {
            let read = OutputLine::parse(line);
            assert_eq!((read.at.as_str(), read.text.as_str()), ("", line));
        }
        let hostile = format!("{{\"at\":\"{AT}\",\"text\":\"a\\u001b[31mb\\nc\"}}");
        assert_eq!(OutputLine::parse(&hostile).text, "ab c");
    }
}
