//! Collects the orphans of services, so that none stays as a zombie, as process 1 and anywhere else.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::kernel;

/// Shortest time between two looks: children that end at once share one.
const REAP_EVERY: Duration = Duration::from_millis(20);

/// Adopts orphans from now on, where they can be told from other children, and collects those that end.
pub(super) fn collect_orphans() {
    let Ok(mut ended) = signal(SignalKind::child()) else {
        return;
    };
    if !kernel::adopt_orphans() {
        tracing::debug!("orphans of services are left to the host's process 1");
        return;
    }
    tokio::task::spawn_local(async move {
        loop {
            kernel::reap_orphans();
            tokio::time::sleep(REAP_EVERY).await;
            if ended.recv().await.is_none() {
                return;
            }
        }
    });
}
