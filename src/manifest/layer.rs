//! Reads `[[layer]]` and `[[layer.service]]`.

use super::command::read_command;
use super::interpolate::require_sound;
use super::keys::{LAYER, LIVE, READY, REHEARSE, RESTART, SERVICE};
use super::logs::{LogRules, read_service_logs};
use super::probe::read_probe;
use super::probe_spec::Probe;
use super::problem::{Fault, shown};
use super::section::{Section, Spanned, values};
use super::service_keys::{read_env_files, read_limits, read_stop, umask};
use super::types::{
    Layer, NeedCondition, OnEnd, OnFailure, Rehearse, Restart, RestartCondition, Service,
};
use super::words::{
    self, inside_or_absolute_path, module, module_attribute, name, one_of, variable_name,
};

/// Most layers.
pub(super) const LAYERS_MAX: usize = 1000;
/// Most services of all layers together.
pub(super) const SERVICES_MAX: usize = 10_000;
/// Most restarts before a service is given up; `"unlimited"` is more.
const RESTARTS_MAX: u32 = 1000;

const POLICIES: [(&str, RestartCondition); 4] = [
    ("on-failure", RestartCondition::OnFailure),
    ("always", RestartCondition::Always),
    ("unless-stopped", RestartCondition::UnlessStopped),
    ("never", RestartCondition::Never),
];

const ON_END: [(&str, OnEnd); 2] = [("nothing", OnEnd::Nothing), ("stop", OnEnd::Stop)];

const ON_FAILURE: [(&str, OnFailure); 3] = [
    ("nothing", OnFailure::Nothing),
    ("dependents", OnFailure::Dependents),
    ("boot", OnFailure::Boot),
];

const CONDITIONS: [(&str, NeedCondition); 5] = [
    ("ready", NeedCondition::Ready),
    ("started", NeedCondition::Started),
    ("succeeded", NeedCondition::Succeeded),
    ("completed", NeedCondition::Completed),
    ("logged", NeedCondition::Logged),
];

/// A layer with the places of what other layers are compared with.
pub(super) struct ReadLayer {
    pub layer: Layer,
    pub name: Spanned<String>,
    /// `None` if the key is missing.
    pub after: Option<Vec<Spanned<String>>>,
    pub service_names: Vec<Spanned<String>>,
    /// What each service needs, in the order of the services.
    pub needs: Vec<Vec<ReadNeed>>,
}

/// What services refer to that stands elsewhere in the manifest.
pub(super) struct Elsewhere<'m> {
    /// The `stable_after` of services that do not say.
    pub stable_after_ms: u64,
    /// How the output of services is kept that do not say.
    pub logs: LogRules,
    /// Names of the schemas.
    pub schemas: Vec<&'m str>,
}

/// Every `[[layer]]`, in the order of the file. `after` is not resolved yet.
pub(super) fn read_layers(root: &Section<'_>, elsewhere: &Elsewhere<'_>) -> Vec<ReadLayer> {
    let sections = root.sections("layer", &LAYER, LAYERS_MAX);
    let layers = sections.iter();
    layers
        .map(|section| read_layer(section, elsewhere))
        .collect()
}

/// `name`, which has to be there; empty if it is not right.
pub(super) fn read_name(section: &Section<'_>, example: &str) -> Spanned<String> {
    if !section.has("name") {
        section.missing("name", &format!("\"{example}\""));
    }
    Spanned {
        value: section.parse("name", name).unwrap_or_default(),
        span: section.value_span("name"),
    }
}

fn read_layer(section: &Section<'_>, elsewhere: &Elsewhere<'_>) -> ReadLayer {
    let name = read_name(section, "database");
    let after = section.list("after", |text| Ok(text.to_owned()));
    let services = section.sections("service", &SERVICE, SERVICES_MAX);
    let critical = section.boolean("critical").unwrap_or(true);
    let services: Vec<_> = services
        .iter()
        .map(|section| read_service(section, elsewhere, critical))
        .collect();
    ReadLayer {
        layer: Layer {
            name: name.value.clone(),
            critical,
            after: vec![],
            needing: after.as_ref().is_some_and(|after| !after.is_empty()),
            rehearse: section
                .section("rehearse", &REHEARSE)
                .map(|section| read_rehearse(&section)),
            services: services.iter().map(|read| read.service.clone()).collect(),
            line: section.line(),
        },
        name,
        after,
        service_names: services.iter().map(|read| read.name.clone()).collect(),
        needs: services.into_iter().map(|read| read.needs).collect(),
    }
}

