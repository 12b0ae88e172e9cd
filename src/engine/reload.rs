//! What a changed manifest means for the boot that runs.
//!
//! The plan of a boot is fixed when it begins. What a service is started with is not part of it: its command, its
//! environment, its probes. So that is what a reload can change; the rest is named, and takes a new boot.

use crate::manifest::{Layer, LogRules, Logs, Manifest, Service};

/// The difference between the manifest of the boot and the one that was read again.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Change {
    /// The manifest of the boot, with what can be changed.
    pub manifest: Manifest,
    /// Services that are started with something else from now on.
    pub services: Vec<String>,
    /// What takes a new boot, each with why.
    pub left: Vec<String>,
}

/// Compares the two.
pub(super) fn compare(running: &Manifest, read: &Manifest) -> Change {
    let mut manifest = running.clone();
    let mut services = Vec::new();
    let mut left = left_tables(running, read);
    for layer in &mut manifest.layers {
        let Some(read_layer) = read.layers.iter().find(|other| other.name == layer.name) else {
            left.push(format!("layer {} is gone from the manifest", layer.name));
            continue;
        };
        if frame_of(layer) != frame_of(read_layer) {
            left.push(format!(
                "layer {}: `critical`, `after` and `rehearse` are fixed in a boot",
                layer.name
            ));
        }
        for service in &mut layer.services {
            let name = service.name.clone();
            let found = read_layer.services.iter().find(|s| s.name == name);
            let Some(found) = found else {
                left.push(match read.service(&name) {
                    Some((other, _)) => format!("service {name} is in layer {} now", other.name),
                    None => format!(
                        "service {name} is gone from the manifest: it runs until the boot ends, or `ubs stop {name}`"
                    ),
                });
                continue;
            };
            let fixed = fixed_keys(service, found);
            if !fixed.is_empty() {
                let keys = fixed.join("`, `");
                left.push(format!("service {name}: `{keys}` cannot change in a boot"));
            }
            let changed = with_plan_of(service, found);
            if changed != *service {
                *service = changed;
                services.push(name);
            }
        }
    }
    for layer in &read.layers {
        let is_new = running.layers.iter().all(|other| other.name != layer.name);
        if is_new {
            left.push(format!("layer {} is new", layer.name));
        }
        for service in &layer.services {
            if running.service(&service.name).is_none() {
                left.push(format!("service {} is new", service.name));
            }
        }
    }
    Change {
        manifest,
        services,
        left,
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
        config,
        vault,
        schemas,
        registration,
        checks,
        acknowledged,
        // Given with the command, and the same for both.
        choice: _,
        // Of each layer and service it is told apart.
        layers: _,
        heal,
        sandbox,
        validate_every_ms,
        api,
        // With those of the services.
        logs: _,
        notify,
    } = &running;
    let tables = [
        ("[app]", *name != read.name),
        ("[python]", *python != read.python),
        ("[config]", *config != read.config),
        ("[vault]", *vault != read.vault),
        ("[[schema]]", *schemas != read.schemas),
        ("[registration]", *registration != read.registration),
        ("[[check]]", *checks != read.checks),
        ("[coverage]", *acknowledged != read.acknowledged),
        ("[heal]", *heal != read.heal),
        ("[sandbox]", *sandbox != read.sandbox),
        ("[api]", *api != read.api),
        ("`logs`", logs_of(&running) != logs_of(&read)),
        ("[[notify]]", *notify != read.notify),
        ("[validate]", *validate_every_ms != read.validate_every_ms),
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

/// How output is kept, in general and of each service that both may have.
fn logs_of(manifest: &Manifest) -> (&Logs, Vec<(&str, LogRules)>) {
    let services = manifest.layers.iter().flat_map(|layer| &layer.services);
    let own = services.filter(|service| service.logs != manifest.logs.rules);
    let own = own.map(|service| (service.name.as_str(), service.logs));
    (&manifest.logs, own.collect())
}

/// A layer without its services and its place in the file.
fn frame_of(layer: &Layer) -> Layer {
    Layer {
        services: Vec::new(),
        line: 0,
        ..layer.clone()
    }
}

/// Keys that the boot's plan holds, and that differ.
fn fixed_keys(running: &Service, read: &Service) -> Vec<&'static str> {
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

/// The service as it was read, with what the boot's plan holds of the one that runs.
fn with_plan_of(running: &Service, read: &Service) -> Service {
    let ready = match (&running.ready, &read.ready) {
        (Some(_), Some(ready)) => Some(ready.clone()),
        (ready, _) => ready.clone(),
    };
    Service {
        oneshot: running.oneshot,
        restart: running.restart.clone(),
        min_uptime_ms: running.min_uptime_ms,
        stable_after_ms: running.stable_after_ms,
        success: running.success.clone(),
        on_failure: running.on_failure,
        on_end: running.on_end,
        needs: running.needs.clone(),
        disabled: running.disabled,
        logs: running.logs,
        ready,
        line: running.line,
        ..read.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::domain::event::Mode;
    use crate::engine::plan::{plan_boot, plan_rules, plan_terms};

    /// What must never change in a boot.
    fn plan_of(manifest: &Manifest) -> impl PartialEq + std::fmt::Debug {
        let plan = plan_boot(manifest, Mode::Resilient, true);
        (plan, plan_rules(manifest), plan_terms(manifest))
    }

    const BEFORE: &str = "[app]\nname = \"x\"\n[[layer]]\nname = \"all\"\n\
        [[layer.service]]\nname = \"a\"\nrun = \"sleep 1\"\n\
        [[layer.service]]\nname = \"b\"\nrun = \"sleep 2\"\n";

    fn manifest(text: &str) -> Manifest {
        Manifest::parse(text, Path::new("/w/ubs.toml")).unwrap()
    }

    fn change(after: &str) -> Change {
        let running = manifest(BEFORE);
        let change = compare(&running, &manifest(after));
        assert_eq!(plan_of(&change.manifest), plan_of(&running), "{after}");
        change
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
                (change.services, change.left),
                (vec!["a".to_owned()], vec![])
            );
        }
    }

    #[test]
    fn what_only_moved_in_the_file_is_no_change() {
        let tables = "[config.vars.A]\n[registration]\napp = \"fastapi:m:app\"\n\
            [[schema]]\nname = \"s\"\ndatabase = \"sqlite:///a.db\"\nexpect = \"alembic:alembic.ini\"\n\
            [vault]\nkind = \"command\"\ncommand = [\"v\"]\nkeys = [\"K\"]\n\
            [[check]]\nname = \"c\"\ntcp = \"localhost:1\"\n";
        let running = manifest(&format!("{BEFORE}{tables}"));
        let moved = manifest(&format!("{BEFORE}\n# moved\n{tables}"));
        assert_eq!(compare(&running, &moved).left, [""; 0]);
    }

    #[test]
    fn what_takes_a_new_boot_is_named_and_left() {
        let b = "[[layer.service]]\nname = \"b\"\nrun = \"sleep 2\"\n";
        for (from, to, wanted) in [
            (b, "", "service b is gone"),
            (
                b,
                &format!("{b}{}", b.replace("\"b\"", "\"c\"")),
                "service c is new",
            ),
            ("\"sleep 2\"", "\"sleep 2\"\noneshot = true", "`oneshot`"),
            (
                "\"sleep 2\"",
                "\"sleep 2\"\nready = { tcp = \"localhost:1\" }",
                "`ready`",
            ),
            (
                "\"sleep 2\"",
                "\"sleep 2\"\nneeds = { a = \"ready\" }",
                "`needs`",
            ),
            ("\"all\"\n", "\"all\"\ncritical = false\n", "layer all: "),
            ("\"x\"\n", "\"y\"\n", "[app] is fixed"),
            (
                "\"x\"\n",
                "\"x\"\n[[check]]\nname = \"c\"\ntcp = \"localhost:1\"\n",
                "[[check]] is fixed",
            ),
            (
                "\"x\"\n",
                "\"x\"\n[coverage]\nacknowledge = [\"service a\"]\n",
                "[coverage] is fixed",
            ),
        ] {
            let change = change(&BEFORE.replace(from, to));
            assert_eq!(change.services, [""; 0], "{wanted}");
            assert_eq!(change.left.len(), 1, "{wanted}: {:?}", change.left);
            assert!(change.left[0].contains(wanted), "{:?}", change.left);
        }
        // Both at once: what can be changed is.
        let both = BEFORE.replace("\"sleep 2\"", "\"sleep 3\"\nmin_uptime = \"5s\"");
        let both = change(&both);
        assert_eq!((both.services.len(), both.left.len()), (1, 1));
    }
}
