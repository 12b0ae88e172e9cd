//! Reads a unified diff and applies it to the text of files. Pure and strict.
//!
//! Every line that a hunk keeps or removes must be in the file, byte for byte: at the line that the hunk names, or
//! at the only place where it fits. Files are changed or created; never removed, renamed or given other modes.

use std::time::Duration;

use similar::{ChangeTag, TextDiff};

/// Files in one patch.
const FILES_MAX: usize = 64;
/// Longest search for the shortest diff; after it, a longer one is as right.
const COMPARING_MAX: Duration = Duration::from_secs(2);
/// Equal lines around a change.
const CONTEXT: usize = 3;
/// Lines of the file that a refusal quotes.
const QUOTED_LINES_MAX: usize = 40;

/// The patch cannot be used.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum PatchError {
    /// Not a unified diff, or one with what is not allowed here.
    #[error("line {line} of the patch: {why}")]
    Form {
        /// 1-based.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// The file is not what the patch was made for.
    #[error(
        "the hunk at line {line} of the patch does not fit {path}: {why}; look at the file again and propose \
         anew\n{difference}"
    )]
    Context {
        /// Line of the hunk's header, 1-based.
        line: usize,
        /// The file.
        path: String,
        /// In a few words.
        why: &'static str,
        /// From what the patch expects to what the file has.
        difference: String,
    },
}

/// What a patch does to one file.
#[derive(Debug, PartialEq)]
pub(super) struct FilePatch {
    /// As written, without the prefix `b/`.
    pub path: String,
    /// It must not exist yet.
    pub creates: bool,
    hunks: Vec<Hunk>,
}

#[derive(Debug, PartialEq)]
struct Hunk {
    /// Line of its header in the patch, 1-based.
    line: usize,
    /// First line in the old file, 1-based; 0 if it is empty.
    start: usize,
    /// Lines with their ends, as they were.
    old: Vec<String>,
    /// Lines with their ends, as they will be.
    new: Vec<String>,
}

struct Lines<'a> {
    lines: Vec<&'a str>,
    next: usize,
}

impl<'a> Lines<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.lines.get(self.next).copied()
    }

    fn take(&mut self) -> Option<&'a str> {
        let line = self.peek();
        self.next += usize::from(line.is_some());
        line
    }

    fn fault(&self, why: impl Into<String>) -> PatchError {
        PatchError::Form {
            line: self.next.max(1),
            why: why.into(),
        }
    }
}

/// The files that the patch changes.
///
/// # Errors
/// It is no unified diff, or removes, renames, changes modes or is binary.
pub(super) fn read_patch(text: &str) -> Result<Vec<FilePatch>, PatchError> {
    let mut lines = Lines {
        lines: text.split_inclusive('\n').collect(),
        next: 0,
    };
    let mut files: Vec<FilePatch> = Vec::new();
    while let Some(line) = lines.take() {
        let line = line.trim_end_matches(['\n', '\r']);
        if let Some(old) = line.strip_prefix("--- ") {
            let file = read_file(&mut lines, old)?;
            if files.iter().any(|known| known.path == file.path) {
                return Err(lines.fault(format!("{} is changed twice", file.path)));
            }
            if files.len() >= FILES_MAX {
                return Err(lines.fault(format!("there are more than {FILES_MAX} files")));
            }
            files.push(file);
        } else {
            require_harmless(&lines, line)?;
        }
    }
    if files.is_empty() {
        return Err(lines.fault(
            "it changes nothing: a file begins with the lines `--- a/PATH` and `+++ b/PATH`",
        ));
    }
    Ok(files)
}

/// A line between files: what git writes there, and nothing that means something else.
fn require_harmless(lines: &Lines<'_>, line: &str) -> Result<(), PatchError> {
    let forbidden = [
        ("deleted file", "a patch cannot remove a file"),
        ("rename ", "a patch cannot rename a file"),
        ("copy ", "a patch cannot copy a file"),
        ("similarity ", "a patch cannot rename a file"),
        ("old mode", "a patch cannot change the mode of a file"),
        ("new mode", "a patch cannot change the mode of a file"),
        ("GIT binary patch", "a patch cannot be binary"),
        ("Binary files", "a patch cannot be binary"),
    ];
    if let Some((_, why)) = forbidden.iter().find(|(word, _)| line.starts_with(word)) {
        return Err(lines.fault(*why));
    }
    if let Some(mode) = line.strip_prefix("new file mode ")
        && mode.trim() != "100644"
    {
        return Err(lines.fault("a new file has the mode 100644"));
    }
    let is_known = line.trim().is_empty()
        || ["diff --git ", "index ", "new file mode "]
            .iter()
            .any(|word| line.starts_with(word));
    if is_known {
        Ok(())
    } else {
        Err(lines.fault(
            "it is no part of a unified diff (a hunk may have more lines than its header says)",
        ))
    }
}

