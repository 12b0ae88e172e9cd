//! A revision of Alembic as the application would write it: in the manner of the newest one beside it, whose
//! docstring, imports, types, quotes, identifiers and file name are taken over. Nothing is run.

use std::ops::Range;
use std::path::Path;

use ruff_python_ast::{Expr, Stmt};
use ruff_text_size::Ranged;

use super::graph::{Graph, Revision};
use super::text_file::read_text;
use crate::domain::ids::At;

/// Letters of a name in a file name, as Alembic cuts it.
const SLUG_MAX: usize = 40;
/// Hexadecimal digits of an identifier, as Alembic makes them.
const ID_DIGITS: usize = 12;
const NAMES: [&str; 4] = ["revision", "down_revision", "branch_labels", "depends_on"];

/// What a revision says and does.
#[derive(Debug, Default, Clone)]
pub(in crate::checks::schema) struct Draft {
    pub message: String,
    /// Lines of the two functions, without their indentation.
    pub upgrade: Vec<String>,
    pub downgrade: Vec<String>,
}

/// A revision that is not there yet.
#[derive(Debug, PartialEq)]
pub(in crate::checks::schema) struct Written {
    pub id: String,
    /// Relative to the workspace.
    pub file: String,
    pub text: String,
}

/// Writes a revision that follows those at `heads`, in the manner of the first.
pub(super) fn write(root: &Path, graph: &Graph, heads: &[usize], draft: &Draft) -> Option<Written> {
    let newest = heads.iter().max_by_key(|at| {
        let revision = &graph.revisions[**at];
        (number(&revision.id).map(|(n, ..)| n), &revision.id)
    })?;
    let model = &graph.revisions[*newest];
    let text = read_text(&root.join(&model.file)).ok()?;
    let down: Vec<&str> = heads
        .iter()
        .map(|at| graph.revisions[*at].id.as_str())
        .collect();
    let id = new_id(&graph.revisions, model, &down, draft)?;
    let file = new_file(model, &id, draft)?;
    if root.join(&file).exists() {
        return None;
    }
    let text = in_manner_of(&text, &id, &down, draft)?;
    Some(Written { id, file, text })
}

/// The number that an identifier begins with, its digits, and what follows.
fn number(id: &str) -> Option<(u64, usize, &str)> {
    let digits = id.find(|c: char| !c.is_ascii_digit()).unwrap_or(id.len());
    let rest = &id[digits..];
    let is_numbered = (1..=8).contains(&digits)
        && (rest.is_empty() || !rest.starts_with(|c: char| c.is_ascii_hexdigit()));
    // Of a hexadecimal identifier, the first letters may be digits by chance.
    (is_numbered || digits == 4 && id.len() == 5)
        .then(|| Some((id[..digits].parse().ok()?, digits, rest)))?
}

fn slug(message: &str) -> String {
    let mut slug = String::new();
    for c in message.chars() {
        match c.is_ascii_alphanumeric() {
            true => slug.push(c.to_ascii_lowercase()),
            false if !slug.ends_with('_') => slug.push('_'),
            false => {}
        }
    }
    slug.truncate(SLUG_MAX);
    slug.trim_matches('_').to_owned()
}

fn new_id(
    revisions: &[Revision],
    model: &Revision,
    down: &[&str],
    draft: &Draft,
) -> Option<String> {
    let numbers: Option<Vec<(u64, usize, &str)>> =
        revisions.iter().map(|one| number(&one.id)).collect();
    if let (Some(numbers), Some((_, width, rest))) = (numbers, number(&model.id)) {
        let next = numbers.iter().map(|(n, ..)| n).max()? + 1;
        let named = rest
            .strip_prefix(['_', '-'])
            .filter(|rest| !rest.is_empty());
        let tail = match named {
            Some(_) => format!("{}{}", &rest[..1], slug(&draft.message)),
            None => String::new(),
        };
        // `alembic_version` holds 32 letters.
        let id: String = format!("{next:0width$}{tail}").chars().take(32).collect();
        return Some(id);
    }
    let mut hasher = blake3::Hasher::new();
    for part in down
        .iter()
        .copied()
        .chain(draft.upgrade.iter().map(String::as_str))
    {
        hasher.update(part.as_bytes());
        hasher.update(&[0]);
    }
    hasher.update(draft.message.as_bytes());
    Some(hasher.finalize().to_hex()[..ID_DIGITS].to_owned())
}

