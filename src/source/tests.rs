use super::*;

pub(super) fn read(files: &[(&str, &str)]) -> SourceFacts {
    read_at(files, &[], ScanOptions::default())
}

fn read_at(files: &[(&str, &str)], roots: &[&str], options: ScanOptions) -> SourceFacts {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let roots: Vec<String> = roots.iter().map(|root| (*root).to_owned()).collect();
    read_sources(dir.path(), &roots, &options)
}

/// `module[:name] guard` of each import.
fn imports(facts: &SourceFacts) -> Vec<String> {
    let imports = facts.imports.iter();
    imports
        .map(|i| match &i.name {
            Some(name) => format!("{}:{name} {:?}", i.module, i.guard),
            None => format!("{} {:?}", i.module, i.guard),
        })
        .collect()
}

/// `NAME kind [required] [default] [secret] [reader]` of each read.
fn reads(facts: &SourceFacts) -> Vec<String> {
    let reads = facts.env_reads.iter();
    reads
        .map(|r| {
            let mut words = vec![r.name.clone(), format!("{:?}", r.kind)];
            words.extend(r.aliases.iter().map(|a| format!("|{a}")));
            words.extend(r.required.then(|| "required".to_owned()));
            words.extend(r.default.as_ref().map(|d| format!("={d}")));
            words.extend(r.secret.then(|| "secret".to_owned()));
            words.extend((!r.one_of.is_empty()).then(|| format!("{:?}", r.one_of)));
            words.join(" ")
        })
        .collect()
}

#[test]
fn imports_know_when_they_run() {
    let facts = read(&[
        ("pkg/__init__.py", "from . import a\nfrom .b import *\n"),
        (
            "pkg/sub/m.py",
            "import os.path as p, sys\n\
             from ..a import x as y\n\
             from typing import TYPE_CHECKING\n\
             if TYPE_CHECKING:\n    import t1\nelse:\n    import t2\n\
             try:\n    import o1\nexcept ImportError:\n    o1 = None\n\
             try:\n    import r1\nexcept ImportError as e:\n    raise RuntimeError('no') from e\n\
             def f():\n    import l1\n\
             class C:\n    import c1\n\
             if sys.platform == 'x':\n    import d1\n",
        ),
        ("top.py", "from ... import x\n"),
    ]);
    assert_eq!(
        imports(&facts),
        [
            "pkg:a Always",
            "pkg.b:* Always",
            "os.path Always",
            "sys Always",
            "pkg.a:x Always",
            "typing:TYPE_CHECKING Always",
            "t1 TypeChecking",
            "t2 Always",
            "o1 Tried",
            "r1 Always",
            "l1 Function",
            "c1 Always",
            "d1 Conditional",
        ]
    );
    assert_eq!(
        facts.imports[4].place,
        Place {
            file: "pkg/sub/m.py".into(),
            line: 2,
            column: 17
        }
    );
    assert_eq!(facts.unjudged.len(), 1);
    assert_eq!(facts.scopes[0].stars, ["pkg.b"]);
    assert!(facts.scopes[1].names.contains("o1") && facts.scopes[1].names.contains("y"));
}

#[test]
fn the_version_decides_branches_and_syntax() {
    let text = "import sys\nif sys.version_info >= (3, 11):\n    import tomllib\nelse:\n    import tomli\n";
    let at = |target| {
        read_at(
            &[("a.py", text)],
            &[],
            ScanOptions {
                target,
                ..ScanOptions::default()
            },
        )
    };
    assert_eq!(
        imports(&at(Some((3, 12))))[1..],
        ["tomllib Always", "tomli TypeChecking"]
    );
    assert_eq!(
        imports(&at(Some((3, 9))))[1..],
        ["tomllib TypeChecking", "tomli Always"]
    );
    assert_eq!(
        imports(&at(None))[1..],
        ["tomllib Conditional", "tomli Conditional"]
    );
    let matched = [("a.py", "match x:\n    case 1: pass\n")];
    assert!(read(&matched).syntax_errors.is_empty());
    let old = ScanOptions {
        target: Some((3, 9)),
        ..ScanOptions::default()
    };
    assert_eq!(read_at(&matched, &[], old).syntax_errors[0].place.line, 1);
}

#[test]
fn syntax_errors_have_their_place() {
    let facts = read(&[
        ("a.py", "def f(:\n    pass\n"),
        ("b.py", "x = 1\r\ny = 'é' +\r\n"),
        ("c.py", "# coding: koi9\nx\n"),
        ("ok.py", "x = 1"),
    ]);
    let places: Vec<_> = facts
        .syntax_errors
        .iter()
        .map(|e| (e.place.file.as_str(), e.place.line, e.place.column))
        .collect();
    assert_eq!(places, [("a.py", 1, 7), ("b.py", 2, 10)]);
    assert_eq!(facts.unjudged[0].why, "unknown encoding koi9");
    assert_eq!((facts.files, facts.lines), (4, 7));
}

