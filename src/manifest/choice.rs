//! Which services a boot is about: all that no profile holds back, or those that were named, with what they need.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::types::{Choice, Layer, Manifest, Service};
use super::words::{did_you_mean, nearest};

/// A choice that the manifest does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct ChoiceError {
    /// What, for people.
    pub message: String,
    /// What to do.
    pub help: String,
}

impl Manifest {
    /// Leaves the services of the choice, and the layers and declared checks that are about them.
    ///
    /// A service that is named is in, whatever its profile; so is what the others `need`. Of the layers that the
    /// layer of a named service comes after, what no profile holds back is in.
    ///
    /// # Errors
    /// A name that is no service or profile here, or a service that is disabled.
    pub(crate) fn choose(&mut self, choice: &Choice) -> Result<(), ChoiceError> {
        require_known(self, choice)?;
        let kept = kept(self, choice);
        let mut gone: BTreeMap<String, Vec<String>> = BTreeMap::new();
        self.layers.retain_mut(|layer| {
            let had_services = !layer.services.is_empty();
            layer
                .services
                .retain(|service| kept.contains(&service.name));
            let is_kept = !had_services || !layer.services.is_empty();
            if !is_kept {
                gone.insert(layer.name.clone(), std::mem::take(&mut layer.after));
            }
            is_kept
        });
        if !gone.is_empty() {
            for layer in &mut self.layers {
                layer.after = over_gaps(std::mem::take(&mut layer.after), &gone);
            }
        }
        let layers: BTreeSet<&str> = self.layers.iter().map(|l| l.name.as_str()).collect();
        self.checks.retain(|check| {
            let layer = check.layer.as_deref();
            layer.is_none_or(|layer| layers.contains(layer))
        });
        self.choice = choice.clone();
        Ok(())
    }
}

/// What a layer comes after, with what came before a layer that is gone in its place. Layers make no circle.
fn over_gaps(after: Vec<String>, gone: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut open = after;
    open.reverse();
    while let Some(name) = open.pop() {
        if !seen.insert(name.clone()) {
            continue;
        }
        match gone.get(&name) {
            Some(before) => open.extend(before.iter().rev().cloned()),
            None => found.push(name),
        }
    }
    found
}

fn all_services(manifest: &Manifest) -> impl Iterator<Item = (&Layer, &Service)> {
    let layers = manifest.layers.iter();
    layers.flat_map(|layer| layer.services.iter().map(move |service| (layer, service)))
}

fn require_known(manifest: &Manifest, choice: &Choice) -> Result<(), ChoiceError> {
    let services: Vec<&str> = all_services(manifest)
        .map(|(_, s)| s.name.as_str())
        .collect();
    for name in &choice.services {
        let Some((_, service)) = manifest.service(name) else {
            return Err(unknown("service", name, &services));
        };
        if service.disabled {
            return Err(ChoiceError {
                message: format!("service `{name}` is disabled in the manifest"),
                help: "take `disabled` out there, or give it a profile, which holds it back until it is named"
                    .to_owned(),
            });
        }
    }
    let profiles = all_services(manifest).flat_map(|(_, service)| &service.profiles);
    let profiles: BTreeSet<&str> = profiles.map(String::as_str).collect();
    let profiles: Vec<&str> = profiles.into_iter().collect();
    match choice
        .profiles
        .iter()
        .find(|name| !profiles.contains(&name.as_str()))
    {
        Some(name) => Err(unknown("profile", name, &profiles)),
        None => Ok(()),
    }
}

fn unknown(what: &str, name: &str, known: &[&str]) -> ChoiceError {
    let near = did_you_mean(nearest(name, known.iter().copied()));
    ChoiceError {
        message: format!("the manifest has no {what} {name:?}{near}"),
        help: match known {
            [] => format!("there is no {what} in the manifest"),
            known => format!("{what}s of the manifest: {}", known.join(", ")),
        },
    }
}

