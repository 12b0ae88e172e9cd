//! Environment files, and the environment made of them.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;

use crate::manifest::env_file::scan;
use crate::manifest::*;

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

fn file(text: &str) -> EnvFile {
    EnvFile::parse(text, &map(&[]), &map(&[]))
}

fn entries(text: &str) -> Vec<(String, String, u32)> {
    let parsed = file(text);
    assert_eq!(parsed.malformed, [], "{text:?}");
    let entries = parsed.entries.into_iter();
    entries.map(|e| (e.name, e.value, e.line)).collect()
}

fn value(text: &str) -> String {
    let found = entries(&format!("A={text}"));
    assert_eq!(found.len(), 1, "{text:?}");
    found[0].1.clone()
}

#[test]
fn values_are_read_as_their_library_reads_them() {
    for (text, expected) in [
        ("", ""),
        ("b", "b"),
        ("  b  ", "b"),
        ("b # c", "b"),
        ("b#c", "b#c"),
        ("#c", "#c"),
        (" # c", ""),
        ("b c  d", "b c  d"),
        ("a=b=c", "a=b=c"),
        ("a'b\"c", "a'b\"c"),
        (r"C:\new", r"C:\new"),
        ("'b'", "b"),
        ("'b' # c", "b"),
        ("'b'#c", "b"),
        ("''", ""),
        (r"'a\nb\'c\\d'", r"a\nb'c\d"),
        ("'${B}'", "${B}"),
        (r#""a\nb\tc\"d\\e\$f\qg""#, "a\nb\tc\"d\\e$f\\qg"),
        ("\"b # c\"", "b # c"),
        ("\"a\nb\"", "a\nb"),
        ("'a\r\nb'", "a\nb"),
        ("ü \u{2003}#c", "ü"),
    ] {
        assert_eq!(value(text), expected, "{text:?}");
    }
}

#[test]
fn lines_are_counted_and_everything_around_is_passed_over() {
    let text = "\u{feff}A=1\r\n\r\n# x\n  export B = 2\nC='a\nb'\n\n\texport\tD=\nA=3\rE.f-g=4";
    let expected = [
        ("A", "1", 1),
        ("B", "2", 4),
        ("C", "a\nb", 5),
        ("D", "", 8),
        ("A", "3", 9),
        ("E.f-g", "4", 10),
    ];
    let expected = expected.map(|(name, value, line)| (name.to_owned(), value.to_owned(), line));
    assert_eq!(entries(text), expected);
}

#[test]
fn malformed_lines_are_told_by_number_and_never_repeated() {
    let text = "s3cret\nA=1\nexport s3cret\nB='s3cret\nC=\"x\" s3cret\n=s3cret\n1s3cret=x\ns3cret x=1\nD=2\n";
    let parsed = file(text);
    let names: Vec<&str> = parsed.entries.iter().map(|e| e.name.as_str()).collect();
    assert_eq!(names, ["A", "D"]);
    let lines: Vec<u32> = parsed.malformed.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [1, 3, 4, 5, 6, 7, 8]);
    assert!(
        parsed
            .malformed
            .iter()
            .all(|(_, why)| !why.contains("s3cret"))
    );
}

#[test]
fn variables_are_put_in_from_the_process_from_above_and_from_files_before() {
    let process = map(&[("P", "process"), ("A", "outer")]);
    let earlier = map(&[("E", "earlier"), ("B", "earlier")]);
    let text = "A=1\nB=2\nV=${A}-${B}-${E}-${P}-${N}-${N:-d}-${B:-d}-$B-${B:x}-${\nW=\"${V}\\${B}\"\nB=3\n";
    let parsed = EnvFile::parse(text, &process, &earlier);
    let value = |name: &str| {
        &parsed
            .entries
            .iter()
            .rev()
            .find(|e| e.name == name)
            .unwrap()
            .value
    };
    assert_eq!(value("V"), "outer-2-earlier-process--d-2-$B-${B:x}-${");
    assert_eq!(value("W"), "outer-2-earlier-process--d-2-$B-${B:x}-${${B}");
    assert_eq!(value("B"), "3");
}

