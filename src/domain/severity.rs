//! How bad a finding is: the order that codes and findings share.

use serde::{Deserialize, Serialize};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Severity {
    /// Worth knowing; nothing follows.
    Info,
    /// The boot goes on; a mission is filed.
    Warning,
    /// NO-GO.
    Critical,
}