/// The date of today, as digits; the same all day, so that a look gives the same twice.
fn today() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let micros = since.map_or(0, |since| since.as_micros());
    let text = At(i64::try_from(micros).unwrap_or_default()).to_string();
    text.chars().take(10).filter(char::is_ascii_digit).collect()
}

fn new_file(model: &Revision, id: &str, draft: &Draft) -> Option<String> {
    let (directory, name) = match model.file.rsplit_once('/') {
        Some((directory, name)) => (format!("{directory}/"), name),
        None => (String::new(), model.file.as_str()),
    };
    let stem = name.strip_suffix(".py")?;
    let slug = slug(&draft.message);
    let first = |rest: &str| rest.chars().next().map_or_else(String::new, String::from);
    let stem = match stem.split_once(&model.id) {
        Some(("", "")) => id.to_owned(),
        Some(("", rest)) => format!("{id}{}{slug}", first(rest)),
        Some((before, rest)) => {
            let is_date = before
                .chars()
                .all(|c| c.is_ascii_digit() || "_-T".contains(c))
                && before.chars().filter(char::is_ascii_digit).count() >= 8;
            let mut digits = today().into_bytes().into_iter().map(char::from);
            let dated: String = before
                .chars()
                .map(|c| match c.is_ascii_digit() {
                    true => digits.next().unwrap_or('0'),
                    false => c,
                })
                .collect();
            match (is_date, rest) {
                (true, "") => format!("{dated}{id}"),
                (true, rest) => format!("{dated}{id}{}{slug}", first(rest)),
                (false, _) => format!("{id}_{slug}"),
            }
        }
        None => format!("{id}_{slug}"),
    };
    Some(format!("{directory}{stem}.py"))
}

fn quoted(quote: char, text: &str) -> String {
    format!("{quote}{text}{quote}")
}

/// The text of a revision with other contents.
fn in_manner_of(text: &str, id: &str, down: &[&str], draft: &Draft) -> Option<String> {
    let parsed = ruff_python_parser::parse_module(text).ok()?;
    let body = &parsed.syntax().body;
    let range = |of: &dyn Ranged| -> Range<usize> {
        of.range().start().to_usize()..of.range().end().to_usize()
    };
    let is_function = |statement: &&Stmt| matches!(statement, Stmt::FunctionDef(_));
    let functions = body.iter().filter(is_function);
    let end = functions.clone().next().map(|first| range(first).start)?;
    let mut quote = '"';
    // What is replaced in what stands before the functions.
    let mut edits: Vec<(Range<usize>, String)> = Vec::new();
    let whole_lines = |at: &Range<usize>| {
        let start = text[..at.start].rfind('\n').map_or(0, |n| n + 1);
        let end = text[at.end..]
            .find('\n')
            .map_or(text.len(), |n| at.end + n + 1);
        start..end
    };
    let mut knows = (false, false);
    for (n, statement) in body.iter().enumerate() {
        let at = range(statement);
        if at.start >= end {
            break;
        }
        match statement {
            Stmt::Expr(expression) if n == 0 && expression.value.is_string_literal_expr() => {
                edits.push((at.clone(), docstring(&text[at], id, down, draft)));
            }
            Stmt::Assign(_) | Stmt::AnnAssign(_) => {
                let (target, value): (&Expr, &Expr) = match statement {
                    Stmt::Assign(assign) => (assign.targets.first()?, &assign.value),
                    Stmt::AnnAssign(assign) => (&assign.target, assign.value.as_deref()?),
                    _ => continue,
                };
                let name = match target {
                    Expr::Name(name) => name.id.as_str(),
                    _ => "",
                };
                if !NAMES.contains(&name) {
                    edits.push((whole_lines(&at), String::new()));
                    continue;
                }
                if name == "revision" && text[range(value)].starts_with('\'') {
                    quote = '\'';
                }
                let written = match name {
                    "revision" => quoted(quote, id),
                    "down_revision" => match down {
                        [] => "None".to_owned(),
                        [one] => quoted(quote, one),
                        several => {
                            let all: Vec<String> =
                                several.iter().map(|one| quoted(quote, one)).collect();
                            format!("({})", all.join(", "))
                        }
                    },
                    _ => "None".to_owned(),
                };
                edits.push((range(value), written));
            }
            Stmt::Import(import) => {
                let is_kept = import.names.iter().all(|alias| {
                    alias.name.as_str() == "sqlalchemy"
                        && alias.asname.as_ref().is_some_and(|name| name == "sa")
                });
                knows.0 |= is_kept;
                if !is_kept {
                    edits.push((whole_lines(&at), String::new()));
                }
            }
            Stmt::ImportFrom(import) => {
                let module = import.module.as_ref().map_or("", |module| module.as_str());
                let is_op = module == "alembic"
                    && import.names.iter().all(|alias| alias.name.as_str() == "op");
                knows.1 |= is_op;
                let is_kept = matches!(module, "__future__" | "typing" | "collections.abc");
                if !(is_op || is_kept) {
                    edits.push((whole_lines(&at), String::new()));
                }
            }
            _ => edits.push((whole_lines(&at), String::new())),
        }
    }
    // Two statements on a line are not taken apart.
    if edits.windows(2).any(|two| two[0].0.end > two[1].0.start) {
        return None;
    }
    let mut head = text[..end].to_owned();
    for (at, new) in edits.iter().rev() {
        head.replace_range(at.clone(), new);
    }
    let all: String = draft.upgrade.join("\n") + &draft.downgrade.join("\n");
    let mut imports = String::new();
    if !knows.1 {
        imports.push_str("from alembic import op\n");
    }
    if !knows.0 && all.contains("sa.") {
        imports.push_str("import sqlalchemy as sa\n");
    }
    for dialect in ["postgresql", "sqlite"] {
        if all.contains(&format!("{dialect}.")) {
            imports.push_str(&format!("from sqlalchemy.dialects import {dialect}\n"));
        }
    }
    if !imports.is_empty() {
        let line = head
            .lines()
            .position(|line| {
                line.starts_with("import sqlalchemy") || line.starts_with("from alembic")
            })
            .or_else(|| head.lines().position(|line| line.starts_with("revision")))?;
        let at: usize = head.split_inclusive('\n').take(line).map(str::len).sum();
        head.insert_str(at, &imports);
    }
    let mut written = head.trim_end().to_owned();
    for function in functions {
        let Stmt::FunctionDef(function) = function else {
            continue;
        };
        let lines = match function.name.as_str() {
            "upgrade" => &draft.upgrade,
            "downgrade" => &draft.downgrade,
            _ => continue,
        };
        let first = range(function.body.first()?).start;
        let start = range(function).start;
        let colon = start + text[start..first].rfind(':')?;
        let line = text[..first].rfind('\n').map_or(0, |n| n + 1);
        let indent = match text[line..first].trim().is_empty() && first > line {
            true => &text[line..first],
            false => "    ",
        };
        written.push_str(&format!("\n\n\n{}:", text[start..colon].trim_end()));
        if lines.is_empty() {
            written.push_str(&format!("\n{indent}pass"));
        }
        for line in lines {
            written.push_str(&format!("\n{indent}{}", line.replace('\t', indent)));
        }
    }
    written.push('\n');
    ruff_python_parser::parse_module(&written).ok()?;
    Some(written)
}

