//! The edit on every shape of source: it is one insertion, and the application imports afterwards.

use crate::checks::testing::{App, only, problems, some_of};
use crate::domain::finding::CheckName;
use crate::domain::remedy::Remedy;

const HEAD: &str = "from sqlalchemy import Column, Index, Integer, Table, UniqueConstraint\nfrom base import Base\n\n";

/// Second definitions of table `t`, and what is to be inserted (`None`: a person has to).
const SHAPES: &[(&str, Option<&str>)] = &[
    (
        "class B(Base):\n    __tablename__ = 't'\n    id = Column(Integer, primary_key=True)\n",
        Some("    __table_args__ = {\"extend_existing\": True}\n"),
    ),
    (
        "class B(Base):\n\t'''Ümläut'''; x = 'é'\n\t__tablename__: str = 't'  # é\n\tid = Column(Integer, primary_key=True)\n",
        Some("\t__table_args__ = {\"extend_existing\": True}\n"),
    ),
    (
        "class B(Base):\n    id = Column(Integer, primary_key=True)\n    __tablename__ = (\n        't'\n    )",
        Some("\n    __table_args__ = {\"extend_existing\": True}"),
    ),
    (
        "class B(Base):\n    __tablename__ = 't'\n    __table_args__ = {'info': {'é': 1}}\n    id = Column(Integer, primary_key=True)\n",
        Some("\"extend_existing\": True, "),
    ),
    (
        "class B(Base):\n    __tablename__ = 't'\n    __table_args__ = {\n        'info': {},\n    }\n    id = Column(Integer, primary_key=True)\n",
        Some("\"extend_existing\": True,"),
    ),
    (
        "class B(Base):\n    __tablename__ = 't'\n    __table_args__ = {}\n    id = Column(Integer, primary_key=True)\n",
        Some("\"extend_existing\": True"),
    ),
    (
        "class B(Base):\n    __tablename__ = 't'\n    __table_args__ = (Index('i', 'id'), {'info': {}},)\n    id = Column(Integer, primary_key=True)\n",
        Some("\"extend_existing\": True, "),
    ),
    (
        "class B(Base):\n    __tablename__ = 't'\n    __table_args__ = (Index('i', 'id'),)\n    id = Column(Integer, primary_key=True)\n",
        Some(", {\"extend_existing\": True}"),
    ),
    (
        "class B(Base):\n    __tablename__ = 't'\n    __table_args__ = (\n        Index('i', 'id'),\n        UniqueConstraint('id'),  # a, b)\n    )\n    id = Column(Integer, primary_key=True)\n",
        Some(", {\"extend_existing\": True}"),
    ),
    (
        "class B(Base):\n    __tablename__ = 't'\n    __table_args__ = ()\n    id = Column(Integer, primary_key=True)\n",
        Some("{\"extend_existing\": True},"),
    ),
    (
        "class B(Base):\n    __tablename__ = 't'\n    __table_args__ = Index('i', 'id'), UniqueConstraint('id')\n    id = Column(Integer, primary_key=True)\n",
        Some(", {\"extend_existing\": True}"),
    ),
    (
        "t = Table('t', Base.metadata, Column('id', Integer, primary_key=True))\n",
        Some(", extend_existing=True"),
    ),
    (
        "t = Table(\n    't',\n    Base.metadata,\n    Column('id', Integer, primary_key=True),  # é\n    info={},\n)\n",
        Some(", extend_existing=True"),
    ),
    (
        "def deco(cls):\n    return cls\n\n@deco\nclass B(Base):\n    __tablename__ = 't'\n    id = Column(Integer, primary_key=True)\n",
        Some("    __table_args__ = {\"extend_existing\": True}\n"),
    ),
    (
        "if True:\n    class B(Base):\n        __tablename__ = 't'\n        id = Column(Integer, primary_key=True)\n",
        Some("        __table_args__ = {\"extend_existing\": True}\n"),
    ),
    // Anything unclear is for a person.
    (
        "class B(Base): __tablename__ = 't'; id = Column(Integer, primary_key=True)\n",
        None,
    ),
    (
        "class B(Base):\n    __tablename__ = 't'; id = Column(Integer, primary_key=True)\n",
        None,
    ),
    (
        "ARGS = {'info': {}}\nclass B(Base):\n    __tablename__ = 't'\n    __table_args__ = ARGS\n    id = Column(Integer, primary_key=True)\n",
        None,
    ),
    (
        "ARGS = {'info': {}}\nclass B(Base):\n    __tablename__ = 't'\n    __table_args__ = (Index('i', 'id'), ARGS)\n    id = Column(Integer, primary_key=True)\n",
        None,
    ),
    (
        "class B(Base):\n    __tablename__ = 't'\n    __table_args__ = ((Index('i', 'id')),)\n    id = Column(Integer, primary_key=True)\n",
        None,
    ),
    (
        "class B(Base):\n    __tablename__ = 't'\n    __table_args__ = {'extend_existing': False}\n    id = Column(Integer, primary_key=True)\n",
        None,
    ),
    (
        "class Mixin:\n    __table_args__ = {'info': {}}\nclass B(Mixin, Base):\n    __tablename__ = 't'\n    id = Column(Integer, primary_key=True)\n",
        None,
    ),
    (
        "more = {}\nt = Table('t', Base.metadata, Column('id', Integer, primary_key=True), **more)\n",
        None,
    ),
    (
        "def make(name):\n    return Table(name, Base.metadata, Column('id', Integer, primary_key=True))\nmake('t')\n",
        None,
    ),
];

