//! What a changed manifest means for the boot that runs.
//!
//! What a service is started with (its command, its environment, its probes) is not part of the boot's plan, and
//! changes by itself. How services are judged, what they need, which there are: that is the plan, and changes by an
//! event. What the checks look at holds for the next validation and the next trial of a fix. The rest is named, and
//! takes a new boot.

use super::plan::{plan_layer, plan_rules, plan_terms_of};
use crate::domain::boot::PlanChange;
use crate::domain::event::{LayerPlan, ServiceRules, ServiceTerms};
use crate::manifest::{Heal, Layer, Manifest, Service};

const NOTIFY: &str = "[[notify]]";

/// The difference between the manifest of the boot and the one that was read again.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Change {
    /// The manifest of the boot, with what can be changed.
    pub manifest: Manifest,
    /// Services that are started with something else from now on.
    pub services: Vec<String>,
    /// Services that get something else at their next start and are not restarted for it: how their output is kept.
    pub later: Vec<String>,
    /// Services that are new: they start with their layer.
    pub added: Vec<String>,
    /// Services that are gone, or disabled: they are stopped.
    pub stopped: Vec<String>,
    /// What else is different from now on, and starts nothing anew.
    pub applied: Vec<String>,
    /// What the checks look at, or when, is different.
    pub checked: bool,
    /// What is different in the plan of the boot; how it is validated is for who knows the boot.
    pub plan: PlanChange,
    /// What takes a new boot, each with why.
    pub left: Vec<String>,
}

impl Change {
    /// Nothing of it can be done in this boot.
    pub(super) fn is_empty(&self) -> bool {
        let services = [&self.services, &self.later];
        services.iter().all(|names| names.is_empty())
            && self.plan.is_empty()
            && self.applied.is_empty()
    }
}

/// Compares the two.
pub(super) fn compare(running: &Manifest, read: &Manifest) -> Change {
    let mut change = Change {
        manifest: running.clone(),
        services: Vec::new(),
        later: Vec::new(),
        added: Vec::new(),
        stopped: Vec::new(),
        applied: Vec::new(),
        checked: false,
        plan: PlanChange::default(),
        left: left_tables(running, read),
    };
    let mut layers = Vec::new();
    for layer in &running.layers {
        match read.layers.iter().find(|other| other.name == layer.name) {
            Some(other) => {
                layers.push(change.compare_layer(layer, other, running, read));
            }
            None => {
                let mut empty = layer.clone();
                for service in &layer.services {
                    if change.is_gone(service, read) {
                        empty.services.retain(|s| s.name != service.name);
                    }
                }
                // Without services it is in nobody's way.
                layers.push(empty);
            }
        }
    }
    for (at, layer) in read.layers.iter().enumerate() {
        if running.layers.iter().any(|other| other.name == layer.name) {
            continue;
        }
        let mut new = layer.clone();
        new.services.retain(|service| {
            let is_new = running.service(&service.name).is_none();
            if is_new && !service.disabled {
                change.added.push(service.name.clone());
            }
            is_new
        });
        let name = &layer.name;
        change.applied.push(format!(
            "layer {name} is new, and starts after what it comes after"
        ));
        change.plan.layers.push(plan_layer(&new));
        if new.needing {
            change.plan.needing.push(name.clone());
        }
        // Behind the one that it follows in the file, so that the next reload finds the same order.
        let before = at.checked_sub(1).map(|before| &read.layers[before].name);
        let behind = before.and_then(|name| layers.iter().position(|l: &Layer| l.name == *name));
        layers.insert(behind.map_or(0, |behind| behind + 1), new);
    }
    change.manifest.layers = layers;
    change.take_tables(running, read);
    change.plan_rules_and_terms();
    change
}

impl Change {
    /// Those who are told stay as they were, since `why` the new ones cannot be told.
    pub(super) fn keep_notify(&mut self, running: &Manifest, why: &str) {
        if self.manifest.notify == running.notify {
            return;
        }
        self.manifest.notify.clone_from(&running.notify);
        self.applied.retain(|table| table != NOTIFY);
        self.left.push(format!("{NOTIFY} stays as it was: {why}"));
    }

