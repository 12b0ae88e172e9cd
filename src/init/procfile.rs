//! `Procfile`: one `name: command` a line, each for a shell.

use super::draft::{Note, Unit, Units};
use super::shell::from_shell;
use super::text::plain;

/// Where programs that read a Procfile put the first port.
const PORT_DEFAULT: &str = "5000";
/// More lines than this are no Procfile.
const UNITS_MAX: usize = 200;

/// Reads the text of a Procfile.
pub(super) fn read(file: &str, text: &str) -> Units {
    let mut units = Units::default();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let origin = format!("{file}:{}", index + 1);
        let parts = line.split_once(':').map(|(n, c)| (n.trim(), c.trim()));
        let Some((name, command)) = parts.filter(|(name, command)| {
            let right = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
            !name.is_empty() && name.chars().all(right) && !command.is_empty()
        }) else {
            let text = format!("{origin} is no `name: command`: {}", plain(line));
            units.notes.push(Note::unsure(text));
            continue;
        };
        if units.units.len() == UNITS_MAX {
            let text = format!("{file} has more than {UNITS_MAX} processes; the rest was left out");
            units.notes.push(Note::unsure(text));
            break;
        }
        let first = units.references.len();
        let mut command = from_shell(command, &mut units.references);
        for reference in &mut units.references[first..] {
            reference.origin.clone_from(&origin);
            if reference.name == "PORT" && reference.default.is_none() {
                reference.default = Some(PORT_DEFAULT.to_owned());
            }
        }
        for word in &mut command.run {
            *word = word.replace("${PORT}", &format!("${{PORT:-{PORT_DEFAULT}}}"));
        }
        let names_port = units.references[first..]
            .iter()
            .any(|reference| reference.name == "PORT");
        // A shell reads it from the environment.
        if names_port && command.run.first().is_some_and(|program| program == "sh") {
            let value = format!("${{PORT:-{PORT_DEFAULT}}}");
            command.env.push(("PORT".to_owned(), value));
        }
        units.units.push(Unit {
            name: name.to_owned(),
            origin,
            oneshot: name == "release",
            run: command.run,
            cwd: command.cwd,
            env: command.env,
            ..Unit::default()
        });
    }
    // What is done once for a release comes before all that runs.
    if let Some(at) = units.units.iter().position(|unit| unit.name == "release") {
        let release = units.units.remove(at);
        for unit in &mut units.units {
            unit.after.push(release.name.clone());
        }
        units.units.insert(0, release);
    }
    units
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_services_and_release_comes_first() {
        let text = "# all\nweb: gunicorn a:b --bind 0.0.0.0:$PORT\nrelease: flask db upgrade\n\nworker: cd jobs && python -m run | tee log\nwrong line\n";
        let read = read("Procfile", text);
        let names: Vec<&str> = read.units.iter().map(|unit| unit.name.as_str()).collect();
        assert_eq!(names, ["release", "web", "worker"]);
        assert!(read.units[0].oneshot);
        assert_eq!(read.units[1].after, ["release"]);
        assert_eq!(read.units[1].run[3], "0.0.0.0:${PORT:-5000}");
        assert_eq!(read.units[2].run[0], "sh");
        assert_eq!(read.units[2].cwd.as_deref(), Some("jobs"));
        assert!(read.notes[0].unsure && read.notes[0].text.contains("Procfile:6"));
        assert_eq!(read.references[0].default.as_deref(), Some("5000"));
    }
}