/// The names of the services that the choice leaves.
fn kept(manifest: &Manifest, choice: &Choice) -> BTreeSet<String> {
    let is_on = |service: &Service| {
        let profiles = &service.profiles;
        profiles.is_empty() || profiles.iter().any(|name| choice.profiles.contains(name))
    };
    let on_in = |layer: &Layer| -> Vec<String> {
        let services = layer.services.iter().filter(|service| is_on(service));
        services.map(|service| service.name.clone()).collect()
    };
    let mut open = match choice.services.as_slice() {
        [] => manifest.layers.iter().flat_map(on_in).collect(),
        named => named.to_vec(),
    };
    let by_name: HashMap<&str, (&Layer, &Service)> = all_services(manifest)
        .map(|(layer, service)| (service.name.as_str(), (layer, service)))
        .collect();
    let layers: HashMap<&str, &Layer> = manifest.layers.iter().map(|l| (&*l.name, l)).collect();
    let mut kept = BTreeSet::new();
    let mut walked: BTreeSet<&str> = BTreeSet::new();
    while let Some(name) = open.pop() {
        let Some((layer, service)) = by_name.get(name.as_str()) else {
            continue;
        };
        if !kept.insert(name) {
            continue;
        }
        open.extend(service.needs.keys().cloned());
        let mut after = vec![*layer];
        while let Some(layer) = after.pop() {
            if !walked.insert(&layer.name) {
                continue;
            }
            for before in layer.after.iter().filter_map(|name| layers.get(&**name)) {
                open.extend(on_in(before));
                after.push(before);
            }
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const TEXT: &str = r#"
[app]
name = "x"
[[layer]]
name = "data"
  [[layer.service]]
  name = "db"
  run = "true"
  [[layer.service]]
  name = "adminer"
  run = "true"
  profiles = ["debug"]
[[layer]]
name = "cache"
  [[layer.service]]
  name = "redis"
  run = "true"
  profiles = ["cache"]
[[layer]]
name = "api"
  [[layer.service]]
  name = "web"
  run = "true"
  [[layer.service]]
  name = "worker"
  run = "true"
  needs = { redis = "ready" }
  profiles = ["work", "all"]
[[layer]]
name = "extra"
after = []
  [[layer.service]]
  name = "lone"
  run = "true"
  profiles = ["debug"]
  [[layer.service]]
  name = "off"
  run = "true"
  disabled = true
[[check]]
name = "redis"
tcp = "127.0.0.1:6379"
layer = "cache"
[[check]]
name = "anywhere"
tcp = "127.0.0.1:6379"
"#;

    fn chosen(services: &[&str], profiles: &[&str]) -> Result<Manifest, ChoiceError> {
        let mut manifest = Manifest::parse(TEXT, Path::new("/w/ubs.toml")).unwrap();
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        manifest.choose(&Choice {
            services: owned(services),
            profiles: owned(profiles),
        })?;
        Ok(manifest)
    }

    fn names(manifest: &Manifest) -> Vec<&str> {
        all_services(manifest)
            .map(|(_, service)| service.name.as_str())
            .collect()
    }

    #[test]
    fn what_a_profile_holds_back_starts_with_the_profile_or_where_it_is_needed() {
        let manifest = chosen(&[], &[]).unwrap();
        assert_eq!(names(&manifest), ["db", "web", "off"]);
        assert_eq!(
            names(&chosen(&[], &["all"]).unwrap()),
            ["db", "redis", "web", "worker", "off"]
        );
        assert_eq!(
            names(&chosen(&[], &["debug", "cache"]).unwrap()),
            ["db", "adminer", "redis", "web", "lone", "off"]
        );
        // The layer between is gone, and with it the check that is about it; the order is kept.
        let layer = manifest
            .layers
            .iter()
            .find(|layer| layer.name == "api")
            .unwrap();
        assert_eq!(layer.after, ["data"]);
        let checks: Vec<&str> = manifest
            .checks
            .iter()
            .map(|check| check.name.as_str())
            .collect();
        assert_eq!(checks, ["anywhere"]);
    }

    #[test]
    fn a_service_that_is_named_starts_with_what_it_needs_and_nothing_else() {
        for (services, profiles, wanted) in [
            (&["db"][..], &[][..], &["db"][..]),
            (&["web"], &[], &["db", "web"]),
            (&["web"], &["cache"], &["db", "redis", "web"]),
            (&["worker"], &[], &["db", "redis", "worker"]),
            (&["lone"], &[], &["lone"]),
            (&["adminer", "lone"], &[], &["adminer", "lone"]),
        ] {
            assert_eq!(
                names(&chosen(services, profiles).unwrap()),
                wanted,
                "{services:?}"
            );
        }
    }

    #[test]
    fn names_that_the_manifest_does_not_have_are_refused_with_those_that_it_has() {
        let error = chosen(&["wbe"], &[]).unwrap_err();
        assert_eq!(
            error.message,
            "the manifest has no service \"wbe\"; did you mean `web`?"
        );
        assert!(error.help.contains("db, adminer"), "{}", error.help);
        let error = chosen(&[], &["prod"]).unwrap_err();
        assert_eq!(
            error.help,
            "profiles of the manifest: all, cache, debug, work"
        );
        let error = chosen(&["off"], &[]).unwrap_err();
        assert_eq!(error.message, "service `off` is disabled in the manifest");
    }
}
