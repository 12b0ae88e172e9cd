//! systemd units: services that lie in the workspace.

use super::carry::{
    LIMITS, WAIT_MS_MAX, limit, literal, seconds_ms, set_directory, set_env, set_user, signal,
};
use super::draft::{Note, ProbeDraft, Test, Unit, Units};
use super::files::Files;
use super::shell::for_shell;
use super::text::{is_variable_name, plain};
use super::yaml::{Node, Value};

/// Directories of a workspace where units lie.
const DIRECTORIES: [&str; 9] = [
    "",
    "systemd/",
    "deploy/",
    "deploy/systemd/",
    "etc/systemd/system/",
    "contrib/",
    "contrib/systemd/",
    "packaging/systemd/",
    "debian/",
];
/// More units were never written by hand for one application.
const UNITS_MAX: usize = 50;
/// Keys that say what is so here anyway.
const SAME: [(&str, &str, &str); 6] = [
    ("Service", "KillMode", "control-group"),
    ("Service", "KillMode", "mixed"),
    ("Service", "SendSIGKILL", "yes"),
    ("Service", "StandardOutput", "journal"),
    ("Service", "StandardError", "journal"),
    ("Service", "StandardError", "inherit"),
];

/// The units of a workspace.
pub(super) fn units_of(files: &Files) -> Vec<String> {
    let mut found = Vec::new();
    for directory in DIRECTORIES {
        found.extend(inside(files, directory, &[".service"]));
    }
    found.truncate(UNITS_MAX);
    found
}

/// Files of a directory with one of these endings, in the order of their names.
fn inside(files: &Files, directory: &str, endings: &[&str]) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(files.root().join(directory)) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.path().is_file())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| endings.iter().any(|ending| name.ends_with(ending)))
        .collect();
    names.sort();
    names.truncate(UNITS_MAX);
    let names = names.into_iter();
    names.map(|name| format!("{directory}{name}")).collect()
}

/// Reads these files.
pub(super) fn read(files: &Files, names: &[String]) -> Units {
    let mut units = Units {
        file: names.join(", "),
        ..Units::default()
    };
    let known: Vec<String> = names.iter().map(|name| short(name)).collect();
    // `Before=`: a unit, and one that comes after it.
    let mut before: Vec<(String, String)> = Vec::new();
    for name in names {
        let Some(text) = units.text(files, name) else {
            continue;
        };
        let mut sections = Vec::new();
        parse(&text, &mut sections);
        let over = inside(files, &format!("{name}.d/"), &[".conf"]);
        for file in &over {
            if let Some(text) = units.text(files, file) {
                parse(&text, &mut sections);
            }
        }
        let root = Node::new(Value::Map(sections), 1);
        let own = short(name);
        let mut made = services(files, name, &own, &root, &known, &mut before);
        if let (Some(unit), false) = (made.last_mut(), over.is_empty()) {
            unit.notes.push(Note::sure(format!(
                "laid over it, with lines of their own: {}",
                plain(&over.join(", "))
            )));
        }
        units.units.extend(made);
    }
    let directory = |name: &String| name[..name.rfind('/').map_or(0, |at| at + 1)].to_owned();
    let mut directories: Vec<String> = names.iter().map(directory).collect();
    directories.dedup();
    for directory in directories {
        for file in inside(files, &directory, &[".timer", ".socket", ".path"]) {
            units.notes.push(Note::not_carried(&format!(
                ": {}: its service starts with the boot here",
                plain(&file)
            )));
            units.left.push(plain(&file));
        }
    }
    // `Before=` of one is `After=` of the other.
    for unit in &mut units.units {
        for (from, to) in &before {
            if *to == unit.name && !unit.after.contains(from) {
                unit.after.push(from.clone());
            }
        }
    }
    units
}

/// `web` of `deploy/web@.service`.
fn short(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or(file);
    let name = name.strip_suffix(".service").unwrap_or(name);
    name.trim_end_matches('@').to_owned()
}

/// Sections, in which a key that stands there more than once is a list.
fn parse(text: &str, sections: &mut Vec<(String, Node)>) {
    let mut open: Option<(String, u32)> = None;
    for (line, number) in text.lines().zip(1_u32..) {
        let trimmed = line.trim();
        let is_comment = trimmed.starts_with(['#', ';']);
        if is_comment || (trimmed.is_empty() && open.is_none()) {
            continue;
        }
        let (mut whole, first) = open.take().unwrap_or((String::new(), number));
        match trimmed.strip_suffix('\\') {
            Some(part) => {
                whole.push_str(part);
                whole.push(' ');
                open = Some((whole, first));
            }
            None => {
                whole.push_str(trimmed);
                add_line(&whole, first, sections);
            }
        }
    }
    if let Some((whole, first)) = open {
        add_line(&whole, first, sections);
    }
}