fn read_file(lines: &mut Lines<'_>, old: &str) -> Result<FilePatch, PatchError> {
    let Some(new) = lines.take().and_then(|line| line.strip_prefix("+++ ")) else {
        return Err(lines.fault("a line `+++ b/PATH` has to follow `--- a/PATH`"));
    };
    let (old, new) = (name(old), name(new));
    if new == "/dev/null" {
        return Err(lines.fault("a patch cannot remove a file"));
    }
    let creates = old == "/dev/null";
    let path = match (creates, old.strip_prefix("a/"), new.strip_prefix("b/")) {
        (true, _, Some(path)) => path,
        (true, _, None) => new,
        (false, Some(from), Some(to)) if from == to => to,
        (false, _, _) if old == new => new,
        _ => return Err(lines.fault(format!("a patch cannot rename {old} to {new}"))),
    };
    if path.is_empty() || path.starts_with('"') {
        return Err(lines.fault("the name of the file is empty or quoted"));
    }
    let mut hunks = Vec::new();
    while lines.peek().is_some_and(|line| line.starts_with("@@ ")) {
        hunks.push(read_hunk(lines)?);
    }
    if hunks.is_empty() {
        return Err(lines.fault(format!("it has no hunk for {path}")));
    }
    if creates && (hunks.len() > 1 || !hunks[0].old.is_empty()) {
        return Err(lines.fault("a new file has one hunk, of added lines"));
    }
    Ok(FilePatch {
        path: path.to_owned(),
        creates,
        hunks,
    })
}

/// The name without a time behind it.
fn name(text: &str) -> &str {
    let text = text.trim_end_matches(['\n', '\r']);
    text.split('\t').next().unwrap_or(text)
}

fn read_hunk(lines: &mut Lines<'_>) -> Result<Hunk, PatchError> {
    let header = lines.take().unwrap_or_default();
    let line = lines.next;
    let ranges = header
        .strip_prefix("@@ -")
        .and_then(|rest| rest.split_once(" @@"))
        .and_then(|(ranges, _)| ranges.split_once(" +"))
        .and_then(|(old, new)| Some((range(old)?, range(new)?)));
    let Some(((start, old_count), (_, new_count))) = ranges else {
        return Err(lines.fault("a hunk begins with `@@ -LINE,COUNT +LINE,COUNT @@`"));
    };
    let (mut old, mut new): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    let mut last = ' ';
    while old.len() < old_count || new.len() < new_count || lines.peek().is_some_and(is_no_newline)
    {
        let Some(text) = lines.take() else {
            return Err(lines.fault("the hunk ends before it has the lines that its header says"));
        };
        if is_no_newline(text) {
            for side in [(&mut old, last != '+'), (&mut new, last != '-')] {
                if let (Some(line), true) = (side.0.last_mut(), side.1) {
                    line.truncate(line.trim_end_matches(['\n']).len());
                }
            }
            continue;
        }
        // Some programs drop the blank of an empty line that stays.
        let (kind, rest) = match text.chars().next() {
            Some('\n') => (' ', text),
            Some(kind) => (kind, &text[kind.len_utf8()..]),
            None => (' ', text),
        };
        let rest = if rest.ends_with('\n') {
            rest.to_owned()
        } else {
            format!("{rest}\n")
        };
        match kind {
            ' ' => {
                old.push(rest.clone());
                new.push(rest);
            }
            '-' => old.push(rest),
            '+' => new.push(rest),
            _ => return Err(lines.fault("a line of a hunk begins with a blank, `-` or `+`")),
        }
        last = kind;
        if old.len() > old_count || new.len() > new_count {
            return Err(lines.fault("the hunk has more lines than its header says"));
        }
    }
    Ok(Hunk {
        line,
        start,
        old,
        new,
    })
}

fn is_no_newline(line: &str) -> bool {
    line.starts_with("\\ ")
}

fn range(text: &str) -> Option<(usize, usize)> {
    let (start, count) = text.split_once(',').unwrap_or((text, "1"));
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        is_number.then(|| text.parse().ok()).flatten()
    };
    Some((number(start)?, number(count)?))
}

