//! Reads of environment variables: `os.environ` and `os.getenv` under whatever name, and the readers of
//! `environs`, `decouple`, `django-environ` and Starlette.

use ruff_python_ast::{CmpOp, Expr, ExprCall, ExprCompare, ExprSubscript, Number};
use ruff_text_size::{Ranged, TextRange};

use super::facts::{EnvRead, ValueKind};
use super::pass::Pass;
use crate::manifest::sounds_secret;

/// An object that reads the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReaderObject {
    pub library: Library,
    /// `environ.Env(DEBUG=(bool, False))`: what it knows beforehand.
    pub scheme: Vec<(String, ValueKind, Option<String>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Library {
    Environs,
    Decouple,
    DjangoEnviron,
    Starlette,
}

impl Library {
    fn name(self) -> &'static str {
        match self {
            Self::Environs => "environs",
            Self::Decouple => "decouple",
            Self::DjangoEnviron => "django-environ",
            Self::Starlette => "starlette",
        }
    }
}

/// A read by an object of another module: one, if that object is a reader.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    /// Dotted name of the object.
    pub object: String,
    pub read: EnvRead,
}

/// Names of dotted things that read the environment.
const ENVIRON: [&str; 2] = ["os.environ", "os.environb"];
const DECOUPLE: [&str; 1] = ["decouple.config"];

impl<'a> Pass<'a> {
    /// `name = environ.Env(...)`.
    pub(super) fn assign_reader(&mut self, name: &str, value: &'a Expr) {
        let Expr::Call(call) = value else { return };
        let Some(made) = self.dotted(&call.func) else {
            return;
        };
        let library = match made.as_str() {
            "environs.Env" | "environs.FileAwareEnv" => Library::Environs,
            "environ.Env" | "environ.FileAwareEnv" => Library::DjangoEnviron,
            "decouple.AutoConfig" | "decouple.Config" => Library::Decouple,
            "starlette.config.Config" => Library::Starlette,
            _ => return,
        };
        let scheme = call
            .arguments
            .keywords
            .iter()
            .filter_map(|keyword| {
                let variable = keyword.arg.as_ref()?.as_str();
                let Expr::Tuple(pair) = &keyword.value else {
                    return None;
                };
                let kind = pair.elts.first().and_then(named_kind).unwrap_or_default();
                let default = pair.elts.get(1).and_then(literal_text);
                Some((variable.to_owned(), kind, default))
            })
            .collect();
        let reader = ReaderObject { library, scheme };
        self.out.readers.insert(name.to_owned(), reader);
    }

    /// `with env.prefixed("APP_")`.
    pub(super) fn enter_prefix(&mut self, call: &'a ExprCall) {
        if let Expr::Attribute(method) = &*call.func
            && method.attr.as_str() == "prefixed"
            && let Some(prefix) = call.arguments.args.first().and_then(|e| self.text_of(e))
        {
            self.prefixes.push(prefix);
        }
    }

    /// What the value of the first argument is turned into.
    pub(super) fn conversion(&self, call: &ExprCall) -> Option<ValueKind> {
        match &*call.func {
            Expr::Name(_) => named_kind(&call.func),
            // `value.lower()`, `value.strip()`: still what is compared or converted.
            Expr::Attribute(method) => match method.attr.as_str() {
                "lower" | "upper" | "strip" | "casefold" | "get" | "getenv" => self.hint,
                _ => named_kind(&call.func),
            },
            _ => None,
        }
    }

    fn is_environ(&self, expr: &Expr) -> bool {
        self.dotted(expr)
            .is_some_and(|name| ENVIRON.contains(&name.as_str()))
    }

    pub(super) fn read_subscript(&mut self, subscript: &'a ExprSubscript) {
        if self.is_environ(&subscript.value) {
            self.read_named(
                subscript.range(),
                &subscript.slice,
                true,
                None,
                "os.environ",
            );
        }
    }

    /// `"NAME" in os.environ`.
    pub(super) fn read_compare(&mut self, compare: &'a ExprCompare) {
        let ([CmpOp::In | CmpOp::NotIn], [right]) = (&*compare.ops, &*compare.comparators) else {
            return;
        };
        // A name that is not a literal is looked for, not read.
        if self.is_environ(right) && self.text_of(&compare.left).is_some() {
            self.read_named(compare.range(), &compare.left, false, None, "os.environ");
        }
    }