#[test]
fn values_that_blow_each_other_up_are_stopped() {
    use std::fmt::Write as _;
    let mut text = format!("A0={}\n", "x".repeat(1000));
    for index in 1..100 {
        let _ = writeln!(text, "A{index}=${{A{0}}}${{A{0}}}${{A{0}}}", index - 1);
    }
    let parsed = file(&text);
    assert!(parsed.entries.iter().map(|e| e.value.len()).sum::<usize>() <= 9 << 20);
    assert!(parsed.malformed[0].1.contains("too long"));
    // Many references that are never closed cost no more than one.
    for part in ["${", "${a:", "${${:-", "\"", "'\\'", "A=\"\n", "A='\n"] {
        let text = format!("A={}", part.repeat((1 << 20) / part.len()));
        let begun = std::time::Instant::now();
        file(&text);
        assert!(begun.elapsed().as_secs() < 5, "{part:?}");
    }
}

#[test]
fn a_variable_is_set_and_everything_else_stays() {
    for (text, value, expected) in [
        ("", "1", "X=1\n"),
        ("A=1", "1", "A=1\nX=1\n"),
        ("A=1\r\n", "1", "A=1\r\nX=1\r\n"),
        ("\u{feff}", "1", "\u{feff}X=1\n"),
        ("# c\nX=old # why\nB=2", "new", "# c\nX=new # why\nB=2"),
        ("export X = 'a\nb' # c\r\n", "n", "export X = n # c\r\n"),
        ("X=1\nX=2\n", "3", "X=1\nX=3\n"),
        ("X=\n", "a b", "X='a b'\n"),
        ("X= # c\n", "", "X= # c\n"),
        ("X=1 # c\n", "", "X='' # c\n"),
        ("X='1'#c\n", "2", "X='2'#c\n"),
        ("X='same'\n", "same", "X='same'\n"),
        ("X=1\n", "${A}", "X='${A}'\n"),
        ("X=1\n", "a\nb", "X=\"a\\nb\"\n"),
        ("X=1\n", "a'\\b", "X='a\\'\\\\b'\n"),
        ("bad\nX=1", "2", "bad\nX=2"),
        ("A=\"x\nB=1\n", "a b", "A=\"x\nB=1\nX='a b'\n"),
        ("A='x\nB=1\n", "a b", "A='x\nB=1\nX=\"a b\"\n"),
        // Nothing quoted can stand behind these two; before them it can.
        ("C=1\nA='x\nB=\"\n", "a b", "C=1\nX='a b'\nA='x\nB=\"\n"),
        ("A='x\nB=\"\nX=1\n", "a b", "A='x\nB=\"\nX=1\n"),
    ] {
        assert_eq!(
            set_variable(text, "X", value),
            expected,
            "{text:?} {value:?}"
        );
    }
    for (name, value) in [
        ("", "1"),
        ("a b", "1"),
        ("A=", "1"),
        ("X", "a\0b"),
        ("1", ""),
    ] {
        assert_eq!(set_variable("A=1", name, value), "A=1");
    }
}

fn manifest(text: &str) -> Manifest {
    Manifest::parse(&format!("app.name = 'x'\n{text}"), Path::new("ubs.toml")).unwrap()
}

fn load(
    manifest: &Manifest,
    root: &Path,
    process: &[(&str, &str)],
) -> Result<Environment, EnvironmentError> {
    Environment::load(manifest, root, map(process).into_iter())
}

