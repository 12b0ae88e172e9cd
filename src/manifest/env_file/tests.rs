//! Environment files are read as the real python-dotenv reads them: a corpus, and random texts.
//!
//! Deliberate differences, each turned off in the texts here:
//! - single quotes keep `${NAME}`: as shells, docker compose and most other readers have it;
//! - `\$` in double quotes is a dollar sign: likewise, and otherwise there is no way to write `${`;
//! - `A= # why` is empty, with a comment behind it, as in a shell; python-dotenv takes the comment for the value;
//! - a mark of the order of bytes (BOM) is passed over; python-dotenv makes it a part of the first name;
//! - where a quote is never closed, python-dotenv takes an escaped one (`\'`) for the end; here the line is malformed;
//! - a name in quotes, a name with other characters than a variable has, and a name without `=` are no
//!   assignments: no process could be given such a variable.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::manifest::EnvFile;

#[allow(clippy::duplicate_mod)] // Other rooms include it too.
#[path = "../../../tests/it/support/venv.rs"]
mod venv;

const CORPUS: &[&str] = &[
    "",
    "\n\n",
    "A=1",
    "A=1\n",
    "A=1\r\nB=2\r\n",
    "A=1\rB=2",
    "\u{feff}A=1\nB=2",
    "A=",
    "A=\nB=",
    "A= ",
    "A =1",
    "A= 1",
    "A = 1 ",
    "\tA\t=\t1\t",
    "  A=1",
    "export A=1",
    "export  A = 1",
    "export\tA=1",
    "exportA=1",
    "export=1",
    "# comment",
    "#A=1",
    "  # c\nA=1",
    "A=1 # c",
    "A=1# c",
    "A=1 #",
    "A=#",
    "A= #",
    "A= # c",
    "A=a#b",
    "A=a #b #c",
    "A='1'",
    "A=\"1\"",
    "A=''",
    "A=\"\"",
    "A='a b'",
    "A='a' # c",
    "A='a'# c",
    "A='a' b",
    "A='a'b\nB=2",
    "A=\"a\"b\nB=2",
    "A='a",
    "A=\"a\nB=2",
    "A='a\nB=2'\nC=3",
    "A=\"a\nb\nc\"\nD=4",
    "A=\"a\r\nb\"\r\nC=3",
    "A='it\\'s'",
    "A='a\\\\b'",
    "A='a\\nb'",
    "A=\"a\\nb\"",
    "A=\"a\\tb\\rc\"",
    "A=\"a\\\"b\"",
    "A=\"a\\\\b\"",
    "A=\"a\\xb\"",
    "A=\"a\\'b\"",
    "A=\"\\a\\b\\f\\v\"",
    "A=a\\nb",
    "A=a\\",
    "A=\"a\\",
    "A=a'b'c",
    "A=a\"b",
    "A==1",
    "A=1=2",
    "A=1\nA=2",
    "A=${B}",
    "B=1\nA=${B}",
    "B=1\nA=\"x${B}y\"",
    "A=${B:-d}",
    "A=${B:-}",
    "B=\nA=${B:-d}",
    "A=$B",
    "A=${B",
    "A=${}",
    "A=${B-d}",
    "A=${B:-${C}}",
    "A=${P}",
    "P=file\nA=${P}",
    "A=1\nA=${A}2",
    "A={\"a\": 1}",
    "A=ü€😀",
    "A='ü' # é",
    "A=a\u{a0}b",
    "A=\u{a0}a",
    "A.B=1",
    "A-B=1",
    "_A=1",
    "=1\nB=2",
    " = 1\nB=2",
    "a b=1\nC=2",
    "A=1\n\n\nB=2",
    "A=*\nB=?",
    "A=http://u:p@h/#f",
    "A=1;B=2",
    "A=`x`",
    "A=$(x)",
    "A=\\\"x\\\"",
    "A=\u{b}x",
    "A=x \t\nB=1",
];

const PROGRAM: &str = r"
import io, json, sys, logging
from dotenv.main import DotEnv
logging.disable(logging.CRITICAL)
def read(text):
    # As the file is opened: universal line ends; the mark of the order of bytes is not text.
    found = DotEnv(None, stream=io.StringIO(text, newline=None), override=False, interpolate=True).dict()
    return {k: v for k, v in found.items() if v is not None}
print(json.dumps([read(t) for t in json.load(sys.stdin)]))
";

/// Texts of the pieces that a reader can stumble over; the same in every run.
fn random_texts(count: usize) -> Vec<String> {
    const PIECES: [&str; 30] = [
        "A", "B", "C", "=", "=", "=", "\n", "\n", "\r\n", " ", " ", "\t", "'", "'", "\"", "\"",
        "\\", "\\n", "\\'", "\\\"", "#", " #", "${A}", "${B:-x}", "${", "}", "export ", "x", "1",
        "é",
    ];
    // xorshift64 (Marsaglia, 2003).
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |n: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % n as u64).unwrap()
    };
    (0..count)
        .map(|_| {
            let length = 1 + next(24);
            (0..length).fold("A=".to_owned(), |text, _| text + PIECES[next(PIECES.len())])
        })
        .collect()
}

/// The text has one of the deliberate differences.
fn differs_by_intention(text: &str) -> bool {
    // `${` within single quotes; where such quotes begin and end is what is tested, so any of both.
    let is_blank = |c: char| c.is_whitespace() && c != '\n' && c != '\r';
    let comment_for_value = text.match_indices('=').any(|(at, _)| {
        let rest = &text[at + 1..];
        rest.starts_with(is_blank) && rest.trim_start_matches(is_blank).starts_with('#')
    });
    comment_for_value || (text.contains('\'') && text.contains("${")) || text.contains("\\$")
}

#[test]
fn files_are_read_as_python_dotenv_reads_them() {
    let Some(python) = venv::python_with(&venv::WIDE_PACKAGES) else {
        return;
    };
    let mut texts: Vec<String> = CORPUS.iter().map(|text| (*text).to_owned()).collect();
    texts.extend(random_texts(4000));
    texts.retain(|text| !differs_by_intention(text));
    let mut child = Command::new(python)
        .args(["-c", PROGRAM])
        .env_clear()
        .env("P", "process")
        .env("PYTHONUTF8", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let input: Vec<&str> = texts
        .iter()
        .map(|text| text.trim_start_matches('\u{feff}'))
        .collect();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(&serde_json::to_vec(&input).unwrap())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let theirs: Vec<BTreeMap<String, String>> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(theirs.len(), texts.len());
    let process = BTreeMap::from([("P".to_owned(), "process".to_owned())]);
    let mut compared = 0;
    for (text, mut theirs) in texts.iter().zip(theirs) {
        theirs.retain(|name, _| crate::manifest::env_file::is_name(name));
        let read = EnvFile::parse(text, &process, &BTreeMap::new());
        let is_open = read
            .malformed
            .iter()
            .any(|(_, why)| why.contains("never closed"));
        // How two readers go on behind a malformed line is compared in the corpus only.
        if !read.malformed.is_empty() && !CORPUS.contains(&text.as_str()) {
            continue;
        }
        if is_open && (text.contains("\\'") || text.contains("\\\"")) {
            continue;
        }
        let entries = read.entries.into_iter();
        let ours: BTreeMap<String, String> =
            entries.map(|entry| (entry.name, entry.value)).collect();
        compared += usize::from(!ours.is_empty());
        assert_eq!(ours, theirs, "{text:?}");
    }
    assert!(compared > 500, "only {compared} texts have an assignment");
}
