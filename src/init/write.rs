//! The text of the manifest. Each part is shown to the manifest's own parser before it is written; what
//! the parser refuses becomes a comment that says why.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::draft::{
    ConfigDraft, Draft, LayerDraft, Note, ProbeDraft, PythonDraft, RegistrationDraft, SchemaDraft,
    Test, Unit, Unsure, VarDraft,
};
use super::routes::is_default_prefix;
use super::text::{duration, plain, quote, quote_all};
use super::variables::word;
use crate::manifest::{MANIFEST_NAME, Manifest, VarKind};

/// So many optional variables of one file are written as one block.
const LARGE_TREE: usize = 40;
/// Columns of a comment.
const WIDTH: usize = 96;
const RULE: &str = "# ------------------------------------------------------------------------------------------------";

/// A written manifest.
#[derive(Debug)]
pub(super) struct Written {
    pub text: String,
    /// Where, and what.
    pub unsure: Vec<Unsure>,
}

/// Writes the manifest. Takes out of the draft what the parser refuses.
pub(super) fn write(draft: &mut Draft) -> Written {
    let mut page = ManifestPage::default();
    page.line("# How this application boots: `ubs preflight` checks it, `ubs boot` brings it up layer by layer.");
    page.line("# Written by `ubs init` from what lies in this directory. Look at the lines with `# unsure:` first;");
    page.line("# every key is explained in docs/manifest.md.");
    page.line("");
    page.notes("app", &draft.name_notes);
    page.line("[app]");
    page.line(&format!("name = {}", quote(&draft.name)));
    page.python(&draft.python);
    page.config(&mut draft.config);
    page.schemas(&mut draft.schemas, &draft.schema_notes);
    page.layers(&mut draft.layers, &draft.layer_notes);
    page.registration(draft.registration.as_mut(), &draft.registration_notes);
    page.title("What may be done about a failure without asking, once it was proved in a sandbox.");
    page.line("# [heal.policy]");
    page.line(
        "# additive = \"auto\"          # create a table, add a nullable column, set a default",
    );
    page.line("# edit = \"auto\"              # a built-in edit of a source file");
    page.line("# open = \"approve\"           # anything else");
    page.line("# destructive = \"approve\"    # drop, alter a type, delete");
    Written {
        text: page.text,
        unsure: page.unsure,
    }
}

/// What the manifest's parser says about a part.
fn accepts(part: &str) -> Result<(), String> {
    let text = format!("[app]\nname = \"x\"\n{part}");
    Manifest::parse(&text, Path::new(MANIFEST_NAME))
        .map(drop)
        .map_err(|error| {
            let first = error.problems().first();
            first.map_or_else(|| error.to_string(), |problem| problem.message.clone())
        })
}

#[derive(Default)]
struct ManifestPage {
    text: String,
    unsure: Vec<Unsure>,
}

impl ManifestPage {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn title(&mut self, title: &str) {
        self.line("");
        self.line(RULE);
        self.line(&format!("# {title}"));
        self.line("");
    }

    fn notes(&mut self, subject: &str, notes: &[Note]) {
        for note in notes {
            let text = plain(&note.text);
            let first = if note.unsure { "# unsure: " } else { "# " };
            if note.unsure {
                self.unsure.push(Unsure {
                    subject: subject.to_owned(),
                    message: text.clone(),
                    not_carried: note.not_carried,
                });
            }
            let options = textwrap::Options::new(WIDTH)
                .initial_indent(first)
                .subsequent_indent("#   ")
                .break_words(false)
                .word_separator(textwrap::WordSeparator::AsciiSpace)
                .word_splitter(textwrap::WordSplitter::NoHyphenation);
            for line in textwrap::wrap(&text, options) {
                self.line(&line);
            }
        }
    }

    /// A part, or, if it is not active, a comment of it.
    fn part(&mut self, part: &str, active: bool) {
        for line in part.lines() {
            match (active, line.is_empty()) {
                (true, _) => self.line(line),
                (false, true) => self.line("#"),
                (false, false) => self.line(&format!("# {line}")),
            }
        }
    }