#[test]
fn later_files_win_and_the_process_wins_over_all() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a"), "A=1\nB=1\nC=1\nR=${P}\n").unwrap();
    std::fs::write(dir.path().join("b"), "\nB=2\nC=2\nbad\nS=${A}\n").unwrap();
    let manifest = manifest("[config]\nfiles = ['a', 'none', 'b']\n[config.vars.P]\n");
    let process = [
        ("C", "3"),
        ("P", "p"),
        ("PATH", "/bin"),
        ("HOME", "/h"),
        ("UBS_LOG", "x"),
    ];
    let environment = load(&manifest, dir.path(), &process).unwrap();
    let at = |name: &str| environment.values[name].clone();
    assert_eq!(at("A"), ("1".into(), Origin::File("a".into(), 1)));
    assert_eq!(at("B"), ("2".into(), Origin::File("b".into(), 2)));
    assert_eq!(at("C"), ("3".into(), Origin::Process));
    assert_eq!((at("R").0, at("S").0), ("p".into(), "1".into()));
    assert_eq!(environment.files[1], ("none".into(), None));
    assert_eq!(environment.files[2].1.as_ref().unwrap().malformed[0].0, 4);
    let child = environment.child_env();
    assert!(child.contains_key("HOME") && !child.contains_key("UBS_LOG"));
    let declared: Vec<_> = environment.declared_env(&manifest).into_keys().collect();
    assert_eq!(declared, ["A", "B", "C", "P", "PATH", "R", "S"]);
}

#[test]
fn what_a_service_sets_for_itself_is_seen_by_checks_only() {
    let dir = tempfile::tempdir().unwrap();
    let manifest = manifest(
        "[[layer]]\nname='a'\n[[layer.service]]\nname='x'\nrun='x'\nenv={ A='1', B='${P}2', C='${NOBODY}' }\n\
         [[layer.service]]\nname='y'\nrun='y'\nenv={ A='2', P='q' }\n",
    );
    let environment = load(&manifest, dir.path(), &[("P", "p")]).unwrap();
    let seen = environment.with_services(&manifest);
    let at = |name: &str| seen.values[name].clone();
    assert_eq!(at("A"), ("1".into(), Origin::Service("x".into())));
    assert_eq!((at("B").0, at("P").1), ("p2".into(), Origin::Process));
    assert!(!seen.values.contains_key("C"));
    assert!(seen.declared_env(&manifest).contains_key("A"));
    assert!(!seen.of_all_services().values.contains_key("A"));
}

#[test]
fn a_password_in_a_url_stands_for_itself() {
    let dir = tempfile::tempdir().unwrap();
    let manifest = manifest("");
    let values = [
        ("RAW", "Qm7@kT9/W2?x#:y 100%"),
        ("CODED", "p%40ss%2Fw%25rd"),
        ("HOST", "db:5432"),
        ("URL", "postgresql://a:b@c/d"),
    ];
    let environment = load(&manifest, dir.path(), &values).unwrap();
    for (text, expected) in [
        (
            "postgresql://ann:${RAW}@${HOST}/${RAW}",
            "postgresql://ann:Qm7%40kT9%2FW2%3Fx%23%3Ay%20100%25@db:5432/Qm7@kT9/W2?x#:y 100%",
        ),
        (
            "postgresql://${CODED}:${CODED}@h/d",
            "postgresql://p%40ss%2Fw%25rd:p%40ss%2Fw%25rd@h/d",
        ),
        (
            "postgresql://${HOST}/d?user=a@b",
            "postgresql://db:5432/d?user=a@b",
        ),
        ("${URL}", "postgresql://a:b@c/d"),
        ("sqlite:///${RAW}", "sqlite:///Qm7@kT9/W2?x#:y 100%"),
    ] {
        assert_eq!(environment.expand_url(text).unwrap(), expected, "{text}");
    }
}

