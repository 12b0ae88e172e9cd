//! What a boot is and runs on.

use std::collections::BTreeMap;

use super::report::CheckName;

mirror! {
    enum Mode of event { Fast, Layered, Resilient }

    struct BootPlan of event {
        mode: Mode,
        checks: Vec<CheckName>,
        layers: Vec<LayerPlan>,
        attempts_max: u32,
        backoff_ms: u64,
        backoff_ms_max: u64,
        breaker_max: u32,
        validate_every_ms: Option<u64>,
    }

    struct LayerPlan of event {
        name: String,
        critical: bool,
        after: Vec<String>,
        services: Vec<ServicePlan>,
    }

    struct ServicePlan of event {
        name: String,
        oneshot: bool,
        restart: RestartPolicy,
        restarts_max: u32,
        restart_window_ms: u64,
        restart_backoff_ms: u64,
        restart_backoff_ms_max: u64,
    }

    struct ServiceRules of event {
        service: String,
        probed: bool,
        min_uptime_ms: u64,
        stable_after_ms: u64,
        reset_after_ms: u64,
        success: Vec<i32>,
        on_failure: OnFailure,
    }

    enum OnFailure of event { Nothing, Dependents, Boot }

    enum RestartPolicy of event { OnFailure, Always, Never, UnlessStopped }

    struct ServiceTerms of event {
        service: String,
        disabled: bool,
        needs: Vec<Need>,
        on_end: OnEnd,
        jitter_percent: u32,
    }

    struct Need of event {
        service: String,
        condition: NeedCondition,
    }

    enum NeedCondition of event { Ready, Started, Succeeded, Completed, Logged }

    enum OnEnd of event { Nothing, Stop }

    enum ServiceOrder of event { Start, Stop, Restart }

    struct Fingerprint of event {
        ubs_version: String,
        manifest: [u8; 32],
        revision: Option<String>,
        changed_files: BTreeMap<String, [u8; 32]>,
        lock_files: BTreeMap<String, [u8; 32]>,
        interpreter: Option<String>,
        packages: BTreeMap<String, String>,
        variables: BTreeMap<String, String>,
        databases: BTreeMap<String, DatabasePrint>,
        host: BTreeMap<String, String>,
    }

    struct DatabasePrint of event {
        url: Option<String>,
        revision: Option<String>,
        tables: Option<u32>,
        has_rows: Option<bool>,
    }

    struct ProcessRef of event {
        pid: u32,
        start_ticks: u64,
        host_boot: String,
    }

    enum ExitKind of event { Code(code: i32), Signal(signal: i32), Unknown }

    enum HealOutcome of event {
        Applied,
        Rejected,
        AwaitingApproval,
        NeedsPerson,
        HeldElsewhere,
        Closed,
    }

    enum CheckPhase of event { Preflight, Validation }
}
