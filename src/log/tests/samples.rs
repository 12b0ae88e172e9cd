//! One event of every kind with every field filled, and more where an enum has more variants.

use std::collections::BTreeMap;

use super::*;
use crate::domain::event::{
    CheckChange, CheckPhase, DatabasePrint, ExitKind, FileChange, HealOutcome, LayerPlan, Mode,
    Need, NeedCondition, OnEnd, OnFailure, RestartPolicy, ServiceOrder, ServicePlan, ServiceRules,
    ServiceTerms, Verdict,
};
use crate::domain::finding::{
    CheckName, CheckReport, CheckStatus, Decision, DeclaredRun, Finding, LayerRehearsal, Location,
    Measured, RehearsalOutcome, Severity,
};
use crate::domain::ids::Digest;
use crate::domain::mission::{Change, Proposal, Risk};
use crate::domain::remedy::{Cause, MigrationTool, Remedy, TextEdit};

const AT: At = At(1_764_000_000_123_456);

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn map<V: Clone>(pairs: &[(&str, V)]) -> BTreeMap<String, V> {
    let pair = |(key, value): &(&str, V)| ((*key).to_owned(), value.clone());
    pairs.iter().map(pair).collect()
}

fn process(pid: u32) -> ProcessRef {
    ProcessRef {
        pid,
        start_ticks: 8_123_456_789,
        host_boot: "6f1d0f0a-1b2c-4d3e-8f90-a1b2c3d4e5f6".into(),
    }
}

fn service(name: &str, oneshot: bool, restart: RestartPolicy) -> ServicePlan {
    ServicePlan {
        name: name.into(),
        oneshot,
        restart,
        restarts_max: 5,
        restart_window_ms: 60_000,
        restart_backoff_ms: 250,
        restart_backoff_ms_max: 30_000,
    }
}

fn plan(mode: Mode) -> BootPlan {
    BootPlan {
        mode,
        checks: CheckName::ALL.to_vec(),
        layers: vec![
            LayerPlan {
                name: "database".into(),
                critical: true,
                after: vec![],
                services: vec![service("migrate", true, RestartPolicy::Never)],
            },
            LayerPlan {
                name: "api".into(),
                critical: false,
                after: texts(&["database"]),
                services: vec![
                    service("web", false, RestartPolicy::OnFailure),
                    service("jobs", false, RestartPolicy::Always),
                ],
            },
        ],
        attempts_max: 3,
        backoff_ms: 1_000,
        backoff_ms_max: 60_000,
        breaker_max: 3,
        validate_every_ms: Some(3_600_000),
    }
}

fn started(mode: Mode) -> Event {
    Event::BootStarted {
        app: "grace".into(),
        plan: plan(mode),
        supervisor: process(4_711),
        fingerprint: Fingerprint {
            ubs_version: "0.1.0".into(),
            manifest: Digest::of(b"ubs.toml"),
            revision: Some("9b1c2d3e".into()),
            changed_files: map(&[("app/models.py", Digest::of(b"x = 1"))]),
            lock_files: map(&[("requirements.txt", Digest::of(b"fastapi==0.115.0"))]),
            interpreter: Some(".venv/bin/python 3.12.4".into()),
            packages: map(&[("fastapi", "0.115.0".to_owned())]),
            variables: map(&[("DATABASE_URL", "5f3a".to_owned())]),
            databases: map(&[
                (
                    "main",
                    DatabasePrint {
                        url: Some("77c1".into()),
                        revision: Some("a1b2c3".into()),
                        tables: Some(12),
                        has_rows: Some(true),
                    },
                ),
                ("reports", DatabasePrint::default()),
            ]),
            host: map(&[("cores", "8".to_owned()), ("kernel", "6.8.0".to_owned())]),
        },
    }
}

fn location() -> Location {
    Location {
        file: "backend/models/security.py".into(),
        line: 42,
        column: 7,
    }
}

fn finding(severity: Severity) -> Finding {
    Finding {
        code: "schema.missing_table".into(),
        severity,
        subject: "security_events".into(),
        message: "the table security_events does not exist".into(),
        location: Some(location()),
        remedy: Some("create it".into()),
        layer: Some("database".into()),
        detail: "Traceback (most recent call last):\n  …".into(),
        fix: Some(Remedy::RunStatements {
            schema: "main".into(),
            statements: texts(&["CREATE TABLE security_events (id INTEGER)"]),
        }),
        cause: Some(Cause::Exception("OperationalError: no such table".into())),
        facts: map(&[("table", "security_events".to_owned())]),
    }
}