    fn python(&mut self, python: &PythonDraft) {
        let mut part = "[python]\n".to_owned();
        if let Some(interpreter) = &python.interpreter {
            part.push_str(&format!("interpreter = {}\n", quote(interpreter)));
        }
        if !python.path.is_empty() {
            part.push_str(&format!("path = {}\n", quote_all(&python.path)));
        }
        if let Some(file) = &python.requirements {
            part.push_str(&format!("requirements = {}\n", quote(file)));
        }
        let mut notes = python.notes.clone();
        let active = check(&part, &mut notes);
        self.line("");
        self.notes("python", &notes);
        self.part(&part, active);
    }

    fn config(&mut self, config: &mut ConfigDraft) {
        self.title("1. Configuration: what must be in the environment, and what it may be.");
        let mut part = "[config]\n".to_owned();
        if !config.files.is_empty() {
            part.push_str(&format!("files = {}\n", quote_all(&config.files)));
        }
        if let Some(example) = &config.example {
            part.push_str(&format!("example = {}\n", quote(example)));
        }
        let active = check(&part, &mut config.notes);
        self.notes("config", &config.notes);
        self.part(&part, active);
        if config.vars.is_empty() {
            self.line("");
            self.line("# No variable was seen to be read. This is how one is declared:");
            self.line("#");
            self.line("# [config.vars.DATABASE_URL]");
            self.line("# required = true");
            self.line("# kind = \"url\"");
        }
        let trees = large_trees(&config.vars);
        for (file, names) in &trees {
            self.line("");
            let text = format!(
                "{} optional variables that {file} alone reads; take the # away of those that should be checked",
                names.len()
            );
            self.notes(file, &[Note::sure(text)]);
            for var in config
                .vars
                .iter_mut()
                .filter(|var| names.contains(&var.name))
            {
                var.active = false;
                self.part(&variable(var), false);
            }
        }
        for var in &mut config.vars {
            if trees.iter().any(|(_, names)| names.contains(&var.name)) {
                continue;
            }
            let part = variable(var);
            var.active = var.active && check(&part, &mut var.notes);
            self.line("");
            self.notes(&var.name, &var.notes);
            self.part(&part, var.active);
            let could_be_random = var.active
                && var.secret
                && var.kind == VarKind::String
                && var.name.contains("SECRET")
                && !var.name.contains("CLIENT");
            if could_be_random {
                self.line("# generate = true            # lets ubs write a random value to the environment file");
            }
        }
    }

    fn schemas(&mut self, schemas: &mut [SchemaDraft], notes: &[Note]) {
        self.title("2. Schema: what the code expects in its databases.");
        self.notes("schema", notes);
        if schemas.is_empty() {
            self.line(
                "# No SQLAlchemy base was seen. This is how one is compared with its database:",
            );
            self.line("#");
            self.line("# [[schema]]");
            self.line("# name = \"main\"");
            self.line("# database = \"${DATABASE_URL}\"");
            self.line("# expect = \"sqlalchemy:backend.models:Base\"    # or \"alembic:alembic.ini\", \"sql:schema/*.sql\"");
            return;
        }
        let mut begin = notes.is_empty();
        for schema in schemas {
            let mut part = format!(
                "[[schema]]\nname = {}\ndatabase = {}\nexpect = {}\n",
                quote(&schema.name),
                quote(&schema.database),
                quote(&schema.expect)
            );
            if let Some(models) = &schema.models {
                part.push_str(&format!("models = {}\n", quote(models)));
            }
            if !schema.ignore.is_empty() {
                part.push_str(&format!("ignore = {}\n", quote_all(&schema.ignore)));
            }
            schema.active = schema.active && check(&part, &mut schema.notes);
            if !std::mem::take(&mut begin) {
                self.line("");
            }
            self.notes(&format!("schema {}", schema.name), &schema.notes);
            self.part(&part, schema.active);
        }
    }