#[test]
fn what_is_no_environment_file_is_said_and_never_hangs() {
    let dir = tempfile::tempdir().unwrap();
    let manifest = manifest("[config]\nfiles = ['e']");
    let path = dir.path().join("e");
    let why = || load(&manifest, dir.path(), &[]).unwrap_err().to_string();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(
        why().contains("is a pipe, socket or device, not a file"),
        "{}",
        why()
    );
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(why().contains("is a directory"));
    std::fs::remove_dir(&path).unwrap();
    std::fs::write(&path, "A=1\nB=\u{e9}\n".as_bytes()).unwrap();
    assert!(load(&manifest, dir.path(), &[]).is_ok());
    std::fs::write(&path, b"A=1\nB=\xe9secret\n").unwrap();
    // As Windows-1252 it is text, which a check reports; who needs it as it is refuses it.
    let read = load(&manifest, dir.path(), &[]).unwrap();
    assert_eq!(read.values["B"].0, "ésecret");
    let foreign = &read.files[0].1.as_ref().unwrap().not_utf8;
    let [one] = foreign.as_slice() else {
        panic!("{foreign:?}");
    };
    assert_eq!(
        (one.line, one.at, one.letter, one.is_in_a_word),
        (2, 6, 'é', true)
    );
    let refused = read.require_utf8(dir.path()).unwrap_err().to_string();
    assert!(refused.contains("e:2: is not UTF-8") && !refused.contains("secret"));
    std::fs::write(&path, b"A=1\nB=\x81secret\n").unwrap();
    assert!(why().contains("e:2: is not UTF-8") && !why().contains("secret"));
    std::fs::write(&path, vec![b'\n'; (1 << 20) + 1]).unwrap();
    assert!(why().contains("1048577 bytes"));
}

fn environment(process: &[(&str, &str)]) -> Environment {
    load(&manifest("config.files = []"), Path::new("."), process).unwrap()
}

#[test]
fn texts_are_expanded_once() {
    let environment = environment(&[("A", "1"), ("E", ""), ("R", "${A}$$")]);
    for (text, expected) in [
        ("", ""),
        ("a${A}b", "a1b"),
        ("${E}${E:-d}${N:-d}${A:-d}", "dd1"),
        ("$$ $${A} $A $ a$", "$ ${A} $A $ a$"),
        ("${R}", "${A}$$"),
    ] {
        assert_eq!(environment.expand(text).unwrap(), expected, "{text}");
    }
    let why = |text: &str| environment.expand(text).unwrap_err().to_string();
    assert_eq!(
        why("x${NO}"),
        "variable NO is not set; set it in an environment file or in the environment, or write ${NO:-default}"
    );
    assert!(why("${A").contains("never closed"));
    assert!(why("${A-b}").contains("names no variable"));
}

#[test]
fn an_expansion_has_a_bound() {
    let long = "x".repeat(1 << 19);
    let environment = environment(&[("A", &long)]);
    assert!(environment.expand("${A}${A}").is_ok());
    let error = environment.expand("${A}${A}${A}").unwrap_err();
    assert!(error.to_string().contains("1MiB"), "{error}");
}

#[test]
fn secrets_are_those_declared_those_that_sound_so_and_passwords_in_urls() {
    let dir = tempfile::tempdir().unwrap();
    let text = "S=first\nS=declared\nURL=postgresql://u:p%40ss@h/d\nOPEN_KEY=public\nAPI_TOKEN=guessed\nSHORT_KEY=abc\nPLAIN=plain\nSAME=x://app:app@h\nEMPTY_KEY=\nC_KEY=${S}x\n";
    std::fs::write(dir.path().join(".env"), text).unwrap();
    let manifest = manifest(
        "[config.vars.S]\nsecret = true\n[config.vars.URL]\nkind='url'\n[config.vars.OPEN_KEY]\n[config.vars.D]\nsecret=true\n",
    );
    let process = [
        ("S", "process"),
        ("DB_PASSWORD", "from-the-process"),
        ("GPG_KEY", "short"),
        ("D", "   "),
    ];
    let environment = load(&manifest, dir.path(), &process).unwrap();
    assert_eq!(
        environment.secret_values(&manifest),
        [
            "declared",
            "first",
            "from-the-process",
            "guessed",
            "p%40ss",
            "p@ss",
            "process",
            "processx"
        ]
    );
}

/// Text that has much of what an environment file is made of.
fn env_text() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "A", "X", "X", "B", "=", "=", "=", "'", "'", "\"", "\"", "\\", "#", " ", " ", "\n", "\n",
        "\n", "\r\n", "\r", "export ", "${A}", "${X:-", "}", "$", "v", "w", "ü", "\t", "\u{feff}",
        "-", "1", "\u{2028}", "\u{85}",
    ]);
    prop::collection::vec(word, 0..30).prop_map(|words| words.concat())
}