fn finished(name: CheckName, status: CheckStatus, measured: Measured) -> Event {
    Event::CheckFinished {
        report: CheckReport {
            name,
            status,
            duration_ms: 1_234,
            summary: "3 tables, 1 missing".into(),
            findings: vec![
                finding(Severity::Critical),
                finding(Severity::Warning),
                finding(Severity::Info),
            ],
            measured,
        },
        phase: match status {
            CheckStatus::Warning => CheckPhase::Validation,
            _ => CheckPhase::Preflight,
        },
    }
}

pub(super) fn failure() -> Failure {
    Failure {
        check: Some(CheckName::Schema),
        code: "schema.missing_table".into(),
        subject: "security_events".into(),
        layer: Some("database".into()),
        critical: true,
        error: "the table security_events does not exist".into(),
        remedy: Some("run the migration".into()),
        traceback: "Traceback (most recent call last):\n  …".into(),
        location: Some(location()),
        criteria: texts(&["the schema check no longer reports it"]),
        fix: Some(Remedy::RunStatements {
            schema: "main".into(),
            statements: texts(&["CREATE TABLE security_events (id INTEGER)"]),
        }),
        cause: None,
        facts: map(&[("table", "security_events".to_owned())]),
    }
}

pub(super) fn proposal(fixer: &str, risk: Risk) -> Proposal {
    Proposal {
        fixer: fixer.into(),
        summary: "create security_events".into(),
        risk,
        changes: vec![
            Change::Insert {
                path: "backend/models/security.py".into(),
                before: Digest::of(b"before"),
                offset: 300,
                text: "    __table_args__ = {\"extend_existing\": True}\n".into(),
            },
            Change::Write {
                path: "backend/new.py".into(),
                before: Some(Digest::of(b"old")),
                text: "x = 1\n".into(),
            },
            Change::SetVariable {
                path: ".env".into(),
                name: "LOG_LEVEL".into(),
                value: "info".into(),
            },
            Change::GenerateSecret {
                path: ".env".into(),
                name: "SECRET_KEY".into(),
                bytes: 32,
            },
            Change::Sql {
                schema: "main".into(),
                statements: texts(&["CREATE TABLE security_events (id INTEGER)"]),
            },
        ],
    }
}

pub(super) fn verdict(holds: bool) -> Verdict {
    Verdict {
        holds,
        reason: "the schema check passes, nothing else is worse".into(),
        checks: vec![CheckChange {
            check: CheckName::Schema,
            before: CheckStatus::Critical,
            after: CheckStatus::Healthy,
        }],
        isolation: texts(&["no network", "own process tree"]),
        duration_ms: 2_345,
    }
}

fn filed(fix: Remedy, cause: Option<Cause>) -> Event {
    Event::MissionFiled {
        mission: mission_id(0x0195_0000_0000_7000_8000_0000_0000_0001),
        slug: "schema_fix_security_events".into(),
        signature: signature("0123456789abcdef"),
        failure: Failure {
            fix: Some(fix),
            cause,
            ..failure()
        },
    }
}

/// One for each remedy.
fn filed_remedies() -> Vec<Event> {
    let migrate = |tool, target: &str| Remedy::Migrate {
        schema: "main".into(),
        tool,
        target: target.into(),
    };
    let pending = Some(Cause::Pending("0123456789abcdef".into()));
    vec![
        filed(
            Remedy::InsertText {
                file: "app/models.py".into(),
                before: Digest::of(b"before"),
                offset: 120,
                text: "    __table_args__ = {\"extend_existing\": True}\n".into(),
            },
            Some(Cause::Exception("InvalidRequestError: twice".into())),
        ),
        filed(
            Remedy::SetDefault {
                file: ".env".into(),
                name: "LOG_LEVEL".into(),
                value: "info".into(),
            },
            None,
        ),
        filed(
            Remedy::GenerateSecret {
                file: ".env".into(),
                name: "SECRET_KEY".into(),
            },
            None,
        ),
        filed(migrate(MigrationTool::Alembic, "heads"), pending.clone()),
        filed(migrate(MigrationTool::Flask, "heads"), pending.clone()),
        filed(migrate(MigrationTool::Django, "reports"), pending),
        filed(
            Remedy::ByHand {
                reason: "the column has no default".into(),
                statements: Some("ALTER TABLE users ADD COLUMN age integer NOT NULL".into()),
            },
            None,
        ),
        filed(
            Remedy::EditText {
                file: "app/text.py".into(),
                before: Some(Digest::of(b"before")),
                edits: vec![TextEdit {
                    offset: 17,
                    length: 5,
                    text: "parse".into(),
                }],
                what: "import parse instead of pasre".into(),
            },
            Some(Cause::Exception("ImportError: pasre".into())),
        ),
        filed(
            Remedy::Packages {
                environment: ".venv".into(),
                requirements: texts(&["dep>=1"]),
                vary: Some("dep==2.0".into()),
                module: "dep".into(),
                what: "take the newest version of dep that works".into(),
            },
            None,
        ),
    ]
}

