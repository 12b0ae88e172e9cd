//! `[logs]` and the `logs` of a service: how long what services print is kept, where, and in which shape.

use std::path::{Path, PathBuf};

use super::keys::{LOGS, SERVICE_LOGS};
use super::measure::{show_size, size_bytes};
use super::problem::Fault;
use super::section::Section;
use super::words::{inside_or_absolute_path, one_of};

/// A smaller file would be put aside at every few lines.
const SIZE_MIN: u64 = 64 << 10;
/// Most files that are kept of a service.
const KEEP_MAX: u32 = 1000;
/// Shortest time for which output is kept.
const AGE_MS_MIN: u64 = 60_000;

/// How a line lies in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum LogFormat {
    /// The moment, a space, the line.
    #[default]
    Text,
    /// A JSON document with `at`, `service` and `text`.
    Json,
}

/// How the output of a service is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogRules {
    /// Size at which a file is put aside, bytes.
    pub size_max: u64,
    /// Files put aside that are kept.
    pub keep: u32,
    /// A file is put aside when its first line is so old, and removed when its last one is.
    pub age_ms_max: Option<u64>,
    pub format: LogFormat,
}

impl Default for LogRules {
    fn default() -> Self {
        Self {
            size_max: 10 << 20,
            keep: 3,
            age_ms_max: None,
            format: LogFormat::Text,
        }
    }
}

/// `[logs]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Logs {
    pub rules: LogRules,
    /// Where the files lie, relative to the workspace; without it `logs` in the state directory.
    pub directory: Option<String>,
}

impl Logs {
    /// Where the files lie.
    pub(crate) fn directory_in(&self, workspace: &Path, state_dir: &Path) -> PathBuf {
        match &self.directory {
            Some(directory) => workspace.join(directory),
            None => state_dir.join("logs"),
        }
    }
}

/// `[logs]`, or what holds without it.
pub(super) fn read_logs(root: &Section<'_>) -> Logs {
    let Some(section) = root.section("logs", &LOGS) else {
        return Logs::default();
    };
    Logs {
        rules: read_rules(&section, LogRules::default()),
        directory: section.parse("directory", inside_or_absolute_path),
    }
}

/// The `logs` of a service; what it does not say is as in `[logs]`.
pub(super) fn read_service_logs(service: &Section<'_>, general: LogRules) -> LogRules {
    match service.section("logs", &SERVICE_LOGS) {
        Some(section) => read_rules(&section, general),
        None => general,
    }
}

fn read_rules(section: &Section<'_>, general: LogRules) -> LogRules {
    let size = section.size("max_size", |text| {
        let size = size_bytes(text)?;
        if size >= SIZE_MIN {
            return Ok(size);
        }
        Err(Fault::new(
            "too small",
            format!("`max_size` cannot be less than {}", show_size(SIZE_MIN)),
            "write for example \"10MiB\"",
        ))
    });
    let format = section.parse("format", |text| {
        one_of(
            text,
            &[("text", LogFormat::Text), ("json", LogFormat::Json)],
        )
    });
    LogRules {
        size_max: size.unwrap_or(general.size_max),
        keep: section
            .integer("keep", 1..=KEEP_MAX)
            .unwrap_or(general.keep),
        age_ms_max: section
            .duration("max_age", AGE_MS_MIN)
            .or(general.age_ms_max),
        format: format.unwrap_or(general.format),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Manifest;

    fn read(text: &str) -> Result<Manifest, String> {
        let text = format!("[app]\nname = \"x\"\n{text}");
        let read = Manifest::parse(&text, Path::new("/w/ubs.toml"));
        read.map_err(|error| {
            let problems = error.problems();
            problems.iter().map(|p| p.message.clone()).collect()
        })
    }

    #[test]
    fn a_service_says_what_is_other_than_in_general() {
        let service = "[[layer]]\nname='l'\n[[layer.service]]\nname='s'\nrun='x'\n";
        let read_service = |text: &str| read(text).unwrap().layers[0].services[0].logs;
        assert_eq!(read_service(service), LogRules::default());
        let text = format!(
            "[logs]\nmax_size='1MiB'\nkeep=7\nmax_age='7d'\nformat='json'\ndirectory='/var/log/x'\n{service}logs={{keep=2}}"
        );
        let general = LogRules {
            size_max: 1 << 20,
            keep: 7,
            age_ms_max: Some(7 * 86_400_000),
            format: LogFormat::Json,
        };
        let own = LogRules { keep: 2, ..general };
        assert_eq!(read_service(&text), own);
        let logs = read(&text).unwrap().logs;
        assert_eq!(logs.rules, general);
        assert_eq!(logs.directory.as_deref(), Some("/var/log/x"));
        for (bad, wanted) in [
            ("max_size = '1KiB'", "cannot be less"),
            ("keep = 0", "cannot be 0"),
            ("max_age = '1s'", "shorter"),
            ("format = 'xml'", "xml"),
            ("directory = '../x'", "../x"),
        ] {
            let error = read(&format!("[logs]\n{bad}")).unwrap_err();
            assert!(error.contains(wanted), "{bad}: {error}");
        }
    }
}
