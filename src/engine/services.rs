//! The services of one boot: starts, watches, probes and stops their processes, and reports what
//! happens to them as commands to the boot machine.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::mark::{BOOT_MARK, SERVICE_MARK};
use super::report::{EngineReport, Reports};
use crate::domain::boot::BootCommand;
use crate::domain::event::{ExitKind, ProcessRef};
use crate::domain::redact::{LineRedactor, Redactor};
use crate::kernel;
use crate::manifest::{Environment, Manifest, Probe, ProbeKind, Service};
use crate::supervise::{
    Asked, Readiness, RunningService, ServiceSpec, await_ready, ports_asked, probe_once, spawn,
};

/// A port of this host that is taken answers at once: the kernel does both ends. The engine's thread waits
/// for it.
const TAKEN_WITHIN: Duration = Duration::from_millis(50);
/// Time between two questions whether a ready service still is, as a multiple of its probe's `interval`, and
/// the bounds of that: what has to be seen at the start within milliseconds would only load the machine later.
const ASKED_AGAIN_TIMES: u64 = 10;
const ASKED_AGAIN_MS_MIN: u64 = 1_000;
const ASKED_AGAIN_MS_MAX: u64 = 10_000;
/// Most time for one such question.
const ASKED_AGAIN_TRY_MS_MAX: u64 = 5_000;
/// Bytes of one error.
const ERROR_BYTES_MAX: usize = 4096;
/// Bytes of output that a failure carries.
const OUTPUT_BYTES_MAX: usize = 8 * 1024;

/// An order to a service's task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Run,
    Stop,
    Kill,
}

/// Starts and stops the services of one boot.
pub(super) struct Services {
    manifest: Arc<Manifest>,
    logs: PathBuf,
    mark: String,
    reports: Reports,
    orders: Rc<RefCell<BTreeMap<String, watch::Sender<Order>>>>,
    /// What every service gets, made once for many: looking for the interpreter costs more than
    /// starting a process.
    environment: RefCell<Option<Rc<BTreeMap<String, String>>>>,
}

/// A probe of a service, ready to be tried.
pub(super) struct LiveProbe {
    pub service: String,
    pub probe: Probe,
    pub spec: ServiceSpec,
}

/// A service with every variable expanded.
struct Expanded {
    spec: ServiceSpec,
    ready: Option<Probe>,
    live: Option<Probe>,
}

impl Services {
    pub(super) fn new(
        manifest: Arc<Manifest>,
        state_dir: &Path,
        mark: String,
        reports: Reports,
    ) -> Self {
        Self {
            manifest,
            logs: state_dir.join("logs"),
            mark,
            reports,
            orders: Rc::default(),
            environment: RefCell::default(),
        }
    }

    /// It was started before in this boot.
    pub(super) fn was_started(&self, name: &str) -> bool {
        self.orders.borrow().contains_key(name)
    }

    /// Forgets what was made of the environment, because it changed.
    pub(super) fn forget_environment(&self) {
        self.environment.take();
    }

    /// The variables of every service: those of the application, the interpreter's directory first in
    /// `PATH`, and the boot's mark.
    fn shared_environment(&self, environment: &Environment) -> Rc<BTreeMap<String, String>> {
        let mut shared = self.environment.borrow_mut();
        Rc::clone(shared.get_or_insert_with(|| {
            let workspace = &self.manifest.workspace;
            let mut env =
                crate::checks::service_environment(&self.manifest, workspace, environment);
            env.insert(BOOT_MARK.to_owned(), self.mark.clone());
            Rc::new(env)
        }))
    }

    /// Starts a service. The process runs when this returns; all else is reported.
    pub(super) fn start(
        &self,
        name: &str,
        environment: &Environment,
        redactor: &Arc<Redactor>,
    ) -> Result<ProcessRef, String> {
        let (_, service) = self
            .manifest
            .service(name)
            .ok_or_else(|| "is no longer in the manifest".to_owned())?;
        let expanded = self.expand(service, environment)?;
        for probe in expanded.ready.iter().filter(|probe| !probe.external) {
            require_free(&probe.kind, &expanded.spec)?;
        }
        let cleaner = Arc::clone(redactor);
        let lines = Mutex::new(LineRedactor::default());
        let running = spawn(
            &expanded.spec,
            Arc::new(move |line| {
                let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
                lines.clean(&cleaner, line, OUTPUT_BYTES_MAX)
            }),
        )
        .map_err(|error| format!("cannot be started: {error}"))?;
        let process = running.process.clone();
        let (order, orders) = watch::channel(Order::Run);
        self.orders.borrow_mut().insert(name.to_owned(), order);
        let task = ServiceTask {
            service: service.clone(),
            expanded,
            running,
            orders,
            redactor: Arc::clone(redactor),
            reports: self.reports.clone(),
        };
        tokio::task::spawn_local(task.run());
        Ok(process)
    }