fn add_line(line: &str, number: u32, sections: &mut Vec<(String, Node)>) {
    let line = line.trim();
    if let Some(name) = line
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        // The last one is open.
        let known = sections.iter().position(|(known, _)| known == name);
        let section = known.map(|at| sections.remove(at));
        sections.push(
            section.unwrap_or_else(|| (name.to_owned(), Node::new(Value::Map(Vec::new()), number))),
        );
        return;
    }
    // What stands before any section, or is no assignment, is named as it is.
    if sections.is_empty() {
        sections.push((String::new(), Node::new(Value::Map(Vec::new()), number)));
    }
    let Some((
        _,
        Node {
            value: Value::Map(keys),
            ..
        },
    )) = sections.last_mut()
    else {
        return;
    };
    let (key, value) = line.split_once('=').unwrap_or((line, "?"));
    let (key, value) = (key.trim(), value.trim());
    let node = Node::of_text(value, number);
    match keys.iter_mut().find(|(known, _)| known == key) {
        // An empty value takes back those above.
        Some((_, known)) if value.is_empty() => *known = Node::new(Value::List(Vec::new()), number),
        Some((_, known)) => match &mut known.value {
            Value::List(items) => items.push(node),
            _ => {
                let first = std::mem::take(known);
                *known = Node::new(Value::List(vec![first, node]), number);
            }
        },
        None => keys.push((key.to_owned(), node)),
    }
}

/// The service of a unit, behind its tasks. Adds to `before` what its `Before=` says.
fn services(
    files: &Files,
    file: &str,
    own: &str,
    root: &Node,
    known: &[String],
    before: &mut Vec<(String, String)>,
) -> Vec<Unit> {
    let empty = Node::default();
    let service = root.get("Service").unwrap_or(&empty);
    let mut unit = Unit {
        name: own.to_owned(),
        origin: file.to_owned(),
        ..Unit::default()
    };
    let template = file.ends_with("@.service");
    if template {
        unit.notes.push(Note::unsure(
            "it is a template: write the instance where %i stands",
        ));
    }
    let last = |key: &str| service.last_text(key);
    let commands = |key: &str| -> Vec<&Node> {
        service
            .get(key)
            .map_or(Vec::new(), |node| match &node.value {
                Value::List(items) => items.iter().collect(),
                _ => vec![node],
            })
    };
    if let Some(directory) = last("WorkingDirectory") {
        let bare = directory.trim_start_matches('-');
        match specifiers(bare, own) {
            Some(path) if !path.starts_with('~') => set_directory(&mut unit, files.root(), &path),
            _ => service.refuse_at(&["WorkingDirectory"]),
        }
    }
    environment(&mut unit, service, own);
    if let Some(user) = last("User") {
        set_user(&mut unit, user);
    }
    unit.umask = last("UMask")
        .filter(|text| {
            (3..=4).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b))
        })
        .map(str::to_owned);
    if unit.umask.is_none() {
        service.refuse_at(&["UMask"]);
    }
    limits(&mut unit, service);
    let kind = last("Type").unwrap_or("simple").to_owned();
    let mut tasks: Vec<Unit> = Vec::new();
    for node in commands("ExecStartPre") {
        let Some(mut command) = node.text().and_then(|text| exec(text, own, &unit)) else {
            node.refuse();
            continue;
        };
        let notes = std::mem::take(&mut command.notes);
        let name = match tasks.len() {
            0 => format!("{own}-pre"),
            at => format!("{own}-pre-{}", at + 1),
        };
        let origin = format!("{file}:{}", node.line);
        let mut task = task_of(&unit, tasks.last(), name, origin, command);
        task.notes.extend(notes);
        tasks.push(task);
    }
    let mut runs = Vec::new();
    for node in commands("ExecStart") {
        match node.text().and_then(|text| exec(text, own, &unit)) {
            Some(command) => runs.push(command),
            None => node.refuse(),
        }
    }
    let count = runs.len();
    for (at, mut command) in runs.into_iter().enumerate() {
        unit.notes.append(&mut command.notes);
        if at + 1 < count {
            // Only a task has more than one, and they run one after the other.
            let (name, origin) = (format!("{own}-{}", at + 1), unit.origin.clone());
            tasks.push(task_of(&unit, tasks.last(), name, origin, command));
        } else {
            if command.may_fail && kind != "oneshot" {
                unit.notes.push(Note::unsure(
                    "prefix of its command not carried over: -: its failure counts as success there",
                ));
            }
            unit.run = if kind == "oneshot" {
                command.forgiven()
            } else {
                command.words
            };
        }
    }
    if unit.run.is_empty() {
        unit.notes
            .push(Note::unsure("it has no command that can be read"));
    }
    lifetime(&mut unit, service, &kind);
    if let Some(text) = last("ExecStop") {
        match exec(text, own, &unit).filter(|_| commands("ExecStop").len() == 1) {
            Some(command) => {
                unit.stop_command = command.words;
                unit.notes.extend(command.notes);
            }
            None => service.refuse_at(&["ExecStop"]),
        }
    }
    if let Some(section) = root.get("Unit") {
        dependencies(&mut unit, section, known, before);
        for (key, target) in [("StartLimitBurst", true), ("StartLimitIntervalSec", false)] {
            start_limit(&mut unit, section, key, target);
        }
        if let Some(text) = section.last_text("Description") {
            unit.notes.push(Note::sure(plain(text)));
        }
    }
    start_limit(&mut unit, service, "StartLimitBurst", true);
    let first_after = unit.after.clone();
    if let Some(task) = tasks.last() {
        unit.after.push(task.name.clone());
    }
    for task in &mut tasks {
        for name in &first_after {
            if !task.after.contains(name) {
                task.after.push(name.clone());
            }
        }
    }
    for (section, key, value) in SAME {
        if let Some(node) = root.at(&[section, key])
            && node.peek() == Some(value)
        {
            node.take();
        }
    }
    if let Some(install) = root.get("Install") {
        // The boot itself is what wants it.
        for key in ["WantedBy", "RequiredBy"] {
            if let Some(node) = install.get(key)
                && node.peek().is_some_and(|text| text.ends_with(".target"))
            {
                node.take();
            }
        }
    }
    unit.leave(file, root);
    tasks.push(unit);
    tasks
}