fn app_with(second: &[u8]) -> Option<App> {
    Some(
        App::with_packages()?
            .file("base.py", "from sqlalchemy.orm import declarative_base\nBase = declarative_base()\n")
            .file("first.py", format!("{HEAD}class A(Base):\n    __tablename__ = 't'\n    id = Column(Integer, primary_key=True)\n"))
            .file("second.py", second)
            .file("models.py", "import first, second\nfrom base import Base\n")
            .schema("sqlite:///app.db", "models:Base"),
    )
}

fn expect(second: &[u8], inserted: Option<&str>, name: &str) {
    let Some(app) = app_with(second) else { return };
    let report = app.check(CheckName::Schema);
    let finding = only(&report, "schema.duplicate_table");
    let edit = match &finding.fix {
        Some(Remedy::InsertText { offset, text, .. }) => Some((*offset, text.as_str())),
        _ => None,
    };
    assert_eq!(edit.map(|(_, text)| text), inserted, "{name}");
    let Some((offset, text)) = edit else { return };
    let at = usize::try_from(offset).unwrap();
    let mut edited = second.to_vec();
    edited.splice(at..at, text.bytes());
    let app = app.file("second.py", &edited);
    let report = app.check(CheckName::Schema);
    assert_eq!(
        problems(&report),
        ["schema.missing_table t"],
        "{name}\n{}",
        String::from_utf8_lossy(&edited)
    );
}

#[test]
fn the_edit_is_exact_on_every_shape() {
    for (shape, inserted) in some_of(SHAPES, 6) {
        expect(format!("{HEAD}{shape}").as_bytes(), *inserted, shape);
    }
}

#[test]
fn line_ends_marks_and_encodings_are_kept() {
    let (shape, inserted) = SHAPES[0];
    let inserted = inserted.unwrap();
    let text = format!("{HEAD}{shape}");
    let windows = text.replace('\n', "\r\n");
    let windows_inserted = inserted.replace('\n', "\r\n");
    expect(windows.as_bytes(), Some(&windows_inserted), "CRLF");
    expect(
        format!("\u{feff}{windows}").as_bytes(),
        Some(&windows_inserted),
        "BOM and CRLF",
    );
    expect(
        format!("# -*- coding: utf-8 -*-\n# é\n{text}").as_bytes(),
        Some(inserted),
        "cookie",
    );
    let mut latin = b"# -*- coding: latin-1 -*-\n# \xe9\n".to_vec();
    latin.extend_from_slice(text.as_bytes());
    expect(&latin, None, "latin-1");
    let ascii_in_latin = format!("# -*- coding: latin-1 -*-\n{text}");
    expect(
        ascii_in_latin.as_bytes(),
        None,
        "latin-1 without special characters",
    );
    expect(
        format!("\u{c}\n{text}").as_bytes(),
        Some(inserted),
        "form feed",
    );
    expect(
        format!("X = '''\u{2028}\u{85}'''\n{text}").as_bytes(),
        Some(inserted),
        "line separators that Python does not count",
    );
}

