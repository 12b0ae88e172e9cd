//! Commands: a list of words, or one string that is split into words as a shell would, without ever
//! being given to a shell.

use super::interpolate::require_sound;
use super::problem::{Fault, shown};
use super::section::Section;

/// Words that mean something to a shell only.
const SHELL_OPERATORS: [&str; 10] = ["|", "||", "&", "&&", ";", ">", ">>", "<", "<<", "|&"];

/// A command as one string or as a list of words.
pub(super) fn read_command(section: &Section<'_>, key: &str) -> Option<Vec<String>> {
    let item = section.item(key)?;
    if item.is_str() {
        return section.parse_lines(key, split);
    }
    let words = section.list_of_lines(key)?;
    if let Err(fault) = require_argv(&words) {
        section.fault(key, fault);
    }
    Some(words)
}

/// Program and arguments of a command line.
pub(super) fn split(text: &str) -> Result<Vec<String>, Fault> {
    if text.trim().is_empty() {
        return Err(empty());
    }
    let words = shlex::split(text).ok_or_else(|| {
        Fault::new(
            "a quote is not closed",
            format!(
                "`{}` cannot be split into words: a quote is not closed, or a backslash ends it",
                shown(text)
            ),
            "close the quote, or write the words as a list: [\"program\", \"argument\"]",
        )
    })?;
    let written = || text.split_whitespace();
    // A quoted operator is an argument like any other.
    let is_bare = |word: &str| written().any(|bare| bare == word);
    if let Some(operator) = words.iter().find(|word| is_operator(word) && is_bare(word)) {
        return Err(Fault::new(
            "not given to a shell",
            format!(
                "`{}` is for a shell, and the command is not given to one",
                shown(operator)
            ),
            "call a shell explicitly: [\"sh\", \"-c\", \"first | second\"]; if the character itself is meant, quote it",
        ));
    }
    // The splitter follows the shell and drops what it takes for a comment.
    if written().any(|bare| bare.starts_with('#') && !words.iter().any(|word| word.contains(bare)))
    {
        return Err(Fault::new(
            "a comment",
            "`#` begins a comment, and the words behind it would be lost",
            "quote the word that begins with `#`",
        ));
    }
    if let Some((name, _)) = words.first().and_then(|word| word.split_once('=')) {
        return Err(Fault::new(
            "not given to a shell",
            format!(
                "`{}=` before the program is for a shell, and the command is not given to one",
                shown(name)
            ),
            "put variables into `env`",
        ));
    }
    require_argv(&words)?;
    Ok(words)
}

fn is_operator(word: &str) -> bool {
    let redirects = word
        .trim_start_matches(|c: char| c.is_ascii_digit() || c == '&')
        .starts_with(['>', '<']);
    SHELL_OPERATORS.contains(&word) || redirects
}

/// Refuses a command without a program.
pub(super) fn require_argv(words: &[String]) -> Result<(), Fault> {
    match words.first() {
        Some(program) if !program.trim().is_empty() => {
            words.iter().try_for_each(|w| require_sound(w))
        }
        _ => Err(empty()),
    }
}

fn empty() -> Fault {
    Fault::new(
        "no program",
        "the command is empty",
        "write the program and its arguments",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_command_line() {
        let words = |text| split(text).unwrap();
        assert_eq!(words("a 'b c' \"d\" e\\ f"), ["a", "b c", "d", "e f"]);
        assert_eq!(words("sh -c 'a | b > c'"), ["sh", "-c", "a | b > c"]);
        assert_eq!(
            words("echo '|' a=b x#y '#z'"),
            ["echo", "|", "a=b", "x#y", "#z"]
        );
        assert_eq!(words("run ${PORT:-80}"), ["run", "${PORT:-80}"]);
    }

    #[test]
    fn what_only_a_shell_understands_is_refused() {
        for text in [
            "", "  ", "a 'b", "a \\", "a | b", "a && b", "a > b", "a 2>&1", "a >out", "a ; b",
            "a &", "A=b c", "a # b", "a ${", "''",
        ] {
            assert!(split(text).is_err(), "{text:?}");
        }
        assert!(split("a | b").unwrap_err().help.contains("sh"));
    }
}
