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
use crate::database::handle::Live;
use crate::domain::boot::BootCommand;
use crate::domain::event::{ExitKind, ProcessRef};
use crate::domain::probes::ProbeTimes;
use crate::domain::redact::{LineRedactor, Redactor};
use crate::kernel;
use crate::manifest::{
    Environment, HttpRequest, Manifest, Probe, ProbeKind, Service, add_env_file, compile_pattern,
    secrets_among,
};
use crate::supervise::{
    Asked, Onlooker, Ping, Readiness, RunningService, ServiceSpec, Signs, ask_to_end, await_ready,
    ports_asked, probe_once, spawn, why_not_attributed,
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

/// What our own supervisor gave us and means us only (sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds(3)).
const FOR_US_ONLY: [&str; 6] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
];

/// An order to a service's task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Run,
    Stop,
    Kill,
}

type Sent = Rc<RefCell<BTreeMap<String, (kernel::Signal, String)>>>;

/// Starts and stops the services of one boot.
pub(super) struct Services {
    manifest: Arc<Manifest>,
    logs: PathBuf,
    /// Who sees what services print.
    onlooker: Option<Onlooker>,
    mark: String,
    reports: Reports,
    orders: Rc<RefCell<BTreeMap<String, watch::Sender<Order>>>>,
    /// What each service has shown since its last start.
    signs: BTreeMap<String, Signs>,
    /// The last signal that a person sent to a service, and how it is named.
    signals: Sent,
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
    /// Asks it to end in place of a signal; empty: none.
    stop_command: Vec<String>,
    /// What its own environment files add to the secrets.
    secrets: Vec<String>,
}

impl Services {
    pub(super) fn new(
        manifest: Arc<Manifest>,
        state_dir: &Path,
        mark: String,
        reports: Reports,
    ) -> Self {
        Self {
            logs: manifest.logs.directory_in(&manifest.workspace, state_dir),
            onlooker: None,
            manifest,
            mark,
            reports,
            orders: Rc::default(),
            signs: BTreeMap::new(),
            signals: Rc::default(),
            environment: RefCell::default(),
        }
    }

    /// What services print is seen by somebody.
    pub(super) fn seen_by(mut self, onlooker: Option<Onlooker>) -> Self {
        self.onlooker = onlooker;
        self
    }

    /// What is started from now on is as this manifest says.
    pub(super) fn use_manifest(&mut self, manifest: &Arc<Manifest>) {
        self.manifest = Arc::clone(manifest);
    }

    /// What the probes of each service took since its last start.
    pub(super) fn probe_times(&self) -> BTreeMap<String, ProbeTimes> {
        let signs = self.signs.iter();
        signs
            .map(|(name, signs)| (name.clone(), signs.probe_times()))
            .collect()
    }

    /// The main process of this service gets a signal that a person sent: its end may come from that.
    pub(super) fn note_signal(&self, name: &str, signal: kernel::Signal, by: &str) {
        let said = format!("{signal}, sent by {by}");
        self.signals
            .borrow_mut()
            .insert(name.to_owned(), (signal, said));
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
        &mut self,
        name: &str,
        environment: &Environment,
        redactor: &Arc<Redactor>,
    ) -> Result<ProcessRef, String> {
        let (_, service) = self
            .manifest
            .service(name)
            .ok_or_else(|| "is no longer in the manifest".to_owned())?;
        let expanded = self.expand(service, environment)?;
        for probe in expanded
            .ready
            .iter()
            .filter(|probe| !probe.external && probe.http.socket.is_none())
        {
            require_free(probe, &expanded.spec)?;
        }
        let redactor = &self.redactor_of(&expanded, environment, redactor);
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
        let signs = running.signs();
        let (order, orders) = watch::channel(Order::Run);
        self.orders.borrow_mut().insert(name.to_owned(), order);
        self.signs.insert(name.to_owned(), signs.clone());
        self.signals.borrow_mut().remove(name);
        let task = ServiceTask {
            service: service.clone(),
            expanded,
            running,
            signs,
            orders,
            signals: Rc::clone(&self.signals),
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

    /// What a playbook says has to pass, ready to be tried: as of the boot's services, and answered by any of them.
    pub(super) fn verify_probe(
        &self,
        probe: &Probe,
        environment: &Environment,
    ) -> Result<LiveProbe, String> {
        let mut env = (*self.shared_environment(environment)).clone();
        for name in FOR_US_ONLY {
            env.remove(name);
        }
        let spec = ServiceSpec {
            name: "verify".to_owned(),
            cwd: self.manifest.workspace.clone(),
            workspace: self.manifest.workspace.clone(),
            marks: vec![format!("{BOOT_MARK}={}", self.mark)],
            env,
            ..ServiceSpec::default()
        };
        Ok(LiveProbe {
            service: spec.name.clone(),
            probe: expand_probe(environment, probe)?,
            spec,
        })
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
                let ready = expanded.ready.filter(|probe| {
                    matches!(
                        probe.kind,
                        ProbeKind::Http(_) | ProbeKind::Tcp(_) | ProbeKind::Sql(_)
                    )
                });
                Some(LiveProbe {
                    service: service.name.clone(),
                    probe: expanded.live.or(ready)?,
                    spec: expanded.spec,
                })
            })
            .collect()
    }

