//! Reads of environment variables: `os.environ` and `os.getenv` under whatever name, and the readers of
//! `environs`, `decouple`, `django-environ` and Starlette.

use std::collections::BTreeMap;

use ruff_python_ast::{
    CmpOp, Expr, ExprCall, ExprCompare, ExprList, ExprSet, ExprSubscript, ExprTuple,
};
use ruff_text_size::{Ranged, TextRange};

use super::facts::{EnvRead, Unjudged, ValueKind};
use super::literals::{is_url, literal_kind, literal_text, named_kind};
use super::scope::Scope;
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

/// What one file says of the environment.
#[derive(Debug, Default)]
pub(super) struct EnvironmentFacts {
    pub reads: Vec<EnvRead>,
    pub candidates: Vec<Candidate>,
    /// Objects of the module that read variables, by name.
    pub readers: BTreeMap<String, ReaderObject>,
    pub unjudged: Vec<Unjudged>,
}

/// Collects the reads of one file.
#[derive(Debug, Default)]
pub(super) struct EnvironmentCollector {
    facts: EnvironmentFacts,
    /// `with env.prefixed("APP_")`.
    prefixes: Vec<String>,
    /// What the value that is being read is turned into: `int(...)`.
    hint: Option<ValueKind>,
}

/// The conversion around an expression, given back when the walk leaves that expression.
pub(super) struct OuterConversion(Option<ValueKind>);

/// Names of dotted things that read the environment.
const ENVIRON: [&str; 2] = ["os.environ", "os.environb"];
const DECOUPLE: [&str; 1] = ["decouple.config"];

impl EnvironmentCollector {
    pub(super) fn finish(self) -> EnvironmentFacts {
        self.facts
    }

    /// The arguments of this call are walked next.
    pub(super) fn enter_call(&mut self, call: &ExprCall) -> OuterConversion {
        let inner = self.conversion(call);
        OuterConversion(std::mem::replace(&mut self.hint, inner))
    }

    /// The sides of this comparison are walked next.
    pub(super) fn enter_compare(&mut self, compare: &ExprCompare) -> OuterConversion {
        OuterConversion(std::mem::replace(&mut self.hint, compared_kind(compare)))
    }

    pub(super) fn leave(&mut self, outer: OuterConversion) {
        self.hint = outer.0;
    }

    /// How many prefixes are in force; for [`Self::leave_prefixes`].
    pub(super) fn prefixes(&self) -> usize {
        self.prefixes.len()
    }

    pub(super) fn leave_prefixes(&mut self, before: usize) {
        self.prefixes.truncate(before);
    }

    fn unjudged(&mut self, scope: &Scope<'_>, range: TextRange, why: &str) {
        self.facts.unjudged.push(scope.unjudged(range, why));
    }

