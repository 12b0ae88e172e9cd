//! What an application's Python sources say, read without running them: one parallel pass with ruff's
//! parser.
//!
//! Plain facts with places; what they mean is for the checks and for `init` to judge. May rely on
//! nothing but the standard library and the parser: no manifest, no interpreter, no database.

mod facts;

pub use facts::{
    Application, Base, EnvRead, Framework, Guard, Import, Include, Place, RouterDefinition,
    SourceFacts, SyntaxError, Unjudged, ValueKind,
};