    /// One that knows the secrets of the service's own environment files too.
    fn redactor_of(
        &self,
        expanded: &Expanded,
        environment: &Environment,
        redactor: &Arc<Redactor>,
    ) -> Arc<Redactor> {
        if expanded.secrets.is_empty() {
            return Arc::clone(redactor);
        }
        let mut secrets = environment.secret_values(&self.manifest);
        secrets.extend(expanded.secrets.iter().cloned());
        Arc::new(Redactor::new(secrets))
    }

    /// The variables of a service, and those values of its own environment files that are secret.
    fn environment_of(
        &self,
        service: &Service,
        environment: &Environment,
    ) -> Result<(BTreeMap<String, String>, Vec<String>), String> {
        let expand = |text: &str| expand(environment, text);
        let shared = self.shared_environment(environment);
        let mut env = if service.clean_env {
            let mut env = environment.clean_env();
            // With the interpreter's directory.
            if let Some(path) = shared.get("PATH") {
                env.insert("PATH".to_owned(), path.clone());
            }
            env
        } else {
            (*shared).clone()
        };
        for name in FOR_US_ONLY {
            env.remove(name);
        }
        if let Some(account) = service.user.as_deref().and_then(kernel::account) {
            env.insert("HOME".to_owned(), account.home);
            env.insert("USER".to_owned(), account.name.clone());
            env.insert("LOGNAME".to_owned(), account.name);
        }
        let before = (!service.env_files.is_empty()).then(|| env.clone());
        for file in &service.env_files {
            let path = self.manifest.workspace.join(expand(&file.path)?);
            let cannot = |why: &str| {
                format!(
                    "cannot be started: the environment file {} of service {} {why}",
                    file.path, service.name
                )
            };
            match add_env_file(&mut env, &path) {
                Ok(true) => {}
                Ok(false) if file.optional => {}
                Ok(false) => {
                    return Err(cannot(
                        "does not exist; make it, or write `env_file = { path = \"...\", optional = true }`",
                    ));
                }
                Err(why) => return Err(cannot(&format!("cannot be used: {why}"))),
            }
        }
        let secrets = before.map_or_else(Vec::new, |before| {
            let added = env
                .iter()
                .filter(|&(name, value)| before.get(name) != Some(value));
            secrets_among(added.map(|(name, value)| (name.as_str(), value.as_str()))).collect()
        });
        for (name, value) in &service.env {
            env.insert(name.clone(), expand(value)?);
        }
        // Not for a service to change: what is left of it after a crash is found by it.
        env.insert(BOOT_MARK.to_owned(), self.mark.clone());
        env.insert(SERVICE_MARK.to_owned(), service.name.clone());
        Ok((env, secrets))
    }

    /// Asks the database of a schema.
    fn ping(&self, schema: &str, environment: &Environment) -> Result<Ping, String> {
        let schemas = &self.manifest.schemas;
        let schema = schemas.iter().find(|known| known.name == schema);
        let schema = schema.ok_or("cannot be started: its probe names a schema that is gone")?;
        let url = environment
            .expand_url(&schema.database)
            .map_err(|e| format!("cannot be started: {e}"))?;
        let root = self.manifest.workspace.clone();
        Ok(Ping::new(move || {
            Live::ping(&url, &root).map_err(|why| why.to_string())
        }))
    }