/// The samples, in the order of [`Event::KINDS`].
pub(super) fn all() -> Vec<Event> {
    let mut all = base();
    let filed = all.iter().position(|event| event.kind() == "mission_filed");
    let after = filed.unwrap() + 1;
    all.splice(after..after, filed_remedies());
    all
}

fn base() -> Vec<Event> {
    let worker = || "boot 0195".to_owned();
    let text = |text: &str| text.to_owned();
    let mission = mission_id(0x0195_0000_0000_7000_8000_0000_0000_0001);
    let heal = |outcome| Event::HealFinished {
        mission,
        outcome,
        reason: "create_table: applied".into(),
    };
    let exited = |exit, expected| Event::ServiceExited {
        service: "web".into(),
        exit,
        expected,
    };
    let decided = |decision| Event::DecisionMade {
        decision,
        because: texts(&["schema.missing_table security_events"]),
        skipped_layers: texts(&["agents"]),
    };
    vec![
        started(Mode::Resilient),
        started(Mode::Layered),
        started(Mode::Fast),
        Event::AttemptStarted { attempt: 2 },
        Event::CheckStarted {
            check: CheckName::Config,
            phase: CheckPhase::Preflight,
        },
        Event::CheckStarted {
            check: CheckName::Rehearsal,
            phase: CheckPhase::Validation,
        },
        finished(
            CheckName::Config,
            CheckStatus::Healthy,
            Measured::Config {
                declared: 12,
                present: 11,
            },
        ),
        finished(
            CheckName::Schema,
            CheckStatus::Critical,
            Measured::Schema {
                tables_expected: 300,
                tables_live: 299,
            },
        ),
        finished(
            CheckName::Rehearsal,
            CheckStatus::Warning,
            Measured::Rehearsal {
                layers_tested: 3,
                layers_passed: 1,
                issues: texts(&["agents: No module named 'langgraph'"]),
                layers: [
                    RehearsalOutcome::Pass,
                    RehearsalOutcome::Degraded,
                    RehearsalOutcome::Failed,
                ]
                .map(|outcome| LayerRehearsal {
                    layer: "agents".into(),
                    outcome,
                    duration_ms: 812,
                    seen: None,
                })
                .to_vec(),
                isolation: texts(&["no network"]),
            },
        ),
        finished(
            CheckName::Registration,
            CheckStatus::Error,
            Measured::Registration {
                expected: 6,
                mounted: 5,
                routes: 210,
                coverage_per_mille: 833,
            },
        ),
        finished(CheckName::Config, CheckStatus::Skipped, Measured::Nothing),
        finished(
            CheckName::Declared,
            CheckStatus::Critical,
            Measured::Declared {
                checks: vec![DeclaredRun {
                    name: "prisma".into(),
                    status: CheckStatus::Critical,
                    duration_ms: 640,
                    results: 3,
                    summary: "1 finding (critical)".into(),
                }],
            },
        ),
        decided(Decision::NoGo),
        decided(Decision::Go),
        decided(Decision::GoDegraded),
        Event::MissionsSettled { open: 2, closed: 1 },
        heal(HealOutcome::Applied),
        heal(HealOutcome::Rejected),
        heal(HealOutcome::AwaitingApproval),
        heal(HealOutcome::NeedsPerson),
        heal(HealOutcome::HeldElsewhere),
        heal(HealOutcome::Closed),
        Event::Retried {
            attempt: 2,
            at: AT,
            reason: text("1 mission was healed"),
        },
        Event::LayerStarted { layer: text("api") },
        Event::LayerUp { layer: text("api") },
        Event::LayerFailed {
            layer: text("api"),
            service: text("web"),
            critical: true,
            error: text("exit status 3"),
            output: text("ImportError: no module\n"),
        },
        Event::ServiceStarted {
            service: text("web"),
            process: process(4_712),
        },
        Event::ServiceReady {
            service: text("web"),
        },
        exited(ExitKind::Code(-3), true),
        exited(ExitKind::Signal(9), false),
        exited(ExitKind::Unknown, false),
        Event::ServiceRestarting {
            service: text("web"),
            restart: 2,
            at: AT,
            reason: text("signal 9"),
        },
        Event::ServiceFailed {
            service: text("web"),
            error: text("5 restarts within 60 s"),
        },
        Event::BootUp { degraded: true },
        Event::ValidationStarted { validation: 4 },
        Event::ValidationFinished {
            validation: 4,
            decision: Decision::GoDegraded,
        },
        Event::BreakerTripped {
            signature: signature("0123456789abcdef"),
            seen: 3,
        },
        Event::StopRequested {
            by: text("SIGTERM"),
        },
        Event::BootStopped,
        Event::BootFailed {
            reason: text("NO-GO: 1 critical finding"),
        },
        Event::BootInterrupted {
            reason: text("the supervisor (process 4711) died"),
            reaped: 3,
        },
        Event::MissionFiled {
            mission,
            slug: text("schema_fix_security_events"),
            signature: signature("0123456789abcdef"),
            failure: failure(),
        },
        Event::MissionRecurred {
            slug: text("schema_fix_security_events"),
            signature: signature("0123456789abcdef"),
            failure: Failure {
                check: None,
                layer: None,
                location: None,
                critical: false,
                ..failure()
            },
        },
        Event::MissionClaimed {
            worker: worker(),
            until: AT,
        },
        Event::LeaseExtended {
            worker: worker(),
            until: AT,
        },
        Event::LeaseExpired { worker: worker() },
        Event::MissionReleased {
            worker: worker(),
            reason: text("interrupted"),
        },
        Event::FixProposed {
            worker: worker(),
            proposal: proposal("create_table", Risk::Additive),
        },
        Event::FixProposed {
            worker: worker(),
            proposal: proposal("extend_existing", Risk::Edit),
        },
        Event::FixProposed {
            worker: worker(),
            proposal: proposal("agent", Risk::Open),
        },
        Event::FixProposed {
            worker: worker(),
            proposal: proposal("ann", Risk::Destructive),
        },
        Event::FixProposed {
            worker: worker(),
            proposal: Proposal {
                changes: vec![Change::Migrate {
                    schema: "main".into(),
                    tool: MigrationTool::Alembic,
                    target: "heads".into(),
                }],
                ..proposal("migrate", Risk::Additive)
            },
        },
        Event::FixProposed {
            worker: worker(),
            proposal: proposal("bot", Risk::Guarded),
        },
        Event::FixProposed {
            worker: worker(),
            proposal: Proposal {
                changes: vec![
                    Change::Edit {
                        path: "requirements.txt".into(),
                        before: Digest::of(b"before"),
                        edits: vec![TextEdit {
                            offset: 3,
                            length: 2,
                            text: "==1.1".into(),
                        }],
                    },
                    Change::Packages {
                        environment: ".venv".into(),
                        install: texts(&["dep==1.1"]),
                    },
                ],
                ..proposal("install_packages", Risk::Edit)
            },
        },
        Event::FixProposed {
            worker: worker(),
            proposal: Proposal {
                changes: vec![
                    Change::Delete {
                        path: "old.py".into(),
                        before: Digest::of(b"old"),
                    },
                    Change::MakeDirectory {
                        path: "var/data".into(),
                    },
                    Change::AddMode {
                        path: "var".into(),
                        bits: 0o200,
                    },
                    Change::MoveAside {
                        path: "run/app.pid".into(),
                    },
                    Change::Run {
                        command: texts(&["mkdir", "-p", "x"]),
                    },
                    Change::Wait { ms: 1_000 },
                ],
                ..proposal("playbook:a", Risk::Guarded)
            },
        },
        Event::FixProposed {
            worker: worker(),
            proposal: Proposal {
                changes: vec![Change::Restart {
                    services: texts(&["redis", "web"]),
                }],
                ..proposal("playbook:b", Risk::Edit)
            },
        },
        Event::FixTried {
            verdict: verdict(true),
        },
        Event::FixTried {
            verdict: verdict(false),
        },
        Event::FixVerified,
        Event::FixRejected {
            reason: text("rehearsal is worse"),
            retry_at: AT,
        },
        Event::ApprovalRequested,
        Event::FixApproved { by: text("ann") },
        Event::PromotionStarted {
            files: vec![
                FileChange {
                    path: text("backend/models/security.py"),
                    before: Some(Digest::of(b"before")),
                    after: Digest::of(b"after"),
                },
                FileChange {
                    path: text("backend/new.py"),
                    before: None,
                    after: Digest::of(b"new"),
                },
            ],
            databases: texts(&["main"]),
        },
        Event::FixApplied {
            fixer: text("create_table"),
            summary: text("create security_events"),
        },
        Event::PromotionUndone {
            reason: text("backend/models/security.py changed meanwhile"),
        },
        Event::FixRolledBack {
            reason: text("config is worse than before"),
        },
        Event::MissionQuarantined {
            reason: text("5 fixes were tried and none held"),
        },
        Event::MissionRequeued { by: text("ann") },
        Event::MissionClosed {
            slug: "schema_fix_users".into(),
            resolution: text("the schema check is healthy again"),
        },
        Event::Note {
            text: text("the clock went back by 3 s · ünïcode"),
        },
        Event::RulesSet {
            rules: vec![
                ServiceRules {
                    service: text("web"),
                    probed: true,
                    min_uptime_ms: 1_000,
                    stable_after_ms: 10_000,
                    reset_after_ms: 300_000,
                    success: vec![0, 42],
                    on_failure: OnFailure::Dependents,
                },
                ServiceRules::default(),
            ],
        },
        Event::ServiceUnready {
            service: text("web"),
            reason: text("GET http://127.0.0.1:8000/: status 503"),
        },
        Event::ServiceStable {
            service: text("web"),
        },
        Event::ServiceRecovered {
            service: text("web"),
            ends: 3,
        },
        Event::LayerSkipped {
            layer: text("worker"),
            because: text("database"),
        },
        Event::TermsSet {
            terms: vec![ServiceTerms {
                service: text("web"),
                disabled: false,
                needs: [
                    NeedCondition::Ready,
                    NeedCondition::Started,
                    NeedCondition::Succeeded,
                    NeedCondition::Completed,
                    NeedCondition::Logged,
                ]
                .map(|condition| Need {
                    service: text("db"),
                    condition,
                })
                .to_vec(),
                on_end: OnEnd::Stop,
                jitter_percent: 20,
            }],
            needing: vec![text("worker")],
        },
        Event::ServiceSkipped {
            service: text("web"),
            because: text("it needs db (ready), which ended with exit status 3"),
        },
        Event::ServiceSteered {
            service: text("web"),
            order: ServiceOrder::Restart,
            by: text("a person (uid 1000)"),
        },
        Event::AnswerNotAttributed {
            service: "api".into(),
            why: "no port is known".into(),
        },
        Event::FixBlessed {
            healthy_ms: 300_000,
        },
        Event::FixUndone {
            by: text("ann"),
            reason: text("the old value is needed; .env is as it was"),
        },
        Event::LogGap {
            kept: 12,
            lost: 3,
            from: At(1_000_000),
            to: At(9_000_000),
            reason: "the disk is full".into(),
        },
        Event::LogPruned {
            events: 40,
            last: 40,
            chain: Digest([7; 32]),
            before: At(8_000_000),
        },
        Event::PlanChanged {
            layers: vec![LayerPlan {
                name: text("web"),
                critical: true,
                after: vec![text("db")],
                services: vec![ServicePlan {
                    name: text("api"),
                    oneshot: false,
                    restart: RestartPolicy::Always,
                    restarts_max: 5,
                    restart_window_ms: 300_000,
                    restart_backoff_ms: 200,
                    restart_backoff_ms_max: 10_000,
                }],
            }],
            rules: vec![ServiceRules {
                service: text("api"),
                probed: true,
                min_uptime_ms: 1_000,
                stable_after_ms: 10_000,
                reset_after_ms: 300_000,
                success: vec![3],
                on_failure: OnFailure::Nothing,
            }],
            terms: vec![ServiceTerms {
                service: text("api"),
                ..ServiceTerms::default()
            }],
            needing: vec![text("web")],
            removed: vec![text("old")],
            by: text("a person (uid 1000)"),
        },
        Event::ValidationPlanned {
            every_ms: Some(60_000),
            checks: vec![CheckName::Config, CheckName::Declared],
            by: text("a person (uid 1000)"),
        },
        Event::ClockSet {
            from: At(8_000_000),
            to: At(3_000_000),
        },
    ]
}
