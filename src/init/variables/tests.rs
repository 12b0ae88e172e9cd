use super::*;
use crate::init::files::Files;
use crate::source::{Place, SourceFacts};

fn read(name: &str, file: &str, line: u32) -> EnvRead {
    EnvRead {
        place: Place {
            file: file.into(),
            line,
            column: 1,
        },
        name: name.into(),
        aliases: vec![],
        required: false,
        default: None,
        kind: ValueKind::String,
        one_of: vec![],
        secret: false,
        reader: "os.environ",
        guard: Guard::Always,
    }
}

fn env(example: &str, current: &str) -> EnvFiles {
    let none = BTreeMap::new();
    EnvFiles {
        example: Some((".env.example".into(), EnvFile::parse(example, &none, &none))),
        current: EnvFile::parse(current, &none, &none)
            .entries
            .into_iter()
            .map(|entry| (entry.name, entry.value))
            .collect(),
    }
}

fn of(reads: Vec<EnvRead>, env: &EnvFiles) -> Vec<VarDraft> {
    let dir = tempfile::tempdir().unwrap();
    let files = Files::of(dir.path());
    let facts = SourceFacts {
        env_reads: reads,
        modules: vec![
            ("app".into(), "app.py".into()),
            ("late".into(), "late.py".into()),
        ],
        ..SourceFacts::default()
    };
    let code = ApplicationCode::of(&facts, &files, &[]);
    variables(&code, &["app".to_owned()], env, &[])
}

fn one<'v>(vars: &'v [VarDraft], name: &str) -> &'v VarDraft {
    vars.iter().find(|var| var.name == name).unwrap()
}

#[test]
fn required_is_what_the_start_needs() {
    let needed = |name, file, guard| EnvRead {
        required: true,
        guard,
        ..read(name, file, 1)
    };
    let vars = of(
        vec![
            needed("A", "app.py", Guard::Always),
            needed("B", "app.py", Guard::Function),
            needed("C", "late.py", Guard::Always),
            needed("D", "tests/test_x.py", Guard::Always),
            needed("HOME", "app.py", Guard::Always),
        ],
        &EnvFiles::default(),
    );
    let names: Vec<(&str, bool)> = vars.iter().map(|v| (v.name.as_str(), v.required)).collect();
    assert_eq!(names, [("A", true), ("B", false), ("C", false)]);
    assert!(one(&vars, "B").notes.iter().any(|note| note.unsure));
}

#[test]
fn kinds_come_from_defaults_unless_the_present_value_says_otherwise() {
    let with = |name, default: &str| EnvRead {
        default: Some(default.into()),
        ..read(name, "app.py", 3)
    };
    let vars = of(
        vec![
            with("PORT", "8000"),
            with("DEBUG", "False"),
            with("API_URL", "http://localhost:1"),
            with("LIMIT", "10"),
            with("CODE", "007"),
            EnvRead {
                kind: ValueKind::Int,
                ..with("RETRIES", "many")
            },
            EnvRead {
                one_of: vec!["a".into(), "b".into()],
                ..with("LEVEL", "a")
            },
        ],
        &env("", "LIMIT=unlimited\n"),
    );
    let kind = |name| one(&vars, name).kind;
    assert_eq!(kind("PORT"), VarKind::Int);
    assert_eq!(one(&vars, "PORT").range, Some((1, 65535)));
    assert_eq!(kind("DEBUG"), VarKind::Bool);
    assert_eq!(kind("API_URL"), VarKind::Url);
    assert_eq!(kind("LIMIT"), VarKind::String);
    assert_eq!(kind("CODE"), VarKind::String);
    assert_eq!(kind("LEVEL"), VarKind::Enum);
    // The code itself says int: the default is what is wrong.
    assert_eq!(
        (kind("RETRIES"), &one(&vars, "RETRIES").default),
        (VarKind::Int, &None)
    );
}

#[test]
fn no_secret_is_ever_repeated() {
    let with = |name, default: &str| EnvRead {
        default: Some(default.into()),
        ..read(name, "app.py", 3)
    };
    let vars = of(
        vec![
            with("SECRET_KEY", "dev-only-key"),
            with("DATABASE_URL", "postgresql://u:hunter22@h/d"),
            EnvRead {
                secret: true,
                ..with("THING", "hidden-thing")
            },
            read("PLAIN", "app.py", 9),
        ],
        &env(
            "PLAIN=from-example\nUNREAD=7\nBROKER_PASSWORD=abc123\n",
            "PLAIN=only-in-dot-env\nSECRET_KEY=really-secret\n",
        ),
    );
    for name in ["SECRET_KEY", "DATABASE_URL", "THING", "BROKER_PASSWORD"] {
        let var = one(&vars, name);
        assert!(var.secret && var.default.is_none(), "{var:?}");
    }
    assert_eq!(one(&vars, "PLAIN").default.as_deref(), Some("from-example"));
    let unread = one(&vars, "UNREAD");
    assert!(!unread.active && unread.notes[0].unsure);
    let all = format!("{vars:?}");
    for secret in [
        "hunter22",
        "dev-only",
        "hidden-thing",
        "abc123",
        "only-in-dot-env",
        "really-secret",
    ] {
        assert!(!all.contains(secret), "{secret}: {all}");
    }
}
