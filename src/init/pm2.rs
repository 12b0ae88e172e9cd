//! PM2's ecosystem file, as JSON, YAML, or a `.js` file that is one literal object. It is never run.

use super::carry::{WAIT_MS_MAX, literal, set_directory, set_env, set_user};
use super::draft::{Note, Unit, Units};
use super::files::Files;
use super::literal_object::parse as parse_object;
use super::probes::duration_ms;
use super::shell::for_shell;
use super::text::plain;
use super::yaml::{Node, Value, parse as parse_yaml};

/// Names of the file, the one that is taken first.
pub(super) const NAMES: [&str; 12] = [
    "ecosystem.config.json",
    "ecosystem.json",
    "pm2.config.json",
    "pm2.json",
    "ecosystem.config.js",
    "ecosystem.config.cjs",
    "ecosystem.config.mjs",
    "pm2.config.js",
    "pm2.config.cjs",
    "ecosystem.config.yml",
    "ecosystem.config.yaml",
    "pm2.yml",
];
/// More applications were never written by hand.
const APPS_MAX: usize = 200;
/// The longest wait of PM2 where it grows.
const BACKOFF_MS_MAX: u64 = 15_000;
/// What runs a script, by its ending.
const INTERPRETERS: [(&str, &str); 8] = [
    (".js", "node"),
    (".cjs", "node"),
    (".mjs", "node"),
    (".py", "python3"),
    (".sh", "bash"),
    (".rb", "ruby"),
    (".pl", "perl"),
    (".php", "php"),
];

/// Reads the file `name`.
pub(super) fn read(files: &Files, name: &str) -> Units {
    let mut units = Units {
        file: name.to_owned(),
        ..Units::default()
    };
    let Some(text) = units.text(files, name) else {
        return units;
    };
    let is_yaml = name.ends_with(".yml") || name.ends_with(".yaml");
    let read = if is_yaml {
        parse_yaml(&text).map_err(|bad| (bad.line, bad.why))
    } else {
        parse_object(&text).map_err(|bad| (bad.line, bad.why))
    };
    let root = match read {
        Ok(root) => root,
        Err((line, why)) => {
            let is_script = !is_yaml && !name.ends_with(".json");
            let how = if is_script {
                let module = name.rsplit('/').next().unwrap_or(name);
                format!(
                    "; it is a program, which ubs does not run. Print it as JSON and ask again: node -p \"JSON.stringify(require('./{module}'))\" > ecosystem.config.json"
                )
            } else {
                "; nothing was taken from it".to_owned()
            };
            let why = format!("{name}:{line} is not right: {}{how}", plain(&why));
            units.wrong(files, why);
            return units;
        }
    };
    let one = [root.clone()];
    let apps = match root.get("apps") {
        Some(apps) if matches!(apps.value, Value::Map(_)) => std::slice::from_ref(apps),
        Some(apps) => apps.items(),
        None if root.get("script").is_some() => &one[..],
        None => root.items(),
    };
    if apps.len() > APPS_MAX {
        let text = format!("{name} has more than {APPS_MAX} applications; the rest was left out");
        units.notes.push(Note::unsure(text));
    }
    for (at, node) in apps.iter().take(APPS_MAX).enumerate() {
        let mut unit = unit(files, name, at, node);
        unit.leave(name, node);
        units.units.push(unit);
    }
    if units.units.is_empty() {
        units
            .notes
            .push(Note::unsure(format!("{name} declares no applications")));
    }
    for (key, node) in root.entries() {
        if key == "apps" || root.get("apps").is_none() {
            node.take();
        }
    }
    // A file that is the list of its applications has nothing beside them.
    if root.items().is_empty() {
        units.leave(&root);
    }
    units
}

fn unit(files: &Files, file: &str, at: usize, node: &Node) -> Unit {
    let script = node.text_of("script").unwrap_or("");
    let named = node.text_of("name").map(str::to_owned);
    let stem = script
        .rsplit('/')
        .next()
        .unwrap_or(script)
        .split('.')
        .next();
    let otherwise = stem
        .filter(|stem| !stem.is_empty())
        .map_or(format!("app-{at}"), str::to_owned);
    let mut unit = Unit {
        name: named.unwrap_or(otherwise),
        origin: format!("{file}:{}", node.line),
        ..Unit::default()
    };
    command(&mut unit, node, script);
    if let Some(directory) = node.text_of("cwd") {
        set_directory(&mut unit, files.root(), directory);
    }
    // A script is looked for in its directory, a command of a manifest without a slash on the path.
    let place = files.root().join(unit.cwd.as_deref().unwrap_or("."));
    if let Some(first) = unit.run.first_mut()
        && !script.contains('/')
        && *first == literal(script)
        && place.join(script).is_file()
    {
        *first = format!("./{first}");
    }
    if let Some(environment) = node.get("env") {
        let place = unit.origin.clone();
        for (name, value) in environment.entries() {
            if let Some(text) = value.text() {
                set_env(&mut unit, &place, name, &literal(text));
            }
        }
    }
    for path in node.get("env_file").map(Node::texts).unwrap_or_default() {
        unit.env_file.push((path.to_owned(), true));
    }
    for key in ["user", "uid"] {
        if let Some(user) = node.text_of(key) {
            set_user(&mut unit, user);
        }
    }
    lifetime(&mut unit, node);
    unit
}