/// First and second definition, and whether the second one raises; all of them are beyond doubt.
const PAIRS: &[(&str, &str, bool)] = &[
    (
        "t = Table('t', Base.metadata, Column('id', Integer, primary_key=True))\n",
        "t = Table('t', Base.metadata, Column('id', Integer, primary_key=True))\n",
        true,
    ),
    // Without columns, the second call gives back what is there.
    (
        "t = Table('t', Base.metadata, Column('id', Integer, primary_key=True))\n",
        "t = Table('t', Base.metadata)\n",
        false,
    ),
    (
        "t = Table('t', Base.metadata, Column('id', Integer, primary_key=True))\n",
        "class B(Base):\n    __tablename__ = 't'\n    id = Column(Integer, primary_key=True)\n",
        true,
    ),
    (
        "class A(Base):\n    __tablename__ = 't'\n    id = Column(Integer, primary_key=True)\n",
        "class B(Other):\n    __tablename__ = 't'\n    id = Column(Integer, primary_key=True)\n",
        false,
    ),
    (
        "class A(Base):\n    __tablename__ = 't'\n    id = Column(Integer, primary_key=True)\n",
        "class B(Base):\n    __tablename__ = 't'\n    __table_args__ = {'extend_existing': True}\n    id = Column(Integer, primary_key=True)\n",
        false,
    ),
    (
        "class A(Base):\n    __tablename__ = 't'\n    id = Column(Integer, primary_key=True)\n",
        "t = Table('t', Base.metadata, Column('more', Integer), keep_existing=True)\n",
        false,
    ),
    (
        "class A(Base):\n    __abstract__ = True\n    __tablename__ = 't'\n    id = Column(Integer, primary_key=True)\n",
        "from first import A\nclass B(A):\n    __tablename__ = 't'\n",
        false,
    ),
    (
        "class Named:\n    @declared_attr\n    def __tablename__(cls):\n        return cls.__name__.lower()\nclass T(Named, Base):\n    id = Column(Integer, primary_key=True)\n",
        "from first import Named\nclass U(Named, Base):\n    id = Column(Integer, primary_key=True)\n",
        false,
    ),
    (
        "class A(Base):\n    __tablename__ = 't'\n    __table_args__ = {'schema': 'x'}\n    id = Column(Integer, primary_key=True)\n",
        "class B(Base):\n    __tablename__ = 't'\n    id = Column(Integer, primary_key=True)\n",
        false,
    ),
    (
        "class A(Base):\n    __tablename__ = 't'\n    __table_args__ = {'schema': 'x'}\n    id = Column(Integer, primary_key=True)\n",
        "class B(Base):\n    __tablename__ = 't'\n    __table_args__ = (UniqueConstraint('id'), {'schema': 'x'})\n    id = Column(Integer, primary_key=True)\n",
        true,
    ),
    (
        "class Stamped:\n    made = Column(Integer)\nclass A(Stamped, Base):\n    __tablename__ = 't'\n    id = Column(Integer, primary_key=True)\n",
        "from first import Stamped\nclass B(Stamped, Base):\n    __tablename__ = 't'\n    id = Column(Integer, primary_key=True)\n",
        true,
    ),
    (
        "import sys\nif sys.version_info >= (3, 0):\n    class A(Base):\n        __tablename__ = 't'\n        id = Column(Integer, primary_key=True)\n",
        "with open(__file__):\n    t = Table('t', Base.metadata, Column('id', Integer, primary_key=True))\n",
        true,
    ),
];