    /// Stops a service: its signal, then after its timeout `SIGKILL`. The end is reported.
    pub(super) fn stop(&self, name: &str) {
        self.order(name, Order::Stop);
    }

    /// Kills everything at once.
    pub(super) fn kill_all(&self) {
        let names: Vec<String> = self.orders.borrow().keys().cloned().collect();
        names.iter().for_each(|name| self.order(name, Order::Kill));
    }

    fn order(&self, name: &str, order: Order) {
        if let Some(sender) = self.orders.borrow().get(name) {
            sender.send_if_modified(|current| {
                let stronger = *current != Order::Kill && *current != order;
                if stronger {
                    *current = order;
                }
                stronger
            });
        }
    }

    /// What can be asked of each service while it runs: its liveness, or else its readiness over the network.
    pub(super) fn live_probes(&self, environment: &Environment) -> Vec<LiveProbe> {
        let services = self
            .manifest
            .layers
            .iter()
            .flat_map(|layer| &layer.services);
        services
            .filter(|service| !service.oneshot && !service.disabled)
            .filter_map(|service| {
                let expanded = self.expand(service, environment).ok()?;
                let ready = expanded
                    .ready
                    .filter(|probe| !matches!(probe.kind, ProbeKind::Exec(_)));
                Some(LiveProbe {
                    service: service.name.clone(),
                    probe: expanded.live.or(ready)?,
                    spec: expanded.spec,
                })
            })
            .collect()
    }

    fn expand(&self, service: &Service, environment: &Environment) -> Result<Expanded, String> {
        let expand = |text: &String| {
            environment
                .expand(text)
                .map_err(|e| format!("cannot be started: {e}"))
        };
        let all = |texts: &[String]| texts.iter().map(expand).collect::<Result<Vec<_>, _>>();
        let probe = |probe: &Option<Probe>| {
            probe
                .as_ref()
                .map(|probe| {
                    let kind = match &probe.kind {
                        ProbeKind::Http(url) => ProbeKind::Http(expand(url)?),
                        ProbeKind::Tcp(address) => ProbeKind::Tcp(expand(address)?),
                        ProbeKind::Exec(argv) => ProbeKind::Exec(all(argv)?),
                    };
                    Ok::<_, String>(Probe {
                        kind,
                        ..probe.clone()
                    })
                })
                .transpose()
        };
        let mut env = (*self.shared_environment(environment)).clone();
        if let Some(account) = service.user.as_deref().and_then(kernel::account) {
            env.insert("HOME".to_owned(), account.home);
            env.insert("USER".to_owned(), account.name.clone());
            env.insert("LOGNAME".to_owned(), account.name);
        }
        for (name, value) in &service.env {
            env.insert(name.clone(), expand(value)?);
        }
        // Not for a service to change: what is left of it after a crash is found by it.
        env.insert(BOOT_MARK.to_owned(), self.mark.clone());
        env.insert(SERVICE_MARK.to_owned(), service.name.clone());
        let marks = [(BOOT_MARK, &self.mark), (SERVICE_MARK, &service.name)];
        let cwd = match &service.cwd {
            Some(cwd) => self.manifest.workspace.join(expand(cwd)?),
            None => self.manifest.workspace.clone(),
        };
        Ok(Expanded {
            spec: ServiceSpec {
                name: service.name.clone(),
                argv: all(&service.run)?,
                cwd,
                env,
                user: service.user.clone(),
                marks: marks
                    .map(|(name, value)| format!("{name}={value}"))
                    .to_vec(),
                log_path: self.logs.join(format!("{}.log", service.name)),
            },
            ready: probe(&service.ready)?,
            live: probe(&service.live)?,
        })
    }
}