    fn layers(&mut self, layers: &mut [LayerDraft], notes: &[Note]) {
        self.title(
            "3. Layers: what is rehearsed, started and watched, each behind those in its `after`.",
        );
        self.notes("layers", notes);
        if layers.iter().all(|layer| layer.service.is_none()) {
            self.line("# Nothing was seen that could be started. This is how a layer is declared:");
            self.line("#");
            self.line("# [[layer]]");
            self.line("# name = \"web\"");
            self.line("# rehearse = { imports = [\"backend.main\"] }");
            self.line("#");
            self.line("# [[layer.service]]");
            self.line("# name = \"web\"");
            self.line("# run = \"python -m uvicorn backend.main:app --port 8000\"");
            self.line("# ready = { http = \"http://127.0.0.1:8000/health\" }");
            return;
        }
        for layer in layers.iter_mut() {
            // Names of other services are not known to the part alone.
            let needs = layer
                .service
                .as_mut()
                .map(|unit| std::mem::take(&mut unit.needs));
            let part = layer_text(layer, &[]);
            layer.active = layer.active && check(&part, &mut layer.notes);
            if let (Some(unit), Some(needs)) = (layer.service.as_mut(), needs) {
                unit.needs = needs;
            }
        }
        let gone: Vec<String> = layers
            .iter()
            .filter(|layer| !layer.active)
            .map(|layer| layer.name.clone())
            .collect();
        let mut begin = notes.is_empty();
        let mut first = true;
        for layer in layers.iter_mut() {
            layer.after.retain(|name| !gone.contains(name));
            if let Some(unit) = layer.service.as_mut() {
                unit.needs.retain(|(name, _)| !gone.contains(name));
            }
            if !std::mem::take(&mut begin) {
                self.line("");
            }
            self.notes(&format!("layer {}", layer.name), &layer.notes);
            let after = quote_all(&layer.after);
            // Without the key, a layer waits for the one before it.
            let mut lines = if layer.active && std::mem::take(&mut first) && layer.after.is_empty()
            {
                Vec::new()
            } else {
                vec![format!("after = {after}")]
            };
            if layer.optional {
                lines.push(
                    "critical = false             # nothing needs it: the boot goes on without it"
                        .to_owned(),
                );
            }
            let part = layer_text(layer, &lines);
            self.part(&part, layer.active);
        }
    }

    fn registration(&mut self, registration: Option<&mut RegistrationDraft>, notes: &[Note]) {
        self.title("4. Registration: what the application must serve.");
        self.notes("registration", notes);
        let Some(registration) = registration else {
            self.line("# No application object was seen. This is how one is named:");
            self.line("#");
            self.line("# [registration]");
            self.line("# app = \"fastapi:backend.main:app\"");
            self.line("# services = [\"users\", { name = \"orders\", prefix = \"/orders\" }]");
            return;
        };
        let mut part = format!("[registration]\napp = {}\n", quote(&registration.app));
        if !registration.services.is_empty() {
            part.push_str("services = [\n");
            for (name, prefix) in &registration.services {
                let entry = if is_default_prefix(name, prefix) {
                    quote(name)
                } else {
                    format!("{{ name = {}, prefix = {} }}", quote(name), quote(prefix))
                };
                part.push_str(&format!("    {entry},\n"));
            }
            part.push_str("]\n");
        }
        registration.active = registration.active && check(&part, &mut registration.notes);
        self.notes("registration", &registration.notes);
        self.part(&part, registration.active);
    }
}

/// Whether the parser takes the part; if not, a note says why.
fn check(part: &str, notes: &mut Vec<Note>) -> bool {
    match accepts(part) {
        Ok(()) => true,
        Err(why) => {
            notes.push(Note::unsure(format!("written as a comment, because {why}")));
            false
        }
    }
}

/// Files that read a large number of optional variables, with the names: a settings tree is one block, not a
/// report of some hundred lines.
fn large_trees(vars: &[VarDraft]) -> Vec<(String, BTreeSet<String>)> {
    let mut trees: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let optional = vars.iter().filter(|var| {
        let is_sure = var.notes.iter().all(|note| !note.unsure);
        var.active && is_sure && !var.required && !var.secret && var.kind != VarKind::Url
    });
    for var in optional {
        if let Some(file) = &var.file {
            trees.entry(file).or_default().insert(var.name.clone());
        }
    }
    let large = trees
        .into_iter()
        .filter(|(_, names)| names.len() >= LARGE_TREE);
    large
        .map(|(file, names)| (file.to_owned(), names))
        .collect()
}