#[test]
fn what_the_source_foretells_is_what_sqlalchemy_raises() {
    for (first, second, raises) in some_of(PAIRS, 6) {
        let Some(app) = App::with_packages() else {
            return;
        };
        let bases = "from sqlalchemy.orm import declarative_base\nBase = declarative_base()\nOther = declarative_base()\n";
        let head =
            format!("{HEAD}from base import Other\nfrom sqlalchemy.orm import declared_attr\n");
        let app = app
            .file("base.py", bases)
            .file("first.py", format!("{head}{first}"))
            .file("second.py", format!("{head}{second}"))
            .file("models.py", "import first, second\nfrom base import Base\n")
            .schema("sqlite:///app.db", "models:Base");
        let of = |report: &crate::domain::finding::CheckReport| {
            let of_kind = |f: &&crate::domain::finding::Finding| f.code == "schema.duplicate_table";
            report.findings.iter().find(of_kind).cloned()
        };
        let raised = of(&app.check(CheckName::Schema));
        assert_eq!(raised.is_some(), *raises, "{first}{second}");
        // The same without an import that meets both: only the source tells it.
        let app = app
            .file("plain.py", "from base import Base\n")
            .imports("models");
        let mut app = app.schema("sqlite:///app.db", "plain:Base");
        app.manifest.schemas.remove(0);
        let foretold = of(&app.check(CheckName::Schema));
        match (raised, foretold) {
            (Some(raised), Some(foretold)) => {
                assert_eq!(raised.message, foretold.message);
                assert_eq!(raised.severity, foretold.severity, "{first}{second}");
                assert_eq!(raised.facts, foretold.facts, "{first}{second}");
                let places = ["first.py:", "second.py:"];
                assert!(
                    places.iter().all(|p| raised.message.contains(p)),
                    "{}",
                    raised.message
                );
            }
            (None, None) => {}
            (raised, foretold) => panic!("{first}{second}\n{raised:#?}\n{foretold:#?}"),
        }
    }
}

#[test]
fn a_table_behind_a_condition_is_reported_when_it_is_met_only() {
    let second = format!(
        "import os\n{HEAD}if os.environ.get('TWICE'):\n    class B(Base):\n        __tablename__ = 't'\n        id = Column(Integer, primary_key=True)\n"
    );
    let Some(mut app) = app_with(second.as_bytes()) else {
        return;
    };
    assert_eq!(
        problems(&app.check(CheckName::Schema)),
        ["schema.missing_table t"]
    );
    app.process.insert("TWICE".into(), "1".into());
    app = app.file(".env", "TWICE=1\n");
    app.manifest.config.files = vec![".env".into()];
    let report = app.check(CheckName::Schema);
    let finding = only(&report, "schema.duplicate_table");
    assert!(
        finding.message.contains("class A, first.py:4")
            && finding.message.contains("class B, second.py:6"),
        "{}",
        finding.message
    );
}

#[test]
fn the_schema_of_a_metadata_does_not_hide_the_places() {
    let Some(app) = App::with_packages() else {
        return;
    };
    let app = app
        .file("base.py", "from sqlalchemy import MetaData\nfrom sqlalchemy.orm import declarative_base\nmetadata = MetaData(schema='audit')\nBase = declarative_base(metadata=metadata)\n")
        .file("models.py", format!("{HEAD}class A(Base):\n    __tablename__ = 't'\n    id = Column(Integer, primary_key=True)\nclass B(Base):\n    __tablename__ = 't'\n    id = Column(Integer, primary_key=True)\n"))
        .schema("sqlite:///app.db", "models:Base");
    let report = app.check(CheckName::Schema);
    let finding = only(&report, "schema.duplicate_table");
    assert_eq!(
        finding.message,
        "table audit.t is defined twice: class A, models.py:4, and again class B, models.py:7"
    );
}
