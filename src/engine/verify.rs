//! Asks whether what playbooks did has worked: their `verify`, once the system runs with it. Until it has passed, the fix
//! is not blessed and its mission stays open; a fix that does not pass is taken back as any that failed.

use std::collections::BTreeMap;
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::application::Application;
use super::boot_log::{BootLog, context};
use super::services::{LiveProbe, Services};
use super::settle::settle_verified;
use crate::domain::boot;
use crate::domain::event::Mode;
use crate::domain::ids::Seq;
use crate::domain::mission::Fix;
use crate::fix::{awaited_verify, note_verified, roll_back};
use crate::log::Missions;
use crate::supervise::{Asked, Readiness, await_ready};

/// Bytes of what the last try said.
const SAID_BYTES_MAX: usize = 2048;

/// What is being asked.
#[derive(Debug, Default)]
pub(super) struct Verifying {
    /// By the fix; each in a thread, for as long as its `timeout` says.
    asking: BTreeMap<Seq, Asking>,
    /// Something cannot be asked yet, because what it asks is on its way up.
    waits: bool,
    /// What did not pass, and why, until somebody takes it back; it is not asked again in this boot.
    failed: BTreeMap<Seq, Option<String>>,
    /// Takes one back, beside the engine: it may wait for the lock.
    taking_back: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Asking {
    answer: JoinHandle<Result<(), String>>,
    /// Dropped, it ends the asking.
    _going: oneshot::Sender<()>,
}

impl Verifying {
    /// Ends what is being asked: the system stops, and nobody wants to know.
    pub(super) fn stop(&mut self) {
        self.waits = false;
        self.asking.clear();
    }

    /// Something is being asked, or taken back: how the system does is not known yet.
    pub(super) fn is_going(&self) -> bool {
        self.waits
            || !self.asking.is_empty()
            || self.failed.values().any(Option::is_some)
            || self.is_taking_back()
    }

    fn is_taking_back(&self) -> bool {
        let work = self.taking_back.as_ref();
        work.is_some_and(|work| !work.is_finished())
    }

    /// Asks what can be asked now, and hears what was answered. `fixes`: those on probation.
    pub(super) fn tend(
        &mut self,
        app: &Application,
        log: &BootLog<'_>,
        services: &Services,
        fixes: &[Fix],
    ) {
        if log.state.plan.mode != Mode::Resilient {
            return;
        }
        let is_known = |id: &Seq| fixes.iter().any(|fix| fix.id == *id);
        self.failed.retain(|id, _| is_known(id));
        let ended = self.asking.iter();
        let ended = ended.filter(|(_, asking)| asking.answer.is_finished());
        let ended: Vec<Seq> = ended.map(|(id, _)| *id).collect();
        for id in ended {
            let Some(asking) = self.asking.remove(&id) else {
                continue;
            };
            let answer = asking.answer.join();
            let answer = answer.unwrap_or_else(|_| Err("asking it panicked".to_owned()));
            // Somebody took it back meanwhile.
            let Some(fix) = fixes.iter().find(|fix| fix.id == id) else {
                continue;
            };
            match answer {
                Ok(()) => passed(app, log, fix),
                Err(why) => {
                    let why = app.redactor.clean(&why, SAID_BYTES_MAX);
                    let why = format!("its verify did not pass: {why}");
                    self.failed.insert(id, Some(why));
                }
            }
        }
        self.waits = false;
        for fix in fixes {
            if self.asking.contains_key(&fix.id) || self.failed.contains_key(&fix.id) {
                continue;
            }
            if let Some(playbook) = awaited_verify(&app.state_dir, fix.mission) {
                if !boot::runs_with(&log.state, fix) {
                    self.waits |= boot::is_on_its_way(&log.state, fix);
                    continue;
                }
                match ask(app, services, &playbook) {
                    Ok(Some(asking)) => {
                        self.asking.insert(fix.id, asking);
                    }
                    // It stays as it is until a person decides: nothing says that it worked.
                    Ok(None) => {}
                    Err(why) => {
                        let why = app.redactor.clean(&why, SAID_BYTES_MAX);
                        let why = format!("its verify cannot be asked: {why}");
                        self.failed.insert(fix.id, Some(why));
                    }
                }
            }
        }
        self.take_back(app, log, fixes);
    }

    fn take_back(&mut self, app: &Application, log: &BootLog<'_>, fixes: &[Fix]) {
        if self.is_taking_back() {
            return;
        }
        let mut failed = self.failed.iter_mut();
        let next = failed.find_map(|(id, why)| Some((*id, why.take()?)));
        let Some((id, why)) = next else {
            return;
        };
        let Some(fix) = fixes.iter().find(|fix| fix.id == id) else {
            return;
        };
        let (workspace, state_dir) = (app.manifest.workspace.clone(), app.state_dir.clone());
        let missions = Missions::new(log.log.clone()).in_boot(log.boot);
        let mission = fix.mission;
        self.taking_back = Some(std::thread::spawn(move || {
            if let Err(error) = roll_back(&workspace, &state_dir, &missions, mission, &why) {
                tracing::warn!(%mission, %error, "cannot take a fix back");
            }
        }));
    }
}

/// Begins to ask what the playbook says; `None` if the manifest does not have it any more.
fn ask(app: &Application, services: &Services, playbook: &str) -> Result<Option<Asking>, String> {
    let playbook = app.manifest.playbook(playbook);
    let Some(probe) = playbook.and_then(|playbook| playbook.verify.as_ref()) else {
        return Ok(None);
    };
    let live = services.verify_probe(probe, &app.environment)?;
    let thread = std::thread::Builder::new().name("verify".to_owned());
    let (going, stopped) = oneshot::channel();
    let answer = thread
        .spawn(move || answer(&live, stopped))
        .map_err(|error| format!("cannot start a thread: {error}"))?;
    Ok(Some(Asking {
        answer,
        _going: going,
    }))
}

/// Tries until it passes, its time is over, or nobody wants to know any more.
fn answer(live: &LiveProbe, stopped: oneshot::Receiver<()>) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(|error| format!("cannot start an event loop: {error}"))?;
    let asked = Asked {
        spec: &live.spec,
        leader: None,
        signs: None,
    };
    runtime.block_on(async {
        tokio::select! {
            ready = await_ready(&live.probe, asked) => match ready {
                Readiness::Ready => Ok(()),
                Readiness::TimedOut { last } => Err(last.to_string()),
            },
            _ = stopped => Err("the boot ends".to_owned()),
        }
    })
}