fn variable(var: &VarDraft) -> String {
    let mut part = format!("[config.vars.{}]\n", var.name);
    if var.required {
        part.push_str("required = true\n");
    }
    if var.secret {
        part.push_str("secret = true\n");
    }
    if var.kind != VarKind::String {
        part.push_str(&format!("kind = {}\n", quote(word(var.kind))));
    }
    if let Some((min, max)) = var.range {
        part.push_str(&format!("min = {min}\nmax = {max}\n"));
    }
    if !var.one_of.is_empty() {
        part.push_str(&format!("one_of = {}\n", quote_all(&var.one_of)));
    }
    if let Some(default) = &var.default {
        let bare = match var.kind {
            VarKind::Int => default
                .parse::<i64>()
                .is_ok_and(|number| number.to_string() == *default),
            VarKind::Bool => matches!(default.as_str(), "true" | "false"),
            _ => false,
        };
        let value = if bare {
            default.clone()
        } else {
            quote(default)
        };
        part.push_str(&format!("default = {value}\n"));
    }
    part
}

/// A layer; `lines` stand behind its name.
fn layer_text(layer: &LayerDraft, lines: &[String]) -> String {
    let mut part = format!("[[layer]]\nname = {}\n", quote(&layer.name));
    for line in lines {
        part.push_str(line);
        part.push('\n');
    }
    if !layer.imports.is_empty() {
        part.push_str(&format!(
            "rehearse = {{ imports = {}{} }}\n",
            quote_all(&layer.imports),
            if layer.startup {
                ", startup = true"
            } else {
                ""
            }
        ));
    }
    if let Some(unit) = &layer.service {
        part.push('\n');
        part.push_str(&service_text(unit));
    }
    part
}

fn service_text(unit: &Unit) -> String {
    let mut part = format!(
        "[[layer.service]]\nname = {}\nrun = {}\n",
        quote(&unit.name),
        command(&unit.run)
    );
    if let Some(cwd) = &unit.cwd {
        part.push_str(&format!("cwd = {}\n", quote(cwd)));
    }
    if !unit.env.is_empty() {
        part.push_str(&format!("env = {}\n", table(&unit.env)));
    }
    if !unit.env_file.is_empty() {
        part.push_str(&format!("env_file = {}\n", env_files(&unit.env_file)));
    }
    for (key, value) in [("user", &unit.user), ("umask", &unit.umask)] {
        if let Some(value) = value {
            part.push_str(&format!("{key} = {}\n", quote(value)));
        }
    }
    if !unit.limits.is_empty() {
        let limits = unit.limits.iter();
        let limits: Vec<String> = limits
            .map(|(key, value)| format!("{key} = {value}"))
            .collect();
        part.push_str(&format!("limits = {{ {} }}\n", limits.join(", ")));
    }
    if !unit.needs.is_empty() {
        let needs = unit.needs.iter();
        let needs: Vec<String> = needs
            .map(|(name, condition)| format!("{} = {}", key(name), quote(condition)))
            .collect();
        part.push_str(&format!("needs = {{ {} }}\n", needs.join(", ")));
    }
    if unit.disabled {
        part.push_str("disabled = true\n");
    }
    if !unit.profiles.is_empty() {
        part.push_str(&format!("profiles = {:?}\n", unit.profiles));
    }
    if !unit.success.is_empty() {
        part.push_str(&format!("success = {:?}\n", unit.success));
    }
    if unit.oneshot {
        part.push_str("oneshot = true               # runs to its end before the layer is up\n");
        if let Some(ms) = unit.timeout_ms {
            part.push_str(&format!("timeout = {}\n", quote(&duration(ms))));
        }
        part.push_str(&stop_text(unit));
        return part;
    }
    if let Some(probe) = &unit.ready {
        part.push_str(&format!("ready = {}\n", probe_text(probe)));
    }
    if let Some(probe) = &unit.live {
        part.push_str(&format!("live = {}\n", probe_text(probe)));
    }
    if let Some(ms) = unit.min_uptime_ms {
        // With a probe, it is the time that it has to stay ready.
        let key = match unit.ready {
            Some(_) => "stable_after",
            None => "min_uptime",
        };
        part.push_str(&format!("{key} = {}\n", quote(&duration(ms))));
    }
    let mut restart = Vec::new();
    if let Some(max) = unit.restart_max {
        restart.push(format!("max = {max}"));
    }
    for (key, ms) in [
        ("backoff", unit.restart_backoff_ms),
        // Most managers wait equally long each time.
        (
            "max_backoff",
            unit.restart_max_backoff_ms.or(unit.restart_backoff_ms),
        ),
        ("reset_after", unit.restart_reset_ms),
    ] {
        if let Some(ms) = ms {
            restart.push(format!("{key} = {}", quote(&duration(ms))));
        }
    }
    match (unit.restart, restart.is_empty()) {
        (Some(policy), true) => part.push_str(&format!("restart = {}\n", quote(policy))),
        (policy, false) => {
            if let Some(policy) = policy {
                restart.insert(0, format!("policy = {}", quote(policy)));
            }
            part.push_str(&format!("restart = {{ {} }}\n", restart.join(", ")));
        }
        (None, true) => {}
    }
    if unit.on_end_stop {
        part.push_str("on_end = \"stop\"\n");
    }
    part.push_str(&stop_text(unit));
    part
}