fn read_rehearse(section: &Section<'_>) -> Rehearse {
    let rehearse = Rehearse {
        imports: section.list("imports", module).map_or(vec![], values),
        call: section.parse("call", |text| {
            module_attribute(text).map(|_| text.to_owned())
        }),
        command: read_command(section, "command").unwrap_or_default(),
        startup: section.boolean("startup").unwrap_or(false),
        timeout_ms: section
            .duration("timeout", 1)
            .unwrap_or(Rehearse::TIMEOUT_MS_DEFAULT),
        network: section.boolean("network").unwrap_or(false),
    };
    if !["imports", "call", "command"]
        .iter()
        .any(|key| section.has(key))
    {
        section.faults().report(
            section.span(),
            Fault::new(
                "nothing to rehearse",
                "`rehearse` names nothing that could be tried",
                "add `imports`, `call` or `command`, or take `rehearse` out",
            ),
        );
    }
    rehearse
}

/// A service with the places of what others are compared with.
struct ReadService {
    service: Service,
    name: Spanned<String>,
    needs: Vec<ReadNeed>,
}

fn read_service(section: &Section<'_>, elsewhere: &Elsewhere<'_>, critical: bool) -> ReadService {
    let name = read_name(section, "api");
    if !section.has("run") {
        section.missing("run", "\"program argument\"");
    }
    let oneshot = section.boolean("oneshot").unwrap_or(false);
    if oneshot {
        refuse_for_oneshot(section);
    } else if section.has("timeout") {
        section.fault(
            "timeout",
            Fault::new(
                "only for a one-shot task",
                "`timeout` bounds how long a one-shot task may run",
                "for a service, give `ready` its own `timeout`, or add `oneshot = true`",
            ),
        );
    }
    let needs = read_needs(section);
    let on_end = read_on_end(section);
    let service = Service {
        name: name.value.clone(),
        run: read_command(section, "run").unwrap_or_default(),
        cwd: section.parse("cwd", |text| {
            require_sound(text)?;
            inside_or_absolute_path(text)
        }),
        env: read_env(section),
        env_files: read_env_files(section),
        clean_env: section.boolean("clean_env").unwrap_or(false),
        user: section.parse("user", user),
        umask: section.parse("umask", umask),
        limits: read_limits(section),
        ready: section
            .section("ready", &READY)
            .map(|section| read_probe(&section, &Probe::READY_DEFAULT, &elsewhere.schemas)),
        live: section
            .section("live", &LIVE)
            .map(|section| read_probe(&section, &Probe::LIVE_DEFAULT, &elsewhere.schemas)),
        restart: read_restart(section, oneshot || on_end == OnEnd::Stop),
        stop: read_stop(section),
        oneshot,
        min_uptime_ms: section
            .duration("min_uptime", 0)
            .unwrap_or(Service::MIN_UPTIME_MS_DEFAULT),
        stable_after_ms: section
            .duration("stable_after", 0)
            .unwrap_or(elsewhere.stable_after_ms),
        timeout_ms: section
            .duration("timeout", 1)
            .unwrap_or(Service::TIMEOUT_MS_DEFAULT),
        success: read_success(section),
        on_failure: read_on_failure(section, critical),
        on_end,
        needs: needs.iter().map(ReadNeed::pair).collect(),
        disabled: section.boolean("disabled").unwrap_or(false),
        profiles: section.list("profiles", words::name).map_or(vec![], values),
        logs: read_service_logs(section, elsewhere.logs),
        line: section.line(),
    };
    ReadService {
        service,
        name,
        needs,
    }
}

/// One need, as written.
pub(super) struct ReadNeed {
    pub name: Spanned<String>,
    pub condition: NeedCondition,
}

impl ReadNeed {
    /// The service that is needed, and what has to be true of it.
    fn pair(&self) -> (String, NeedCondition) {
        (self.name.value.clone(), self.condition)
    }
}

/// The table `needs` of a service.
fn read_needs(section: &Section<'_>) -> Vec<ReadNeed> {
    let mut needs = Vec::new();
    for (name, word) in section.texts("needs") {
        match one_of(&word.value, &CONDITIONS) {
            Ok(condition) => needs.push(ReadNeed {
                name: Spanned {
                    value: name.value.to_owned(),
                    span: name.span,
                },
                condition,
            }),
            Err(fault) => section.faults().report(word.span, fault),
        }
    }
    needs
}

/// With `on_end = "stop"`, an end is the end: it is not started again unless `restart` is written.
fn read_on_end(section: &Section<'_>) -> OnEnd {
    let word = section.parse("on_end", |text| one_of(text, &ON_END));
    word.unwrap_or_default()
}

