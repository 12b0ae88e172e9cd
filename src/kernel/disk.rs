//! How much room a disk has.

use std::path::Path;

/// What an ordinary user may still write there (statvfs(3)).
pub(crate) fn free_bytes(directory: &Path) -> nix::Result<u64> {
    let found = nix::sys::statvfs::statvfs(directory)?;
    Ok(found
        .blocks_available()
        .saturating_mul(found.fragment_size()))
}