    /// `name = environ.Env(...)`.
    pub(super) fn assign_reader(&mut self, scope: &Scope<'_>, name: &str, value: &Expr) {
        let Expr::Call(call) = value else { return };
        let Some(made) = scope.dotted(&call.func) else {
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
        self.facts.readers.insert(name.to_owned(), reader);
    }

    /// `with env.prefixed("APP_")`.
    pub(super) fn enter_prefix(&mut self, scope: &Scope<'_>, call: &ExprCall) {
        if let Expr::Attribute(method) = &*call.func
            && method.attr.as_str() == "prefixed"
            && let Some(prefix) = call.arguments.args.first().and_then(|e| scope.text_of(e))
        {
            self.prefixes.push(prefix);
        }
    }

    /// What the value of the first argument is turned into.
    fn conversion(&self, call: &ExprCall) -> Option<ValueKind> {
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

    fn is_environ(&self, scope: &Scope<'_>, expr: &Expr) -> bool {
        scope
            .dotted(expr)
            .is_some_and(|name| ENVIRON.contains(&name.as_str()))
    }

    pub(super) fn read_subscript(&mut self, scope: &Scope<'_>, subscript: &ExprSubscript) {
        if self.is_environ(scope, &subscript.value) {
            self.read_named(
                scope,
                subscript.range(),
                &subscript.slice,
                true,
                None,
                "os.environ",
            );
        }
    }

    /// `"NAME" in os.environ`.
    pub(super) fn read_compare(&mut self, scope: &Scope<'_>, compare: &ExprCompare) {
        let ([CmpOp::In | CmpOp::NotIn], [right]) = (&*compare.ops, &*compare.comparators) else {
            return;
        };
        // A name that is not a literal is looked for, not read.
        if self.is_environ(scope, right) && scope.text_of(&compare.left).is_some() {
            self.read_named(
                scope,
                compare.range(),
                &compare.left,
                false,
                None,
                "os.environ",
            );
        }
    }

    pub(super) fn read_call(&mut self, scope: &Scope<'_>, call: &ExprCall) {
        let arguments = &call.arguments;
        if let Expr::Attribute(method) = &*call.func
            && self.is_environ(scope, &method.value)
        {
            let default = arguments.args.get(1);
            match method.attr.as_str() {
                "get" | "setdefault" => {
                    let default = default.or(arguments.find_keyword("default").map(|k| &k.value));
                    self.read_argument(scope, call, false, default);
                }
                "pop" | "__getitem__" => {
                    self.read_argument(scope, call, default.is_none(), default)
                }
                "items" | "keys" | "values" => {
                    self.unjudged(
                        scope,
                        call.range(),
                        "it goes through all variables of the environment",
                    );
                }
                _ => {}
            }
            return;
        }
        let Some(function) = scope.dotted(&call.func) else {
            return;
        };
        match function.as_str() {
            "os.getenv" | "os.getenvb" => {
                let default = arguments.find_argument_value("default", 1);
                self.read_argument(scope, call, false, default);
            }
            name if DECOUPLE.contains(&name) => {
                self.read_by(scope, call, Library::Decouple, "", &[])
            }
            _ => self.read_by_object(scope, call, &function),
        }
    }

    fn read_argument(
        &mut self,
        scope: &Scope<'_>,
        call: &ExprCall,
        required: bool,
        default: Option<&Expr>,
    ) {
        let name = call.arguments.find_argument_value("key", 0);
        if let Some(name) = name {
            self.read_named(scope, call.range(), name, required, default, "os.environ");
        }
    }

    fn read_named(
        &mut self,
        scope: &Scope<'_>,
        range: TextRange,
        name: &Expr,
        required: bool,
        default: Option<&Expr>,
        reader: &'static str,
    ) {
        let Some(name) = scope.text_of(name) else {
            self.unjudged(scope, range, "the name of the variable is computed");
            return;
        };
        let kind = self.hint;
        let read = Self::read(scope, range, name, required, default, kind, reader);
        self.facts.reads.push(read);
    }

    fn read(
        scope: &Scope<'_>,
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
            place: scope.place(range),
            secret: sounds_secret(&name),
            name,
            aliases: Vec::new(),
            required,
            default: text,
            kind,
            one_of: Vec::new(),
            reader,
            guard: scope.read_guard(),
        }
    }

    /// `env("X")`, `env.int("X")`, where `env` is a reader of this module or, perhaps, of another.
    fn read_by_object(&mut self, scope: &Scope<'_>, call: &ExprCall, function: &str) {
        let own = format!("{}.", scope.name.module);
        let (object, method) = match &*call.func {
            Expr::Attribute(attribute) => {
                let Some(object) = scope.dotted(&attribute.value) else {
                    return;
                };
                (object, attribute.attr.as_str())
            }
            _ => (function.to_owned(), ""),
        };
        let local = object.strip_prefix(&own).map(str::to_owned);
        if let Some(reader) = local.and_then(|name| self.facts.readers.get(&name).cloned()) {
            self.read_by(scope, call, reader.library, method, &reader.scheme);
            return;
        }
        // `from config import env`: known when all files are read.
        let is_imported = !object.starts_with(&own) && object.contains('.');
        let Some(name) = call.arguments.args.first() else {
            return;
        };
        if is_imported
            && let Some(name) = scope.text_of(name).filter(|name| is_variable_name(name))
            && let Some(read) =
                self.reader_call(scope, call, Library::DjangoEnviron, method, &[], name)
        {
            self.facts.candidates.push(Candidate { object, read });
        }
    }

    fn read_by(
        &mut self,
        scope: &Scope<'_>,
        call: &ExprCall,
        library: Library,
        method: &str,
        scheme: &[(String, ValueKind, Option<String>)],
    ) {
        let Some(name) = call.arguments.args.first() else {
            return;
        };
        match scope.text_of(name) {
            Some(name) => {
                let name = format!("{}{name}", self.prefixes.concat());
                if let Some(read) = self.reader_call(scope, call, library, method, scheme, name) {
                    self.facts.reads.push(read);
                }
            }
            None if !method.starts_with("read_") && !method.starts_with("add_") => {
                self.unjudged(scope, call.range(), "the name of the variable is computed");
            }
            None => {}
        }
    }

    fn reader_call(
        &self,
        scope: &Scope<'_>,
        call: &ExprCall,
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
        let mut read = Self::read(
            scope,
            call.range(),
            name,
            required,
            default,
            kind,
            library.name(),
        );
        if let Some((_, kind, text)) = known {
            if read.kind == ValueKind::String {
                read.kind = *kind;
            }
            read.default = read.default.or_else(|| text.clone());
        }
        Some(read)
    }
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

fn is_variable_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
        && name
            .chars()
            .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

/// `value.lower() == "true"`, `value in ("1", "yes")`: the text is a truth value.
fn compared_kind(compare: &ExprCompare) -> Option<ValueKind> {
    let is_word = |expr: &Expr| {
        matches!(expr, Expr::StringLiteral(text) if matches!(
            text.value.to_str().to_ascii_lowercase().as_str(),
            "true" | "false" | "yes" | "no" | "on" | "off" | "1" | "0" | "t" | "y"
        ))
    };
    let [other] = &*compare.comparators else {
        return None;
    };
    let words = match other {
        Expr::Tuple(ExprTuple { elts, .. }) | Expr::List(ExprList { elts, .. }) => &elts[..],
        Expr::Set(ExprSet { elts, .. }) => &elts[..],
        one => std::slice::from_ref(one),
    };
    words.iter().any(is_word).then_some(ValueKind::Bool)
}
