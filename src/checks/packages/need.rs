//! A requirement, as PEP 508 writes it.

use pep508_rs::{Requirement, VerbatimUrl};

/// A requirement of one distribution or of a file.
pub(super) type Need = Requirement<VerbatimUrl>;