    pub(super) fn read_call(&mut self, call: &'a ExprCall) {
        let arguments = &call.arguments;
        if let Expr::Attribute(method) = &*call.func
            && self.is_environ(&method.value)
        {
            let default = arguments.args.get(1);
            match method.attr.as_str() {
                "get" | "setdefault" => {
                    let default = default.or(arguments.find_keyword("default").map(|k| &k.value));
                    self.read_argument(call, false, default);
                }
                "pop" | "__getitem__" => self.read_argument(call, default.is_none(), default),
                "items" | "keys" | "values" => {
                    self.unjudged(
                        call.range(),
                        "it goes through all variables of the environment",
                    );
                }
                _ => {}
            }
            return;
        }
        let Some(function) = self.dotted(&call.func) else {
            return;
        };
        match function.as_str() {
            "os.getenv" | "os.getenvb" => {
                let default = arguments.find_argument_value("default", 1);
                self.read_argument(call, false, default);
            }
            name if DECOUPLE.contains(&name) => self.read_by(call, Library::Decouple, "", &[]),
            _ => self.read_by_object(call, &function),
        }
    }

    fn read_argument(&mut self, call: &'a ExprCall, required: bool, default: Option<&'a Expr>) {
        let name = call.arguments.find_argument_value("key", 0);
        if let Some(name) = name {
            self.read_named(call.range(), name, required, default, "os.environ");
        }
    }

    fn read_named(
        &mut self,
        range: TextRange,
        name: &'a Expr,
        required: bool,
        default: Option<&'a Expr>,
        reader: &'static str,
    ) {
        let Some(name) = self.text_of(name) else {
            self.unjudged(range, "the name of the variable is computed");
            return;
        };
        let kind = self.hint;
        let read = self.read(range, name, required, default, kind, reader);
        self.out.env_reads.push(read);
    }

    fn read(
        &self,
        range: TextRange,
        name: String,
        required: bool,
        default: Option<&Expr>,
        kind: Option<ValueKind>,
        reader: &'static str,
    ) -> EnvRead {
        let text = default.and_then(literal_text);
        let kind = kind
            .or_else(|| default.and_then(literal_kind))
            .or_else(|| {
                text.as_deref()
                    .filter(|t| is_url(t))
                    .map(|_| ValueKind::Url)
            })
            .unwrap_or_default();
        EnvRead {
            place: self.place(range),
            secret: sounds_secret(&name),
            name,
            aliases: Vec::new(),
            required,
            default: text,
            kind,
            one_of: Vec::new(),
            reader,
            guard: self.read_guard(),
        }
    }

    /// `env("X")`, `env.int("X")`, where `env` is a reader of this module or, perhaps, of another.
    fn read_by_object(&mut self, call: &'a ExprCall, function: &str) {
        let own = format!("{}.", self.name.module);
        let (object, method) = match &*call.func {
            Expr::Attribute(attribute) => {
                let Some(object) = self.dotted(&attribute.value) else {
                    return;
                };
                (object, attribute.attr.as_str())
            }
            _ => (function.to_owned(), ""),
        };
        let local = object.strip_prefix(&own).map(str::to_owned);
        if let Some(reader) = local.and_then(|name| self.out.readers.get(&name).cloned()) {
            self.read_by(call, reader.library, method, &reader.scheme);
            return;
        }
        // `from config import env`: known when all files are read.
        let is_imported = !object.starts_with(&own) && object.contains('.');
        let Some(name) = call.arguments.args.first() else {
            return;
        };
        if is_imported
            && let Some(name) = self.text_of(name).filter(|name| is_variable_name(name))
            && let Some(read) = self.reader_call(call, Library::DjangoEnviron, method, &[], name)
        {
            self.out.candidates.push(Candidate { object, read });
        }
    }

    fn read_by(
        &mut self,
        call: &'a ExprCall,
        library: Library,
        method: &str,
        scheme: &[(String, ValueKind, Option<String>)],
    ) {
        let Some(name) = call.arguments.args.first() else {
            return;
        };
        match self.text_of(name) {
            Some(name) => {
                let name = format!("{}{name}", self.prefixes.concat());
                if let Some(read) = self.reader_call(call, library, method, scheme, name) {
                    self.out.env_reads.push(read);
                }
            }
            None if !method.starts_with("read_") && !method.starts_with("add_") => {
                self.unjudged(call.range(), "the name of the variable is computed");
            }
            None => {}
        }
    }

