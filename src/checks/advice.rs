//! What to do about an import that fails: which package brings a module, which name was meant.

use super::raised::Raised;

/// A name counts as meant if it is that similar (Jaro-Winkler, 0 to 1).
const SIMILARITY_MIN: f64 = 0.85;

/// Names of modules whose packages are called otherwise. The rest are called as they are imported.
const PACKAGES: [(&str, &str); 30] = [
    ("yaml", "PyYAML"),
    ("PIL", "Pillow"),
    ("cv2", "opencv-python"),
    ("sklearn", "scikit-learn"),
    ("skimage", "scikit-image"),
    ("dotenv", "python-dotenv"),
    ("jose", "python-jose"),
    ("jwt", "PyJWT"),
    ("bs4", "beautifulsoup4"),
    ("psycopg2", "psycopg2-binary"),
    ("multipart", "python-multipart"),
    ("magic", "python-magic"),
    ("dateutil", "python-dateutil"),
    ("attr", "attrs"),
    ("OpenSSL", "pyOpenSSL"),
    ("Crypto", "pycryptodome"),
    ("git", "GitPython"),
    ("serial", "pyserial"),
    ("zmq", "pyzmq"),
    ("MySQLdb", "mysqlclient"),
    ("docx", "python-docx"),
    ("pptx", "python-pptx"),
    ("slugify", "python-slugify"),
    ("socketio", "python-socketio"),
    ("telegram", "python-telegram-bot"),
    ("ldap", "python-ldap"),
    ("pkg_resources", "setuptools"),
    ("flask_sqlalchemy", "Flask-SQLAlchemy"),
    ("memcache", "python-memcached"),
    ("usb", "pyusb"),
];

/// The package that brings a module.
pub(super) fn package_of(module: &str) -> String {
    if module == "google.protobuf" || module.starts_with("google.protobuf.") {
        return "protobuf".to_owned();
    }
    let top = module.split('.').next().unwrap_or(module);
    PACKAGES
        .iter()
        .find(|(name, _)| *name == top)
        .map_or_else(|| top.to_owned(), |(_, package)| (*package).to_owned())
}

/// What to do about a name that a module does not have.
pub(super) fn import_remedy(raised: &Raised) -> String {
    let wanted = raised
        .message
        .strip_prefix("cannot import name '")
        .and_then(|rest| rest.split_once('\''))
        .map(|(name, _)| name);
    let module = raised.name.as_deref().unwrap_or_default();
    let Some(wanted) = wanted else {
        return "correct the name of the module, or add the module".to_owned();
    };
    if raised.message.contains("circular import") {
        return format!(
            "{module} is still being imported when {wanted} is taken from it: break the circle, for \
             example by importing inside of the function that needs it"
        );
    }
    let nearest = raised
        .names
        .iter()
        .map(|name| (strsim::jaro_winkler(name, wanted), name))
        .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((_, name)) => format!("{module} has no {wanted}, but {name}: correct one of the two"),
        None => format!("define {wanted} in {module}, or import it from where it is"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_called_as_they_are_published() {
        assert_eq!(package_of("yaml.loader"), "PyYAML");
        assert_eq!(package_of("google.protobuf.message"), "protobuf");
        assert_eq!(package_of("redis.asyncio"), "redis");
    }
}
