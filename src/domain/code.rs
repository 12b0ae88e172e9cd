//! The codes of findings: one table of what each is called, how bad it is and what it hides.
//!
//! A code is stable: codes are added, never renamed. In JSON and in the log a code is its text, so a
//! log of another version may hold one that is not in the table ([`Code::Other`]).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::severity::Severity;

/// Characters of a rule's name in the code of a declared check.
const RULE_CHARS_MAX: usize = 64;

/// What a finding hides. That something hidden is not reported proves nothing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Masks {
    /// Nothing.
    Nothing,
    /// A finding of this code about the same subject.
    SameSubject(Code),
    /// Everything else that its check could find.
    WholeCheck,
}

/// A row of the table.
struct Row {
    text: &'static str,
    severity: Severity,
    one: &'static str,
    many: &'static str,
    masks: Masks,
}

macro_rules! codes {
    ($($name:ident = $text:literal, $severity:ident, $one:literal, $many:literal $(, masks $masks:expr)?;)*) => {
        /// The kind of a defect, as `check.defect`.
        #[non_exhaustive]
        #[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(from = "String", into = "String")]
        pub enum Code {
            $(#[doc = concat!("`", $text, "`: ", $one, ".")] $name,)*
            /// Any other, as it was written.
            Other(String),
        }

        impl Code {
            /// Every code of the table, in its order.
            #[cfg(test)]
            const ALL: &[Self] = &[$(Self::$name),*];

            fn row(&self) -> Option<&'static Row> {
                match self {
                    $(Self::$name => {
                        static ROW: Row = Row {
                            text: $text,
                            severity: Severity::$severity,
                            one: $one,
                            many: $many,
                            masks: codes!(@masks $($masks)?),
                        };
                        Some(&ROW)
                    })*
                    Self::Other(_) => None,
                }
            }

            fn known(text: &str) -> Option<Self> {
                Some(match text {
                    $($text => Self::$name,)*
                    _ => return None,
                })
            }
        }
    };
    (@masks) => { Masks::Nothing };
    (@masks $masks:expr) => { $masks };
}

