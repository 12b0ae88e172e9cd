//! The beginning of a connection, seen as a server: what the client asks for, and which settings it brings
//! (postgresql.org/docs/current/protocol-flow.html, 54.2.1). Pure.

use std::collections::BTreeMap;

/// As the server has it (MAX_STARTUP_PACKET_LENGTH).
pub(super) const STARTUP_BYTES_MAX: usize = 10_000;
const SSL: u32 = 80_877_103;
const GSS: u32 = 80_877_104;
const CANCEL: u32 = 80_877_102;
const MAJOR: u32 = 3;

/// What a client says first.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// It wants the connection encrypted.
    Encrypt,
    /// It wants another connection's statement ended.
    Cancel,
    Start(Startup),
}

/// A client that wants to log in.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Startup {
    pub database: String,
    pub replication: bool,
    /// By name in small letters, those of `options` among them.
    pub settings: BTreeMap<String, String>,
    /// It speaks a newer minor version, or wants these extensions of the protocol.
    pub negotiate: Option<Vec<String>>,
}

/// Reads what stands behind the length of a client's first message.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read_opening(body: &[u8]) -> Result<Opening, String> {
    let (code, rest) = body
        .split_first_chunk::<4>()
        .ok_or("the first message is too short")?;
    match u32::from_be_bytes(*code) {
        SSL | GSS => Ok(Opening::Encrypt),
        CANCEL => Ok(Opening::Cancel),
        version if version >> 16 == MAJOR => {
            read_startup(version & 0xffff, rest).map(Opening::Start)
        }
        version => Err(format!(
            "version {}.{} of the protocol is not supported",
            version >> 16,
            version & 0xffff
        )),
    }
}

fn read_startup(minor: u32, mut rest: &[u8]) -> Result<Startup, String> {
    const BROKEN: &str = "the parameters of the first message are broken";
    let mut startup = Startup::default();
    let (mut user, mut options, mut extensions) = (String::new(), String::new(), Vec::new());
    let mut next = || -> Result<String, String> {
        let end = rest.iter().position(|byte| *byte == 0).ok_or(BROKEN)?;
        let text = std::str::from_utf8(&rest[..end]).map_err(|_| BROKEN)?;
        rest = &rest[end + 1..];
        Ok(text.to_owned())
    };
    loop {
        let name = next()?;
        if name.is_empty() {
            break;
        }
        let value = next()?;
        match name.as_str() {
            "user" => user = value,
            "database" => startup.database = value,
            "options" => options = value,
            "replication" => {
                startup.replication = !matches!(value.as_str(), "false" | "off" | "no" | "0");
            }
            extension if extension.starts_with("_pq_.") => extensions.push(name),
            _ => {
                startup.settings.insert(name.to_ascii_lowercase(), value);
            }
        }
    }
    if user.is_empty() {
        return Err("the first message names no user".to_owned());
    }
    if startup.database.is_empty() {
        startup.database = user;
    }
    if minor > 0 || !extensions.is_empty() {
        startup.negotiate = Some(extensions);
    }
    // The server takes the options first.
    for (name, value) in read_options(&options)? {
        startup.settings.entry(name).or_insert(value);
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.');
    match startup
        .settings
        .keys()
        .find(|name| !name.bytes().all(is_plain))
    {
        Some(name) => Err(format!("{name:?} is no setting")),
        None => Ok(startup),
    }
}

/// `-c name=value`, `--name=value`.
fn read_options(options: &str) -> Result<BTreeMap<String, String>, String> {
    let mut settings = BTreeMap::new();
    let mut words = words_of(options).into_iter();
    while let Some(word) = words.next() {
        let set = if word == "-c" {
            words.next()
        } else if let Some(set) = word.strip_prefix("--") {
            let (name, value) = set.split_once('=').unwrap_or((set, ""));
            Some(format!("{}={value}", name.replace('-', "_")))
        } else {
            word.strip_prefix("-c").map(str::to_owned)
        };
        let known = set.as_deref().and_then(|set| set.split_once('='));
        let Some((name, value)) = known else {
            return Err(format!(
                "{word:?} in the options is not passed on; only settings are (-c name=value)"
            ));
        };
        settings.insert(name.trim().to_ascii_lowercase(), value.to_owned());
    }
    Ok(settings)
}

/// Words between blanks; a backslash takes what follows as it is.
fn words_of(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => word.get_or_insert_default().extend(characters.next()),
            blank if blank.is_ascii_whitespace() => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn startup(version: u32, parameters: &[(&str, &str)]) -> Vec<u8> {
        let mut body = version.to_be_bytes().to_vec();
        for (name, value) in parameters {
            body.extend(format!("{name}\0{value}\0").bytes());
        }
        body.push(0);
        body
    }

    fn read(version: u32, parameters: &[(&str, &str)]) -> Startup {
        match read_opening(&startup(version, parameters)) {
            Ok(Opening::Start(startup)) => startup,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn settings_come_from_parameters_and_options() {
        let read = read(
            3 << 16,
            &[
                ("user", "ann"),
                ("DateStyle", "ISO"),
                (
                    "options",
                    r"-c search_path=a,\ b  -cTimeZone=UTC --lock-timeout=5 -c datestyle=German",
                ),
            ],
        );
        let settings: Vec<(&str, &str)> = read
            .settings
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(
            settings,
            [
                ("datestyle", "ISO"),
                ("lock_timeout", "5"),
                ("search_path", "a, b"),
                ("timezone", "UTC"),
            ]
        );
        assert_eq!((read.database.as_str(), read.negotiate), ("ann", None));
    }

    #[test]
    fn newer_protocols_are_negotiated_and_others_refused() {
        let newer = read(3 << 16 | 2, &[("user", "a"), ("_pq_.x", "1")]);
        assert_eq!(newer.negotiate, Some(vec!["_pq_.x".to_owned()]));
        assert!(read(3 << 16, &[("user", "a"), ("replication", "database")]).replication);
        assert!(read_opening(&startup(2 << 16, &[])).is_err());
        assert!(read_opening(&startup(3 << 16, &[("options", "x")])).is_err());
        let name = startup(3 << 16, &[("user", "a"), ("a=b -c c", "d")]);
        assert_eq!(
            read_opening(&name),
            Err("\"a=b -c c\" is no setting".to_owned())
        );
        let switch = startup(3 << 16, &[("user", "a"), ("options", "-d 5")]);
        assert!(read_opening(&switch).is_err());
        assert_eq!(read_opening(&SSL.to_be_bytes()), Ok(Opening::Encrypt));
        assert_eq!(read_opening(&startup(CANCEL, &[])), Ok(Opening::Cancel));
    }

    proptest::proptest! {
        #[test]
        fn no_first_message_breaks_it(bytes: Vec<u8>, parameters: Vec<u8>) {
            drop(read_opening(&bytes));
            let mut body = (3_u32 << 16).to_be_bytes().to_vec();
            body.extend(parameters);
            drop(read_opening(&body));
        }
    }
}