struct ServiceTask {
    service: Service,
    expanded: Expanded,
    running: RunningService,
    orders: watch::Receiver<Order>,
    /// A probe's URL and program are in its errors, and may hold `${TOKEN}`.
    redactor: Arc<Redactor>,
    reports: Reports,
}

/// What a service is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asks {
    Nothing,
    /// A one-shot: it has to end within its time.
    UntilEnded,
    UntilReady,
    WhetherStillReady,
    WhetherReadyAgain,
}

enum Happened {
    Exited,
    Ready,
    Unready(String),
    NotReady(String),
    Unlive(String),
    Ordered(Order),
}

impl ServiceTask {
    fn report(&self, command: BootCommand) {
        // The engine is gone only when the boot is over.
        let _ = self.reports.send(EngineReport::Command(command));
    }

    async fn run(mut self) {
        let mut reason = None;
        let mut exit = None;
        let is_probed = !self.service.oneshot && self.expanded.ready.is_some();
        let mut asks = match (self.service.oneshot, is_probed) {
            (true, _) => Asks::UntilEnded,
            (_, true) => Asks::UntilReady,
            (_, false) => Asks::Nothing,
        };
        let mut watches = !self.service.oneshot && !is_probed;
        loop {
            match self.wait(asks, watches).await {
                Happened::Exited => break,
                Happened::Ready => {
                    asks = Asks::WhetherStillReady;
                    watches = true;
                    self.report(BootCommand::ServiceReady {
                        service: self.service.name.clone(),
                    });
                }
                Happened::Unready(why) => {
                    asks = Asks::WhetherReadyAgain;
                    self.report(BootCommand::ServiceUnready {
                        service: self.service.name.clone(),
                        reason: self.redactor.clean(&why, ERROR_BYTES_MAX),
                    });
                }
                Happened::NotReady(error) => {
                    asks = Asks::Nothing;
                    self.report(BootCommand::ServiceUnstartable {
                        service: self.service.name.clone(),
                        error: self.redactor.clean(&error, ERROR_BYTES_MAX),
                        output: self.tail(),
                    });
                }
                Happened::Unlive(why) => {
                    reason = Some(self.redactor.clean(&why, ERROR_BYTES_MAX));
                    exit = Some(self.stop().await);
                    break;
                }
                Happened::Ordered(Order::Stop) => {
                    exit = Some(self.stop().await);
                    break;
                }
                Happened::Ordered(Order::Kill) => {
                    exit = Some(self.running.kill().await);
                    break;
                }
                Happened::Ordered(Order::Run) => {}
            }
        }
        let exit = match exit {
            Some(exit) => exit,
            None => {
                let exit = self.running.wait().await;
                if exit == ExitKind::Signal(kernel::Signal::SIGKILL as i32) {
                    reason = Some(self.running.why_killed().to_owned());
                }
                exit
            }
        };
        self.report(BootCommand::ServiceExited {
            service: self.service.name.clone(),
            exit,
            reason,
            output: self.tail(),
        });
    }

