//! Memory that only the start needed, given back to the kernel.
//!
//! A pre-flight and a boot run through most of the program: the reader of sources, of manifests, of schemas. A supervisor
//! that waits for its services needs little of that. Pages of the program's own file that are the same as in the file cost
//! nothing to give up: the kernel reads one again when it is needed.

use std::ops::Range;

/// Gives back what the allocator holds and does not need, and the pages of the program itself. Costs about a millisecond,
/// and page faults for what is needed again.
pub(crate) fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the allocator takes its own locks.
    unsafe {
        libc::malloc_trim(0);
    }
    let Ok(mappings) = std::fs::read_to_string("/proc/self/smaps") else {
        return;
    };
    for range in unchanged_of_program(&mappings, give_back_memory as *const () as usize) {
        // SAFETY: a part of the program itself, which is never unmapped, not writable, and the same as its file: who reads
        // it next gets the same bytes from there.
        unsafe {
            libc::madvise(
                range.start as *mut libc::c_void,
                range.len(),
                libc::MADV_DONTNEED,
            );
        }
    }
}

/// A mapping, as smaps tells of it (proc_pid_smaps(5)).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Mapping {
    range: Range<usize>,
    /// Device and inode.
    file: String,
    is_writable: bool,
    /// It has pages that are no longer those of the file: relocated ones.
    is_changed: bool,
}

fn mapping(line: &str) -> Option<Mapping> {
    let mut words = line.split_ascii_whitespace();
    let (from, to) = words.next()?.split_once('-')?;
    let address = |text| usize::from_str_radix(text, 16).ok();
    let range = address(from)?..address(to)?;
    let rights = words.next()?;
    let (_offset, device, inode) = (words.next()?, words.next()?, words.next()?);
    Some(Mapping {
        range,
        file: format!("{device} {inode}"),
        is_writable: rights.contains('w') || !rights.ends_with('p'),
        // Until the line that says otherwise.
        is_changed: true,
    })
}

/// Of the file that the code at `own` is mapped from, what lies in one run with it, is not writable and has no page of
/// its own.
fn unchanged_of_program(smaps: &str, own: usize) -> Vec<Range<usize>> {
    let mut all: Vec<Mapping> = Vec::new();
    for line in smaps.lines() {
        if let Some(next) = mapping(line) {
            all.push(next);
        } else if let (Some(last), Some(kilobytes)) =
            (all.last_mut(), line.strip_prefix("Anonymous:"))
        {
            last.is_changed = kilobytes.trim() != "0 kB";
        }
    }
    let runs = all.chunk_by(|a, b| a.range.end == b.range.start && a.file == b.file);
    let of_program = runs
        .flat_map(|run| {
            let is_own = run.iter().any(|one| one.range.contains(&own));
            is_own.then_some(run).into_iter().flatten()
        })
        .filter(|one| !one.is_writable && !one.is_changed);
    of_program.map(|one| one.range.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
1000-3000 r--p 00000000 fe:00 77    /bin/ubs
Rss:                   8 kB
Anonymous:             0 kB
3000-9000 r-xp 00002000 fe:00 77    /bin/ubs
Anonymous:             0 kB
9000-a000 r--p 00008000 fe:00 77    /bin/ubs
Anonymous:             4 kB
a000-b000 rw-p 00009000 fe:00 77    /bin/ubs
Anonymous:             0 kB
b000-c000 rw-p 00000000 00:00 0     [heap]
Anonymous:             4 kB
70000-71000 r--p 00000000 fe:00 77  /bin/ubs
Anonymous:             0 kB
71000-72000 r-xp 00000000 fe:00 78  /lib/libc.so.6
Anonymous:             0 kB
";

    #[test]
    fn only_unchanged_parts_of_the_program_itself_are_given_back() {
        let ranges = |own| unchanged_of_program(SMAPS, own);
        assert_eq!(ranges(0x4000), [0x1000..0x3000, 0x3000..0x9000]);
        assert!(ranges(0x9_0000).is_empty());
        assert!(unchanged_of_program("3000-9000 r-xp 0 fe:00 77", 0x4000).is_empty());
    }

    #[test]
    fn what_was_given_back_is_there_when_it_is_needed() {
        let resident = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find(|line| line.starts_with("RssFile:"));
            let kilobytes = line.unwrap().split_ascii_whitespace().nth(1).unwrap();
            kilobytes.parse::<u64>().unwrap()
        };
        let text = unchanged_of_program(
            &std::fs::read_to_string("/proc/self/smaps").unwrap(),
            give_back_memory as *const () as usize,
        );
        assert!(!text.is_empty());
        let before = resident();
        give_back_memory();
        assert!(resident() < before, "{before}");
    }
}
