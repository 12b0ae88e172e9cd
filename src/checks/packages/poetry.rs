//! Requirements as `[tool.poetry.dependencies]` of `pyproject.toml` writes them, in the words of PEP 508.
//!
//! <https://python-poetry.org/docs/dependency-specification/>. What has no name and version there (a path, a checkout, a
//! URL, several sets of constraints) and what only an extra brings is passed over.

use std::str::FromStr;

use toml_edit::{Document, Item, TableLike};

use super::need::Need;

/// Each requirement, and where its value begins in the text.
pub(super) fn requirements(document: &Document<&str>) -> Vec<(Need, usize)> {
    let table = document
        .get("tool")
        .and_then(|tool| tool.get("poetry")?.get("dependencies")?.as_table_like());
    let of_one = |(name, item): (&str, &Item)| {
        let need = Need::from_str(&as_pep508(name, item)?).ok()?;
        Some((need, item.span().map_or(0, |span| span.start)))
    };
    let all = table.into_iter().flat_map(TableLike::iter);
    all.filter(|(name, _)| *name != "python")
        .filter_map(of_one)
        .collect()
}

fn as_pep508(name: &str, item: &Item) -> Option<String> {
    if let Some(version) = item.as_str() {
        return Some(format!("{name}{}", specifiers(version)?));
    }
    let table = item.as_table_like()?;
    let is_optional = table.get("optional").and_then(Item::as_bool);
    let version = table.get("version")?.as_str()?;
    // For one version of Python or one system: which, is Poetry's to say.
    if is_optional == Some(true) || table.contains_key("python") || table.contains_key("platform") {
        return None;
    }
    let extras = table.get("extras").and_then(Item::as_array);
    let extras: Vec<&str> = extras
        .into_iter()
        .flatten()
        .filter_map(|extra| extra.as_str())
        .collect();
    let extras = match extras.is_empty() {
        true => String::new(),
        false => format!("[{}]", extras.join(",")),
    };
    let markers = table.get("markers").and_then(Item::as_str);
    let markers = markers.map_or_else(String::new, |markers| format!("; {markers}"));
    Some(format!("{name}{extras}{}{markers}", specifiers(version)?))
}

/// Specifiers of PEP 440; none for alternatives (`||`), which it cannot say.
fn specifiers(version: &str) -> Option<String> {
    if version.contains('|') {
        return None;
    }
    let parts = version.split(',').map(|part| specifier(part.trim()));
    let parts: Option<Vec<String>> = parts.collect();
    Some(
        parts?
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(","),
    )
}

fn specifier(part: &str) -> Option<String> {
    if part == "*" {
        return Some(String::new());
    }
    if let Some(version) = part.strip_prefix('^') {
        let numbers = numbers(version)?;
        // The leftmost that is not 0 stays; of zeros alone the last.
        let kept = numbers.iter().position(|number| *number != 0);
        return within(version, &numbers, kept.unwrap_or(numbers.len() - 1));
    }
    if let Some(version) = part.strip_prefix('~').filter(|rest| !rest.starts_with('=')) {
        let numbers = numbers(version)?;
        return within(version, &numbers, usize::from(numbers.len() > 1));
    }
    let is_bare = part.starts_with(|c: char| c.is_ascii_digit());
    Some(match is_bare {
        true => format!("=={part}"),
        false => part.replace(' ', ""),
    })
}

fn numbers(version: &str) -> Option<Vec<u64>> {
    version
        .trim()
        .split('.')
        .map(|part| part.parse().ok())
        .collect()
}

/// From the version up to, and without, the next one in which number `kept` differs.
fn within(version: &str, numbers: &[u64], kept: usize) -> Option<String> {
    let mut next = numbers.get(..=kept)?.to_vec();
    *next.last_mut()? += 1;
    let next: Vec<String> = next.iter().map(u64::to_string).collect();
    Some(format!(">={},<{}", version.trim(), next.join(".")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements_of_poetry_are_read_as_it_means_them() {
        let text = "[tool.poetry.dependencies]\npython = \"^3.11\"\na = \"^1.2.3\"\nb = \"^0.2\"\nc = \"^0.0.3\"\n\
             d = \"~1.2.3\"\ne = \"~1\"\nf = \"*\"\ng = \"1.4\"\nh = \"1.*\"\ni = \">= 2, <3\"\nj = \"~=1.2\"\n\
             k = { version = \"^2\", extras = [\"x\"], markers = \"python_version > '3'\" }\n\
             l = { path = \"../l\" }\nm = { version = \"1\", optional = true }\nn = \"^1 || ^2\"\no = \"^1.0b2\"\n\
             [tool.poetry.dependencies.p]\nversion = \"^0\"\n";
        let document = Document::parse(text).unwrap();
        let found = requirements(&document);
        let texts: Vec<String> = found.iter().map(|(need, _)| need.to_string()).collect();
        let expected = [
            "a>=1.2.3,<2",
            "b>=0.2,<0.3",
            "c>=0.0.3,<0.0.4",
            "d>=1.2.3,<1.3",
            "e>=1,<2",
            "f",
            "g==1.4",
            "h==1.*",
            "i>=2,<3",
            "j~=1.2",
            "k[x]>=2,<3 ; python_version > '3'",
            "p>=0,<1",
        ];
        let expected = expected.map(|text| Need::from_str(text).unwrap().to_string());
        assert_eq!(texts, expected);
        let line = |at: usize| text[..at].matches('\n').count() + 1;
        assert_eq!(line(found[0].1), 3);
    }
}
