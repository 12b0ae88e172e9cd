//! Standard output of a boot in the foreground: what the boot says and what its services print, in the order in which
//! it came, written by a thread of its own. A reader that is slow, or gone, holds up neither the boot nor a service.

use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::render::{Paint, cut, name_label, names_width};

/// Bytes of services' lines that may wait; what comes beyond them is counted, not shown.
const WAITING_BYTES_MAX: usize = 1 << 20;
/// Bytes of the boot's own words that may wait beside that.
const OWN_BYTES_MAX: usize = 4 << 20;

#[derive(Default)]
struct Queue {
    text: String,
    /// Bytes of services' lines in it, and of the boot's own words.
    line_bytes: usize,
    own_bytes: usize,
    /// What was not shown since the last line that was.
    not_shown: u64,
    is_over: bool,
    is_broken: bool,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

impl Shared {
    fn with<T>(&self, change: impl FnOnce(&mut Queue) -> T) -> T {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let made = change(&mut queue);
        self.changed.notify_one();
        made
    }

    /// What is written next; `None` at the end.
    fn next(&self) -> Option<String> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if !queue.text.is_empty() {
                queue.line_bytes = 0;
                queue.own_bytes = 0;
                let mut text = std::mem::take(&mut queue.text);
                text.push_str(&not_shown(&mut queue));
                return Some(text);
            }
            if queue.is_over {
                return None;
            }
            let waited = self.changed.wait(queue);
            queue = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn not_shown(queue: &mut Queue) -> String {
    match std::mem::take(&mut queue.not_shown) {
        0 => String::new(),
        1 => "[ubs: 1 line not shown; `ubs logs` has it]\n".to_owned(),
        n => format!("[ubs: {n} lines not shown; `ubs logs` has them]\n"),
    }
}

/// Where a boot writes.
pub(super) struct Screen {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

impl Screen {
    /// Writes to `out` from now on.
    pub(super) fn to(mut out: impl Write + Send + 'static) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let queue = Arc::clone(&shared);
        let writer = std::thread::Builder::new()
            .name("screen".to_owned())
            .spawn(move || {
                while let Some(text) = queue.next() {
                    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
                    if written.is_err() {
                        // A reader that went away must not stop a running system.
                        queue.with(|queue| {
                            queue.is_broken = true;
                            queue.text = String::new();
                        });
                        return;
                    }
                }
            })?;
        Ok(Self {
            shared,
            writer: Some(writer),
        })
    }

    /// Says something of the boot.
    pub(super) fn say(&self, text: String) {
        self.shared.with(|queue| {
            if queue.is_broken {
                return;
            }
            if queue.own_bytes > OWN_BYTES_MAX {
                queue.not_shown += 1;
                return;
            }
            queue.own_bytes += text.len();
            queue.text.push_str(&text);
        });
    }

    /// Shows the lines of these services, each behind its name.
    pub(super) fn onlooker(
        &self,
        paint: Paint,
        services: &[&str],
    ) -> impl Fn(&str, &str) + Send + Sync + use<> {
        let shared = Arc::clone(&self.shared);
        let width = names_width(services.iter().copied());
        move |service, line| {
            let label = name_label(paint, service, width);
            let text = format!("{label} {}\n", cut(line, usize::MAX));
            shared.with(|queue| {
                if queue.is_broken {
                    return;
                }
                if queue.line_bytes + text.len() > WAITING_BYTES_MAX {
                    queue.not_shown += 1;
                    return;
                }
                let said = not_shown(queue);
                queue.line_bytes += text.len();
                queue.text.push_str(&said);
                queue.text.push_str(&text);
            });
        }
    }

    /// Writes what still waits.
    pub(super) fn finish(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.shared.with(|queue| queue.is_over = true);
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::cli::render::name_tone;

    /// Hands on what is written, when it is allowed to.
    struct Gate {
        open: mpsc::Receiver<()>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.open.recv();
            self.written.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_flood_before_a_reader_that_does_not_read_waits_for_nothing_and_is_bounded() {
        let (open, gate) = mpsc::channel();
        let written = Arc::new(Mutex::new(Vec::new()));
        let out = Gate {
            open: gate,
            written: Arc::clone(&written),
        };
        let screen = Screen::to(out).unwrap();
        let show = screen.onlooker(Paint::new(false), &["api", "worker"]);
        for number in 0..40_000 {
            show("api", &format!("{number} {}", "x".repeat(60)));
        }
        screen.say("the boot says something\n".to_owned());
        screen.shared.with(|queue| {
            let bytes = queue.text.len();
            assert!(bytes <= 2 * WAITING_BYTES_MAX && queue.not_shown > 20_000);
        });
        drop(open);
        screen.finish();
        let written = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        assert!(written.starts_with("api    | 0 x"), "{:.80}", written);
        assert!(written.contains("\nthe boot says something\n"));
        let shown = written.lines().filter(|line| line.starts_with("api"));
        let said = written.lines().last().unwrap();
        let not_shown: usize = said.split(' ').nth(1).unwrap().parse().unwrap();
        assert!(said.contains("lines not shown"), "{said}");
        assert_eq!(shown.count() + not_shown, 40_000);
    }

    #[test]
    fn names_have_a_colour_each_and_lines_no_controls() {
        let (sender, receiver) = mpsc::channel();
        struct To(mpsc::Sender<Vec<u8>>);
        impl Write for To {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                let _ = self.0.send(bytes.to_vec());
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let screen = Screen::to(To(sender)).unwrap();
        let show = screen.onlooker(Paint::new(true), &["api", "db"]);
        show("db", "a\u{1b}[2Jb\rc");
        screen.finish();
        let text: Vec<u8> = receiver.iter().flatten().collect();
        let text = String::from_utf8(text).unwrap();
        let label = Paint::new(true).tone(name_tone("db"), "db  |");
        assert_eq!(text, format!("{label} ab\u{fffd}c\n"));
    }
}