#[test]
fn only_the_applications_own_files_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("far.py"), "import far").unwrap();
    for (path, text) in [
        (".gitignore", "gen/\nsecret.py\n"),
        ("app/a.py", ""),
        ("app/secret.py", ""),
        ("gen/g.py", ""),
        ("env/pyvenv.cfg", ""),
        ("env/lib/x.py", ""),
        ("node_modules/n/n.py", ""),
        (".hidden/h.py", ""),
        ("app/b.pyi", ""),
    ] {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    std::os::unix::fs::symlink(outside.path(), dir.path().join("link")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("far.py"), dir.path().join("far.py")).unwrap();
    let seen = |roots: &[&str]| {
        let roots: Vec<String> = roots.iter().map(|r| (*r).to_owned()).collect();
        let facts = read_sources(dir.path(), &roots, &ScanOptions::default());
        facts.modules
    };
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(seen(&[]), [pair("app.a", "app/a.py")]);
    // Named, so read; and a root inside of another gives its files a second name.
    assert_eq!(seen(&["gen"]), [pair("g", "gen/g.py")]);
    assert_eq!(
        seen(&[".", "app"]),
        [pair("a", "app/a.py"), pair("app.a", "app/a.py")]
    );
    assert_eq!(seen(&["link", "../", "/etc", "nowhere"]), []);
    let few = ScanOptions {
        files_max: 1,
        ..ScanOptions::default()
    };
    std::fs::write(dir.path().join("b.py"), "").unwrap();
    let facts = read_sources(dir.path(), &[], &few);
    assert!(facts.truncated && facts.files == 1);
}

#[test]
fn reads_of_os_environ_under_any_name() {
    let facts = read(&[(
        "a.py",
        "import os\nfrom os import environ as env, getenv\nimport os as system\n\
         A = os.environ['A_KEY']\n\
         B = env.get('B', 'x')\n\
         C = int(getenv('C', '5'))\n\
         D = system.environ.get('D', 'false').lower() in ('1', 'true')\n\
         E = os.getenv('E', 'postgres://h/d')\n\
         if 'F' in os.environ:\n    F = os.environ['F']\n\
         os.environ['W'] = '1'\n\
         del os.environ['W']\n\
         NAME = 'G'\nG = os.environ[NAME]\n\
         H = os.environ[f'{A}_H']\n\
         try:\n    I = os.environ['I']\nexcept KeyError:\n    I = None\n\
         J = os.environ.setdefault('J', 'j')\n\
         e = os.environ\nK = e.get('K', 3)\n\
         L = bool(os.getenv('L'))\n\
         def f(os): return os.environ['NOT']\n",
    )]);
    let mut expected = vec![
        "A_KEY String required secret",
        "B String =x",
        "C Int =5",
        "D Bool =false",
        "E Url =postgres://h/d",
        "F Bool",
        "F String",
        "G String required",
        "I String",
        "J String =j",
        "K Int =3",
        "L Bool",
        "NOT String required",
    ];
    // A membership test has no kind of its own.
    expected[5] = "F String";
    assert_eq!(reads(&facts), expected);
    assert_eq!(facts.unjudged.len(), 1);
    assert_eq!(facts.unjudged[0].place.line, 15);
}

#[test]
fn settings_with_a_computed_prefix_are_not_guessed() {
    let facts = read(&[(
        "conf.py",
        "from pydantic import AliasChoices, AliasPath, Field\nfrom pydantic_settings import BaseSettings\n\
         from own import configure\nclass S(BaseSettings):\n    model_config = configure('server')\n    a: int = 1\n    \
         b: int = Field(2, validation_alias=AliasChoices(AliasPath('b'), 'own_server_b', 'own_b'))\n",
    )]);
    let [read] = &facts.env_reads[..] else {
        panic!("{:?}", facts.env_reads);
    };
    assert_eq!((read.name.as_str(), read.place.line), ("OWN_SERVER_B", 7));
    assert_eq!(read.aliases, ["OWN_B", "B"]);
    let [unjudged] = &facts.unjudged[..] else {
        panic!("{:?}", facts.unjudged);
    };
    assert!(unjudged.why.contains("any prefix"), "{}", unjudged.why);
}

