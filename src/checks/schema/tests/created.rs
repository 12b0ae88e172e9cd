//! What SQLAlchemy creates from many shapes of models is what it expects: nothing may differ.

use std::process::Command;

use super::details::{check, create_all};
use crate::checks::testing::postgres::Server;
use crate::checks::testing::{App, venv};

/// What applications write; created by SQLAlchemy itself, so nothing may differ.
const MANY_SHAPES: &str = r#"
import enum, sqlalchemy, uuid
from sqlalchemy import *
from sqlalchemy.orm import declarative_base, declarative_mixin, declared_attr
from sqlalchemy.schema import FetchedValue

pg = __import__("sqlalchemy.dialects.postgresql").dialects.postgresql
POSTGRES = False

class Color(enum.Enum):
    red = "r"
    blue = "b"

class Money(TypeDecorator):
    impl = Numeric(12, 4)
    cache_ok = True

class Slug(TypeDecorator):
    impl = String(40, collation="C" if POSTGRES else "NOCASE")
    cache_ok = True

class Stamped:
    created = Column(DateTime, server_default=func.now(), nullable=False)
    changed = Column(DateTime, server_default=func.now(), onupdate=func.now())
    state = Column(String(8), CheckConstraint("state IN ('new', 'old')", name="state"), server_default="new", nullable=False)

Base = declarative_base(metadata=MetaData(naming_convention={
    "ix": "ix_%(column_0_label)s", "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s", "pk": "pk_%(table_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s"}))

class Author(Stamped, Base):
    __tablename__ = "authors"
    id = Column(Integer, primary_key=True)
    slug = Column(Slug, unique=True)
    balance = Column(Money, CheckConstraint("balance >= 0", name="balance"), server_default=text("0.00"))
    color = Column(Enum(Color))
    size = Column(Enum("s", "m", native_enum=False, create_constraint=True, name="size"))
    flag = Column(Boolean(create_constraint=True, name="flag"), server_default=false(), nullable=False)
    ratio = Column(Float, server_default="1.5")
    first = Column(String(20))
    last = Column("Last Name", String(20))
    both = Column(String(60), Computed("coalesce(first, '') || ' ' || \"Last Name\"", persisted=True))
    double = Column(Integer, Computed(column("id") * 2 + 1, persisted=True))
    __table_args__ = (
        CheckConstraint("first <> '' AND (\"Last Name\" IS NULL OR length(\"Last Name\") BETWEEN 2 AND 20)", name="names"),
        CheckConstraint(func.lower(first) != "root", name="no_root"),
        CheckConstraint("ratio > 0 and not (ratio > 10) -- at most\n", name="most"),
        CheckConstraint(ratio.between(0.0, 100.25), name="range"),
        CheckConstraint(and_(size.in_(["s", "m"]), or_(first.is_(None), first.like("a%b"))), name="many"),
        Index("ix_both", func.coalesce(first, "none"), func.lower(last).desc(), unique=True),
        Index("ix_flag", "created", postgresql_where=text("flag AND state = 'new'"), sqlite_where=text("flag AND state = 'new'")),
        Index("ix_cast", cast(ratio, Integer)),
        Index("ix_quoted", "Last Name"),
        Index("ix_semi", text("(first || ';')")),
    )

class Book(Stamped, Base):
    __tablename__ = "books"
    isbn = Column(String(13), primary_key=True)
    part = Column(SmallInteger, primary_key=True, server_default="1")
    author_id = Column(ForeignKey("authors.id", ondelete="SET NULL", deferrable=True, initially="DEFERRED"), index=True)
    parent = Column(String(13))
    parent_part = Column(SmallInteger)
    filled = Column(Text, server_default=FetchedValue())
    __table_args__ = (
        ForeignKeyConstraint(["parent", "parent_part"], ["books.isbn", "books.part"], name="fk_parent", use_alter=True),
        UniqueConstraint("author_id", "parent"),
    )

class Key(Base):
    __tablename__ = "keys"
    author_id = Column(ForeignKey("authors.id"), primary_key=True)
    number = Column(BigInteger, primary_key=True, autoincrement=False)
    given = Column(Integer, Sequence("given_seq"))
"#;

const MANY_SHAPES_OF_POSTGRES: &str = r#"
POSTGRES = True

