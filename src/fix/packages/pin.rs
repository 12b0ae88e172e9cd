//! The exact version of a distribution where a workspace declares it.

use crate::checks::normalise;

/// The requirement for `name` in a line of a requirements file or of `pyproject.toml` is exactly that version: the
/// bytes to replace, and by what.
pub(in crate::fix) fn pin(
    line: &str,
    name: &str,
    version: &str,
) -> Option<(std::ops::Range<usize>, String)> {
    static REQUIREMENT: std::sync::LazyLock<regex::Regex> = std::sync::LazyLock::new(|| {
        regex::Regex::new(
            r#"^\s*["']?(?<name>[A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?(?<spec>\s*\(?(?:(?:[<>=!~]=?=?)\s*[A-Za-z0-9.*+!_-]+\s*,?\s*)*\)?)"#,
        )
        .unwrap_or_else(|error| panic!("the pattern is sound: {error}"))
    });
    let found = REQUIREMENT.captures(line)?;
    if normalise(&found["name"]) != normalise(name) {
        return None;
    }
    let spec = found.name("spec")?;
    let end = spec.start() + spec.as_str().trim_end().len();
    let rest = line.get(end..)?.trim_start();
    let ends = rest.is_empty() || rest.starts_with([';', '#', '"', '\'']);
    ends.then(|| (spec.start()..end, format!("=={version}")))
}

/// Where `[project] dependencies` of `pyproject.toml` takes one more, exactly that version, and the text of it.
pub(in crate::fix) fn pin_after(text: &str, name: &str, version: &str) -> Option<(usize, String)> {
    let document = toml_edit::Document::parse(text).ok()?;
    let dependencies = document.get("project")?.get("dependencies")?.as_array()?;
    let mut spans = dependencies.iter().map(toml_edit::Value::span);
    let first = spans.next()??;
    let last = spans.last().unwrap_or(Some(first.clone()))?;
    let line = text.get(..last.start)?.rsplit('\n').next()?;
    let before = if line.trim().is_empty() {
        let end = if text.contains("\r\n") { "\r\n" } else { "\n" };
        format!(",{end}{line}")
    } else {
        ", ".to_owned()
    };
    Some((last.end, format!("{before}\"{name}=={version}\"")))
}

/// The same in `[project] dependencies`, whichever way its lines are broken.
pub(in crate::fix) fn pin_in_project(
    text: &str,
    name: &str,
    version: &str,
) -> Option<(std::ops::Range<usize>, String)> {
    let document = toml_edit::Document::parse(text).ok()?;
    let dependencies = document.get("project")?.get("dependencies")?.as_array()?;
    dependencies.iter().find_map(|value| {
        let span = value.span()?;
        let (range, pinned) = pin(text.get(span.clone())?, name, version)?;
        Some((span.start + range.start..span.start + range.end, pinned))
    })
}

/// The version of `name` in `[tool.poetry.dependencies]`, exactly: the bytes to replace, and by what.
pub(in crate::fix) fn pin_in_poetry(
    text: &str,
    name: &str,
    version: &str,
) -> Option<(std::ops::Range<usize>, String)> {
    let document = toml_edit::Document::parse(text).ok()?;
    let table = poetry_dependencies(&document)?.as_table_like()?;
    let mut all = table.iter();
    let (_, item) = all.find(|(found, _)| normalise(found) == normalise(name))?;
    let item = match item.as_table_like() {
        Some(table) => table.get("version")?,
        None => item,
    };
    item.as_str()?;
    Some((item.span()?, format!("\"=={version}\"")))
}

/// Where `[tool.poetry.dependencies]` takes one more, exactly that version, and the text of it.
pub(in crate::fix) fn pin_after_in_poetry(
    text: &str,
    name: &str,
    version: &str,
) -> Option<(usize, String)> {
    let document = toml_edit::Document::parse(text).ok()?;
    // Below its header, so that no other table comes between.
    let header = poetry_dependencies(&document)?.as_table()?.span()?;
    let line_end = text.get(header.start..)?.find('\n')? + header.start + 1;
    let end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    Some((line_end, format!("{name} = \"=={version}\"{end}")))
}

fn poetry_dependencies<'a>(document: &'a toml_edit::Document<&str>) -> Option<&'a toml_edit::Item> {
    document.get("tool")?.get("poetry")?.get("dependencies")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_of_poetry_is_pinned_where_it_stands_or_below_the_header() {
        let text = "[tool.poetry.dependencies]\npython = \"^3.11\"  # why\na = \"^1\"  # it\n\
                    b = { version = \"^2\", extras = [\"x\"] }\nc = { path = \"../c\" }\n[other]\n";
        for (name, expected) in [
            ("A", "a = \"==1.2\"  # it\n"),
            ("b", "b = { version = \"==1.2\", extras = [\"x\"] }\n"),
        ] {
            let (range, pinned) = pin_in_poetry(text, name, "1.2").unwrap();
            let mut text = text.to_owned();
            text.replace_range(range, &pinned);
            assert!(text.contains(expected), "{text}");
        }
        assert_eq!(pin_in_poetry(text, "c", "1.2"), None);
        let (at, more) = pin_after_in_poetry(text, "d", "1.2").unwrap();
        let mut text = text.to_owned();
        text.insert_str(at, &more);
        assert!(
            text.starts_with("[tool.poetry.dependencies]\nd = \"==1.2\"\npython"),
            "{text}"
        );
    }

    #[test]
    fn one_more_dependency_is_pinned_in_a_project_file() {
        for (list, expected) in [
            ("[\"a\"]", "[\"a\", \"b==1.2\"]"),
            (
                "[\n  \"x\",\n  \"a>1\",  # why\n]",
                "[\n  \"x\",\n  \"a>1\",\n  \"b==1.2\",  # why\n]",
            ),
        ] {
            let mut text = format!("[project]\nname = \"p\"\ndependencies = {list}\n");
            let (at, more) = pin_after(&text, "b", "1.2").unwrap();
            text.insert_str(at, &more);
            assert!(
                text.ends_with(&format!("dependencies = {expected}\n")),
                "{text}"
            );
        }
        assert_eq!(pin_after("[project]\ndependencies = []\n", "b", "1"), None);
    }

    #[test]
    fn a_requirement_is_pinned_in_a_list_of_one_line() {
        let mut text = "[project]\ndependencies = [\"a\", \"b[x] <3\", \"c\"]\n".to_owned();
        let (range, pinned) = pin_in_project(&text, "B", "1.2").unwrap();
        text.replace_range(range, &pinned);
        assert!(text.ends_with("[\"a\", \"b[x]==1.2\", \"c\"]\n"), "{text}");
        assert_eq!(pin_in_project(&text, "d", "1.2"), None);
    }

    #[test]
    fn a_requirement_is_pinned_where_it_stands() {
        let pinned = |line: &str| {
            let (range, text) = pin(line, "Flask_X", "1.2")?;
            let mut line = line.to_owned();
            line.replace_range(range, &text);
            Some(line)
        };
        for (line, expected) in [
            ("flask-x", Some("flask-x==1.2")),
            (
                "flask.x[a,b] >=1,<3  # why",
                Some("flask.x[a,b]==1.2  # why"),
            ),
            ("    \"Flask-X~=2.0\",", Some("    \"Flask-X==1.2\",")),
            (
                "flask-x>2; python_version > '3'",
                Some("flask-x==1.2; python_version > '3'"),
            ),
            ("flask-x @ https://host/x.whl", None),
            ("flask-xy", None),
            ("-e ./flask-x", None),
        ] {
            assert_eq!(pinned(line).as_deref(), expected, "{line}");
        }
    }
}