codes! {
    ConfigMissing = "config.missing", Critical, "missing variable", "missing variables";
    ConfigInvalid = "config.invalid", Critical, "invalid value", "invalid values";
    ConfigPlaceholder = "config.placeholder", Critical, "placeholder instead of a value", "placeholders instead of values";
    ConfigEnvFileSyntax = "config.env_file_syntax", Warning, "malformed line of an environment file", "malformed lines of environment files";
    ConfigEnvFileDrift = "config.env_file_drift", Info, "difference from the example file", "differences from the example file";
    ConfigUndeclaredRead = "config.undeclared_read", Warning, "variable read and not declared", "variables read and not declared",
        masks Masks::SameSubject(Code::ConfigUnused);
    ConfigUnused = "config.unused", Info, "variable that nothing reads", "variables that nothing reads";
    ConfigUnjudged = "config.unjudged", Info, "read that cannot be judged", "reads that cannot be judged";
    ConfigProgramMissing = "config.program_missing", Warning, "missing program", "missing programs";
    ConfigPortTaken = "config.port_taken", Warning, "port that is taken", "ports that are taken";
    ConfigFileMissing = "config.file_missing", Critical, "missing file", "missing files";
    ConfigCertificateEnds = "config.certificate_ends", Warning, "certificate that ends", "certificates that end";
    ConfigStaleFile = "config.stale_file", Warning, "file left behind by an earlier run", "files left behind by earlier runs";
    ConfigDiskSpace = "config.disk_space", Warning, "file system that is nearly full", "file systems that are nearly full";

    VaultUnreachable = "vault.unreachable", Critical, "vault out of reach", "vaults out of reach";
    VaultSealed = "vault.sealed", Critical, "vault that cannot be opened", "vaults that cannot be opened";
    VaultKeyMissing = "vault.key_missing", Critical, "key missing in the vault", "keys missing in the vault";
    VaultTokenInvalid = "vault.token_invalid", Critical, "vault token that is refused or ends soon", "vault tokens that are refused or end soon";
    VaultInsecure = "vault.insecure", Warning, "vault that others can read", "vaults that others can read";
    VaultAnswerInvalid = "vault.answer_invalid", Critical, "vault answer that cannot be read", "vault answers that cannot be read";

    SchemaMissingTable = "schema.missing_table", Critical, "missing table", "missing tables";
    SchemaMissingColumn = "schema.missing_column", Critical, "missing column", "missing columns";
    SchemaMissingIndex = "schema.missing_index", Warning, "missing index", "missing indexes";
    SchemaMissingConstraint = "schema.missing_constraint", Warning, "missing constraint", "missing constraints";
    SchemaTypeMismatch = "schema.type_mismatch", Warning, "type mismatch", "type mismatches";
    SchemaNullableMismatch = "schema.nullable_mismatch", Warning, "nullability mismatch", "nullability mismatches";
    SchemaDefaultMismatch = "schema.default_mismatch", Warning, "default mismatch", "default mismatches";
    SchemaConstraintMismatch = "schema.constraint_mismatch", Warning, "constraint mismatch", "constraint mismatches";
    SchemaIndexMismatch = "schema.index_mismatch", Warning, "index mismatch", "index mismatches";
    SchemaGeneratedMismatch = "schema.generated_mismatch", Warning, "column generated otherwise", "columns generated otherwise";
    SchemaCollationMismatch = "schema.collation_mismatch", Warning, "collation mismatch", "collation mismatches";
    SchemaLikelyRename = "schema.likely_rename", Critical, "likely rename", "likely renames";
    SchemaExtraTable = "schema.extra_table", Info, "extra table", "extra tables";
    SchemaExtraColumn = "schema.extra_column", Info, "extra column", "extra columns";
    SchemaExtraIndex = "schema.extra_index", Info, "extra index", "extra indexes";
    SchemaExtraConstraint = "schema.extra_constraint", Info, "extra constraint", "extra constraints";
    SchemaDuplicateTable = "schema.duplicate_table", Critical, "table defined twice", "tables defined twice",
        masks Masks::WholeCheck;
    SchemaModelsUnloadable = "schema.models_unloadable", Critical, "set of models that cannot be loaded", "sets of models that cannot be loaded",
        masks Masks::WholeCheck;
    SchemaUnreachable = "schema.unreachable", Critical, "database out of reach", "databases out of reach",
        masks Masks::WholeCheck;
    SchemaReadOnly = "schema.read_only", Warning, "database that cannot be written", "databases that cannot be written";
    SchemaNoRight = "schema.no_right", Warning, "missing right on a table", "missing rights on tables";
    SchemaSequenceBehind = "schema.sequence_behind", Warning, "sequence behind its column", "sequences behind their columns";
    SchemaUnsupportedDatabase = "schema.unsupported_database", Critical, "database of another kind", "databases of another kind";
    SchemaNotCompared = "schema.not_compared", Info, "database not compared", "databases not compared";
    SchemaPendingMigration = "schema.pending_migration", Critical, "database behind its migrations", "databases behind their migrations";
    SchemaNotMigrated = "schema.not_migrated", Critical, "database without a version", "databases without a version";
    SchemaUnknownRevision = "schema.unknown_revision", Critical, "unknown revision", "unknown revisions";
    SchemaMultipleHeads = "schema.multiple_heads", Critical, "history with several heads", "histories with several heads";
    SchemaBrokenHistory = "schema.broken_history", Critical, "defect in the history of migrations", "defects in the history of migrations";
    SchemaMissingMigration = "schema.missing_migration", Warning, "model changed without a migration", "models changed without a migration";
    SchemaChangedMigration = "schema.changed_migration", Warning, "migration changed after it was applied", "migrations changed after they were applied";

    SchemaDatabaseChanged = "schema.database_changed", Critical, "database that is not the one before", "databases that are not those before",
        masks Masks::WholeCheck;
    SchemaForeignDatabase = "schema.foreign_database", Critical, "database of another application", "databases of other applications",
        masks Masks::WholeCheck;
    SchemaMadeByApplication = "schema.made_by_application", Info, "database that the application makes itself", "databases that the application makes itself";

    RehearsalSyntaxError = "rehearsal.syntax_error", Critical, "syntax error", "syntax errors";
    RehearsalImportError = "rehearsal.import_error", Critical, "import that fails", "imports that fail";
    RehearsalMissingPackage = "rehearsal.missing_package", Critical, "missing package", "missing packages";
    RehearsalFailed = "rehearsal.failed", Critical, "layer that fails its dry run", "layers that fail their dry run";
    RehearsalOutsidePath = "rehearsal.outside_path", Warning, "path outside of the sandbox", "paths outside of the sandbox";
    RehearsalTimeout = "rehearsal.timeout", Critical, "dry run that takes too long", "dry runs that take too long";
    RehearsalDependencyConflict = "rehearsal.dependency_conflict", Warning, "package of another version", "packages of another version";
    RehearsalSideEffect = "rehearsal.side_effect", Warning, "side effect of an import", "side effects of imports";
    RehearsalSlowImport = "rehearsal.slow_import", Info, "slow import", "slow imports";
    RehearsalUnjudged = "rehearsal.unjudged", Info, "import that cannot be judged", "imports that cannot be judged";
    RehearsalUndefinedName = "rehearsal.undefined_name", Warning, "name that nothing defines", "names that nothing defines";
    RehearsalIgnoredHandler = "rehearsal.ignored_handler", Warning, "handler that is never called", "handlers that are never called";

    RegistrationMissingService = "registration.missing_service", Critical, "service without a route", "services without a route";
    RegistrationAppUnloadable = "registration.app_unloadable", Critical, "application that cannot be loaded", "applications that cannot be loaded",
        masks Masks::WholeCheck;
    RegistrationUnmountedRouter = "registration.unmounted_router", Warning, "router that is not mounted", "routers that are not mounted";
    RegistrationDuplicateRoute = "registration.duplicate_route", Warning, "route defined twice", "routes defined twice";
    RegistrationDuplicateOperation = "registration.duplicate_operation", Warning, "operation id used twice", "operation ids used twice";
    RegistrationUnlistedService = "registration.unlisted_service", Warning, "router that no list names", "routers that no list names";
    RegistrationTooManyRoutes = "registration.too_many_routes", Info, "list of routes that is cut short", "lists of routes that are cut short";
    RegistrationServiceNotAlive = "registration.service_not_alive", Critical, "running service that does not answer", "running services that do not answer";
    RegistrationOpenapiUnreadable = "registration.openapi_unreadable", Warning, "OpenAPI document that cannot be read", "OpenAPI documents that cannot be read";

    CheckError = "check.error", Critical, "check that could not be carried out", "checks that could not be carried out",
        masks Masks::WholeCheck;
    CheckMore = "check.more", Info, "list of findings that is cut short", "lists of findings that are cut short";
    LayerFailed = "layer.failed", Critical, "layer that failed while it ran", "layers that failed while they ran";
    ReportedFailure = "reported.failure", Warning, "failure that somebody reported", "failures that somebody reported";
}

