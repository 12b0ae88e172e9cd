//! Tells when a file was written to (inotify(7)), without looking at it.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A watch on one file. What is written through a memory map is not seen.
#[derive(Debug)]
pub(crate) struct FileWatch(AsyncFd<OwnedFd>);

impl FileWatch {
    /// To be called on a tokio runtime.
    ///
    /// # Errors
    /// The file is not there, or the user has too many watches.
    pub(crate) fn on(path: &Path) -> io::Result<Self> {
        let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let wanted = WatchFlags::MODIFY | WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF;
        inotify::add_watch(&events, path, wanted)?;
        // SAFETY: the `OwnedFd` belongs to the `AsyncFd` from here on and names the same descriptor until both are dropped.
        let events = unsafe { AsyncFd::register_with_interest(events, Interest::READABLE) };
        events.map(Self).map_err(io::Error::from)
    }

    /// Waits for a write; false if the file was removed or replaced, and nothing more will be told. May be
    /// dropped and called again.
    pub(crate) async fn written(&self) -> bool {
        let over = ReadFlags::IGNORED | ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF;
        loop {
            let Ok(mut ready) = self.0.readable().await else {
                return false;
            };
            let mut buffer = [MaybeUninit::uninit(); 4096];
            let mut reader = Reader::new(self.0.get_ref(), &mut buffer);
            let mut any = false;
            loop {
                match reader.next() {
                    Ok(event) if event.events().intersects(over) => return false,
                    Ok(_) => any = true,
                    Err(Errno::INTR) => {}
                    Err(Errno::AGAIN) => {
                        ready.clear_ready();
                        break;
                    }
                    Err(_) => return false,
                }
            }
            if any {
                return true;
            }
        }
    }
}