class Special(Base):
    __tablename__ = "Special Things"
    id = Column(pg.UUID(as_uuid=True), primary_key=True, server_default=text("gen_random_uuid()"), default=uuid.uuid4)
    number = Column(BigInteger, Identity(always=False, start=5))
    title = Column(Text)
    body = Column(Text)
    words = Column(pg.TSVECTOR, Computed("to_tsvector('english'::regconfig, coalesce(title, '') || ' ' || coalesce(body, ''))", persisted=True))
    tags = Column(pg.ARRAY(Text), server_default=text("ARRAY[]::text[]"))
    colors = Column(pg.ARRAY(Enum(Color)), server_default="{}")
    data = Column(pg.JSONB(astext_type=Text()), server_default=text("'{\"a\": 1}'"), nullable=False)
    wait = Column(Interval, server_default="1 day")
    at = Column(DateTime(timezone=True), server_default=text("timezone('utc', now())"))
    then = Column(DateTime, server_default=text("(now() AT TIME ZONE 'utc')"))
    during = Column(pg.TSTZRANGE)
    room = Column(Integer)
    host = Column(pg.INET, server_default="127.0.0.1")
    made = Column(Integer, Sequence("made_seq"), server_default=Sequence("made_seq").next_value())
    raw = Column(LargeBinary, server_default=text("'\\x00'::bytea"))
    spot = Column(Time, server_default="12:00")
    __table_args__ = (
        pg.ExcludeConstraint((during, "&&"), using="gist", name="ex_during"),
        Index("ix_words", words, postgresql_using="gin"),
        Index("ix_data", data, postgresql_using="gin", postgresql_ops={"data": "jsonb_path_ops"}),
        Index("ix_path", text("(data ->> 'kind')")),
        Index("ix_astext", data["a"].astext),
        Index("ix_include", room, postgresql_include=["title"]),
        Index("ix_fill", title, postgresql_with={"fillfactor": 50}, postgresql_ops={"title": "text_pattern_ops"}),
        Index("ix_brin", at, postgresql_using="brin"),
        Index("ix_hash", title, postgresql_using="hash"),
        Index("ix_nulls", room.desc().nullslast(), at.asc()),
        Index("ix_part", room, unique=True, postgresql_where=and_(title.isnot(None), room.in_([1, 2, 3]), at > text("'2020-01-01'"))),
        Index("ix_array", tags, postgresql_using="gin", postgresql_where=text("tags <> '{}'")),
        CheckConstraint(func.jsonb_typeof(data) == "object", name="object"),
        CheckConstraint("title ~ '^[A-Z;]'", name="regex"),
        CheckConstraint("title ILIKE 'a%' OR title = ANY (ARRAY['x', 'y'])", name="like"),
        CheckConstraint("(room IS NOT NULL) = (title IS NOT NULL) AND room % 2 = 0 AND num_nonnulls(title, body) > 0", name="arith"),
        CheckConstraint("wait > interval '1 hour' AND at > timestamp '2020-01-01'", name="times"),
        CheckConstraint("CASE WHEN room > 1 THEN title = 'a' ELSE true END", name="case"),
    )
"#;

#[test]
fn whatever_sqlalchemy_creates_is_what_it_expects() {
    let server = Server::start();
    for (packages, name) in [
        (&venv::PACKAGES[..], "new"),
        (&venv::OLD_PACKAGES[..], "old"),
    ] {
        let Some(python) = venv::python_with(packages) else {
            return;
        };
        let mut app = App::with_interpreter(Some(python.clone()))
            .file("models.py", MANY_SHAPES)
            .file(
                "more.py",
                MANY_SHAPES.replace("POSTGRES = False", "POSTGRES = True")
                    + MANY_SHAPES_OF_POSTGRES,
            );
        let code = "import sqlalchemy, models; models.Base.metadata.create_all(sqlalchemy.create_engine('sqlite:///own.db'))";
        let mut command = Command::new(&python);
        let done = command
            .args(["-B", "-c", code])
            .current_dir(app.root())
            .output()
            .unwrap();
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
        app = app.schema("sqlite:///own.db", "models:Base");
        if let Some(server) = &server {
            server.sql("postgres", &format!("CREATE DATABASE {name}"));
            server.sql(name, &create_all(&python, app.root(), "more"));
            app = app.schema(&server.url("postgresql", name), "more:Base");
        }
        let report = check(&app);
        let reported: Vec<_> = report
            .findings
            .iter()
            .map(|f| format!("{:?} {}: {}", f.severity, f.code, f.message))
            .collect();
        assert_eq!(reported, Vec::<String>::new(), "{packages:?}");
    }
}
