//! Command lines and variables of other files, in the syntax of a manifest: words that no shell sees,
//! `${NAME}` and `${NAME:-default}`.

use super::draft::Reference;
use super::text::is_variable_name;

/// A command line, taken apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct CommandLine {
    pub run: Vec<String>,
    /// `cd DIR && ...`.
    pub cwd: Option<String>,
    /// `NAME=value ...`.
    pub env: Vec<(String, String)>,
}

/// Text with the variables of a compose file (`$NAME`, `${NAME}`, `${NAME:-default}`, `${NAME:?message}`,
/// `$$`) as a manifest writes them. Collects what it refers to. `false`: a part has no counterpart.
pub(super) fn from_compose(text: &str, references: &mut Vec<Reference>) -> (String, bool) {
    let mut out = String::with_capacity(text.len());
    let mut exact = true;
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(next) = after.strip_prefix('$') {
            out.push_str("$$");
            rest = next;
        } else if let Some(inside) = after.strip_prefix('{') {
            let Some(end) = closing(inside) else {
                // Compose refuses it; so would a manifest.
                out.push_str("$$");
                exact = false;
                rest = after;
                continue;
            };
            exact &= braced(&inside[..end], &mut out, references);
            rest = &inside[end + 1..];
        } else {
            let length = name_length(after);
            if length == 0 {
                out.push('$');
            } else {
                refer(&after[..length], None, false, &mut out, references);
            }
            rest = &after[length..];
        }
    }
    out.push_str(rest);
    (out, exact)
}

/// Byte of the `}` that closes, nested ones left aside.
fn closing(inside: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, byte) in inside.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 0 => return Some(at),
            b'}' => depth -= 1,
            _ => {}
        }
    }
    None
}

fn braced(inside: &str, out: &mut String, references: &mut Vec<Reference>) -> bool {
    let (name, rest) = inside.split_at(name_length(inside));
    if name.is_empty() {
        return false;
    }
    let operator = rest.trim_start_matches(':');
    match operator.chars().next() {
        None => refer(name, None, false, out, references),
        Some('-') => {
            let default = &operator[1..];
            // A default cannot refer to a variable itself.
            if default.contains(['$', '}']) {
                refer(name, None, false, out, references);
                return false;
            }
            refer(name, Some(default), false, out, references);
        }
        Some('?') => refer(name, None, true, out, references),
        _ => return false,
    }
    true
}

fn refer(
    name: &str,
    default: Option<&str>,
    required: bool,
    out: &mut String,
    references: &mut Vec<Reference>,
) {
    match default {
        Some(default) => out.push_str(&format!("${{{name}:-{default}}}")),
        None => out.push_str(&format!("${{{name}}}")),
    }
    references.push(Reference {
        name: name.to_owned(),
        default: default.map(str::to_owned),
        required,
        origin: String::new(),
    });
}

fn name_length(text: &str) -> usize {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return 0;
    }
    text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(text.len())
}

/// A text that a shell reads, so that the manifest leaves its variables to the shell.
pub(super) fn for_shell(text: &str) -> Vec<String> {
    // `$$` is a dollar sign in a manifest, and `${` begins one of its own variables.
    let escaped = text.replace("$$", "$$$$").replace("${", "$${");
    vec!["sh".to_owned(), "-c".to_owned(), escaped]
}

/// As `for_shell`, of a file whose own reader makes `$$` a dollar sign.
pub(super) fn for_shell_of_compose(text: &str) -> Vec<String> {
    for_shell(&text.replace("$$", "$"))
}

/// A line that was written for a shell: as plain words if it has nothing that needs one.
pub(super) fn from_shell(line: &str, references: &mut Vec<Reference>) -> CommandLine {
    let mut command = CommandLine::default();
    let mut rest = line.trim();
    if let Some((directory, after)) = rest
        .strip_prefix("cd ")
        .and_then(|rest| rest.split_once("&&"))
    {
        let directory = directory.trim();
        let plain = !directory.is_empty()
            && !directory.contains(|c: char| c.is_whitespace() || "$`'\"~*".contains(c))
            && !directory.starts_with(['/', '-'])
            && !directory.split('/').any(|part| part == "..");
        if plain {
            command.cwd = Some(directory.trim_end_matches('/').to_owned());
            rest = after.trim();
        }
    }
    rest = rest.strip_prefix("exec ").unwrap_or(rest).trim();
    match simple_words(rest) {
        Some(words) => {
            for word in words {
                let (word, _) = from_compose(&word, references);
                match word.split_once('=') {
                    Some((name, value)) if command.run.is_empty() && is_variable_name(name) => {
                        command.env.push((name.to_owned(), value.to_owned()));
                    }
                    _ if command.run.is_empty() && word == "exec" => {}
                    _ => command.run.push(word),
                }
            }
        }
        None => {
            // What the shell reads is read by the application's command too, as far as it can be told.
            let _ = from_compose(rest, references);
            command.run = for_shell(rest);
        }
    }
    command
}