    async fn wait(&mut self, asks: Asks, watches: bool) -> Happened {
        let Expanded { spec, ready, live } = &self.expanded;
        let leader = Some(self.running.process.pid);
        let asked = Asked { spec, leader };
        let timeout_ms = self.service.timeout_ms;
        let readiness = async {
            match (asks, ready.as_ref()) {
                (Asks::UntilEnded, _) => {
                    tokio::time::sleep(Duration::from_millis(timeout_ms)).await;
                    Happened::NotReady(format!(
                        "did not end within {timeout_ms} ms; give it longer with `timeout` if that is right"
                    ))
                }
                (Asks::WhetherStillReady, Some(probe)) => {
                    Happened::Unready(until_unready(probe, asked).await)
                }
                (Asks::WhetherReadyAgain, Some(probe)) => {
                    while ask_again(probe, asked).await.is_err() {
                        tokio::time::sleep(asked_again_after(probe)).await;
                    }
                    Happened::Ready
                }
                (Asks::UntilReady, Some(probe)) => match await_ready(probe, asked).await {
                    Readiness::Ready => Happened::Ready,
                    Readiness::TimedOut { last } => Happened::NotReady(format!(
                        "was not ready within {} ms: {last}",
                        probe.timeout_ms
                    )),
                },
                (Asks::Nothing, _) | (_, None) => std::future::pending().await,
            }
        };
        let liveness = async {
            match live.as_ref().filter(|_| watches) {
                Some(probe) => Happened::Unlive(until_unlive(probe, asked).await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            changed = self.orders.changed() => match changed {
                Ok(()) => Happened::Ordered(*self.orders.borrow()),
                Err(_) => Happened::Ordered(Order::Stop),
            },
            _ = self.running.wait() => Happened::Exited,
            happened = readiness => happened,
            happened = liveness => happened,
        }
    }

    async fn stop(&mut self) -> ExitKind {
        let stop = &self.service.stop;
        let signal =
            kernel::parse_signal(&stop.signal).unwrap_or(nix::sys::signal::Signal::SIGTERM);
        let mut orders = self.orders.clone();
        let killed = async {
            while orders.changed().await.is_ok() {
                if *orders.borrow() == Order::Kill {
                    return;
                }
            }
            std::future::pending().await
        };
        tokio::select! {
            exit = self.running.stop(signal, stop.timeout_ms) => return exit,
            () = killed => {}
        }
        self.running.kill().await
    }

    fn tail(&self) -> String {
        self.running.tail().join("\n")
    }
}

/// Refuses to start a service whose port is taken: the other program would answer its probe, and the
/// boot would take the service for ready. Only what listens on this host itself can be asked.
fn require_free(kind: &ProbeKind, spec: &ServiceSpec) -> Result<(), String> {
    let address = match kind {
        ProbeKind::Tcp(address) => address.as_str(),
        ProbeKind::Http(url) => url
            .strip_prefix("http://")
            .and_then(|rest| rest.split(['/', '?']).next())
            .unwrap_or(""),
        ProbeKind::Exec(_) => return Ok(()),
    };
    let local = address.replacen("localhost:", "127.0.0.1:", 1);
    let Ok(socket) = local.parse::<std::net::SocketAddr>() else {
        return Ok(());
    };
    let taken = socket.ip().is_loopback()
        && std::net::TcpStream::connect_timeout(&socket, TAKEN_WITHIN).is_ok();
    if !taken {
        return Ok(());
    }
    let mark = spec.marks.first().map_or("", String::as_str);
    let who = ports_asked(kind, spec)
        .first()
        .map(|(addresses, port)| kernel::listener(addresses, *port, None, mark));
    let who = match who {
        Some(kernel::Listener::Stranger(stranger)) => format!(" ({stranger})"),
        _ => String::new(),
    };
    Err(format!(
        "cannot be started: another process listens on {address} already{who}, and would answer its probe"
    ))
}

fn asked_again_after(probe: &Probe) -> Duration {
    let ms = probe.interval_ms.saturating_mul(ASKED_AGAIN_TIMES);
    Duration::from_millis(ms.clamp(ASKED_AGAIN_MS_MIN, ASKED_AGAIN_MS_MAX))
}

async fn ask_again(probe: &Probe, asked: Asked<'_>) -> Result<(), String> {
    let timeout_ms = probe.timeout_ms.min(ASKED_AGAIN_TRY_MS_MAX);
    probe_once(probe, timeout_ms, asked)
        .await
        .map_err(|failure| failure.to_string())
}

/// Waits until the readiness probe of a ready service has failed twice in a row; says why.
async fn until_unready(probe: &Probe, asked: Asked<'_>) -> String {
    loop {
        tokio::time::sleep(asked_again_after(probe)).await;
        if ask_again(probe, asked).await.is_ok() {
            continue;
        }
        // One answer that was lost is no news.
        tokio::time::sleep(Duration::from_millis(probe.interval_ms)).await;
        if let Err(why) = ask_again(probe, asked).await {
            return why;
        }
    }
}

/// Waits until the liveness probe has failed often enough in a row; says why.
async fn until_unlive(probe: &Probe, asked: Asked<'_>) -> String {
    let mut failures = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(probe.interval_ms)).await;
        match probe_once(probe, probe.timeout_ms, asked).await {
            Ok(()) => failures = 0,
            Err(failure) => {
                failures += 1;
                if failures >= probe.failures_max {
                    return format!("liveness failed {failures} times in a row: {failure}");
                }
            }
        }
    }
}