fn any_value() -> impl Strategy<Value = String> {
    prop_oneof![env_text(), any::<String>(), "[a-z ]{0,8}"]
        .prop_map(|value| value.replace('\0', ""))
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![4 => env_text(), 1 => any::<String>()]
}

fn others(text: &str) -> Vec<(String, crate::manifest::env_file::RawEnvValue)> {
    let assignments = scan(text).assignments.into_iter();
    let others = assignments.filter(|assignment| assignment.name != "X");
    others
        .map(|assignment| (assignment.name, assignment.value))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn any_text_is_an_environment_file(text in any_text()) {
        let parsed = file(&text);
        let lines = u32::try_from(text.split(['\n', '\r']).count()).unwrap();
        prop_assert!(parsed.entries.iter().all(|entry| (1..=lines).contains(&entry.line)));
    }

    #[test]
    fn a_value_that_was_set_is_read_back(text in any_text(), value in any_value()) {
        let after = set_variable(&text, "X", &value);
        let parsed = file(&after);
        let read = parsed.entries.iter().rev().find(|entry| entry.name == "X");
        if read.is_none_or(|entry| entry.value != value) {
            // Only quotes that are never closed can be in the way, and then nothing is touched.
            prop_assert_eq!(&after, &text);
            let unclosed = |text: &str| scan(text).malformed.iter().filter(|m| m.why.contains("quote")).count();
            prop_assert!(unclosed(&text) > 0);
        }
        prop_assert_eq!(others(&after), others(&text));
        prop_assert_eq!(set_variable(&after, "X", &value), after);
    }

    #[test]
    fn in_a_sound_file_only_the_value_changes(
        before in "(([ABC]=[a-z]{0,3}|# [a-z]{0,3}|)\r?\n){0,4}",
        tail in "( # [a-z]{0,3})?\r?\n(C=[a-z]{0,3}\n){0,2}",
        value in any_value(),
    ) {
        let text = format!("{before}X=old{tail}");
        let after = set_variable(&text, "X", &value);
        let head = format!("{before}X=");
        prop_assert!(after.starts_with(&head) && after.ends_with(&tail));
        let parsed = file(&after);
        let read = parsed.entries.iter().rev().find(|entry| entry.name == "X");
        prop_assert_eq!(&read.unwrap().value, &value);
    }
}

#[test]
fn a_clean_environment_has_the_files_and_little_of_ours() {
    let environment = Environment {
        files: vec![(".env".into(), Some(file("A=file\nB=b\nUBS_LOG=x\n")))],
        values: BTreeMap::from(
            [
                ("A", "ours"),
                ("B", "b"),
                ("SECRET", "s"),
                ("PATH", "/bin"),
                ("TZ", "UTC"),
            ]
            .map(|(name, value)| (name.to_owned(), (value.to_owned(), Origin::Process))),
        ),
    };
    let expected = map(&[("A", "file"), ("B", "b"), ("PATH", "/bin"), ("TZ", "UTC")]);
    assert_eq!(environment.clean_env(), expected);
}

#[test]
fn a_services_own_file_is_put_over_what_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("own.env");
    let mut env = map(&[("A", "old"), ("HOST", "db")]);
    assert_eq!(add_env_file(&mut env, &path), Ok(false));
    std::fs::write(&path, "A=new\nURL=postgres://ann:s3cr3t@${HOST}/${A}\n").unwrap();
    assert_eq!(add_env_file(&mut env, &path), Ok(true));
    assert_eq!(env["A"], "new");
    assert_eq!(env["URL"], "postgres://ann:s3cr3t@db/new");
    let secrets: Vec<String> =
        secrets_among(env.iter().map(|(n, v)| (n.as_str(), v.as_str()))).collect();
    assert_eq!(secrets, ["s3cr3t"]);
    std::fs::write(&path, "A=1\nno assignment\n").unwrap();
    let why = add_env_file(&mut env, &path).unwrap_err();
    assert!(why.contains("own.env:2: "), "{why}");
    assert_eq!(env["A"], "new", "all of it or nothing");
}
