//! The probe programs, as they are compiled in.

pub(super) const PRELUDE: &str = include_str!("prelude.py");
/// Runs the program in a namespace of its own, with builtins of its own, so that `__main__` stays empty.
pub(super) const BOOT: &str = "exec(compile(__import__('sys').argv.pop(), '<ubs>', 'exec'), \
    {'__name__': '__ubs__', '__builtins__': dict(vars(__import__('builtins')))})";

/// The probe programs.
#[derive(Debug, Clone, Copy)]
pub(in crate::checks) enum ProbeProgram {
    /// Imports and calls of one layer.
    Rehearse,
    /// The tables that SQLAlchemy models expect.
    Models,
    /// The routes of an application.
    Routes,
    /// The migrations of a Django project.
    Django,
    /// Insertions that let a table definition extend another one.
    Edit,
    /// Which modules the interpreter would find; imports none.
    Interpreter,
}

impl ProbeProgram {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Rehearse => include_str!("rehearse.py"),
            Self::Models => include_str!("models.py"),
            Self::Routes => concat!(
                include_str!("routes_asgi.py"),
                "\n",
                include_str!("routes_flask.py"),
                "\n",
                include_str!("routes_django.py"),
                "\n",
                include_str!("routes.py"),
            ),
            Self::Django => include_str!("django.py"),
            Self::Edit => include_str!("edit.py"),
            Self::Interpreter => include_str!("interpreter.py"),
        }
    }
}