/// Exit statuses that mean that the service is done.
fn read_success(section: &Section<'_>) -> Vec<i32> {
    let status = |value: &toml_edit::Value| {
        value
            .as_integer()
            .and_then(|number| u8::try_from(number).ok())
            .map(i32::from)
            .ok_or_else(|| {
                Fault::new(
                    "not an exit status",
                    "`success` has exit statuses, whole numbers from 0 to 255",
                    "write for example success = [0, 42]",
                )
            })
    };
    let statuses = section.entries("success", "exit statuses", status);
    let statuses = statuses.into_iter().flatten();
    statuses.map(|status| status.value).collect()
}

fn read_on_failure(section: &Section<'_>, critical: bool) -> OnFailure {
    let word = section.parse("on_failure", |text| one_of(text, &ON_FAILURE));
    if word == Some(OnFailure::Boot) && !critical {
        section.fault(
            "on_failure",
            Fault::new(
                "the layer is not critical",
                "a service of an optional layer cannot end the boot",
                "make the layer critical, or write \"nothing\" or \"dependents\"",
            ),
        );
    }
    word.unwrap_or_default()
}

/// A one-shot task is ready when it has ended well, and is not started again.
fn refuse_for_oneshot(section: &Section<'_>) {
    for key in ["ready", "live", "restart", "min_uptime"] {
        if section.has(key) {
            section.faults().report(
                section.key_span(key),
                Fault::new(
                    "not for a one-shot task",
                    format!("`{key}` has no meaning with `oneshot = true`"),
                    "take one of the two out: a one-shot task counts as ready when it exits with 0, and is not restarted",
                ),
            );
        }
    }
}

fn read_env(section: &Section<'_>) -> std::collections::BTreeMap<String, String> {
    let mut env = std::collections::BTreeMap::new();
    for (name, value) in section.texts("env") {
        match variable_name(name.value) {
            Ok(name) => {
                if let Err(fault) = require_sound(&value.value) {
                    section.faults().report(value.span, fault);
                }
                env.insert(name, value.value);
            }
            Err(fault) => section.faults().report(name.span, fault),
        }
    }
    env
}

/// The name of a user, as the host's own tools allow it.
fn user(text: &str) -> Result<String, Fault> {
    name(text).map_err(|_| {
        Fault::new(
            "not a user name",
            format!("`{}` cannot be the name of a user", shown(text)),
            "write the user's name, not a number, for example \"www-data\"",
        )
    })
}

/// `once`: it is not started again, if nothing else is written.
fn read_restart(service: &Section<'_>, once: bool) -> Restart {
    let policy = if once {
        RestartCondition::Never
    } else {
        RestartCondition::OnFailure
    };
    let mut restart = Restart {
        policy,
        ..Restart::default()
    };
    if service.item("restart").is_some_and(toml_edit::Item::is_str) {
        let word = service.parse("restart", |text| one_of(text, &POLICIES));
        restart.policy = word.unwrap_or(policy);
        return restart;
    }
    let Some(section) = service.section("restart", &RESTART) else {
        return restart;
    };
    restart = Restart {
        policy: section
            .parse("policy", |text| one_of(text, &POLICIES))
            .unwrap_or(policy),
        max: read_restarts_max(&section).unwrap_or(restart.max),
        // `window` is the name that it had before.
        reset_after_ms: section
            .duration("reset_after", 1000)
            .or_else(|| section.duration("window", 1000))
            .unwrap_or(restart.reset_after_ms),
        jitter_percent: section
            .integer("jitter", 0..=100)
            .unwrap_or(restart.jitter_percent),
        ..restart
    };
    (restart.backoff_ms, restart.backoff_ms_max) =
        read_backoff(&section, restart.backoff_ms, restart.backoff_ms_max);
    restart
}

fn read_restarts_max(section: &Section<'_>) -> Option<u32> {
    if section.item("max").is_some_and(toml_edit::Item::is_str) {
        return section.parse("max", |text| one_of(text, &[("unlimited", u32::MAX)]));
    }
    section.integer("max", 0..=RESTARTS_MAX)
}

/// `backoff` and `max_backoff`. One that is given moves the other's default out of its way.
pub(super) fn read_backoff(section: &Section<'_>, first: u64, longest: u64) -> (u64, u64) {
    let backoff = section.duration("backoff", 0);
    let max = section.duration("max_backoff", 0);
    if let (Some(backoff), Some(max)) = (backoff, max)
        && backoff > max
    {
        section.fault(
            "backoff",
            Fault::new(
                "longer than `max_backoff`",
                "`backoff` is longer than `max_backoff`",
                "`backoff` is the first wait, which doubles up to `max_backoff`",
            ),
        );
    }
    (
        backoff.unwrap_or(first.min(max.unwrap_or(first))),
        max.unwrap_or(longest.max(backoff.unwrap_or(longest))),
    )
}