impl FilePatch {
    /// What the file will hold; `before` is what it holds now, empty if the patch creates it.
    ///
    /// # Errors
    /// A hunk does not fit.
    pub(super) fn apply(&self, before: &str) -> Result<String, PatchError> {
        let lines: Vec<&str> = before.split_inclusive('\n').collect();
        let mut after = String::with_capacity(before.len());
        let mut done = 0;
        for hunk in &self.hunks {
            let at = self.place(hunk, &lines, done)?;
            after.extend(lines[done..at].iter().copied());
            after.extend(hunk.new.iter().map(String::as_str));
            done = at + hunk.old.len();
        }
        after.extend(lines[done..].iter().copied());
        Ok(after)
    }

    fn place(&self, hunk: &Hunk, lines: &[&str], done: usize) -> Result<usize, PatchError> {
        // A hunk without old lines stands behind the line that it names.
        let stated = hunk.start.saturating_sub(usize::from(!hunk.old.is_empty()));
        let fits = |at: usize| {
            at >= done
                && lines
                    .get(at..at + hunk.old.len())
                    .is_some_and(|there| there.iter().zip(&hunk.old).all(|(a, b)| a == b))
        };
        if fits(stated) {
            return Ok(stated);
        }
        let mut others = (done..lines.len()).filter(|at| !hunk.old.is_empty() && fits(*at));
        match (others.next(), others.next()) {
            (Some(at), None) => Ok(at),
            (found, _) => Err(PatchError::Context {
                line: hunk.line,
                path: self.path.clone(),
                why: if found.is_some() {
                    "its lines are not where it says, and fit in several places"
                } else {
                    "its lines are not in the file as it is now"
                },
                difference: self.difference(hunk, lines, stated),
            }),
        }
    }

    fn difference(&self, hunk: &Hunk, lines: &[&str], stated: usize) -> String {
        let from = stated.min(lines.len());
        let to = (from + hunk.old.len()).min(lines.len());
        let there = lines[from..to].concat();
        unified(
            &hunk.old.concat(),
            &there,
            "what the patch expects",
            &format!("{} now", self.path),
            Some(QUOTED_LINES_MAX),
        )
    }
}

/// A unified diff of two texts; with a bound, so many lines of it and how many more there are.
pub(crate) fn unified(
    old: &str,
    new: &str,
    old_name: &str,
    new_name: &str,
    lines_max: Option<usize>,
) -> String {
    let diff = TextDiff::configure()
        .timeout(COMPARING_MAX)
        .diff_lines(old, new);
    let changes: Vec<Line<'_>> = diff
        .iter_all_changes()
        .map(|change| Line {
            tag: change.tag(),
            text: change.value(),
        })
        .collect();
    let text = write_hunks(&changes, old_name, new_name);
    let Some(max) = lines_max else {
        return text;
    };
    let count = text.lines().count();
    if count <= max {
        return text;
    }
    let mut shown: String = text.split_inclusive('\n').take(max).collect();
    shown.push_str(&format!("... {} more lines\n", count - max));
    shown
}

/// One line of a comparison.
struct Line<'a> {
    tag: ChangeTag,
    text: &'a str,
}