    fn expand(&self, service: &Service, environment: &Environment) -> Result<Expanded, String> {
        let expand = |text: &String| expand(environment, text);
        let all = |texts: &[String]| texts.iter().map(expand).collect::<Result<Vec<_>, _>>();
        let probe = |probe: &Option<Probe>| {
            let probe = probe.as_ref();
            probe
                .map(|probe| expand_probe(environment, probe))
                .transpose()
        };
        let (env, secrets) = self.environment_of(service, environment)?;
        let marks = [(BOOT_MARK, &self.mark), (SERVICE_MARK, &service.name)];
        let cwd = match &service.cwd {
            Some(cwd) => self.manifest.workspace.join(expand(cwd)?),
            None => self.manifest.workspace.clone(),
        };
        let kinds = || [&service.ready, &service.live].into_iter().flatten();
        let mut pings = BTreeMap::new();
        for probe in kinds() {
            if let ProbeKind::Sql(schema) = &probe.kind {
                pings.insert(schema.clone(), self.ping(schema, environment)?);
            }
        }
        let awaited_line = kinds().find_map(|probe| match &probe.kind {
            ProbeKind::Log(pattern) => compile_pattern(pattern).ok(),
            _ => None,
        });
        Ok(Expanded {
            spec: ServiceSpec {
                name: service.name.clone(),
                argv: all(&service.run)?,
                cwd,
                env,
                user: service.user.clone(),
                umask: service.umask,
                limits: service.limits,
                workspace: self.manifest.workspace.clone(),
                awaited_line,
                notifies: kinds().any(|probe| probe.kind == ProbeKind::Notify),
                pings,
                marks: marks
                    .map(|(name, value)| format!("{name}={value}"))
                    .to_vec(),
                log_path: self.logs.join(format!("{}.log", service.name)),
                logs: service.logs,
                onlooker: self.onlooker.clone(),
            },
            ready: probe(&service.ready)?,
            live: probe(&service.live)?,
            stop_command: all(&service.stop.command)?,
            secrets,
        })
    }
}

/// The probe with every variable expanded.
fn expand_probe(environment: &Environment, probe: &Probe) -> Result<Probe, String> {
    let expand = |text: &String| expand(environment, text);
    let kind = match &probe.kind {
        ProbeKind::Http(url) => ProbeKind::Http(expand(url)?),
        ProbeKind::Tcp(address) => ProbeKind::Tcp(expand(address)?),
        ProbeKind::Exec(argv) => {
            ProbeKind::Exec(argv.iter().map(expand).collect::<Result<_, _>>()?)
        }
        ProbeKind::File(path) => ProbeKind::File(expand(path)?),
        kind @ (ProbeKind::Log(_) | ProbeKind::Notify | ProbeKind::Sql(_)) => kind.clone(),
    };
    let http = &probe.http;
    let headers = http.headers.iter();
    let headers = headers.map(|(name, value)| Ok((name.clone(), expand(value)?)));
    let http = HttpRequest {
        headers: headers.collect::<Result<_, String>>()?,
        socket: http.socket.as_ref().map(expand).transpose()?,
        ca_file: http.ca_file.as_ref().map(expand).transpose()?,
        ..http.clone()
    };
    Ok(Probe {
        kind,
        http,
        ..probe.clone()
    })
}

fn expand(environment: &Environment, text: &str) -> Result<String, String> {
    environment
        .expand(text)
        .map_err(|e| format!("cannot be started: {e}"))
}

