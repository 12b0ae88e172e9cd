//! What the manifest leaves without a look: services without a probe, layers that are not rehearsed.

use crate::manifest::{Environment, Manifest, Service};
use crate::source::{Program, is_launcher, program};

/// A part of the application that nothing looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gap {
    /// `service` or `layer`.
    pub what: &'static str,
    pub name: String,
    pub why: String,
    /// The manifest says that it is known.
    pub acknowledged: bool,
}

/// The gaps of a manifest, in its order.
pub(crate) fn gaps(manifest: &Manifest, environment: &Environment) -> Vec<Gap> {
    let is_known = |what: &str, name: &str| {
        manifest
            .acknowledged
            .iter()
            .any(|known| *known == format!("{what} {name}"))
    };
    let mut found = Vec::new();
    for layer in &manifest.layers {
        let services = || layer.services.iter().filter(|service| !service.disabled);
        if layer.rehearse.is_none() && services().next().is_some() {
            let unknown: Vec<String> = services()
                .filter_map(|service| unknown_command(service, environment))
                .collect();
            let why = match unknown.as_slice() {
                [] => "not rehearsed: no `rehearse`".to_owned(),
                [tool] if is_launcher(tool) => {
                    format!("not rehearsed: the command of {tool} names no module")
                }
                _ => format!("not rehearsed: unknown command ({})", unknown.join(", ")),
            };
            found.push(Gap {
                what: "layer",
                name: layer.name.clone(),
                why,
                acknowledged: is_known("layer", &layer.name),
            });
        }
        let without = services().filter(|service| !service.oneshot && service.ready.is_none());
        found.extend(without.map(|service| Gap {
            what: "service",
            name: service.name.clone(),
            why: "not probed: no `ready`".to_owned(),
            acknowledged: is_known("service", &service.name),
        }));
    }
    found
}

/// The program of a service of which nobody knows what it loads.
fn unknown_command(service: &Service, environment: &Environment) -> Option<String> {
    let words = service.run.iter();
    let words: Vec<String> = words
        .filter_map(|word| environment.expand(word).ok())
        .collect();
    let Program {
        tool,
        object,
        modules,
        run_module,
        script,
        ..
    } = program(&words);
    let is_known =
        object.is_some() || !modules.is_empty() || run_module.is_some() || script.is_some();
    let name = if tool.is_empty() {
        words.first().cloned().unwrap_or_default()
    } else {
        tool
    };
    (!is_known).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nothing_looks_at_is_listed() {
        let text = "[app]\nname = 'a'\n[coverage]\nacknowledge = ['service web']\n[[layer]]\nname = 'cache'\n[[layer.service]]\nname = 'cache'\n\
                    run = 'redis-server'\nready = { tcp = '127.0.0.1:1' }\n[[layer]]\nname = 'web'\n\
                    rehearse = { imports = ['web'] }\n[[layer.service]]\nname = 'web'\nrun = 'uvicorn web:app'\n\
                    [[layer]]\nname = 'tables'\n[[layer.service]]\nname = 'tables'\nrun = 'python -m tables'\n\
                    oneshot = true\n\
                    [[layer]]\nname = 'jobs'\n[[layer.service]]\nname = 'jobs'\nrun = 'rq worker high'\n";
        let manifest = Manifest::parse(text, std::path::Path::new("/w/ubs.toml")).unwrap();
        let found = gaps(&manifest, &Environment::default());
        let found: Vec<String> = found
            .iter()
            .map(|gap| {
                let known = if gap.acknowledged { " (known)" } else { "" };
                format!("{} {}: {}{known}", gap.what, gap.name, gap.why)
            })
            .collect();
        assert_eq!(
            found,
            [
                "layer cache: not rehearsed: unknown command (redis-server)",
                "service web: not probed: no `ready` (known)",
                "layer tables: not rehearsed: no `rehearse`",
                "layer jobs: not rehearsed: the command of rq names no module",
                "service jobs: not probed: no `ready`",
            ]
        );
    }
}
