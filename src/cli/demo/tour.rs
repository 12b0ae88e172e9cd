//! Asks the running application a few things over HTTP, and shows its answers.

use super::super::context::Ui;
use super::super::render::{self, Tone};
use crate::supervise::fetch;

/// What is asked.
const PATHS: [&str; 3] = [
    "/health",
    "/api/guardian/workers",
    "/api/mission_control/missions",
];
/// Time allowed for one answer, milliseconds.
const ANSWER_MS_MAX: u64 = 5_000;

/// The answers of the application that listens on `port`.
pub(super) fn tour(ui: &Ui, port: u16, keep: bool) -> String {
    let mut text = format!(
        "\n{}\n",
        ui.paint
            .tone(Tone::Strong, "The application answers over HTTP:")
    );
    for path in PATHS {
        let url = format!("http://127.0.0.1:{port}{path}");
        let (tone, answer) = match ask(&url) {
            Ok((status @ 200..=299, body)) => (Tone::Good, format!("{status} {body}")),
            Ok((status, body)) => (Tone::Bad, format!("{status} {body}")),
            Err(why) => (Tone::Bad, why),
        };
        let answer = render::cut(&answer, ui.width.saturating_sub(6));
        text.push_str(&format!(
            "  GET {url}\n    {}\n",
            ui.paint.tone(tone, &answer)
        ));
    }
    if keep {
        text.push_str("\nIt keeps running; Ctrl-C stops everything in order.\n");
    }
    text
}

/// Asks from a thread of its own: the caller sits on the supervisor's event loop.
fn ask(url: &str) -> Result<(u16, String), String> {
    let url = url.to_owned();
    std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?
            .block_on(fetch(&url, ANSWER_MS_MAX))
            .map_err(|failure| failure.message)
    })
    .join()
    .unwrap_or_else(|_| Err("the request could not be sent".to_owned()))
}