/// A command that is run once before the service, as the service would be and behind the task before it.
fn task_of(
    unit: &Unit,
    before: Option<&Unit>,
    name: String,
    origin: String,
    command: Exec,
) -> Unit {
    Unit {
        name,
        origin,
        run: command.forgiven(),
        cwd: unit.cwd.clone(),
        env: unit.env.clone(),
        env_file: unit.env_file.clone(),
        user: unit.user.clone(),
        umask: unit.umask.clone(),
        limits: unit.limits.clone(),
        after: before.iter().map(|before| before.name.clone()).collect(),
        oneshot: true,
        ..Unit::default()
    }
}

/// A command line of a unit.
struct Exec {
    words: Vec<String>,
    /// `-`: its failure does not count.
    may_fail: bool,
    notes: Vec<Note>,
}

impl Exec {
    /// The words of a task; a failure that does not count is none.
    fn forgiven(self) -> Vec<String> {
        if !self.may_fail {
            return self.words;
        }
        let shell = ["sh", "-c", "\"$@\" || true", "sh"];
        let shell = shell.map(str::to_owned).into_iter();
        shell.chain(self.words).collect()
    }
}

/// Words with systemd's prefixes, quotes, `${NAME}`, `$NAME` and specifiers, run as `unit`.
fn exec(text: &str, own: &str, unit: &Unit) -> Option<Exec> {
    let mut notes = Vec::new();
    let bare = text.trim_start_matches(['-', '@', ':', '+', '!', '|']);
    let prefixes = &text[..text.len() - bare.len()];
    for (prefix, why) in [
        (
            '@',
            "@: the second word is its name there, and was left out",
        ),
        (':', ":: variables are not replaced there"),
        ('+', "+: it runs with all privileges there"),
        ('!', "!: it keeps privileges there"),
    ] {
        if prefixes.contains(prefix) {
            notes.push(Note::unsure(format!(
                "prefix of its command not carried over: {why}"
            )));
        }
    }
    // Several commands in one line.
    if bare.split_whitespace().any(|word| word == ";") {
        return None;
    }
    let mut words: Vec<String> = Vec::new();
    for word in split(bare)? {
        words.push(specifiers(&word, own)?);
    }
    if prefixes.contains('@') && words.len() > 1 {
        words.remove(1);
    }
    let words = if prefixes.contains(':') {
        words.iter().map(|word| literal(word)).collect()
    } else {
        with_variables(&words, unit)
    };
    if words.is_empty() {
        return None;
    }
    Some(Exec {
        words,
        may_fail: prefixes.contains('-'),
        notes,
    })
}

