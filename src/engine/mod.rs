//! The engine: the only place that performs the boot machine's steps and feeds outcomes back.
//!
//! It keeps no truth of its own: its state is folded from the log, so what another process adds to
//! the log (a worker that closes a mission) reaches a running boot too.

mod boot;
mod fingerprint;
mod lock;
mod look;
mod plan;
mod recover;
mod services;
mod settle;

pub use boot::{Boot, BootEnd, EngineError, Until, is_settled};
pub use lock::{LockError, SupervisorLock, supervisor_of};
pub use plan::plan_boot;
pub use recover::{InterruptedBoot, RecoverError, end_interrupted};