fn stop_text(unit: &Unit) -> String {
    let mut stop = Vec::new();
    if !unit.stop_command.is_empty() {
        stop.push(format!("command = {}", command(&unit.stop_command)));
    }
    if let Some(signal) = &unit.stop_signal {
        stop.push(format!("signal = {}", quote(signal)));
    }
    if let Some(ms) = unit.stop_timeout_ms {
        stop.push(format!("timeout = {}", quote(&duration(ms))));
    }
    if stop.is_empty() {
        return String::new();
    }
    format!("stop = {{ {} }}\n", stop.join(", "))
}

/// A key of a table: bare where TOML lets it.
fn key(name: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !name.is_empty() && name.chars().all(is_bare) {
        name.to_owned()
    } else {
        quote(name)
    }
}

fn table(entries: &[(String, String)]) -> String {
    let entries: Vec<String> = entries
        .iter()
        .map(|(name, value)| format!("{} = {}", key(name), quote(value)))
        .collect();
    format!("{{ {} }}", entries.join(", "))
}

fn env_files(files: &[(String, bool)]) -> String {
    let entries: Vec<String> = files
        .iter()
        .map(|(path, optional)| {
            if *optional {
                format!("{{ path = {}, optional = true }}", quote(path))
            } else {
                quote(path)
            }
        })
        .collect();
    format!("[{}]", entries.join(", "))
}

fn probe_text(probe: &ProbeDraft) -> String {
    let mut entries = vec![match &probe.test {
        Test::Http(url) => format!("http = {}", quote(url)),
        Test::Tcp(place) => format!("tcp = {}", quote(place)),
        Test::Exec(words) => format!("exec = {}", command(words)),
        Test::Log(pattern) => format!("log = {}", quote(pattern)),
        Test::Notify => "notify = true".to_owned(),
    }];
    if !probe.status.is_empty() {
        entries.push(format!("status = {:?}", probe.status));
    }
    if !probe.headers.is_empty() {
        entries.push(format!("headers = {}", table(&probe.headers)));
    }
    for (key, ms) in [
        ("delay", probe.delay_ms),
        ("interval", probe.interval_ms),
        ("timeout", probe.timeout_ms),
    ] {
        if let Some(ms) = ms {
            entries.push(format!("{key} = {}", quote(&duration(ms))));
        }
    }
    if let Some(failures) = probe.failures {
        entries.push(format!("failures = {failures}"));
    }
    if let Some(successes) = probe.successes {
        entries.push(format!("successes = {successes}"));
    }
    format!("{{ {} }}", entries.join(", "))
}

/// As one string where its words need no quotes, as a list otherwise.
fn command(words: &[String]) -> String {
    let is_plain = |word: &String| {
        !word.is_empty()
            && word
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "_./:@=,+%-${}".contains(c))
    };
    let first = words.first().is_some_and(|word| !word.contains('='));
    if first && words.iter().all(is_plain) {
        quote(&words.join(" "))
    } else {
        quote_all(words)
    }
}