#[test]
fn settings_classes_of_pydantic() {
    let facts = read(&[
        (
            "base.py",
            "from pydantic_settings import BaseSettings, SettingsConfigDict\n\
             class Common(BaseSettings):\n    model_config = SettingsConfigDict(env_prefix='APP_', env_nested_delimiter='__')\n    debug: bool = False\n",
        ),
        (
            "conf.py",
            "from typing import ClassVar, Literal, Optional, Annotated\n\
             from pydantic import AliasChoices, BaseModel, Field, SecretStr, PostgresDsn\n\
             from base import Common\n\
             class Db(BaseModel):\n    host: str = 'h'\n    port: int = 5432\n\
             class Settings(Common):\n    db: Db\n    key: SecretStr\n    level: Literal['a', 'b'] = 'a'\n    \
                 url: Optional[PostgresDsn] = None\n    K: ClassVar[int] = 1\n    _p: int = 2\n    \
                 old: str = Field(validation_alias=AliasChoices('NEW', 'OLD'))\n    n: Annotated[int, Field(ge=1)] = 4\n    \
                 t: str = Field('d', alias='tt')\n    z: str = Field(...)\n",
        ),
        (
            "v1.py",
            "from pydantic import BaseSettings, Field\nclass S(BaseSettings):\n    a: int\n    B: str = Field('x', env='BB')\n    class Config:\n        env_prefix = 'v1_'\n        case_sensitive = True\n",
        ),
        (
            "other.py",
            "class BaseSettings: pass\nclass S(BaseSettings):\n    a: int\n",
        ),
    ]);
    assert_eq!(
        reads(&facts),
        [
            "APP_DEBUG Bool =false",
            "APP_DB__HOST String =h",
            "APP_DB__PORT Int =5432",
            "APP_DB String",
            "APP_KEY String required secret",
            "APP_LEVEL String =a [\"a\", \"b\"]",
            "APP_URL Url",
            "NEW String |OLD required",
            "APP_N Int =4",
            "TT String =d",
            "APP_Z String required",
            "v1_a Int required",
            "BB String =x",
        ]
    );
}

#[test]
fn readers_of_other_libraries() {
    let facts = read(&[
        (
            "a.py",
            "import environ\nfrom environs import Env\nfrom decouple import config, Csv\n\
             env = environ.Env(DEBUG=(bool, False), N=(int, 3))\n\
             environ.Env.read_env('.env')\n\
             A = env('DEBUG')\nB = env('B_TOKEN')\nC = env.bool('C', default=True)\n\
             D = config('D', default=10, cast=int)\nE = config('E')\n\
             e = Env()\ne.read_env()\nF = e.int('F', 7)\nG = e.str('G')\n\
             with e.prefixed('P_'):\n    H = e.path('H')\nI = e('I', None)\n",
        ),
        (
            "b.py",
            "from a import env\nJ = env.int('J')\nK = env('N')\nother('L')\n",
        ),
        (
            "c.py",
            "from starlette.config import Config\nconfig = Config('.env')\n\
             M = config('M', cast=bool, default=False)\nN = config('N2')\n",
        ),
    ]);
    assert_eq!(
        reads(&facts),
        [
            "DEBUG Bool =false",
            "B_TOKEN String required secret",
            "C Bool =true",
            "D Int =10",
            "E String required",
            "F Int =7",
            "G String required",
            "P_H Path required",
            "I String",
            "J Int required",
            "N Int =3",
            "M Bool =false",
            "N2 String required",
        ]
    );
    assert!(facts.unjudged.is_empty(), "{:?}", facts.unjudged);
}