/// A part of a word.
enum Piece<'w> {
    Text(&'w str),
    /// `${NAME}`
    Variable(&'w str),
    /// A word that is `$NAME`: as many words as its value has.
    Words(&'w str),
}

fn pieces(word: &str) -> Vec<Piece<'_>> {
    if let Some(name) = word.strip_prefix('$').filter(|name| is_variable_name(name)) {
        return vec![Piece::Words(name)];
    }
    let mut pieces = Vec::new();
    let mut rest = word;
    while let Some(at) = rest.find('$') {
        let (before, from) = rest.split_at(at);
        pieces.push(Piece::Text(before));
        let braced = from
            .strip_prefix("${")
            .and_then(|text| text.split_once('}'));
        match braced.filter(|(name, _)| is_variable_name(name)) {
            Some((name, after)) => {
                pieces.push(Piece::Variable(name));
                rest = after;
            }
            None => {
                pieces.push(Piece::Text("$"));
                rest = from.strip_prefix("$$").unwrap_or(&from[1..]);
            }
        }
    }
    pieces.push(Piece::Text(rest));
    pieces
}

/// Words whose variables are those of the service, as systemd has it: a manifest's own are those of the application.
/// What `Environment=` sets is put in; the rest is left to a shell, for which a variable that is not set is empty.
fn with_variables(words: &[String], unit: &Unit) -> Vec<String> {
    let words: Vec<Vec<Piece<'_>>> = words.iter().map(|word| pieces(word)).collect();
    // A file may set it anew.
    let known = |wanted: &str| {
        let mut env = unit.env.iter().filter(|_| unit.env_file.is_empty());
        env.find(|(name, _)| name == wanted)
            .map(|(_, value)| value.replace("$$", "$"))
    };
    let filled = |pieces: &[Piece<'_>]| -> Option<Vec<String>> {
        let mut word = String::new();
        for piece in pieces {
            match piece {
                Piece::Text(text) => word.push_str(text),
                Piece::Variable(name) => word.push_str(&known(name)?),
                Piece::Words(name) => {
                    return Some(known(name)?.split_whitespace().map(literal).collect());
                }
            }
        }
        Some(vec![literal(&word)])
    };
    let all: Option<Vec<Vec<String>>> = words.iter().map(|word| filled(word)).collect();
    if let Some(all) = all {
        return all.concat();
    }
    // A script reads them itself.
    if let [program, option, script] = &words[..]
        && let ([Piece::Text(program)], [Piece::Text(option)]) = (&program[..], &option[..])
        && matches!(program.rsplit('/').next(), Some("sh" | "bash" | "dash"))
        && option.starts_with('-')
        && option.ends_with('c')
        && !matches!(script[..], [Piece::Words(_)])
    {
        let script: String = script
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => (*text).to_owned(),
                Piece::Variable(name) | Piece::Words(name) => format!("${{{name}}}"),
            })
            .collect();
        let script = for_shell(&script).pop().unwrap_or_default();
        return vec![literal(program), literal(option), script];
    }
    let mut script = "exec".to_owned();
    if words
        .iter()
        .flatten()
        .any(|piece| matches!(piece, Piece::Words(_)))
    {
        script.insert_str(0, "set -f; ");
    }
    for word in &words {
        script.push(' ');
        match word[..] {
            [Piece::Words(name)] => script.push_str(&format!("${name}")),
            [Piece::Text(text)] => script.push_str(&shlex::try_quote(text).unwrap_or_default()),
            _ => {
                script.push('"');
                for piece in word {
                    match piece {
                        Piece::Text(text) => {
                            for c in text.chars() {
                                if matches!(c, '"' | '$' | '`' | '\\') {
                                    script.push('\\');
                                }
                                script.push(c);
                            }
                        }
                        Piece::Variable(name) | Piece::Words(name) => {
                            script.push_str(&format!("${{{name}}}"));
                        }
                    }
                }
                script.push('"');
            }
        }
    }
    for_shell(&script)
}

