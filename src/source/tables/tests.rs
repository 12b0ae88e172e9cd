//! Tables, the `MetaData` that each belongs to, and the order in which imports define them.

use crate::source::{ImportOrder, ScanOptions, SourceFacts, TableDefinition, read_sources};

const BASE: &str = "from sqlalchemy.orm import declarative_base\nBase = declarative_base()\n";

fn facts(files: &[(&str, &str)]) -> SourceFacts {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    read_sources(dir.path(), &[".".to_owned()], &ScanOptions::default())
}

/// Table, `MetaData` and whether it is sure, of one file beside a `base.py`.
fn tables(text: &str) -> Vec<(String, String, bool)> {
    let text = format!(
        "from sqlalchemy import Column, Integer, MetaData, Table\nfrom base import Base\n{text}"
    );
    let facts = facts(&[("base.py", BASE), ("models.py", &text)]);
    let of = |table: TableDefinition| (table.table, table.metadata, table.sure);
    facts.tables.into_iter().map(of).collect()
}

fn table(name: &str, metadata: &str, sure: bool) -> (String, String, bool) {
    (name.to_owned(), metadata.to_owned(), sure)
}

#[test]
fn a_class_belongs_to_the_metadata_of_its_base() {
    for text in [
        "class A(Base):\n    __tablename__ = 't'\n",
        "class A(Base):\n    __tablename__: str = 't'\n",
        "class Mixin:\n    pass\nclass A(Mixin, Base):\n    __tablename__ = 't'\n",
        "class Parent(Base):\n    __abstract__ = True\nclass A(Parent):\n    __tablename__ = 't'\n",
        "Other = Base\nclass A(Other):\n    __tablename__ = 't'\n",
        "from sqlalchemy.orm import declarative_base\nOther = declarative_base(metadata=Base.metadata)\n\
         class A(Other):\n    __tablename__ = 't'\n",
        "import base as b\nclass A(b.Base):\n    __tablename__ = 't'\n",
        "with open('x') as f:\n    class A(Base):\n        __tablename__ = 't'\n",
        "t = Table('t', Base.metadata, Column('id', Integer))\n",
        "class A(Base):\n    __table__ = Table('t', Base.metadata, Column('id', Integer))\n",
    ] {
        assert_eq!(tables(text), [table("t", "base.py:Base", true)], "{text}");
    }
}

#[test]
fn other_metadata_is_told_apart() {
    for (text, metadata) in [
        (
            "from sqlalchemy.orm import DeclarativeBase\nclass Own(DeclarativeBase):\n    pass\nclass A(Own):\n    __tablename__ = 't'\n",
            "models.py:Own",
        ),
        (
            "Own = MetaData()\nt = Table('t', Own, Column('id', Integer))\n",
            "models.py:Own",
        ),
        (
            "from sqlalchemy.orm import registry\nreg = registry()\nOwn = reg.generate_base()\nclass A(Own):\n    __tablename__ = 't'\n",
            "models.py:Own",
        ),
        (
            "class Own(Base):\n    metadata = MetaData()\nclass A(Own):\n    __tablename__ = 't'\n",
            "models.py:Own.metadata",
        ),
        (
            "from flask_sqlalchemy import SQLAlchemy\ndb = SQLAlchemy()\nclass A(db.Model):\n    __tablename__ = 't'\n",
            "models.py:db",
        ),
        (
            "from sqlmodel import SQLModel\nclass A(SQLModel, table=True):\n    __tablename__ = 't'\n",
            "sqlmodel.SQLModel",
        ),
    ] {
        assert_eq!(tables(text), [table("t", metadata, true)], "{text}");
    }
}

#[test]
fn what_depends_on_more_than_the_import_is_not_sure() {
    for text in [
        "if unknown():\n    class A(Base):\n        __tablename__ = 't'\n",
        "def make():\n    class A(Base):\n        __tablename__ = 't'\n",
        "try:\n    class A(Base):\n        __tablename__ = 't'\nexcept Exception:\n    pass\n",
        "for x in y:\n    t = Table('t', Base.metadata, Column('id', Integer))\n",
        "ts = [Table('t', Base.metadata, Column('id', Integer))]\n",
        "class A(Base):\n    __tablename__ = 't'\n    __table_args__ = ARGS\n",
        "class A(Base):\n    __tablename__ = 't'\n    @declared_attr\n    def __table_args__(cls):\n        return {}\n",
        "@decorated\nclass A(Base):\n    __tablename__ = 't'\n",
        "class Mixin:\n    __table_args__ = {'info': {}}\nclass A(Mixin, Base):\n    __tablename__ = 't'\n",
        "t = Table('t', Base.metadata, Column('id', Integer), **more)\n",
    ] {
        assert_eq!(tables(text), [table("t", "base.py:Base", false)], "{text}");
    }
    for text in [
        "class A(Unknown):\n    __tablename__ = 't'\n",
        "Own = MetaData()\nOwn = MetaData()\nt = Table('t', Own, Column('id', Integer))\n",
    ] {
        assert_eq!(tables(text), [table("t", "", false)], "{text}");
    }
}