impl Code {
    /// The stable text, as in JSON.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Other(text) => text,
            known => known.row().map_or("", |row| row.text),
        }
    }

    /// What it is part of: `schema` of `schema.missing_table`.
    #[must_use]
    pub fn family(&self) -> &str {
        let text = self.as_str();
        text.split_once('.').map_or(text, |(family, _)| family)
    }

    /// The code of a finding of a `[[check]]`: `check.NAME.RULE`. The rule is what a program said: what cannot be part
    /// of a code becomes `_`.
    #[must_use]
    pub(crate) fn of_declared(name: &str, rule: &str) -> Self {
        let plain = |c: char| {
            let is_plain = c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
            if is_plain { c } else { '_' }
        };
        let rule: String = rule
            .trim()
            .chars()
            .take(RULE_CHARS_MAX)
            .map(plain)
            .collect();
        let rule = rule.trim_matches('.');
        let rule = if rule.is_empty() { "failed" } else { rule };
        Self::Other(format!("check.{name}.{rule}"))
    }

    /// The name of the `[[check]]` that gave it: `prisma` of `check.prisma.failed`.
    #[must_use]
    pub(crate) fn declared_check(&self) -> Option<&str> {
        let Self::Other(text) = self else { return None };
        Some(text.strip_prefix("check.")?.split_once('.')?.0)
    }

    /// How bad such a finding is where nothing says otherwise.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.row().map_or(Severity::Warning, |row| row.severity)
    }

    /// `1 missing table`, `2 missing tables`.
    #[must_use]
    pub(crate) fn count(&self, n: usize) -> String {
        let noun = match (self.row(), n) {
            (Some(row), 1) => row.one,
            (Some(row), _) => row.many,
            (None, 1) => "other problem",
            (None, _) => "other problems",
        };
        format!("{n} {noun}")
    }

    fn masks(&self) -> &'static Masks {
        self.row().map_or(&Masks::Nothing, |row| &row.masks)
    }

    /// While a finding of this code is there, its check may not see anything else.
    #[must_use]
    pub(crate) fn masks_check(&self) -> bool {
        *self.masks() == Masks::WholeCheck
    }

    /// A finding of this code explains one of `other` about the same subject.
    #[must_use]
    pub(crate) fn masks_same_subject(&self, other: &Self) -> bool {
        matches!(self.masks(), Masks::SameSubject(code) if code == other)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl From<&str> for Code {
    fn from(text: &str) -> Self {
        Self::known(text).unwrap_or_else(|| Self::Other(text.to_owned()))
    }
}

impl From<String> for Code {
    fn from(text: String) -> Self {
        Self::known(&text).unwrap_or(Self::Other(text))
    }
}

impl From<Code> for String {
    fn from(code: Code) -> Self {
        match code {
            Code::Other(text) => text,
            known => known.as_str().to_owned(),
        }
    }
}

impl PartialEq<str> for Code {
    fn eq(&self, text: &str) -> bool {
        self.as_str() == text
    }
}

impl PartialEq<&str> for Code {
    fn eq(&self, text: &&str) -> bool {
        self.as_str() == *text
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Write as _;
    use std::path::{Path, PathBuf};

    use regex::Regex;

    use super::*;

    /// Names of files, of keys of the manifest and of checks that look like a code.
    const NOT_CODES: [&str; 23] = [
        "check.after",
        "check.certificate",
        "check.clock",
        "check.defect",
        "check.disk",
        "check.file",
        "check.limits",
        "check.queues",
        "check.sh",
        "config.example",
        "config.files",
        "config.py",
        "config.yaml",
        "config.scan",
        "config.vars",
        "layer.probe",
        "layer.rehearse",
        "layer.service",
        "registration.app",
        "registration.openapi",
        "registration.services",
        "schema.name",
        "schema.sql",
    ];

    #[test]
    fn a_code_is_its_text_and_an_unknown_one_is_kept() {
        for code in Code::ALL {
            let json = serde_json::to_value(code).unwrap();
            assert_eq!(json, code.as_str());
            assert_eq!(serde_json::from_value::<Code>(json).unwrap(), *code);
        }
        let newer: Code = serde_json::from_str("\"schema.of_a_newer_version\"").unwrap();
        assert_eq!(newer, Code::Other("schema.of_a_newer_version".to_owned()));
        assert_eq!(newer, "schema.of_a_newer_version");
        assert_eq!(newer.count(2), "2 other problems");
        assert_eq!(newer.family(), "schema");
    }

    #[test]
    fn what_a_code_hides_is_in_the_table() {
        let hide_all: Vec<&str> = Code::ALL
            .iter()
            .filter(|code| code.masks_check())
            .map(Code::as_str)
            .collect();
        assert_eq!(
            hide_all,
            [
                "schema.duplicate_table",
                "schema.models_unloadable",
                "schema.unreachable",
                "schema.database_changed",
                "schema.foreign_database",
                "registration.app_unloadable",
                "check.error",
            ]
        );
        assert!(Code::ConfigUndeclaredRead.masks_same_subject(&Code::ConfigUnused));
        assert!(!Code::ConfigUnused.masks_same_subject(&Code::ConfigUndeclaredRead));
    }

    #[test]
    fn the_code_of_a_declared_check_has_its_name_and_what_it_said() {
        let code = |rule: &str| Code::of_declared("django", rule);
        assert_eq!(code("security.W004"), "check.django.security.W004");
        assert_eq!(code(" a b\u{1b}[31m/c "), "check.django.a_b__31m_c");
        for nothing in ["", " ", ".."] {
            assert_eq!(code(nothing), "check.django.failed");
        }
        assert_eq!(
            code(&"x".repeat(1000)).as_str().len(),
            "check.django.".len() + 64
        );
        assert_eq!(code("a.b").declared_check(), Some("django"));
        assert_eq!(Code::CheckError.declared_check(), None);
        assert_eq!(Code::from("schema.a.b").declared_check(), None);
    }

    fn files_below(directory: &Path, endings: &[&str], files: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files_below(&path, endings, files);
            } else if path
                .extension()
                .is_some_and(|e| endings.iter().any(|w| e == *w))
            {
                files.push(path);
            }
        }
    }

    #[test]
    fn every_code_in_sources_tests_and_docs_is_in_the_table() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut files = vec![root.join("README.md"), root.join("CHANGELOG.md")];
        for directory in ["src", "tests", "docs", "schema"] {
            files_below(&root.join(directory), &["rs", "md", "snap"], &mut files);
        }
        let families: BTreeSet<&str> = Code::ALL.iter().map(Code::family).collect();
        let families = families.into_iter().collect::<Vec<_>>().join("|");
        let quoted = Regex::new(&format!(r#"["`](({families})\.[a-z_]+)["`]"#)).unwrap();
        let mut unknown = BTreeSet::new();
        let mut seen = 0;
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            for found in quoted.captures_iter(&text) {
                let code = &found[1];
                seen += 1;
                let invented = code == "schema.of_a_newer_version" || NOT_CODES.contains(&code);
                if !invented && Code::known(code).is_none() {
                    unknown.insert(format!("{}: {code}", file.display()));
                }
            }
        }
        assert!(seen > 100, "only {seen} codes were found");
        assert!(unknown.is_empty(), "not in the table: {unknown:#?}");
    }

    #[test]
    fn the_table_of_the_docs_is_this_one() {
        let mut expected = String::new();
        for code in Code::ALL {
            let row = code.row().unwrap();
            let severity = format!("{:?}", row.severity).to_lowercase();
            let hides = match &row.masks {
                Masks::Nothing => String::new(),
                Masks::SameSubject(code) => format!("`{code}` of the same subject"),
                Masks::WholeCheck => "what else its check could find".to_owned(),
            };
            writeln!(
                expected,
                "| `{}` | {severity} | {} | {hides} |",
                row.text, row.one
            )
            .unwrap();
        }
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/findings.md");
        let page = std::fs::read_to_string(&path).unwrap();
        let rows: Vec<&str> = page.lines().filter(|l| l.starts_with("| `")).collect();
        let expected: Vec<&str> = expected.lines().collect();
        assert_eq!(
            rows,
            expected,
            "docs/findings.md should have these rows:\n{}",
            expected.join("\n")
        );
    }
}