/// The headers of `similar` 2.7 have wrong counts where it moved a change along equal lines, so they are made here.
fn write_hunks(lines: &[Line<'_>], old_name: &str, new_name: &str) -> String {
    let mut text = String::new();
    let is_change = |line: &Line<'_>| line.tag != ChangeTag::Equal;
    // Lines of each side in front of `at`.
    let (mut old, mut new, mut at) = (0, 0, 0);
    while let Some(first) = lines[at..]
        .iter()
        .position(is_change)
        .map(|found| at + found)
    {
        let begin = first.saturating_sub(CONTEXT).max(at);
        let mut last = first;
        while let Some(next) = lines[last + 1..].iter().position(is_change) {
            if next > 2 * CONTEXT {
                break;
            }
            last += next + 1;
        }
        let end = (last + 1 + CONTEXT).min(lines.len());
        // What is skipped is equal.
        old += begin - at;
        new += begin - at;
        let hunk = &lines[begin..end];
        let count = |tag| hunk.iter().filter(|line| line.tag != tag).count();
        let (olds, news) = (count(ChangeTag::Insert), count(ChangeTag::Delete));
        if text.is_empty() {
            text.push_str(&format!("--- {old_name}\n+++ {new_name}\n"));
        }
        let (from, to) = (header_range(old, olds), header_range(new, news));
        text.push_str(&format!("@@ -{from} +{to} @@\n"));
        for line in hunk {
            text.push(match line.tag {
                ChangeTag::Equal => ' ',
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
            });
            text.push_str(line.text);
            if !line.text.ends_with('\n') {
                text.push_str("\n\\ No newline at end of file\n");
            }
        }
        (old, new, at) = (old + olds, new + news, end);
    }
    text
}

fn header_range(before: usize, count: usize) -> String {
    match count {
        // An empty side names the line in front of it.
        0 => format!("{before},0"),
        1 => format!("{}", before + 1),
        _ => format!("{},{count}", before + 1),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn patched(patch: &str, before: &str) -> Result<String, PatchError> {
        read_patch(patch)?[0].apply(before)
    }

    #[test]
    fn a_patch_changes_what_it_names_and_keeps_the_rest() {
        let patch = "diff --git a/x.py b/x.py\nindex 1..2 100644\n--- a/x.py\n+++ b/x.py\n@@ -2,2 +2,3 @@ def f\n b\n-c\n+C\n+d\n";
        let files = read_patch(patch).unwrap();
        assert_eq!((files[0].path.as_str(), files[0].creates), ("x.py", false));
        assert_eq!(patched(patch, "a\nb\nc\ne\n").unwrap(), "a\nb\nC\nd\ne\n");
        // Somebody put a line in front of it meanwhile: the edit stays, and the hunk fits in one place.
        assert_eq!(
            patched(patch, "0\na\nb\nc\ne\n").unwrap(),
            "0\na\nb\nC\nd\ne\n"
        );
        let two = "--- /dev/null\n+++ b/n.py\n@@ -0,0 +1 @@\n+x\n\\ No newline at end of file\n--- a/y\n+++ b/y\n@@ -1 +1 @@\n-1\n+2\n";
        let files = read_patch(two).unwrap();
        assert!(files[0].creates);
        assert_eq!(files[0].apply("").unwrap(), "x");
        assert_eq!(files[1].apply("1\n").unwrap(), "2\n");
    }

    #[test]
    fn what_was_edited_meanwhile_is_refused_with_the_difference() {
        let patch = "--- a/x.py\n+++ b/x.py\n@@ -1,2 +1,2 @@\n a\n-b\n+B\n";
        let error = patched(patch, "a\nb2\n").unwrap_err().to_string();
        assert!(
            error.contains("does not fit x.py") && error.contains("-b\n+b2"),
            "{error}"
        );
        let twice = "--- a/x.py\n+++ b/x.py\n@@ -9 +9 @@\n-a\n+A\n";
        let error = patched(twice, "a\na\n").unwrap_err().to_string();
        assert!(error.contains("several places"), "{error}");
    }

    #[test]
    fn a_patch_removes_renames_and_guesses_nothing() {
        for (patch, why) in [
            ("", "changes nothing"),
            ("hello\n", "no part of a unified diff"),
            (
                "--- a/x\n+++ /dev/null\n@@ -1 +0,0 @@\n-a\n",
                "cannot remove",
            ),
            ("--- a/x\n+++ b/y\n@@ -1 +1 @@\n-a\n+b\n", "cannot rename"),
            ("old mode 100644\nnew mode 100755\n", "mode"),
            ("GIT binary patch\n", "binary"),
            ("--- a/x\n+++ b/x\n@@ -1,2 +1 @@\n-a\n", "ends before"),
            ("--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n+c\n", "no part"),
            ("--- a/x\n+++ b/x\n@@ nonsense\n", "a hunk begins with"),
            ("--- a/x\n+++ b/x\n@@ -1 +1 @@\n?a\n", "begins with a blank"),
            (
                "new file mode 120000\n--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+a\n",
                "100644",
            ),
        ] {
            let error = read_patch(patch).unwrap_err().to_string();
            assert!(error.contains(why), "{patch:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "([-+ @\\\\]{0,3}[ab/0-9,@\n]{0,12}){0,12}") {
            if let Ok(files) = read_patch(&text) {
                for file in files {
                    let _ = file.apply("a\nb\n");
                }
            }
        }

        #[test]
        fn a_diff_of_two_texts_leads_from_one_to_the_other(old in "[ab\n]{0,60}", new in "[ab\n]{0,60}") {
            prop_assume!(old != new);
            let patch = unified(&old, &new, "a/x", "b/x", None);
            prop_assert_eq!(patched(&patch, &old).unwrap(), new);
        }
    }
}