/// Words in quotes and out of them, with the escapes of systemd.
fn split(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (_, '\\') => {
                let next = chars.next()?;
                let text = match next {
                    'n' => '\n',
                    't' => '\t',
                    's' => ' ',
                    '\\' | '"' | '\'' | ' ' | '$' | ';' => next,
                    // Numbers and the like.
                    _ => return None,
                };
                word.get_or_insert_default().push(text);
            }
            (None, '"' | '\'') if word.as_deref().unwrap_or("").is_empty() || word.is_some() => {
                word.get_or_insert_default();
                quote = Some(c);
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return None;
    }
    words.extend(word);
    Some(words)
}

/// `%n`, `%p`, `%%` as they stand; others are not known here.
fn specifiers(text: &str, own: &str) -> Option<String> {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        match chars.next()? {
            '%' => out.push('%'),
            'n' => out.push_str(&format!("{own}.service")),
            'N' | 'p' => out.push_str(own),
            'i' | 'I' => out.push_str("INSTANCE"),
            _ => return None,
        }
    }
    Some(out)
}

fn environment(unit: &mut Unit, service: &Node, own: &str) {
    let place = unit.origin.clone();
    let lines = service
        .get("Environment")
        .map(Node::texts)
        .unwrap_or_default();
    for line in lines {
        let Some(words) = split(line) else {
            service.refuse_at(&["Environment"]);
            continue;
        };
        for word in words {
            match (word.split_once('='), specifiers(&word, own)) {
                (Some((name, _)), Some(whole)) => {
                    let value = whole.split_once('=').map_or("", |(_, value)| value);
                    set_env(unit, &place, name, &literal(value));
                }
                (name, _) => unit.notes.push(Note::unsure(format!(
                    "not copied from Environment= of {place}: {}",
                    plain(name.map_or(word.as_str(), |(name, _)| name))
                ))),
            }
        }
    }
    let files = service
        .get("EnvironmentFile")
        .map(Node::texts)
        .unwrap_or_default();
    for file in files {
        let (path, optional) = match file.strip_prefix('-') {
            Some(path) => (path, true),
            None => (file, false),
        };
        match specifiers(path, own) {
            Some(path) if !path.contains('*') => unit.env_file.push((path, optional)),
            _ => unit.notes.push(Note::unsure(format!(
                "its EnvironmentFile={} was left out",
                plain(file)
            ))),
        }
    }
}

fn limits(unit: &mut Unit, service: &Node) {
    for (key, name, unit_of) in LIMITS {
        let key = format!("Limit{}", key.to_ascii_uppercase());
        let Some(text) = service.last_text(&key) else {
            continue;
        };
        let soft = text.split(':').next().unwrap_or(text);
        let (digits, factor) = match soft.char_indices().last() {
            Some((at, 'K')) if unit_of == "B" => (&soft[..at], 1_u64 << 10),
            Some((at, 'M')) if unit_of == "B" => (&soft[..at], 1 << 20),
            Some((at, 'G')) if unit_of == "B" => (&soft[..at], 1 << 30),
            _ => (soft, 1),
        };
        let number = digits
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(factor));
        match number {
            Some(number) => unit.limits.push((name, limit(number, unit_of))),
            None => service.refuse_at(&[key.as_str()]),
        }
    }
}

