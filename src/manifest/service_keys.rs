//! Reads what a service gets besides its command: environment files, a umask, limits; and how it is stopped.

use super::command::read_command;
use super::keys::{ENV_FILE, SERVICE_LIMITS, STOP};
use super::measure::size_bytes;
use super::probe::path;
use super::problem::{Fault, shown};
use super::scalar::plain_string;
use super::section::Section;
use super::types::{ServiceEnvFile, ServiceLimits, Stop};
use super::words::did_you_mean;

/// Most environment files of one service.
const ENV_FILES_MAX: usize = 100;

/// Signals that can ask a process to end.
const SIGNALS: [&str; 9] = [
    "TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "WINCH", "ABRT", "KILL",
];

/// `env_file`: a path, or a list of paths and tables.
pub(super) fn read_env_files(section: &Section<'_>) -> Vec<ServiceEnvFile> {
    let required = |path| ServiceEnvFile {
        path,
        optional: false,
    };
    let table = |table: Section<'_>| {
        if !table.has("path") {
            table.missing("path", "\".env.local\"");
        }
        ServiceEnvFile {
            path: table.parse("path", path).unwrap_or_default(),
            optional: table.boolean("optional").unwrap_or(false),
        }
    };
    let Some(item) = section.item("env_file") else {
        return vec![];
    };
    if item.is_str() {
        let file = section.parse("env_file", path).map(required);
        return file.into_iter().collect();
    }
    if item.is_table_like() {
        let file = section.section("env_file", &ENV_FILE).map(table);
        return file.into_iter().collect();
    }
    let files = section.entries("env_file", "paths", |value| match value.as_inline_table() {
        Some(inline) => {
            let span = value.span().unwrap_or_default();
            Ok(table(section.entry(inline, span, &ENV_FILE)))
        }
        None => path(plain_string(value, "env_file")?).map(required),
    });
    let files: Vec<_> = files.into_iter().flatten().map(|file| file.value).collect();
    if files.len() > ENV_FILES_MAX {
        let fault = Fault::new(
            "too many",
            format!("more than {ENV_FILES_MAX} environment files"),
            "put variables that belong together into one file",
        );
        section.fault("env_file", fault);
    }
    files
}

/// Octal digits, in quotes: TOML has no other way to keep them as they are written.
pub(super) fn umask(text: &str) -> Result<u32, Fault> {
    let is_octal =
        (3..=4).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    let bits = u32::from_str_radix(text, 8).ok();
    bits.filter(|bits| is_octal && *bits <= 0o777)
        .ok_or_else(|| {
            Fault::new(
                "not a umask",
                format!("`{}` is not a umask", shown(text)),
                "write three octal digits in quotes, for example \"027\"",
            )
        })
}

/// `limits`.
pub(super) fn read_limits(service: &Section<'_>) -> ServiceLimits {
    let Some(section) = service.section("limits", &SERVICE_LIMITS) else {
        return ServiceLimits::default();
    };
    let count = |key| section.integer(key, 1..=u32::MAX).map(u64::from);
    ServiceLimits {
        open_files: count("open_files"),
        processes: count("processes"),
        memory_bytes: section.size("memory", size_bytes),
        cpu_s: section
            .duration("cpu_time", 1000)
            .map(|ms| ms.div_ceil(1000)),
        core_bytes: section.size("core", size_bytes),
        file_bytes: section.size("file_size", size_bytes),
    }
}

/// `stop`.
pub(super) fn read_stop(service: &Section<'_>) -> Stop {
    let defaults = Stop::default();
    let Some(section) = service.section("stop", &STOP) else {
        return defaults;
    };
    let faults = section.faults();
    Stop {
        signal: section
            .parse("signal", |text| {
                let upper = text.to_ascii_uppercase();
                let short = upper.strip_prefix("SIG").unwrap_or(&upper);
                if SIGNALS.contains(&short) {
                    return Ok(short.to_owned());
                }
                let near = did_you_mean(faults.suggest(short, SIGNALS));
                Err(Fault::new(
                    "not a signal that ends a process",
                    format!("`{}` is not a signal for stopping{near}", shown(text)),
                    format!("write one of {}", SIGNALS.join(", ")),
                ))
            })
            .unwrap_or(defaults.signal),
        command: read_command(&section, "command").unwrap_or_default(),
        timeout_ms: section
            .duration("timeout", 0)
            .unwrap_or(defaults.timeout_ms),
    }
}
