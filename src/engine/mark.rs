//! The variables that mark what a boot runs, so that a later boot can find what was left.

use crate::domain::ids::BootId;
pub(super) use crate::domain::process::BOOT_MARK;

/// Names the service that a process of a boot belongs to.
pub(super) const SERVICE_MARK: &str = "UBS_SERVICE";
/// Marks what a boot runs beside its services: checks and trials.
pub(super) const WORK_MARK: &str = "UBS_WORK";

/// The entry of the environment that the services of `boot` carry.
pub(super) fn service_mark(boot: BootId) -> String {
    format!("{BOOT_MARK}={boot}")
}

/// The entry of the environment that the checks and trials of `boot` carry.
pub(super) fn work_mark(boot: BootId) -> String {
    format!("{WORK_MARK}={boot}")
}

/// The name under which a boot works on missions.
pub(super) fn worker_name(boot: BootId) -> String {
    format!("boot {boot}")
}