/// A docstring with the same parts.
fn docstring(old: &str, id: &str, down: &[&str], draft: &Draft) -> String {
    let day = today();
    let day = format!("{}-{}-{}", &day[..4], &day[4..6], &day[6..]);
    let revises = down.join(", ");
    let inner = old.trim_start_matches(['r', 'R', 'u', 'U']);
    let fence = if inner.starts_with("\"\"\"") || inner.starts_with("'''") {
        &inner[..3]
    } else {
        "\"\"\""
    };
    let mut message = draft.message.clone();
    if let Some(first) = message.get(..1) {
        let is_upper = inner
            .trim_start_matches(['"', '\''])
            .starts_with(|c: char| c.is_uppercase());
        if is_upper {
            message.replace_range(..1, &first.to_uppercase());
        }
    }
    if !old.contains("Revision ID:") {
        let stop = inner
            .trim_end_matches(['"', '\''])
            .trim_end()
            .ends_with('.');
        let stop = if stop { "." } else { "" };
        return format!("{fence}{message}{stop}{fence}");
    }
    let mut lines = vec![format!("{fence}{message}"), String::new()];
    for line in old.lines() {
        let (key, _) = line.split_once(':').unwrap_or_default();
        match key.trim() {
            "Revision ID" => lines.push(format!("Revision ID: {id}")),
            "Revises" => lines.push(format!("Revises: {revises}")),
            "Create Date" => lines.push(format!("Create Date: {day} 00:00:00.000000")),
            _ => {}
        }
    }
    if old
        .lines()
        .next_back()
        .is_some_and(|last| last.trim() == fence)
    {
        let is_apart = old
            .lines()
            .rev()
            .nth(1)
            .is_some_and(|line| line.trim().is_empty());
        if is_apart {
            lines.push(String::new());
        }
        lines.push(fence.to_owned());
        return lines.join("\n");
    }
    lines.join("\n") + fence
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision(id: &str, down: &[&str], file: &str) -> Revision {
        Revision {
            id: id.into(),
            down: down.iter().map(|d| (*d).into()).collect(),
            file: file.into(),
            line: 1,
            ..Revision::default()
        }
    }

    fn written(text: &str, revisions: Vec<Revision>, draft: &Draft) -> Written {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("v")).unwrap();
        for one in &revisions {
            std::fs::write(dir.path().join(&one.file), text).unwrap();
        }
        let graph = Graph::new(revisions);
        write(dir.path(), &graph, &graph.heads(), draft).unwrap()
    }

    #[test]
    fn a_revision_is_written_as_the_one_beside_it() {
        let text = "\"\"\"Add note\n\nRevision ID: 3f0a\nRevises: 12ab\nCreate Date: 2024-05-06 07:08:09.1\n\n\"\"\"\n\
                    from typing import Sequence, Union\n\nfrom alembic import op\nimport sqlalchemy as sa\n\
                    import app.models\n\n\n# revision identifiers, used by Alembic.\nrevision: str = '3f0a9c1d07be'\n\
                    down_revision: Union[str, None] = '12ab12ab12ab'\n\
                    branch_labels: Union[str, Sequence[str], None] = None\ndepends_on = None\nSIZE = 3\n\n\n\
                    def upgrade() -> None:\n  op.add_column('t', sa.Column('note', sa.String(SIZE)))\n\n\n\
                    def downgrade() -> None:\n  op.drop_column('t', 'note')\n\n\ndef helper():\n  pass\n";
        let revisions = vec![
            revision(
                "12ab12ab12ab",
                &[],
                "v/2024_01_02_0304-12ab12ab12ab_first.py",
            ),
            revision(
                "3f0a9c1d07be",
                &["12ab12ab12ab"],
                "v/2024_05_06_0708-3f0a9c1d07be_add_note.py",
            ),
        ];
        let draft = Draft {
            message: "add title to crates".into(),
            upgrade: vec!["op.add_column('crates', sa.Column('title', sa.String()))".into()],
            downgrade: vec![],
        };
        let found = written(text, revisions, &draft);
        let (id, day) = (&found.id, today());
        assert!(
            id.len() == 12 && id.chars().all(|c| c.is_ascii_hexdigit()),
            "{id}"
        );
        let (y, m, d) = (&day[..4], &day[4..6], &day[6..]);
        assert_eq!(
            found.file,
            format!("v/{y}_{m}_{d}_0000-{id}_add_title_to_crates.py")
        );
        assert_eq!(
            found.text,
            format!(
                "\"\"\"Add title to crates\n\nRevision ID: {id}\nRevises: 3f0a9c1d07be\nCreate Date: {y}-{m}-{d} 00:00:00.000000\n\n\
                 \"\"\"\nfrom typing import Sequence, Union\n\nfrom alembic import op\nimport sqlalchemy as sa\n\n\n\
                 # revision identifiers, used by Alembic.\nrevision: str = '{id}'\n\
                 down_revision: Union[str, None] = '3f0a9c1d07be'\nbranch_labels: Union[str, Sequence[str], None] = None\n\
                 depends_on = None\n\n\ndef upgrade() -> None:\n  op.add_column('crates', sa.Column('title', sa.String()))\n\n\n\
                 def downgrade() -> None:\n  pass\n"
            )
        );
    }

    #[test]
    fn two_heads_that_are_numbered_are_merged_by_the_next_number() {
        let text = "from alembic import op\nrevision = \"0002\"\ndown_revision = \"0001\"\n\n\ndef upgrade():\n    op.execute(\"x\")\n";
        let revisions = vec![
            revision("0001", &[], "v/0001_first.py"),
            revision("0002", &["0001"], "v/0002_note.py"),
            revision("0002b", &["0001"], "v/0002_other.py"),
        ];
        let draft = Draft {
            message: "merge 0002 and 0002b".into(),
            ..Draft::default()
        };
        let found = written(text, revisions, &draft);
        assert_eq!(
            (found.id.as_str(), found.file.as_str()),
            ("0003", "v/0003_merge_0002_and_0002b.py")
        );
        assert_eq!(
            found.text,
            "from alembic import op\nrevision = \"0003\"\ndown_revision = (\"0002\", \"0002b\")\n\n\ndef upgrade():\n    pass\n"
        );
    }
}