/// Noted first: a crash in between leaves it noted, and the next settling closes the mission.
fn passed(app: &Application, log: &BootLog<'_>, fix: &Fix) {
    if let Err(error) = note_verified(&app.state_dir, fix.mission) {
        // It is asked again.
        tracing::warn!(%error, "that a verify has passed cannot be noted");
        return;
    }
    let text = format!("its verify passed: {} ({})", fix.summary, fix.slug);
    if let Err(error) = settle_verified(&log.log, log.boot, context(), fix.mission, text) {
        tracing::warn!(%error, "that a verify has passed cannot be written to the log");
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::path::Path;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use super::super::application::load_environment;
    use super::*;
    use crate::manifest::Manifest;

    /// Whether what the manifest's playbook has to pass does, and how long that was asked.
    fn asked(root: &Path, verify: &str) -> (Result<(), String>, Duration) {
        let text = format!(
            "[app]\nname = 'a'\n[[heal.playbook]]\nname = 'p'\nmatch = {{ error = 'x' }}\nwait = '1ms'\n\
             verify = {{ {verify} }}\n"
        );
        std::fs::write(root.join("ubs.toml"), text).unwrap();
        let manifest = Arc::new(Manifest::load(&root.join("ubs.toml")).unwrap());
        let environment = load_environment(&manifest, &std::env::vars().collect()).unwrap();
        let (reports, _inbox) = tokio::sync::mpsc::unbounded_channel();
        let services = Services::new(Arc::clone(&manifest), root, "none".to_owned(), reports);
        let probe = manifest.playbook("p").unwrap().verify.as_ref().unwrap();
        let live = services.verify_probe(probe, &environment).unwrap();
        let begun = Instant::now();
        let (_going, stopped) = oneshot::channel();
        (answer(&live, stopped), begun.elapsed())
    }

    /// Answers each request with this, for as long as the test runs.
    fn serve(status: &'static str, body: &'static str) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let _ = stream.read(&mut [0; 1024]);
                let length = body.len();
                let text = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}");
                let _ = stream.write_all(text.as_bytes());
            }
        });
        port
    }

    #[test]
    fn each_key_of_a_verify_makes_a_difference() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        std::fs::write(root.join("there"), "").unwrap();
        let (up, down) = (serve("200 OK", "up"), serve("503 Busy", "down"));
        let short = "timeout = '50ms', interval = '10ms'";
        let external = format!("{short}, external = true");
        let passes = |verify: &str| asked(root, verify).0.is_ok();
        for (right, wrong) in [
            ("file = 'there'".to_owned(), "file = 'absent'".to_owned()),
            (
                "exec = ['test', '-f', 'there']".to_owned(),
                "exec = ['false']".to_owned(),
            ),
            (
                format!("external = true, tcp = '127.0.0.1:{up}'"),
                "external = true, tcp = '127.0.0.1:1'".to_owned(),
            ),
            (
                format!("external = true, http = 'http://127.0.0.1:{up}/'"),
                format!("external = true, http = 'http://127.0.0.1:{down}/'"),
            ),
            (
                format!("external = true, http = 'http://127.0.0.1:{down}/', status = [503]"),
                format!("external = true, http = 'http://127.0.0.1:{up}/', status = [503]"),
            ),
            (
                format!("external = true, http = 'http://127.0.0.1:{up}/', body = '^up$'"),
                format!("external = true, http = 'http://127.0.0.1:{up}/', body = '^down$'"),
            ),
        ] {
            assert!(passes(&format!("{right}, timeout = '5s'")), "{right}");
            assert!(!passes(&format!("{wrong}, {short}")), "{wrong}");
        }
        // What answers here is no process of a boot.
        assert!(!passes(&format!("tcp = '127.0.0.1:{up}', {short}")));
        assert!(passes(&format!("tcp = '127.0.0.1:{up}', {external}")));
        let (_, took) = asked(
            root,
            "file = 'absent', timeout = '300ms', interval = '10ms'",
        );
        assert!(took >= Duration::from_millis(250), "{took:?}");
        std::fs::write(root.join("tries.sh"), "echo x >> tries; exit 1\n").unwrap();
        let tries = |interval: &str| {
            let _ = std::fs::remove_file(root.join("tries"));
            let verify =
                format!("exec = ['sh', 'tries.sh'], timeout = '400ms', interval = '{interval}'");
            assert!(!passes(&verify));
            std::fs::read(root.join("tries")).unwrap().len()
        };
        assert!(tries("10ms") > tries("5s"));
    }
}