    fn reader_call(
        &self,
        call: &'a ExprCall,
        library: Library,
        method: &str,
        scheme: &[(String, ValueKind, Option<String>)],
        name: String,
    ) -> Option<EnvRead> {
        let cast = call
            .arguments
            .find_keyword("cast")
            .and_then(|keyword| named_kind(&keyword.value));
        let kind = match method {
            "" | "get_value" | "get" => cast,
            _ => Some(method_kind(method)?),
        };
        let arguments = &call.arguments;
        let default = arguments
            .find_keyword("default")
            .or_else(|| arguments.find_keyword("missing"))
            .map(|keyword| &keyword.value)
            .or_else(|| match library {
                // The second argument of Starlette is the conversion, of the others the default.
                Library::Starlette => arguments.args.get(2),
                Library::DjangoEnviron if method.is_empty() => arguments.args.get(2),
                _ => arguments.args.get(1),
            });
        let known = scheme.iter().find(|(known, ..)| *known == name);
        // `decouple` and `environs` know no other marker of a default than its presence.
        let required = default.is_none() && known.is_none_or(|(.., default)| default.is_none());
        let mut read = self.read(call.range(), name, required, default, kind, library.name());
        if let Some((_, kind, text)) = known {
            if read.kind == ValueKind::String {
                read.kind = *kind;
            }
            read.default = read.default.or_else(|| text.clone());
        }
        Some(read)
    }
}

/// `int`, `bool`, `Path`: what a conversion makes of a text.
pub(super) fn named_kind(expr: &Expr) -> Option<ValueKind> {
    let name = match expr {
        Expr::Name(name) => name.id.as_str(),
        Expr::Attribute(attribute) => attribute.attr.as_str(),
        _ => return None,
    };
    Some(match name {
        "int" | "PositiveInt" | "NonNegativeInt" | "conint" => ValueKind::Int,
        "float" | "Decimal" | "PositiveFloat" | "NonNegativeFloat" => ValueKind::Float,
        "bool" | "strtobool" | "StrictBool" | "str2bool" | "to_bool" | "parse_bool" => {
            ValueKind::Bool
        }
        "Path" | "FilePath" | "DirectoryPath" | "PurePath" => ValueKind::Path,
        "timedelta" => ValueKind::Duration,
        "AnyUrl" | "AnyHttpUrl" | "HttpUrl" | "PostgresDsn" | "RedisDsn" | "AmqpDsn"
        | "MongoDsn" | "KafkaDsn" | "MySQLDsn" | "URL" | "urlparse" | "make_url"
        | "DatabaseURL" => ValueKind::Url,
        _ => return None,
    })
}

/// The methods of `environs` and `django-environ`; `None` for what reads no variable.
fn method_kind(method: &str) -> Option<ValueKind> {
    Some(match method {
        "int" => ValueKind::Int,
        "float" | "decimal" => ValueKind::Float,
        "bool" => ValueKind::Bool,
        "path" => ValueKind::Path,
        "url" | "db" | "db_url" | "dj_db_url" | "cache" | "cache_url" | "email" | "email_url"
        | "search_url" | "channels_url" => ValueKind::Url,
        "timedelta" => ValueKind::Duration,
        "str" | "list" | "dict" | "tuple" | "json" | "date" | "datetime" | "time" | "uuid"
        | "enum" | "log_level" | "bytes" | "unicode" => ValueKind::String,
        _ => return None,
    })
}

/// A literal as the text that one would write into an environment file.
pub(super) fn literal_text(expr: &Expr) -> Option<String> {
    match expr {
        Expr::StringLiteral(text) => Some(text.value.to_str().to_owned()),
        Expr::BooleanLiteral(literal) => Some(literal.value.to_string()),
        Expr::NumberLiteral(literal) => match &literal.value {
            Number::Int(number) => Some(number.to_string()),
            Number::Float(number) => Some(number.to_string()),
            Number::Complex { .. } => None,
        },
        Expr::UnaryOp(unary) if unary.op == ruff_python_ast::UnaryOp::USub => {
            Some(format!("-{}", literal_text(&unary.operand)?))
        }
        Expr::Call(call) => call
            .arguments
            .args
            .first()
            .filter(|_| named_kind(&call.func).is_some() && call.arguments.len() == 1)
            .and_then(literal_text),
        _ => None,
    }
}

fn literal_kind(expr: &Expr) -> Option<ValueKind> {
    match expr {
        Expr::BooleanLiteral(_) => Some(ValueKind::Bool),
        Expr::NumberLiteral(literal) => match &literal.value {
            Number::Int(_) => Some(ValueKind::Int),
            Number::Float(_) => Some(ValueKind::Float),
            Number::Complex { .. } => None,
        },
        Expr::UnaryOp(unary) => literal_kind(&unary.operand),
        Expr::Call(call) => named_kind(&call.func),
        _ => None,
    }
}

pub(super) fn is_url(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, rest)| {
        !rest.is_empty()
            && !scheme.is_empty()
            && scheme
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    })
}

fn is_variable_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
        && name
            .chars()
            .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}