    /// The tables that hold from now on.
    fn take_tables(&mut self, running: &Manifest, read: &Manifest) {
        let manifest = &mut self.manifest;
        manifest.heal = heal_of(running, read);
        manifest.acknowledged.clone_from(&read.acknowledged);
        manifest.notify.clone_from(&read.notify);
        manifest.logs.rules = read.logs.rules;
        // Those that only moved are taken too: findings name their lines.
        manifest.config.clone_from(&read.config);
        manifest.vault.clone_from(&read.vault);
        manifest.schemas.clone_from(&read.schemas);
        manifest.registration.clone_from(&read.registration);
        manifest.checks.clone_from(&read.checks);
        manifest.sandbox.clone_from(&read.sandbox);
        manifest.validate_every_ms = read.validate_every_ms;
        let (running, now) = (without_lines(running), without_lines(manifest));
        let checked = [
            ("[config]", now.config != running.config),
            ("[vault]", now.vault != running.vault),
            ("[[schema]]", now.schemas != running.schemas),
            ("[registration]", now.registration != running.registration),
            ("[[check]]", now.checks != running.checks),
            ("[sandbox]", now.sandbox != running.sandbox),
            (
                "[validate]",
                now.validate_every_ms != running.validate_every_ms,
            ),
        ];
        self.checked = checked.iter().any(|(_, differs)| *differs);
        let others = [
            ("[heal]", now.heal != running.heal),
            ("[coverage]", now.acknowledged != running.acknowledged),
            (NOTIFY, now.notify != running.notify),
        ];
        let differ = checked
            .iter()
            .chain(&others)
            .filter(|(_, differs)| *differs);
        self.applied
            .extend(differ.map(|(table, _)| (*table).to_owned()));
    }

    /// The layer as it is from now on.
    fn compare_layer(
        &mut self,
        layer: &Layer,
        other: &Layer,
        running: &Manifest,
        read: &Manifest,
    ) -> Layer {
        let mut services = Vec::new();
        let mut planned = Vec::new();
        for service in &layer.services {
            let name = &service.name;
            let Some(found) = other.services.iter().find(|s| s.name == *name) else {
                if !self.is_gone(service, read) {
                    services.push(service.clone());
                }
                continue;
            };
            let found = Service {
                line: service.line,
                ..found.clone()
            };
            if found.disabled && !service.disabled {
                self.stopped.push(name.clone());
            } else if service.disabled && !found.disabled {
                self.added.push(name.clone());
            } else if started_with(&found) != started_with(service) {
                self.services.push(name.clone());
            } else if found.logs != service.logs {
                self.later.push(name.clone());
            }
            let keys = plan_keys(service, &found);
            if !keys.is_empty() {
                let keys = keys.join("`, `");
                self.applied.push(format!("service {name}: `{keys}`"));
                planned.push(found.clone());
            }
            services.push(found);
        }
        for service in &other.services {
            if running.service(&service.name).is_none() {
                if !service.disabled {
                    self.added.push(service.name.clone());
                }
                planned.push(service.clone());
                services.push(service.clone());
            }
        }
        let keys = frame_keys(layer, other);
        if !keys.is_empty() {
            let (name, keys) = (&layer.name, keys.join("`, `"));
            self.applied.push(format!("layer {name}: `{keys}`"));
        }
        if !planned.is_empty() || keys.iter().any(|key| *key != "rehearse") {
            self.plan.layers.push(plan_layer(&Layer {
                services: planned,
                ..other.clone()
            }));
            if other.needing {
                self.plan.needing.push(other.name.clone());
            }
        }
        Layer {
            services,
            line: layer.line,
            ..other.clone()
        }
    }

    /// The service is nowhere in the new manifest; one that moved to another layer is left where it is.
    fn is_gone(&mut self, service: &Service, read: &Manifest) -> bool {
        let name = &service.name;
        match read.service(name) {
            Some((layer, _)) => {
                let layer = &layer.name;
                self.left.push(format!(
                    "service {name} is in layer {layer} now: it stays where it is"
                ));
                false
            }
            None => {
                if !service.disabled {
                    self.stopped.push(name.clone());
                }
                self.plan.removed.push(name.clone());
                true
            }
        }
    }