/// Words of a line without redirections, pipes, patterns, or quotes around variables.
fn simple_words(line: &str) -> Option<Vec<String>> {
    let bare = outside_quotes(line)?;
    if bare.contains([
        '|', '&', ';', '<', '>', '(', ')', '`', '*', '?', '[', '~', '#', '\n', '\\', '!',
    ]) || line.contains("$$")
    {
        return None;
    }
    let mut references = Vec::new();
    let (_, exact) = from_compose(line, &mut references);
    let dollars = line.matches('$').count();
    let words = shlex::split(line)?;
    (exact && dollars == references.len() && !words.is_empty()).then_some(words)
}

/// What stands outside quotes; `None` if something inside them is more than text and variables.
fn outside_quotes(line: &str) -> Option<String> {
    let mut bare = String::new();
    let mut rest = line;
    while let Some(at) = rest.find(['\'', '"']) {
        let (before, quoted) = rest.split_at(at);
        bare.push_str(before);
        let quote = &quoted[..1];
        let (inside, after) = quoted[1..].split_once(quote)?;
        let more = if quote == "'" {
            &['$'][..]
        } else {
            &['`', '\\']
        };
        if inside.contains(more) || inside.contains("$(") {
            return None;
        }
        rest = after;
    }
    bare.push_str(rest);
    Some(bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compose(text: &str) -> (String, bool) {
        from_compose(text, &mut Vec::new())
    }

    #[test]
    fn variables_of_compose_become_those_of_a_manifest() {
        for (text, expected) in [
            ("a $B c", "a ${B} c"),
            ("${A}:${B:-8}", "${A}:${B:-8}"),
            ("${A-x}${A:?why}", "${A:-x}${A}"),
            ("$$HOME $ $1", "$$HOME $ $1"),
            ("ü", "ü"),
        ] {
            assert_eq!(compose(text), (expected.to_owned(), true), "{text}");
        }
        assert_eq!(compose("${A:-${B:-c}}d"), ("${A}d".to_owned(), false));
        assert_eq!(compose("${A:+x}y"), ("y".to_owned(), false));
        assert!(!compose("${A").1);
        let mut found = Vec::new();
        from_compose("${A:?x} ${B-1}", &mut found);
        assert!(found[0].required && found[1].default.as_deref() == Some("1"));
    }

    #[test]
    fn a_dollar_sign_that_compose_escapes_is_the_shells() {
        let script = |text: &str| for_shell_of_compose(text).pop().unwrap();
        assert_eq!(
            script("$${HOME} $$i ${A:-b} $$$$"),
            "$${HOME} $i $${A:-b} $$$$"
        );
    }

    #[test]
    fn lines_of_a_shell_need_one_only_if_they_use_it() {
        let line = |text: &str| from_shell(text, &mut Vec::new());
        assert_eq!(
            line("uvicorn a:b --port $PORT").run,
            ["uvicorn", "a:b", "--port", "${PORT}"]
        );
        let moved = line("cd web && A=1 exec python -m 'my app'");
        assert_eq!(moved.cwd.as_deref(), Some("web"));
        assert_eq!(moved.env, [("A".to_owned(), "1".to_owned())]);
        assert_eq!(moved.run, ["python", "-m", "my app"]);
        assert_eq!(
            line("a | b ${C%x} $$").run,
            ["sh", "-c", "a | b $${C%x} $$$$"]
        );
        assert_eq!(
            line("gunicorn 'a:make()' \"$B c\"").run,
            ["gunicorn", "a:make()", "${B} c"]
        );
        assert_eq!(line("echo $(x)").run[0], "sh");
        assert_eq!(line("echo \"`x`\"").run[0], "sh");
        assert_eq!(line("echo '$A'").run, ["sh", "-c", "echo '$A'"]);
        assert_eq!(line("cd .. && a").run, ["sh", "-c", "cd .. && a"]);
    }
}