/// Words of a key that is a text or a list.
fn words(node: &Node, key: &str) -> Vec<String> {
    let Some(found) = node.get(key) else {
        return Vec::new();
    };
    let words: Option<Vec<String>> = match &found.value {
        Value::Text(_) => found.text().and_then(shlex::split),
        Value::List(_) => Some(found.texts().into_iter().map(str::to_owned).collect()),
        _ => None,
    };
    if words.is_none() {
        found.refuse();
    }
    words
        .unwrap_or_default()
        .iter()
        .map(|word| literal(word))
        .collect()
}

fn command(unit: &mut Unit, node: &Node, script: &str) {
    let arguments = words(node, "args");
    let mut options = words(node, "interpreter_args");
    options.extend(words(node, "node_args"));
    let interpreter = node
        .text_of("interpreter")
        .or_else(|| node.text_of("exec_interpreter"));
    let by_ending = INTERPRETERS
        .iter()
        .find(|(ending, _)| script.ends_with(ending));
    let interpreter = match interpreter {
        Some("none" | "") => None,
        Some(named) => Some(named),
        None => by_ending.map(|(_, program)| *program),
    };
    if script.is_empty() {
        unit.notes.push(Note::unsure("it has no script"));
        return;
    }
    let environment = node.get("env").map_or(&[][..], Node::entries);
    if script == "serve"
        && environment
            .iter()
            .any(|(name, _)| name.starts_with("PM2_SERVE_"))
    {
        node.refuse_at(&["script"]);
        unit.notes.push(Note::unsure(
            "serve is PM2's own server of files: write a command that serves them",
        ));
        return;
    }
    if script.contains(' ') && interpreter.is_none() && arguments.is_empty() {
        let simple = shlex::split(script)
            .filter(|_| !script.contains(['|', '&', ';', '>', '<', '$', '`', '(', '*']));
        unit.run = simple.unwrap_or_else(|| for_shell(script));
        return;
    }
    if let Some(interpreter) = interpreter {
        unit.run.push(literal(interpreter));
        unit.run.append(&mut options);
    } else if !options.is_empty() {
        unit.notes.push(Note::unsure(format!(
            "options of an interpreter that was not found were left out: {}",
            plain(&options.join(" "))
        )));
    }
    unit.run.push(literal(script));
    unit.run.extend(arguments);
}

fn lifetime(unit: &mut Unit, node: &Node) {
    let ms = |key: &str| {
        let text = node.text_of(key)?;
        // A bare number is milliseconds there.
        let found = match text.parse::<u64>() {
            Ok(ms) => Some(ms.min(WAIT_MS_MAX)),
            Err(_) => duration_ms(text),
        };
        if found.is_none() {
            node.refuse_at(&[key]);
        }
        found
    };
    let restarts = node.text_of("autorestart") != Some("false");
    unit.restart = Some(if restarts { "always" } else { "never" });
    if let Some(text) = node.text_of("max_restarts") {
        match text.parse::<u32>() {
            Ok(max) if restarts => unit.restart_max = Some(max.min(1000)),
            _ => node.refuse_at(&["max_restarts"]),
        }
    }
    unit.min_uptime_ms = ms("min_uptime").filter(|ms| *ms > 0);
    let delay = ms("restart_delay");
    unit.restart_backoff_ms = delay
        .or_else(|| ms("exp_backoff_restart_delay"))
        .filter(|_| restarts);
    if delay.is_none() {
        let first = unit.restart_backoff_ms;
        unit.restart_max_backoff_ms = first.map(|ms| ms.max(BACKOFF_MS_MAX));
    }
    if !restarts {
        node.refuse_at(&["restart_delay"]);
        node.refuse_at(&["exp_backoff_restart_delay"]);
    }
    unit.stop_timeout_ms = ms("kill_timeout");
    // PM2 asks with SIGINT.
    unit.stop_signal = Some("INT".to_owned());
    if let Some(codes) = node.get("stop_exit_codes") {
        let read = codes.texts().into_iter().map(|code| code.parse().ok());
        match read.collect::<Option<Vec<i32>>>() {
            Some(codes) => unit.success = codes,
            None => codes.refuse(),
        }
        // With `always` such an end would be no end.
        if restarts && !unit.success.is_empty() {
            unit.restart = Some("on-failure");
            if !unit.success.contains(&0) {
                unit.notes.push(Note::unsure(
                    "after exit status 0 it is started again there, and not here",
                ));
            }
        }
    }
    if !restarts && unit.success.is_empty() {
        unit.success.push(0);
    }
    let mode = node.text_of("exec_mode");
    if mode.is_some_and(|mode| !mode.starts_with("fork")) {
        node.refuse_at(&["exec_mode"]);
    }
    if node
        .text_of("instances")
        .is_some_and(|number| number != "1")
    {
        node.refuse_at(&["instances"]);
        unit.notes
            .push(Note::unsure("it runs more than once there, and once here"));
    }
}

#[cfg(test)]
mod tests;