#[test]
fn applications_and_their_factories() {
    let facts = read(&[
        (
            "pkg/main.py",
            "from fastapi import FastAPI\nimport flask\nfrom starlette.applications import Starlette\n\
             app = FastAPI(title='x')\nsub: Starlette = Starlette()\n\
             def create_app(config=None):\n    a = flask.Flask(__name__)\n    return a\n\
             def needs(x):\n    return FastAPI()\ndef helper():\n    b = FastAPI()\n\
             if __name__ == '__main__':\n    mine = FastAPI()\n",
        ),
        (
            "wsgi.py",
            "from pkg.main import create_app, needs\napplication = create_app()\nlocal = needs(1)\nx = other()\n",
        ),
        (
            "manage.py",
            "import os\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', 'site.settings')\n",
        ),
        (
            "site/asgi.py",
            "import os\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', 'site.settings')\n",
        ),
    ]);
    let seen: Vec<_> = facts
        .applications
        .iter()
        .map(|a| {
            (
                a.framework,
                a.module.as_str(),
                a.attribute.as_str(),
                a.is_factory,
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            (Framework::Django, "site.settings", "", false),
            (Framework::FastApi, "pkg.main", "app", false),
            (Framework::Starlette, "pkg.main", "sub", false),
            (Framework::Flask, "pkg.main", "create_app", true),
            (Framework::Flask, "wsgi", "application", false),
            (Framework::FastApi, "wsgi", "local", false),
        ]
    );
}

#[test]
fn bases_and_their_tables() {
    let facts = read(&[
        (
            "db.py",
            "from sqlalchemy.orm import DeclarativeBase, declarative_base\nfrom sqlalchemy import MetaData\n\
             class Base(DeclarativeBase): pass\nOld = declarative_base()\nmetadata = MetaData()\n",
        ),
        ("models/__init__.py", "from db import Base\n"),
        (
            "models/a.py",
            "from sqlalchemy import Table\nfrom . import Base\nfrom db import Old, metadata\n\
             class A(Base):\n    __tablename__ = 'a'\nclass Mixed(Base):\n    __abstract__ = True\n\
             class B(Mixed):\n    __tablename__: str = 'b'\nclass C(Old):\n    __tablename__ = 'c'\n\
             t = Table('t', metadata)\nu = Table('u', Base.metadata)\n",
        ),
        (
            "shop.py",
            "from flask_sqlalchemy import SQLAlchemy\ndb = SQLAlchemy()\nclass P(db.Model):\n    pass\n",
        ),
        (
            "lite.py",
            "from sqlmodel import SQLModel\nclass H(SQLModel, table=True):\n    id: int\n",
        ),
    ]);
    let seen: Vec<_> = facts
        .bases
        .iter()
        .map(|b| (b.module.as_str(), b.attribute.as_str(), b.tables))
        .collect();
    assert_eq!(
        seen,
        [
            ("db", "Base", 3),
            ("db", "Old", 1),
            ("db", "metadata", 1),
            ("lite", "SQLModel", 1),
            ("shop", "db", 1),
        ]
    );
}

#[test]
fn routers_and_where_they_are_mounted() {
    let facts = read(&[
        (
            "api/__init__.py",
            "from .users import router as users_router\n",
        ),
        (
            "api/users.py",
            "from fastapi import APIRouter\nrouter = APIRouter(prefix='/users')\n\
             @router.get('/')\ndef a(): pass\n@router.post('/')\nasync def b(): pass\n\
             lost = APIRouter()\n@lost.get('/x')\ndef c(): pass\n",
        ),
        (
            "api/items.py",
            "import fastapi\nrouter = fastapi.APIRouter()\n",
        ),
        (
            "main.py",
            "from fastapi import FastAPI\nfrom api import users_router, items\napp = FastAPI()\n\
             app.include_router(users_router, prefix='/v1')\n\
             for r in [items.router]:\n    app.include_router(r)\napp.mount('/sub', unknown())\n",
        ),
    ]);
    let routers: Vec<_> = facts
        .routers
        .iter()
        .map(|r| {
            (
                r.module.as_str(),
                r.name.as_str(),
                r.prefix.as_str(),
                r.endpoints,
            )
        })
        .collect();
    assert_eq!(
        routers,
        [
            ("api.items", "router", "", 0),
            ("api.users", "router", "/users", 2),
            ("api.users", "lost", "", 1),
        ]
    );
    let pair = |module: &str, name: &str| Some((module.to_owned(), name.to_owned()));
    let included: Vec<_> = facts
        .includes
        .iter()
        .map(|i| (i.includer.clone(), i.included.clone(), i.prefix.as_str()))
        .collect();
    assert_eq!(
        included,
        [
            (pair("main", "app"), pair("api.users", "router"), "/v1"),
            (pair("main", "app"), pair("api.items", "router"), ""),
            (pair("main", "app"), None, "/sub"),
        ]
    );
}

#[test]
fn deep_and_broken_text_is_survived() {
    let facts = read(&[
        ("a.py", &"(".repeat(100_000)),
        ("b.py", &"-".repeat(100_000)),
        ("c.py", &"x = [\n".repeat(150)),
        ("d.py", &format!("x = {}1\n", "1 + ".repeat(3_900))),
        ("e.py", &format!("x = {}1\n", "not ".repeat(3_900))),
        ("f.py", &format!("x = f{}\n", "(a)".repeat(1_900))),
    ]);
    let broken: Vec<_> = facts
        .syntax_errors
        .iter()
        .map(|e| e.place.file.as_str())
        .collect();
    assert_eq!(broken, ["a.py", "c.py"]);
    let unjudged: Vec<_> = facts
        .unjudged
        .iter()
        .map(|u| u.place.file.as_str())
        .collect();
    assert_eq!(unjudged, ["b.py"]);
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read(bytes: Vec<u8>) {
        read_text_of_one_file(&bytes);
    }

    #[test]
    fn any_python_like_text_is_read(words in proptest::collection::vec(proptest::sample::select(&[
        "import", "from", ".", "os", "environ", "[", "]", "(", ")", "{", "}", "'a'", "f'{", "}'", ":", "\n", "\n    ",
        "\n\t", "class", "def", "x", "=", ",", "*", "if", "else", "try", "except", "lambda", "\\", "#", "\"\"\"", "\r",
        "match", "case", "é", "Env", "get", "with", "async", "-", "@", "\u{0}", "\u{feff}", ";", "for", "in",
    ][..]), 0..60)) {
        read_text_of_one_file(words.join(" ").as_bytes());
    }
}
