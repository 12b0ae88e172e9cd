//! Asks a database whether it answers, by what the caller hands in: this room knows no database.

use std::sync::Arc;

use tokio::sync::Mutex;

type Question = dyn Fn() -> Result<(), String> + Send + Sync;

/// A question that may block, asked in a thread. One at a time: a server that hangs must not pile threads up.
#[derive(Clone)]
pub(crate) struct Ping {
    question: Arc<Question>,
    /// Held while it is asked, by the thread that asks.
    turn: Arc<Mutex<()>>,
}

impl Ping {
    /// `question` has to end by itself, some time.
    pub(crate) fn new(question: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self {
            question: Arc::new(question),
            turn: Arc::default(),
        }
    }

    /// Asks, once the question before has ended. May be dropped; the thread then ends when the question does.
    pub(super) async fn ask(&self) -> Result<(), String> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let question = Arc::clone(&self.question);
        let asked = tokio::task::spawn_blocking(move || {
            let answer = question();
            drop(turn);
            answer
        });
        asked
            .await
            .unwrap_or_else(|_| Err("asking it failed inside ubs".to_owned()))
    }
}

impl std::fmt::Debug for Ping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ping")
    }
}