struct ServiceTask {
    service: Service,
    expanded: Expanded,
    running: RunningService,
    signs: Signs,
    orders: watch::Receiver<Order>,
    signals: Sent,
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
                    self.report_attribution();
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
                let signals = self.signals.borrow();
                let sent = signals.get(&self.service.name);
                if let Some((signal, said)) = sent
                    && exit == ExitKind::Signal(*signal as i32)
                {
                    reason = Some(said.clone());
                } else if exit == ExitKind::Signal(kernel::Signal::SIGKILL as i32) {
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

    /// An answer that was accepted though nobody knows whose it was is said.
    fn report_attribution(&self) {
        let Expanded { spec, ready, .. } = &self.expanded;
        let leader = Some(self.running.process.pid);
        let ready = ready.as_ref();
        if let Some(why) = ready.and_then(|probe| why_not_attributed(probe, spec, leader)) {
            self.report(BootCommand::AnswerNotAttributed {
                service: self.service.name.clone(),
                why,
            });
        }
    }

    async fn wait(&mut self, asks: Asks, watches: bool) -> Happened {
        let Expanded {
            spec, ready, live, ..
        } = &self.expanded;
        let leader = Some(self.running.process.pid);
        let asked = Asked {
            spec,
            leader,
            signs: Some(&self.signs),
        };
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
        let (command, redactor) = (&self.expanded.stop_command, &self.redactor);
        let stopped = async {
            if !command.is_empty() {
                let (running, spec) = (&mut self.running, &self.expanded.spec);
                if let Err(failure) = ask_to_end(running, command, spec, stop.timeout_ms).await {
                    let why = redactor.clean(&failure.to_string(), ERROR_BYTES_MAX);
                    running.note_when_stopped(format!("ubs: the stop command: {why}"));
                }
            }
            self.running.stop(signal, stop.timeout_ms).await
        };
        tokio::select! {
            exit = stopped => return exit,
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
fn require_free(probe: &Probe, spec: &ServiceSpec) -> Result<(), String> {
    let address = match &probe.kind {
        ProbeKind::Tcp(address) => address.as_str(),
        ProbeKind::Http(url) => url
            .strip_prefix("http://")
            .or_else(|| url.strip_prefix("https://"))
            .and_then(|rest| rest.split(['/', '?']).next())
            .unwrap_or(""),
        _ => return Ok(()),
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
    let who = ports_asked(probe, spec)
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
    let timeout_ms = probe
        .try_ms
        .unwrap_or(probe.timeout_ms.min(ASKED_AGAIN_TRY_MS_MAX));
    probe_once(probe, timeout_ms, asked)
        .await
        .map_err(|failure| failure.to_string())
}

/// Waits until the readiness probe of a ready service has failed often enough in a row; says why.
async fn until_unready(probe: &Probe, asked: Asked<'_>) -> String {
    if matches!(probe.kind, ProbeKind::Log(_) | ProbeKind::Notify) {
        // What was said once is not asked again.
        return std::future::pending().await;
    }
    loop {
        tokio::time::sleep(asked_again_after(probe)).await;
        // One answer that was lost is no news.
        for failures in 1.. {
            match ask_again(probe, asked).await {
                Ok(()) => break,
                Err(why) if failures >= probe.failures_max => return why,
                Err(_) => tokio::time::sleep(Duration::from_millis(probe.interval_ms)).await,
            }
        }
    }
}

/// Waits until the liveness probe has failed often enough in a row; says why.
async fn until_unlive(probe: &Probe, asked: Asked<'_>) -> String {
    let mut failures = 0;
    tokio::time::sleep(Duration::from_millis(probe.delay_ms)).await;
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

/// For the test of all keys: what a service is started with and how it is asked, without a start.
#[cfg(test)]
impl Services {
    fn expanded(&self, name: &str, environment: &Environment) -> Result<Expanded, String> {
        let (_, service) = self.manifest.service(name).expect("a service");
        self.expand(service, environment)
    }

    /// All that its task goes by.
    pub(super) fn shown_start(&self, name: &str, environment: &Environment) -> String {
        let (_, service) = self.manifest.service(name).expect("a service");
        let stop = &service.stop;
        match self.expanded(name, environment) {
            Err(why) => why,
            Ok(expanded) => {
                let Expanded {
                    spec,
                    ready,
                    live,
                    stop_command,
                    secrets,
                } = expanded;
                let ports = ready.iter().chain(&live).map(|p| ports_asked(p, &spec));
                let ports: Vec<_> = ports.collect();
                format!(
                    "{spec:#?} {ready:#?} {live:#?} {ports:?} {stop_command:?} {} {} {secrets:?} {} {}",
                    stop.signal, stop.timeout_ms, service.oneshot, service.timeout_ms
                )
            }
        }
    }

    pub(super) async fn wait_for_ready(&self, name: &str, environment: &Environment) {
        let Expanded { spec, ready, .. } = self.expanded(name, environment).expect("no variables");
        let _ = await_ready(&ready.expect("a probe"), unwatched(&spec)).await;
    }

    pub(super) async fn wait_for_unready(&self, name: &str, environment: &Environment) {
        let Expanded { spec, ready, .. } = self.expanded(name, environment).expect("no variables");
        let _ = until_unready(&ready.expect("a probe"), unwatched(&spec)).await;
    }

    pub(super) async fn wait_for_unlive(&self, name: &str, environment: &Environment) {
        let Expanded { spec, live, .. } = self.expanded(name, environment).expect("no variables");
        let _ = until_unlive(&live.expect("a probe"), unwatched(&spec)).await;
    }
}

#[cfg(test)]
fn unwatched(spec: &ServiceSpec) -> Asked<'_> {
    Asked {
        spec,
        leader: None,
        signs: None,
    }
}