fn lifetime(unit: &mut Unit, service: &Node, kind: &str) {
    let last = |key: &str| service.last_text(key);
    let time = |key: &str| {
        let text = last(key)?;
        let found = time_ms(text);
        if found.is_none() {
            service.refuse_at(&[key]);
        }
        found
    };
    match kind {
        "oneshot" => {
            unit.run_once();
            unit.timeout_ms = time("TimeoutStartSec").filter(|ms| *ms > 0);
        }
        "notify" | "notify-reload" => {
            unit.ready = Some(ProbeDraft {
                timeout_ms: time("TimeoutStartSec").filter(|ms| *ms > 0),
                ..ProbeDraft::of(Test::Notify)
            });
        }
        "simple" | "exec" | "idle" => {}
        // `forking` and `dbus`: who is the service and when it is ready is not known here.
        _ => {
            service.refuse_at(&["Type"]);
            unit.notes.push(Note::unsure(format!(
                "Type={} has no counterpart: let the command stay in the foreground",
                plain(kind)
            )));
        }
    }
    if !unit.oneshot {
        unit.restart = Some(match last("Restart").unwrap_or("no") {
            "always" => "always",
            "no" => "never",
            "on-failure" => "on-failure",
            "on-abnormal" | "on-abort" | "on-watchdog" => {
                unit.notes.push(Note::unsure(format!(
                    "Restart={}: here it is started again after every failure",
                    last("Restart").unwrap_or("")
                )));
                "on-failure"
            }
            // `on-success`, or what systemd itself would not take.
            _ => {
                service.refuse_at(&["Restart"]);
                "on-failure"
            }
        });
        unit.restart_backoff_ms = time("RestartSec").filter(|_| unit.restart != Some("never"));
        if unit.restart == Some("never") {
            service.refuse_at(&["RestartSec"]);
        }
    }
    if let Some(text) = last("SuccessExitStatus") {
        let codes: Option<Vec<i32>> = text
            .split_whitespace()
            .map(|code| code.parse().ok())
            .collect();
        match codes {
            Some(codes) => {
                unit.success = [vec![0], codes].concat();
                unit.success.dedup();
            }
            None => service.refuse_at(&["SuccessExitStatus"]),
        }
    }
    if let Some(text) = last("KillSignal") {
        unit.stop_signal = signal(text);
        if unit.stop_signal.is_none() {
            service.refuse_at(&["KillSignal"]);
        }
    }
    unit.stop_timeout_ms = time("TimeoutStopSec");
    if let Some(ms) = time("TimeoutSec") {
        unit.stop_timeout_ms = unit.stop_timeout_ms.or(Some(ms));
    }
}

/// How often it is started again within which time.
fn start_limit(unit: &mut Unit, section: &Node, key: &str, is_number: bool) {
    let Some(text) = section.last_text(key) else {
        return;
    };
    let can_restart = !unit.oneshot && unit.restart != Some("never");
    let done = match (is_number, can_restart) {
        (_, false) => false,
        (true, _) => {
            unit.restart_max = text.parse().ok().filter(|max| (1..=1000).contains(max));
            unit.restart_max.is_some()
        }
        (false, _) => {
            unit.restart_reset_ms = time_ms(text).filter(|ms| *ms >= 1000);
            unit.restart_reset_ms.is_some()
        }
    };
    if !done {
        section.refuse_at(&[key]);
    }
}

/// `5`, `1min 30s`, `500ms`.
fn time_ms(text: &str) -> Option<u64> {
    if let Some(ms) = seconds_ms(text) {
        return Some(ms);
    }
    let mut all = 0_u64;
    let compact = text.replace(' ', "");
    let mut rest = compact.as_str();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let end = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let factor = match &rest[..end] {
            "ms" | "msec" => 1,
            "s" | "sec" | "second" | "seconds" => 1000,
            "m" | "min" | "minute" | "minutes" => 60_000,
            "h" | "hr" | "hour" | "hours" => 3_600_000,
            _ => return None,
        };
        all = all.checked_add(number.checked_mul(factor)?)?;
        rest = &rest[end..];
    }
    Some(all.min(WAIT_MS_MAX))
}

/// `Requires`, `After` and their kin, as far as they name units that lie here.
fn dependencies(
    unit: &mut Unit,
    section: &Node,
    known: &[String],
    before: &mut Vec<(String, String)>,
) {
    for key in [
        "After",
        "Requires",
        "BindsTo",
        "Requisite",
        "Wants",
        "PartOf",
        "Before",
    ] {
        let Some(node) = section.get(key) else {
            continue;
        };
        let mut elsewhere = Vec::new();
        let names: Vec<String> = node
            .texts()
            .iter()
            .flat_map(|text| text.split_whitespace())
            .map(str::to_owned)
            .collect();
        for name in names {
            let own = short(&name);
            if !name.ends_with(".service") || !known.contains(&own) || own == unit.name {
                elsewhere.push(name);
            } else if key == "Before" {
                before.push((unit.name.clone(), own));
            } else if !unit.after.contains(&own) {
                unit.after.push(own);
            }
        }
        if !elsewhere.is_empty() {
            unit.left
                .push(format!("{key}={}", plain(&elsewhere.join(" "))));
            unit.notes.push(Note::not_carried(&format!(
                ": {key}={} (line {}): it does not lie here and has to run already",
                plain(&elsewhere.join(" ")),
                node.line
            )));
        }
    }
}

#[cfg(test)]
mod tests;