    /// Those of the services that are planned anew.
    fn plan_rules_and_terms(&mut self) {
        let services = self
            .plan
            .layers
            .iter()
            .flat_map(|l: &LayerPlan| &l.services);
        let names: Vec<String> = services.map(|service| service.name.clone()).collect();
        let rules = plan_rules(&self.manifest).into_iter();
        let is_planned = |name: &String| names.contains(name);
        self.plan.rules = rules
            .filter(|rules: &ServiceRules| is_planned(&rules.service))
            .collect();
        let services = self.manifest.layers.iter().flat_map(|l| &l.services);
        self.plan.terms = services
            .filter(|service| is_planned(&service.name))
            .map(|service| -> ServiceTerms { plan_terms_of(service) })
            .collect();
    }
}

/// What a service is started with and asked: all but its plan.
fn started_with(service: &Service) -> Service {
    Service {
        restart: Default::default(),
        min_uptime_ms: 0,
        stable_after_ms: 0,
        success: Vec::new(),
        on_failure: Default::default(),
        on_end: Default::default(),
        needs: Default::default(),
        disabled: false,
        profiles: Vec::new(),
        logs: Default::default(),
        ..service.clone()
    }
}

/// `[heal]` as it holds from now on: how often the boot is tried is its plan.
fn heal_of(running: &Manifest, read: &Manifest) -> Heal {
    Heal {
        attempts: running.heal.attempts,
        backoff_ms: running.heal.backoff_ms,
        backoff_ms_max: running.heal.backoff_ms_max,
        breaker: running.heal.breaker,
        ..read.heal.clone()
    }
}

/// Tables that are read when a boot begins.
fn left_tables(running: &Manifest, read: &Manifest) -> Vec<String> {
    let order = |manifest: &Manifest| -> Vec<String> {
        let layers = manifest.layers.iter();
        let known = layers.filter(|layer| {
            let has = |other: &Manifest| other.layers.iter().any(|l| l.name == layer.name);
            has(running) && has(read)
        });
        known.map(|layer| layer.name.clone()).collect()
    };
    let (running, read) = (without_lines(running), without_lines(read));
    // Every field is named, so that none that is added is forgotten here.
    let Manifest {
        path: _,
        workspace: _,
        digest: _,
        name,
        python,
        // Given with the command, and the same for both.
        choice: _,
        // They hold from now on.
        config: _,
        vault: _,
        schemas: _,
        registration: _,
        checks: _,
        acknowledged: _,
        validate_every_ms: _,
        notify: _,
        // Of each layer and service it is told apart.
        layers: _,
        heal: _,
        sandbox: _,
        api,
        logs,
    } = &running;
    let tables = [
        ("[app]", *name != read.name),
        ("[python]", *python != read.python),
        (
            "`attempts`, `backoff`, `max_backoff` or `breaker` of [heal]",
            heal_of(&running, &read) != read.heal,
        ),
        ("[api]", *api != read.api),
        (
            "`directory` of [logs]",
            logs.directory != read.logs.directory,
        ),
        ("the order of the layers", order(&running) != order(&read)),
    ];
    let changed = tables.iter().filter(|(_, changed)| *changed);
    changed
        .map(|(table, _)| format!("{table} is fixed in a boot"))
        .collect()
}

/// Without the places in the file: what only moved is no other.
fn without_lines(manifest: &Manifest) -> Manifest {
    let mut manifest = manifest.clone();
    manifest.config.vars.values_mut().for_each(|v| v.line = 0);
    if let Some(vault) = &mut manifest.vault {
        vault.line = 0;
        vault.keys.iter_mut().for_each(|key| key.line = 0);
    }
    manifest.schemas.iter_mut().for_each(|s| s.line = 0);
    manifest.registration.iter_mut().for_each(|r| r.line = 0);
    manifest.checks.iter_mut().for_each(|check| check.line = 0);
    manifest
}

/// Keys of the layer itself that differ.
fn frame_keys(running: &Layer, read: &Layer) -> Vec<&'static str> {
    let after = |layer: &Layer| (layer.after.clone(), layer.needing);
    let keys = [
        ("critical", running.critical != read.critical),
        ("after", after(running) != after(read)),
        ("rehearse", running.rehearse != read.rehearse),
    ];
    let differ = keys.iter().filter(|(_, differs)| *differs);
    differ.map(|(key, _)| *key).collect()
}