#[test]
fn what_defines_no_table_is_none() {
    for text in [
        "class A(Base):\n    __abstract__ = True\n    __tablename__ = 't'\n",
        "class A(Base):\n    @declared_attr\n    def __tablename__(cls):\n        return 't'\n",
        "class A(Base):\n    __tablename__ = NAME\n",
        "t = Table('t', Base.metadata)\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    class A(Base):\n        __tablename__ = 't'\n",
    ] {
        assert_eq!(tables(text), [], "{text}");
    }
}

#[test]
fn options_and_places_are_those_of_python() {
    let text = "from base import Base\n@final\n# a class, really\n\nclass A(Base):\n    '''ü'''\n    __tablename__ = 't'\n    \
                __table_args__ = ({'schema': 'audit', 'extend_existing': True})\n\n\
                if True:\n    x = 'ü'; y = Table('u', Base.metadata, Column('id', Integer), keep_existing=False)\n";
    let facts = facts(&[("base.py", BASE), ("models.py", text)]);
    let [class, call] = &facts.tables[..] else {
        panic!("{:#?}", facts.tables);
    };
    assert_eq!((class.table.as_str(), class.extends), ("audit.t", true));
    assert_eq!(
        (class.line, class.column, class.first_line, class.end_line),
        (5, 0, 2, 8)
    );
    assert_eq!((call.table.as_str(), call.extends), ("u", false));
    assert_eq!((call.line, call.column, call.end_line), (11, 18, 11));
}

#[test]
fn imports_are_followed_as_python_runs_them() {
    let class = |name: &str, head: &str| {
        format!("{head}from base import Base\nclass A(Base):\n    __tablename__ = '{name}'\n")
    };
    let a = class("a", "from pkg import b\nif unknown():\n    import never\n");
    let b = class(
        "b",
        "try:\n    from . import c\nexcept ImportError:\n    import never\n",
    );
    let c = class("c", "import a\ndef later():\n    import never\n");
    let facts = facts(&[
        ("base.py", BASE),
        ("a.py", &a),
        ("pkg/__init__.py", &class("pkg", "")),
        ("pkg/b.py", &b),
        ("pkg/c.py", &c),
        ("never.py", &class("never", "")),
        ("plugin.py", &class("plugin", "")),
        (
            "quiet.py",
            &class(
                "quiet",
                "try:\n    import plugin\nexcept Exception:\n    pass\n",
            ),
        ),
    ]);
    let order = ImportOrder::new(&facts);
    let names = |entry: &str| {
        let tables = order.tables_of(entry);
        let name = |at: usize| facts.tables[at].table.clone();
        tables.into_iter().map(name).collect::<Vec<_>>()
    };
    assert_eq!(names("a"), ["pkg", "c", "b", "a"]);
    assert_eq!(names("pkg.c"), ["pkg", "b", "a", "c"]);
    assert_eq!(names("quiet"), ["quiet"]);
    assert_eq!(names("nowhere"), Vec::<String>::new());
}

/// Where each way is walked, this never ends.
#[test]
fn circles_and_diamonds_end() {
    let mut stars = String::new();
    let mut files: Vec<(String, String)> = vec![("base.py".into(), BASE.into())];
    for n in 0..12 {
        stars.push_str(&format!("from pkg.m{n} import *\n"));
    }
    for n in 0..12 {
        files.push((format!("pkg/m{n}.py"), stars.clone()));
    }
    files.push((
        "pkg/m12.py".into(),
        format!("{stars}class A(Unknown):\n    __tablename__ = 'unknown'\n"),
    ));
    // Each class has the one before it twice for a base, and one is its own.
    let mut classes =
        "from base import Base\nclass C0(Base):\n    __abstract__ = True\n".to_owned();
    for n in 0..38 {
        classes.push_str(&format!("class D{n}(C{n}):\n    pass\nclass E{n}(C{n}):\n    pass\nclass C{}(D{n}, E{n}):\n    pass\n", n + 1));
    }
    classes.push_str(
        "class T(C10):\n    __tablename__ = 'deep'\nclass Own(Own):\n    __tablename__ = 'own'\n",
    );
    files.push(("classes.py".into(), classes));
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(n, t)| (n.as_str(), t.as_str()))
        .collect();
    let facts = facts(&files);
    let found: Vec<_> = facts
        .tables
        .iter()
        .map(|t| (t.table.as_str(), t.metadata.as_str(), t.sure))
        .collect();
    assert_eq!(
        found,
        [
            ("deep", "base.py:Base", true),
            ("own", "", false),
            ("unknown", "", false)
        ]
    );
}
