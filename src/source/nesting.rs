//! How deeply an expression can nest, told by the lexer before the parser runs: a bound on what recursion
//! over the tree will need. Python has bounds of its own; the first two here are those.

use ruff_python_ast::token::TokenKind;
use ruff_python_parser::{Mode, lexer::lex};

/// Walks over trees need stack; the depth of a tree is bounded before it is made (`nesting`).
pub(crate) const STACK_BYTES: usize = 64 << 20;

/// `MAXLEVEL` of Python's tokenizer.
const BRACKETS_MAX: usize = 200;
/// `MAXINDENT` of Python's tokenizer.
const INDENTS_MAX: usize = 100;
/// Operators and brackets that may nest in one statement. Each costs a few kilobytes of stack at most.
const DEPTH_MAX: usize = 4_000;

/// What is too deep.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TooDeep {
    /// Python says so too.
    Refused(&'static str),
    /// Python may manage.
    Unjudged,
}

/// Measures the text. A lexical error is for the parser to report.
pub(super) fn measure(source: &str) -> Result<(), TooDeep> {
    let mut lexer = lex(source, Mode::Module);
    let mut indents = 0_usize;
    // For each open bracket, operators that may nest there; `total` is their sum.
    let mut levels: Vec<usize> = vec![0];
    let mut total = 0_usize;
    let mut lambdas = 0_usize;
    loop {
        let kind = lexer.next_token();
        match kind {
            TokenKind::EndOfFile => return Ok(()),
            TokenKind::Indent => {
                indents += 1;
                if indents >= INDENTS_MAX {
                    return Err(TooDeep::Refused("too many levels of indentation"));
                }
            }
            TokenKind::Dedent => indents = indents.saturating_sub(1),
            // A statement begins: either the line ended, or a bracket was left open before it.
            TokenKind::Newline
            | TokenKind::Semi
            | TokenKind::Def
            | TokenKind::Class
            | TokenKind::Import
            | TokenKind::Return
            | TokenKind::Raise
            | TokenKind::With
            | TokenKind::While
            | TokenKind::Try => {
                levels.clear();
                levels.push(0);
                total = 0;
                lambdas = 0;
            }
            TokenKind::Lpar
            | TokenKind::Lsqb
            | TokenKind::Lbrace
            | TokenKind::FStringStart
            | TokenKind::TStringStart => {
                if let Some(level) = levels.last_mut() {
                    *level += 1;
                }
                total += 1;
                levels.push(0);
                if levels.len() > BRACKETS_MAX {
                    return Err(TooDeep::Refused("too many nested parentheses"));
                }
            }
            TokenKind::Rpar
            | TokenKind::Rsqb
            | TokenKind::Rbrace
            | TokenKind::FStringEnd
            | TokenKind::TStringEnd => {
                if levels.len() > 1 {
                    total -= levels.pop().unwrap_or(0);
                }
            }
            TokenKind::Comma => {
                if let Some(level) = levels.last_mut() {
                    total -= std::mem::take(level);
                }
            }
            TokenKind::Lambda => lambdas += 1,
            TokenKind::Name
            | TokenKind::Int
            | TokenKind::Float
            | TokenKind::Complex
            | TokenKind::String
            | TokenKind::Comment
            | TokenKind::NonLogicalNewline
            | TokenKind::FStringMiddle
            | TokenKind::TStringMiddle => {}
            _ => {
                if let Some(level) = levels.last_mut() {
                    *level += 1;
                }
                total += 1;
            }
        }
        if total + lambdas > DEPTH_MAX {
            return Err(TooDeep::Unjudged);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nests_too_deeply_is_told_before_it_is_parsed() {
        let deep = |text: &str| measure(text).unwrap_err();
        assert!(matches!(
            deep(&"(".repeat(100_000)),
            TooDeep::Refused("too many nested parentheses")
        ));
        assert!(matches!(deep(&"-".repeat(100_000)), TooDeep::Unjudged));
        assert!(matches!(deep(&"1**".repeat(100_000)), TooDeep::Unjudged));
        assert!(matches!(
            deep(&"lambda a, b: ".repeat(100_000)),
            TooDeep::Unjudged
        ));
        assert!(matches!(
            deep(&format!("f{}", "()".repeat(100_000))),
            TooDeep::Unjudged
        ));
        assert!(matches!(
            deep(&format!("x{}", ".a".repeat(100_000))),
            TooDeep::Unjudged
        ));
        let blocks: String = (0..200)
            .map(|n| format!("{}if x:\n", " ".repeat(n)))
            .collect();
        assert!(matches!(
            deep(&blocks),
            TooDeep::Refused("too many levels of indentation")
        ));
    }

    #[test]
    fn long_tables_are_not_deep() {
        let rows = "    (1, -2, f(x), {'a': [1]}),\n".repeat(50_000);
        assert_eq!(measure(&format!("x = [\n{rows}]\n")), Ok(()));
        assert_eq!(measure(&"x = a.b(c) + 1\n".repeat(50_000)), Ok(()));
    }
}