/// Keys of the boot's plan that differ.
fn plan_keys(running: &Service, read: &Service) -> Vec<&'static str> {
    let keys = [
        ("oneshot", running.oneshot != read.oneshot),
        ("restart", running.restart != read.restart),
        ("min_uptime", running.min_uptime_ms != read.min_uptime_ms),
        (
            "stable_after",
            running.stable_after_ms != read.stable_after_ms,
        ),
        ("success", running.success != read.success),
        ("on_failure", running.on_failure != read.on_failure),
        ("on_end", running.on_end != read.on_end),
        ("needs", running.needs != read.needs),
        ("disabled", running.disabled != read.disabled),
        // That there is a probe is part of the plan; what it asks is not.
        ("ready", running.ready.is_some() != read.ready.is_some()),
    ];
    let differ = keys.iter().filter(|(_, differs)| *differs);
    differ.map(|(key, _)| *key).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const BEFORE: &str = "[app]\nname = \"x\"\n[[layer]]\nname = \"all\"\n\
        [[layer.service]]\nname = \"a\"\nrun = \"sleep 1\"\n\
        [[layer.service]]\nname = \"b\"\nrun = \"sleep 2\"\n";

    fn manifest(text: &str) -> Manifest {
        Manifest::parse(text, Path::new("/w/ubs.toml")).unwrap()
    }

    fn change(after: &str) -> Change {
        compare(&manifest(BEFORE), &manifest(after))
    }

    #[test]
    fn only_what_the_change_touches_is_started_anew() {
        assert_eq!(change(&format!("# moved\n\n{BEFORE}")).services, [""; 0]);
        for (from, to) in [
            ("sleep 1", "sleep 9"),
            ("\"sleep 1\"", "\"sleep 1\"\nenv = { A = \"1\" }"),
            (
                "\"sleep 1\"",
                "\"sleep 1\"\nlive = { tcp = \"localhost:1\" }",
            ),
            ("\"sleep 1\"", "\"sleep 1\"\nstop = { timeout = \"1s\" }"),
        ] {
            let change = change(&BEFORE.replace(from, to));
            assert_eq!(
                (&change.services, &change.left, change.plan.is_empty()),
                (&vec!["a".to_owned()], &vec![], true)
            );
        }
    }

    #[test]
    fn of_two_lines_that_change_only_their_services_are_touched() {
        let three = format!("{BEFORE}{}", B.replace("\"b\"", "\"c\""));
        let changed = three
            .replace("sleep 1\"", "sleep 1\"\nlimits = { open_files = 99 }")
            .replacen("sleep 2\"", "sleep 3\"", 1);
        let change = compare(&manifest(&three), &manifest(&changed));
        assert_eq!(change.services, ["a", "b"]);
        assert!(change.plan.is_empty() && change.left.is_empty() && change.applied.is_empty());
    }

    #[test]
    fn what_only_moved_in_the_file_is_no_change() {
        let tables = "[config.vars.A]\n[registration]\napp = \"fastapi:m:app\"\n\
            [[schema]]\nname = \"s\"\ndatabase = \"sqlite:///a.db\"\nexpect = \"alembic:alembic.ini\"\n\
            [vault]\nkind = \"command\"\ncommand = [\"v\"]\nkeys = [\"K\"]\n\
            [[check]]\nname = \"c\"\ntcp = \"localhost:1\"\n";
        let running = manifest(&format!("{BEFORE}{tables}"));
        let moved = manifest(&format!("{BEFORE}\n# moved\n{tables}"));
        let change = compare(&running, &moved);
        assert!(change.is_empty() && change.left.is_empty(), "{change:?}");
    }

    const B: &str = "[[layer.service]]\nname = \"b\"\nrun = \"sleep 2\"\n";

    /// Names of the services that are planned anew.
    fn planned(change: &Change) -> Vec<&str> {
        let services = change.plan.layers.iter().flat_map(|l| &l.services);
        services.map(|service| service.name.as_str()).collect()
    }

    #[test]
    fn the_plan_changes_with_the_services_that_there_are() {
        let more = change(&BEFORE.replace(B, &format!("{B}{}", B.replace("\"b\"", "\"c\""))));
        assert_eq!(
            (&more.added[..], planned(&more)),
            (&["c".to_owned()][..], vec!["c"])
        );
        let (_, c) = more.manifest.service("c").unwrap();
        assert_eq!(more.plan.rules[0], plan_rules(&more.manifest)[2]);
        assert_eq!((c.name.as_str(), more.left), ("c", vec![]));
        let less = change(&BEFORE.replace(B, ""));
        assert_eq!(
            (&less.stopped, &less.plan.removed),
            (&vec!["b".to_owned()], &vec!["b".to_owned()])
        );
        assert!(less.manifest.service("b").is_none() && planned(&less).is_empty());
        let off = change(&BEFORE.replace("sleep 2\"", "sleep 2\"\ndisabled = true"));
        assert_eq!(
            (&off.stopped, planned(&off)),
            (&vec!["b".to_owned()], vec!["b"])
        );
        assert!(off.plan.terms[0].disabled && off.services.is_empty());
        let layer = change(&format!(
            "{BEFORE}[[layer]]\nname = \"new\"\n{}",
            B.replace("\"b\"", "\"c\"")
        ));
        assert_eq!(
            (&layer.added, planned(&layer)),
            (&vec!["c".to_owned()], vec!["c"])
        );
        assert_eq!(
            (layer.plan.layers[0].after.clone(), layer.left),
            (vec!["all".to_owned()], vec![])
        );
        // In the middle: the next one comes after it.
        let two = format!("{BEFORE}[[layer]]\nname = \"two\"\n");
        let three = two.replace(
            "[[layer]]\nname = \"two\"",
            "[[layer]]\nname = \"mid\"\n[[layer]]\nname = \"two\"",
        );
        let middle = compare(&manifest(&two), &manifest(&three));
        let after: Vec<_> = middle
            .plan
            .layers
            .iter()
            .map(|l| (l.name.as_str(), l.after.join(",")))
            .collect();
        let wanted = [("two", "mid".to_owned()), ("mid", "all".to_owned())];
        assert_eq!((&after[..], &middle.left), (&wanted[..], &vec![]));
        let again = compare(&middle.manifest, &manifest(&three));
        assert!(again.is_empty(), "{again:?}");
        assert_eq!(again.left, [""; 0]);
        let disabled = change(&format!(
            "{BEFORE}{}disabled = true\n",
            B.replace("\"b\"", "\"c\"")
        ));
        assert_eq!((disabled.added, disabled.left), (vec![], vec![]));
        let optional = change(&BEFORE.replace("\"all\"\n", "\"all\"\ncritical = false\n"));
        assert_eq!(
            (optional.plan.layers[0].critical, optional.left),
            (false, vec![])
        );
        assert!(!optional.manifest.layers[0].critical && optional.services.is_empty());
        let none = change(&BEFORE.replace("\"all\"", "\"other\""));
        assert_eq!(
            none.left.len(),
            2,
            "both are in another layer: {:?}",
            none.left
        );
    }

    #[test]
    fn how_a_service_is_judged_changes_without_a_restart() {
        for (line, restarts) in [
            ("restart = \"never\"", false),
            ("min_uptime = \"5s\"", false),
            ("stable_after = \"5s\"", false),
            ("success = [3]", false),
            ("on_failure = \"boot\"", false),
            ("on_end = \"stop\"", false),
            ("needs = { a = \"ready\" }", false),
            ("oneshot = true", true),
            ("ready = { tcp = \"localhost:1\" }", true),
        ] {
            let change = change(&BEFORE.replace("sleep 2\"", &format!("sleep 2\"\n{line}")));
            assert_eq!(planned(&change), ["b"], "{line}");
            assert_eq!(!change.services.is_empty(), restarts, "{line}");
            assert_eq!((change.applied.len(), change.left.len()), (1, 0), "{line}");
            let name = line.split(' ').next().unwrap();
            assert!(change.applied[0].contains(name), "{:?}", change.applied);
        }
        let heal = change(&format!("{BEFORE}[heal]\noffer = \"1s\"\n"));
        assert_eq!((heal.manifest.heal.offer_ms, heal.left.len()), (1_000, 0));
    }

    #[test]
    fn what_the_checks_look_at_and_who_is_told_hold_from_then_on() {
        let schema = "[[schema]]\nname = \"s\"\ndatabase = \"sqlite:///a.db\"\nexpect = \"alembic:alembic.ini\"\n";
        for (table, wanted, checked) in [
            ("[config]\nfiles = [\"more.env\"]\n", "[config]", true),
            ("[config.vars.A]\n", "[config]", true),
            (
                "[vault]\nkind = \"command\"\ncommand = [\"v\"]\nkeys = [\"K\"]\n",
                "[vault]",
                true,
            ),
            (schema, "[[schema]]", true),
            (
                "[registration]\napp = \"fastapi:m:app\"\n",
                "[registration]",
                true,
            ),
            (
                "[[check]]\nname = \"c\"\ntcp = \"localhost:1\"\n",
                "[[check]]",
                true,
            ),
            ("[sandbox]\nread = [\"/srv/x\"]\n", "[sandbox]", true),
            ("[validate]\nevery = \"5m\"\n", "[validate]", true),
            ("[heal]\noffer = \"1s\"\n", "[heal]", false),
            (
                "[[notify]]\non = [\"no_go\"]\nexec = [\"tell\"]\n",
                "[[notify]]",
                false,
            ),
        ] {
            let read = manifest(&format!("{BEFORE}{table}"));
            let change = compare(&manifest(BEFORE), &read);
            assert_eq!(
                (&change.applied[..], change.checked),
                (&[wanted.to_owned()][..], checked)
            );
            assert_eq!(
                (change.left.len(), change.services.len()),
                (0, 0),
                "{wanted}"
            );
            // All of it: nothing differs any more, in either direction.
            assert!(compare(&change.manifest, &read).is_empty(), "{wanted}");
            assert!(!compare(&change.manifest, &manifest(BEFORE)).is_empty());
        }
    }

    #[test]
    fn who_cannot_be_told_leaves_those_who_are() {
        let told = |who: &str| {
            manifest(&format!(
                "{BEFORE}[[notify]]\non = [\"no_go\"]\nexec = [\"{who}\"]\n"
            ))
        };
        let mut change = compare(&told("one"), &told("${NOBODY}"));
        change.keep_notify(&told("one"), "number 1: NOBODY is not set");
        assert_eq!(change.manifest.notify, told("one").notify);
        assert!(
            change.is_empty() && change.left[0].contains("NOBODY"),
            "{change:?}"
        );
        let mut same = compare(&told("one"), &told("one"));
        same.keep_notify(&told("one"), "number 1: it had no value before either");
        assert_eq!(same.left, [""; 0]);
    }

    #[test]
    fn how_output_is_kept_changes_with_the_next_start() {
        let general = change(&format!("{BEFORE}[logs]\nkeep = 7\n"));
        assert_eq!(
            (general.later.join(","), general.left.len()),
            ("a,b".to_owned(), 0)
        );
        let (_, a) = general.manifest.service("a").unwrap();
        assert_eq!((a.logs.keep, general.manifest.logs.rules.keep), (7, 7));
        let own = change(&BEFORE.replace("sleep 2\"", "sleep 2\"\nlogs = { keep = 7 }"));
        assert_eq!(
            (own.later.join(","), own.services.len()),
            ("b".to_owned(), 0)
        );
        let place = change(&format!("{BEFORE}[logs]\ndirectory = \"out\"\n"));
        assert!(
            place.is_empty() && place.left[0].contains("`directory` of [logs]"),
            "{:?}",
            place.left
        );
    }

    #[test]
    fn what_takes_a_new_boot_is_named_and_left() {
        for (from, to, wanted) in [
            ("\"x\"\n", "\"y\"\n", "[app] is fixed"),
            ("\"x\"\n", "\"x\"\n[heal]\nattempts = 2\n", "`attempts`"),
            (
                "\"x\"\n",
                "\"x\"\n[api]\nlisten = \"127.0.0.1:7717\"\n",
                "[api] is fixed",
            ),
        ] {
            let change = change(&BEFORE.replace(from, to));
            assert!(change.is_empty(), "{wanted}");
            assert_eq!(change.left.len(), 1, "{wanted}: {:?}", change.left);
            assert!(change.left[0].contains(wanted), "{:?}", change.left);
        }
        // Both at once: what can be changed is.
        let both = BEFORE
            .replace("\"sleep 2\"", "\"sleep 3\"")
            .replace("\"x\"", "\"y\"");
        let both = change(&both);
        assert_eq!((both.services.len(), both.left.len()), (1, 1));
    }
}
