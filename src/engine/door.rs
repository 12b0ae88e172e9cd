//! Opens the control interface where the manifest says.

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use tokio::sync::mpsc::UnboundedSender;

use super::application::Application;
use crate::control::{Ask, Door, Place, Tcp};
use crate::manifest::{Api, ApiToken, UnreadFile, read_small_if};

/// A shorter token can be guessed.
const TOKEN_BYTES_MIN: usize = 16;
/// A longer one is something else.
const TOKEN_BYTES_MAX: u64 = 4096;

/// Opens it, and says why it is not everywhere that it should be: over TCP for the health too. The services matter more
/// than any door.
pub(super) fn open_door(
    app: &Application,
    log: &Path,
    asks: UnboundedSender<Ask>,
) -> (Door, Option<String>) {
    let api = app.manifest.api.as_ref();
    let mut trouble = None;
    let tcp = api.and_then(|api| match tcp_of(api, app) {
        Ok(tcp) => Some(tcp),
        Err(why) => {
            trouble = Some(format!("the API does not listen on {}: {why}", api.listen));
            None
        }
    });
    let place = Place {
        state_dir: app.state_dir.clone(),
        output_dir: app
            .manifest
            .logs
            .directory_in(&app.manifest.workspace, &app.state_dir),
        log: log.to_owned(),
        program: program_of(app),
        tcp,
    };
    let opened = Door::open(&place, asks);
    if let Some(error) = opened.no_socket {
        tracing::warn!(
            "no control socket in {}, so `ubs start`, `stop SERVICE` and `restart` do not work: {error}",
            place.state_dir.display()
        );
    }
    if let (Some(error), Some(api)) = (opened.no_tcp, api) {
        trouble = Some(format!(
            "the API does not listen on {}: {error}",
            api.listen
        ));
    }
    if let Some(trouble) = &trouble {
        tracing::warn!("{trouble}");
    }
    (opened.door, trouble)
}

/// This very program, though its file was replaced meanwhile, and what leads it to this application.
fn program_of(app: &Application) -> Vec<OsString> {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut program: Vec<OsString> = vec!["/proc/self/exe".into()];
    for (option, path) in [
        ("--workspace", app.manifest.workspace.as_path()),
        ("--manifest", app.manifest.path.as_path()),
        ("--state", app.state_dir.as_path()),
    ] {
        program.extend([option.into(), absolute(path).into_os_string()]);
    }
    program
}

pub(super) fn tcp_of(api: &Api, app: &Application) -> Result<Tcp, String> {
    let token = match &api.token {
        None => None,
        Some(ApiToken::Variable(name)) => {
            let value = app.environment.expand(&format!("${{{name}}}"));
            let value =
                value.map_err(|_| format!("the variable {name} with its token is not set"))?;
            Some(sound_token(&value)?)
        }
        Some(ApiToken::File(path)) => {
            let text = read_token(&app.manifest.workspace.join(path));
            let text = text.map_err(|error| format!("the token file {path}: {error}"))?;
            Some(sound_token(text.lines().next().unwrap_or(""))?)
        }
    };
    Ok(Tcp {
        listen: api.listen,
        token,
        hosts: api.hosts.clone(),
    })
}

fn read_token(path: &Path) -> Result<String, String> {
    let read = read_small_if(path, TOKEN_BYTES_MAX, |found| {
        if found.mode() & 0o077 == 0 {
            Ok(())
        } else {
            Err(io::Error::other(
                "others may read or write it; take that away (chmod 600)",
            ))
        }
    });
    let bytes = read.map_err(|unread| match unread {
        UnreadFile::Missing => "there is no such file".to_owned(),
        UnreadFile::NotRegular(what) => format!("it is {what}, not a file"),
        UnreadFile::TooLarge(bytes) => {
            format!("it has {bytes} bytes, and a token at most {TOKEN_BYTES_MAX}")
        }
        UnreadFile::Io(error) => error.to_string(),
    })?;
    String::from_utf8(bytes).map_err(|_| "it is no text".to_owned())
}

/// What a header can hold, and what cannot be guessed.
fn sound_token(text: &str) -> Result<String, String> {
    let token = text.trim();
    if token.len() < TOKEN_BYTES_MIN {
        return Err(format!(
            "its token has less than {TOKEN_BYTES_MIN} characters; `openssl rand -hex 32` makes one"
        ));
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("its token holds other characters than ASCII without spaces".to_owned());
    }
    Ok(token.to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_token_is_long_and_its_file_is_for_its_owner_only() {
        assert!(sound_token("short").is_err());
        assert!(sound_token("sixteen chars and").is_err());
        assert_eq!(
            sound_token(" 0123456789abcdef\n").as_deref(),
            Ok("0123456789abcdef")
        );
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "0123456789abcdef\n").unwrap();
        let mode = |mode| std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        mode(0o644);
        let error = read_token(&path).unwrap_err();
        assert!(error.contains("chmod 600"), "{error}");
        mode(0o600);
        assert_eq!(read_token(&path).unwrap(), "0123456789abcdef\n");
        assert!(read_token(dir.path()).is_err());
        // Nobody writes to it: a boot must not wait for that.
        let pipe = dir.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        let error = read_token(&pipe).unwrap_err();
        assert!(error.contains("a pipe"), "{error}");
    }
}
