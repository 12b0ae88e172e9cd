//! From the manifest to what a boot will do.

use crate::domain::boot::ValidationPlan;
use crate::domain::event::{
    BootPlan, LayerPlan, Mode, Need, NeedCondition, OnEnd, OnFailure, RestartPolicy, ServicePlan,
    ServiceRules, ServiceTerms,
};
use crate::fix::checks_of;
use crate::manifest::{self, Layer, Manifest, Service};

/// What a boot of this manifest in this mode will do; `preflight`: checked first, though the mode asks for none.
#[must_use]
pub(crate) fn plan_boot(manifest: &Manifest, mode: Mode, preflight: bool) -> BootPlan {
    let resilient = mode == Mode::Resilient;
    BootPlan {
        mode,
        checks: if resilient || preflight {
            checks_of(manifest)
        } else {
            vec![]
        },
        layers: manifest.layers.iter().map(plan_layer).collect(),
        attempts_max: if resilient { manifest.heal.attempts } else { 1 },
        backoff_ms: manifest.heal.backoff_ms,
        backoff_ms_max: manifest.heal.backoff_ms_max,
        breaker_max: manifest.heal.breaker,
        validate_every_ms: manifest.validate_every_ms.filter(|_| resilient),
    }
}

/// How a system that runs by this plan is validated with this manifest, if that is in another way.
pub(super) fn replan_validation(plan: &BootPlan, manifest: &Manifest) -> Option<ValidationPlan> {
    let planned = plan_boot(manifest, plan.mode, !plan.checks.is_empty());
    let is_same =
        planned.validate_every_ms == plan.validate_every_ms && planned.checks == plan.checks;
    (!is_same).then_some(ValidationPlan {
        every_ms: planned.validate_every_ms,
        checks: planned.checks,
    })
}

/// How the services of this manifest are judged while they run.
#[must_use]
pub(crate) fn plan_rules(manifest: &Manifest) -> Vec<ServiceRules> {
    let services = manifest.layers.iter().flat_map(|layer| &layer.services);
    services
        .map(|service| ServiceRules {
            service: service.name.clone(),
            probed: service.oneshot || service.ready.is_some(),
            min_uptime_ms: service.min_uptime_ms,
            stable_after_ms: service.stable_after_ms,
            reset_after_ms: service.restart.reset_after_ms,
            success: service.success.clone(),
            on_failure: match service.on_failure {
                manifest::OnFailure::Nothing => OnFailure::Nothing,
                manifest::OnFailure::Dependents => OnFailure::Dependents,
                manifest::OnFailure::Boot => OnFailure::Boot,
            },
        })
        .collect()
}

/// What the services of this manifest need of each other and what follows their ends, where that is anything;
/// and the layers that need what they come after, because the manifest says so with `after`.
#[must_use]
pub(crate) fn plan_terms(manifest: &Manifest) -> (Vec<ServiceTerms>, Vec<String>) {
    let services = manifest.layers.iter().flat_map(|layer| &layer.services);
    let terms = services.map(plan_terms_of);
    let needing = manifest.layers.iter().filter(|layer| layer.needing);
    (
        terms.filter(|terms| !terms.is_default()).collect(),
        needing.map(|layer| layer.name.clone()).collect(),
    )
}

/// What one service needs, and what follows its end.
pub(super) fn plan_terms_of(service: &Service) -> ServiceTerms {
    ServiceTerms {
        service: service.name.clone(),
        disabled: service.disabled,
        needs: service
            .needs
            .iter()
            .map(|(name, condition)| Need {
                service: name.clone(),
                condition: plan_condition(*condition),
            })
            .collect(),
        on_end: match service.on_end {
            manifest::OnEnd::Nothing => OnEnd::Nothing,
            manifest::OnEnd::Stop => OnEnd::Stop,
        },
        jitter_percent: service.restart.jitter_percent,
    }
}

fn plan_condition(condition: manifest::NeedCondition) -> NeedCondition {
    match condition {
        manifest::NeedCondition::Ready => NeedCondition::Ready,
        manifest::NeedCondition::Started => NeedCondition::Started,
        manifest::NeedCondition::Succeeded => NeedCondition::Succeeded,
        manifest::NeedCondition::Completed => NeedCondition::Completed,
        manifest::NeedCondition::Logged => NeedCondition::Logged,
    }
}

pub(super) fn plan_layer(layer: &Layer) -> LayerPlan {
    LayerPlan {
        name: layer.name.clone(),
        critical: layer.critical,
        after: layer.after.clone(),
        services: layer.services.iter().map(plan_service).collect(),
    }
}

fn plan_service(service: &Service) -> ServicePlan {
    ServicePlan {
        name: service.name.clone(),
        oneshot: service.oneshot,
        restart: match service.restart.policy {
            manifest::RestartCondition::OnFailure => RestartPolicy::OnFailure,
            manifest::RestartCondition::Always => RestartPolicy::Always,
            manifest::RestartCondition::Never => RestartPolicy::Never,
            manifest::RestartCondition::UnlessStopped => RestartPolicy::UnlessStopped,
        },
        restarts_max: service.restart.max,
        restart_window_ms: service.restart.reset_after_ms,
        restart_backoff_ms: service.restart.backoff_ms,
        restart_backoff_ms_max: service.restart.backoff_ms_max,
    }
}
