//! The application's own interpreter, and how a probe program runs in it.
//!
//! A probe is one of the programs in `python/`. It runs in the sandbox with the application's import
//! path, takes its input on standard input and answers on a descriptor of its own, in a line that begins
//! with a nonce. So whatever an application prints, closes or replaces, and whatever it writes to
//! descriptors that it guesses, is no answer. What runs in one interpreter can find everything in it:
//! code that looks for the nonce on purpose can find it, and then lie about itself, as it could anyway by
//! behaving well while it is looked at. The answer is therefore hostile: it is bounded, parsed into plain
//! structures, its texts are cleaned before they are shown, and two answers are none.

mod answer;
mod probe;
mod program;

pub(super) use super::question::PROBE_TIMEOUT_MS;
pub(super) use answer::{NoAnswer, PythonHost, clean_output, no_answer, printed};
pub(super) use probe::{
    ProbeAnswer, ProbeError, ProbeRun, run_directory, run_environment, run_hosting_probe, run_probe,
};
pub(super) use program::ProbeProgram;
