//! Points at which a crash can be asked for, so that tests can kill the real process where it hurts.
//!
//! Only in builds with debug assertions; a release build has no such points. `UBS_CRASH_AT` names one:
//! `promote.journaled`, or `before_commit:17` and `after_commit:17` around the commit of event 17.

/// Dies by `SIGKILL`, as `kill -9` would have it, if this point was asked for.
#[cfg(debug_assertions)]
pub(crate) fn crash_point(name: &str) {
    if wanted().as_deref() == Some(name) {
        die();
    }
}

/// See above: not in a release build.
#[cfg(not(debug_assertions))]
pub(crate) fn crash_point(_name: &str) {}

/// The crash point `name:seq` for each event of a batch that ends with `seq_last` and begins with
/// `seq_first`.
#[cfg(debug_assertions)]
pub(crate) fn crash_point_at_event(name: &str, seq_first: u64, seq_last: u64) {
    let at = wanted()
        .as_deref()
        .and_then(|wanted| wanted.strip_prefix(name)?.strip_prefix(':')?.parse().ok());
    if at.is_some_and(|at: u64| (seq_first..=seq_last).contains(&at)) {
        die();
    }
}

/// See above: not in a release build.
#[cfg(not(debug_assertions))]
pub(crate) fn crash_point_at_event(_name: &str, _seq_first: u64, _seq_last: u64) {}

#[cfg(debug_assertions)]
fn wanted() -> &'static Option<String> {
    static WANTED: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    WANTED.get_or_init(|| std::env::var("UBS_CRASH_AT").ok())
}

#[cfg(debug_assertions)]
fn die() -> ! {
    let _ = nix::sys::signal::kill(nix::unistd::getpid(), nix::sys::signal::Signal::SIGKILL);
    // SIGKILL cannot be caught; this line is only for the type.
    std::process::abort()
}
