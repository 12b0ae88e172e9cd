//! What the readers of all formats share: users of this host, signals, times, variables of a service.

use std::path::Path;

use nix::unistd::User;

use super::draft::{Note, Unit};
use super::text::{holds_credential, is_secret_name, is_variable_name, plain};

/// Signals that a manifest can stop a service with, and their numbers.
const SIGNALS: [(&str, &str); 9] = [
    ("HUP", "1"),
    ("INT", "2"),
    ("QUIT", "3"),
    ("ABRT", "6"),
    ("KILL", "9"),
    ("USR1", "10"),
    ("USR2", "12"),
    ("TERM", "15"),
    ("WINCH", "28"),
];
/// A wait longer than this is a mistake.
pub(super) const WAIT_MS_MAX: u64 = 24 * 3600 * 1000;

/// Limits of a process as the kernel calls them, the keys of `limits`, and the unit of the number.
pub(super) const LIMITS: [(&str, &str, &str); 6] = [
    ("nofile", "open_files", ""),
    ("nproc", "processes", ""),
    ("as", "memory", "B"),
    ("cpu", "cpu_time", "s"),
    ("core", "core", "B"),
    ("fsize", "file_size", "B"),
];

/// A limit as TOML writes it.
pub(super) fn limit(number: u64, unit_of: &str) -> String {
    match unit_of {
        "" => number.to_string(),
        unit_of => format!("\"{number}{unit_of}\""),
    }
}

/// A port, or a variable that holds one.
pub(super) fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok_and(|port| port > 0)
        || (text.starts_with("${") && text.ends_with('}'))
}

/// The manifest's word for a signal, by its name or its number.
pub(super) fn signal(text: &str) -> Option<String> {
    let upper = text.trim().to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let name = name.split('+').next().unwrap_or(name);
    SIGNALS
        .iter()
        .find(|(word, number)| *word == name || *number == name)
        .map(|(word, _)| (*word).to_owned())
}

/// A number of seconds, as milliseconds.
pub(super) fn seconds_ms(text: &str) -> Option<u64> {
    let seconds: f64 = text.trim().parse().ok()?;
    let ms = (seconds * 1000.0).round();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "bounded before"
    )]
    (0.0..=3.2e13)
        .contains(&ms)
        .then(|| (ms as u64).min(WAIT_MS_MAX))
}

/// Text in which a dollar sign is one.
pub(super) fn literal(text: &str) -> String {
    text.replace('$', "$$")
}

/// Sets `user`, if this host has it; otherwise the service would not start.
pub(super) fn set_user(unit: &mut Unit, text: &str) {
    let wanted = text.split(':').next().unwrap_or(text).trim();
    let by_name = User::from_name(wanted).ok().flatten();
    let found = by_name.or_else(|| {
        let id: u32 = wanted.parse().ok()?;
        User::from_uid(id.into()).ok()?
    });
    let own = nix::unistd::geteuid();
    match found {
        Some(user) if user.uid == own => unit.notes.push(Note::sure(format!(
            "its user {} is the one who asks here, so `user` is left out",
            plain(text)
        ))),
        Some(user) if own.is_root() => unit.user = Some(user.name),
        Some(User { name, .. }) => unit.notes.push(Note::unsure(format!(
            "it runs as {name} there; that needs privileges: user = \"{name}\""
        ))),
        None => unit.notes.push(Note::unsure(format!(
            "its user {} is not a user of this host, so it was left out",
            plain(text)
        ))),
    }
}

/// Adds a variable whose value is in the manifest's own syntax; a secret is named and not copied.
pub(super) fn set_env(unit: &mut Unit, place: &str, name: &str, value: &str) {
    if !is_variable_name(name) {
        unit.notes.push(Note::unsure(format!(
            "{} of {place} cannot be the name of a variable; it was left out",
            plain(name)
        )));
        return;
    }
    let refers = value.starts_with("${") && value.ends_with('}') && !value.contains(":-");
    if holds_credential(value) || (is_secret_name(name) && !refers && !value.is_empty()) {
        unit.notes.push(Note::unsure(format!(
            "{name} of {place} was not copied: its value looks secret; set it in .env"
        )));
        return;
    }
    unit.env.retain(|(known, _)| known != name);
    unit.env.push((name.to_owned(), value.to_owned()));
}

/// Sets `cwd` to a directory that another file names: relative, or absolute on this host.
pub(super) fn set_directory(unit: &mut Unit, root: &Path, text: &str) {
    if text.starts_with('/') {
        let path = Path::new(text);
        match path.strip_prefix(root) {
            Ok(inside) if inside.as_os_str().is_empty() => {}
            Ok(inside) => unit.cwd = inside.to_str().map(str::to_owned),
            Err(_) if path.is_dir() => unit.cwd = Some(text.to_owned()),
            Err(_) => unit.notes.push(Note::unsure(format!(
                "its directory {} is not on this host; the workspace is taken",
                plain(text)
            ))),
        }
        return;
    }
    match super::container::inside(text) {
        Some(inside) => unit.cwd = Some(inside).filter(|inside| inside != "."),
        None => unit.notes.push(Note::unsure(format!(
            "its working directory {} lies outside the workspace",
            plain(text)
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_and_seconds_of_all_formats() {
        for (text, word) in [
            ("SIGINT", Some("INT")),
            ("sigterm", Some("TERM")),
            ("3", Some("QUIT")),
            ("RTMIN+4", None),
            ("SIGNOPE", None),
        ] {
            assert_eq!(signal(text).as_deref(), word, "{text}");
        }
        assert_eq!(seconds_ms("1.5"), Some(1500));
        assert_eq!(seconds_ms("-1"), None);
        assert_eq!(seconds_ms("NaN"), None);
        assert_eq!(seconds_ms("1e300"), None);
    }

    #[test]
    fn a_user_that_this_host_does_not_have_is_named_and_not_written() {
        let mut unit = Unit::default();
        set_user(&mut unit, "nobody-of-here");
        assert_eq!(unit.user, None);
        assert!(unit.notes[0].unsure && unit.notes[0].text.contains("nobody-of-here"));
    }
}
