//! Reads the small files of a workspace: bounded, never through a link that leads out of it, never a
//! pipe. What could not be read is remembered with its reason.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::text::plain;

/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A workspace that is looked at.
pub(super) struct Files {
    root: PathBuf,
    real: OnceCell<PathBuf>,
    /// Files that are there and were not read: what a person should know.
    messages: RefCell<Vec<String>>,
    read: RefCell<BTreeMap<String, Option<Rc<str>>>>,
}

impl Files {
    /// No directory, and one file with this text.
    pub(super) fn of_text(name: &str, text: &str) -> Self {
        let files = Self::of(Path::new("/nonexistent"));
        let text = Some(Rc::from(text));
        files.read.borrow_mut().insert(name.to_owned(), text);
        files
    }

    pub(super) fn of(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            real: OnceCell::new(),
            messages: RefCell::default(),
            read: RefCell::default(),
        }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Adds something that a person should know.
    pub(super) fn message(&self, text: String) {
        let text = plain(&text);
        let mut messages = self.messages.borrow_mut();
        if !messages.contains(&text) {
            messages.push(text);
        }
    }

    pub(super) fn into_messages(self) -> Vec<String> {
        self.messages.into_inner()
    }

    pub(super) fn is_file(&self, name: &str) -> bool {
        self.root.join(name).is_file()
    }

    pub(super) fn is_dir(&self, name: &str) -> bool {
        self.root.join(name).is_dir()
    }

    /// The first of these names that is there.
    pub(super) fn first<'n>(&self, names: &[&'n str]) -> Option<&'n str> {
        names.iter().copied().find(|name| self.exists(name))
    }

    /// Something has this name, a link that leads nowhere included.
    pub(super) fn exists(&self, name: &str) -> bool {
        self.root.join(name).symlink_metadata().is_ok()
    }

    /// The text of a file; `None` if it is not there, or not read (then there is a message).
    pub(super) fn text(&self, name: &str) -> Option<Rc<str>> {
        if let Some(known) = self.read.borrow().get(name) {
            return known.clone();
        }
        let text = match self.read(name) {
            Ok(text) => text.map(Rc::from),
            Err(why) => {
                self.message(format!("{name} was not read: {why}"));
                None
            }
        };
        self.read.borrow_mut().insert(name.to_owned(), text.clone());
        text
    }

    fn read(&self, name: &str) -> Result<Option<String>, String> {
        let path = self.root.join(name);
        if path.symlink_metadata().is_err() {
            return Ok(None);
        }
        let real = path
            .canonicalize()
            .map_err(|_| "it is a link that leads nowhere".to_owned())?;
        let root = self.real.get_or_init(|| {
            let root = self.root.canonicalize();
            root.unwrap_or_else(|_| self.root.clone())
        });
        if !real.starts_with(root) {
            return Err("it is a link that leads out of the workspace".to_owned());
        }
        let metadata = std::fs::metadata(&real).map_err(|error| error.to_string())?;
        if !metadata.is_file() {
            return Err("it is not a file".to_owned());
        }
        let file = std::fs::OpenOptions::new()
            .read(true)
            // If it has become a pipe or a link meanwhile, opening it neither waits nor follows.
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_NOFOLLOW)
            .open(&real)
            .map_err(|error| error.to_string())?;
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| error.to_string())?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err("it is larger than 1 MiB".to_owned());
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            let line = error.as_bytes()[..at]
                .iter()
                .filter(|b| **b == b'\n')
                .count()
                + 1;
            format!("line {line} is not UTF-8")
        })?;
        Ok(Some(text.trim_start_matches('\u{feff}').to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_inside_the_workspace_is_not_read_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("app");
        std::fs::create_dir(&root).unwrap();
        std::fs::write(root.join("good"), "\u{feff}text").unwrap();
        std::fs::write(root.join("latin"), b"a\nb\xe9").unwrap();
        std::fs::write(root.join("huge"), vec![b'x'; (1 << 20) + 1]).unwrap();
        std::fs::write(dir.path().join("outside"), "x").unwrap();
        std::os::unix::fs::symlink("../outside", root.join("out")).unwrap();
        std::os::unix::fs::symlink("nowhere", root.join("dangling")).unwrap();
        std::os::unix::fs::symlink("good", root.join("inside")).unwrap();
        std::fs::create_dir(root.join("dir")).unwrap();
        nix::unistd::mkfifo(&root.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let files = Files::of(&root);
        assert_eq!(files.text("good").as_deref(), Some("text"));
        assert_eq!(files.text("inside").as_deref(), Some("text"));
        assert_eq!(files.text("missing"), None);
        for name in ["latin", "huge", "out", "dangling", "dir", "pipe"] {
            assert_eq!(files.text(name), None, "{name}");
        }
        let messages = files.into_messages();
        assert_eq!(messages.len(), 6, "{messages:?}");
        assert!(messages[0].contains("latin") && messages[0].contains("line 2"));
    }
}
