//! `ubs top`: the running system on a whole terminal.
//!
//! One thread looks at the system, one reads output, this one draws and takes keys. The terminal is given back at the
//! end, on a panic, and when a signal comes.

mod feed;
mod model;
#[cfg(test)]
mod tests;
mod view;

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};

use super::context::{AppPaths, CliError, Ui};
use super::exit;
use super::options::Global;
use feed::News;
use model::{Model, Then};

/// Longest time until news is shown.
const TICK: Duration = Duration::from_millis(100);

/// Longest time from a signal to the end.
const ENDS_WITHIN: Duration = Duration::from_secs(1);

/// Show the running system: services, output, missions; ? shows the keys.
///
/// Without a supervisor it shows the last that the log knows.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(ui: &Ui, global: &Global, _: Args) -> Result<u8, CliError> {
    if ui.json || !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return Err(CliError::usage(
            "`ubs top` needs a terminal",
            "`ubs status --watch` prints, with --json too",
        ));
    }
    let place = Arc::new(AppPaths::find(global)?);
    let (sender, news) = feed::news();
    let (wanted, wishes) = channel();
    let (looking, reading) = (Arc::clone(&place), Arc::clone(&place));
    let (to_look, to_read) = (sender.clone(), sender.clone());
    std::thread::spawn(move || feed::look(&looking, &to_look));
    std::thread::spawn(move || feed::read_output(&reading, &wishes, &to_read));
    let ended = end_on_signal().map_err(CliError::Output)?;
    let mut top = Top {
        place: &place,
        model: Model::new(),
        news,
        sender,
        wanted,
        ended,
        is_plain: !ui.paint.is_on(),
    };
    // Also makes a panic give the terminal back.
    let mut terminal = ratatui::try_init().map_err(CliError::Output)?;
    let shown = top.show(&mut terminal);
    let restored = ratatui::try_restore();
    shown.and(restored).map_err(CliError::Output)?;
    Ok(exit::GOOD)
}

/// Set when a signal wants the end: the terminal has to be given back first.
fn end_on_signal() -> std::io::Result<Arc<AtomicBool>> {
    use tokio::signal::unix::{SignalKind, signal};
    let ended = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&ended);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let listening = runtime.enter();
    let mut terminated = signal(SignalKind::terminate())?;
    let mut hung_up = signal(SignalKind::hangup())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    drop(listening);
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminated.recv() => {}
                _ = hung_up.recv() => {}
                _ = interrupted.recv() => {}
            }
        });
        told.store(true, Ordering::SeqCst);
        // A terminal that is gone may keep us reading from it for ever.
        std::thread::sleep(ENDS_WITHIN);
        let _ = ratatui::try_restore();
        std::process::exit(exit::GOOD.into());
    });
    Ok(ended)
}

struct Top<'a> {
    place: &'a AppPaths,
    model: Model,
    news: Receiver<News>,
    sender: Sender<News>,
    wanted: Sender<String>,
    ended: Arc<AtomicBool>,
    is_plain: bool,
}

impl Top<'_> {
    fn show(&mut self, terminal: &mut DefaultTerminal) -> std::io::Result<()> {
        let mut is_changed = true;
        while !self.ended.load(Ordering::SeqCst) {
            if is_changed {
                terminal.draw(|frame| view::draw(frame, &self.model, self.is_plain))?;
            }
            is_changed = false;
            if event::poll(TICK)? {
                is_changed = true;
                let then = match event::read()? {
                    Event::Key(key) if key.kind != KeyEventKind::Release => self.model.key(key),
                    // A new size among others: drawn anew.
                    _ => Then::Nothing,
                };
                if self.follow_up(then) {
                    return Ok(());
                }
            }
            while let Ok(news) = self.news.try_recv() {
                is_changed = true;
                let then = match news {
                    News::Seen(seen) => self.model.see(*seen),
                    News::Lines { service, lines } => {
                        self.model.add_lines(&service, lines);
                        Then::Nothing
                    }
                    News::Said(said) => {
                        self.model.said = said;
                        Then::Nothing
                    }
                };
                self.follow_up(then);
            }
        }
        Ok(())
    }

    /// True if it is over.
    fn follow_up(&mut self, then: Then) -> bool {
        match then {
            Then::Nothing => {}
            Then::Quit => return true,
            Then::Do(order) => feed::carry_out(self.place, order, &self.sender),
            Then::ShowOutput(service) => {
                let _ = self.wanted.send(service);
            }
        }
        false
    }
}
