//! Versions that do not go together although their metadata allows it: known by what is raised. One table; a row
//! gives its source.

/// One known quarrel.
struct Pair {
    /// Part of the exception's text.
    text: &'static str,
    /// The package whose version is to blame, as it is installed by name.
    package: &'static str,
    /// Another package that has to be there, or "".
    with: &'static str,
    /// What to pin.
    pin: &'static str,
    /// What else would do; completes "or ...".
    or: &'static str,
    /// Where it was reported.
    #[cfg_attr(not(test), allow(dead_code))]
    source: &'static str,
}

const PAIRS: [Pair; 27] = [
    Pair {
        text: "'Flask' object has no attribute 'before_first_request'",
        package: "Flask",
        with: "",
        pin: "flask<2.3",
        or: "do it where the application is made: Flask 2.3 took `before_first_request` away",
        source: "https://flask.palletsprojects.com/en/stable/changes/#version-2-3-0",
    },
    Pair {
        text: "cannot import name '_request_ctx_stack' from 'flask'",
        package: "Flask",
        with: "",
        pin: "flask<2.3",
        or: "take a version of the extension that knows Flask 2.3",
        source: "https://flask.palletsprojects.com/en/stable/changes/#version-2-3-0",
    },
    Pair {
        text: "cannot import name 'JSONEncoder' from 'flask.json'",
        package: "Flask",
        with: "",
        pin: "flask<2.3",
        or: "derive from flask.json.provider.DefaultJSONProvider",
        source: "https://flask.palletsprojects.com/en/stable/changes/#version-2-3-0",
    },
    Pair {
        text: "cannot import name 'safe_str_cmp' from 'werkzeug.security'",
        package: "Werkzeug",
        with: "",
        pin: "werkzeug<2.1",
        or: "use hmac.compare_digest",
        source: "https://werkzeug.palletsprojects.com/en/stable/changes/#version-2-1-0",
    },
    Pair {
        text: "cannot import name 'soft_unicode' from 'markupsafe'",
        package: "MarkupSafe",
        with: "",
        pin: "markupsafe<2.1",
        or: "take Jinja2 3 or later",
        source: "https://markupsafe.palletsprojects.com/en/stable/changes/#version-2-1-0",
    },
    Pair {
        text: "'Engine' object has no attribute 'execute'",
        package: "SQLAlchemy",
        with: "",
        pin: "sqlalchemy<2",
        or: "execute on a connection: `with engine.connect() as connection`",
        source: "https://docs.sqlalchemy.org/en/20/changelog/migration_20.html",
    },
    Pair {
        text: "'Engine' object has no attribute 'table_names'",
        package: "SQLAlchemy",
        with: "",
        pin: "sqlalchemy<2",
        or: "ask `sqlalchemy.inspect(engine).get_table_names()`",
        source: "https://docs.sqlalchemy.org/en/20/changelog/migration_20.html",
    },
    Pair {
        text: "`regex` is removed. use `pattern` instead",
        package: "pydantic",
        with: "",
        pin: "pydantic<2",
        or: "write `pattern` instead of `regex`",
        source: "https://docs.pydantic.dev/latest/migration/",
    },
    Pair {
        text: "cannot import name 'ugettext_lazy' from 'django.utils.translation'",
        package: "Django",
        with: "",
        pin: "django<4",
        or: "import gettext_lazy",
        source: "https://docs.djangoproject.com/en/4.0/releases/4.0/#features-removed-in-4-0",
    },
    Pair {
        text: "cannot import name 'force_text' from 'django.utils.encoding'",
        package: "Django",
        with: "",
        pin: "django<4",
        or: "import force_str",
        source: "https://docs.djangoproject.com/en/4.0/releases/4.0/#features-removed-in-4-0",
    },
    Pair {
        text: "cannot import name 'url' from 'django.conf.urls'",
        package: "Django",
        with: "",
        pin: "django<4",
        or: "use re_path of django.urls",
        source: "https://docs.djangoproject.com/en/4.0/releases/4.0/#features-removed-in-4-0",
    },
    Pair {
        text: "module 'numpy' has no attribute 'float'",
        package: "numpy",
        with: "",
        pin: "numpy<1.24",
        or: "write `float`: numpy 1.24 took its own name for it away",
        source: "https://numpy.org/doc/stable/release/1.24.0-notes.html",
    },
    Pair {
        text: "module 'marshmallow' has no attribute '__version_info__'",
        package: "marshmallow",
        with: "environs",
        pin: "marshmallow<4",
        or: "take environs 11.2.1 or later",
        source: "https://github.com/sloria/environs/blob/main/CHANGELOG.md",
    },
    Pair {
        text: "Invalid rate limiting strategy fixed-window-elastic-expiry",
        package: "limits",
        with: "",
        pin: "limits<4",
        or: "take the strategy sliding-window-counter: limits 4 took that one away",
        source: "https://limits.readthedocs.io/en/stable/changelog.html",
    },
    Pair {
        text: "password cannot be longer than 72 bytes",
        package: "bcrypt",
        with: "passlib",
        pin: "bcrypt<4.1",
        or: "hash with bcrypt itself or with a successor of passlib: passlib is not maintained and tests with a password \
             that bcrypt 5 refuses",
        source: "https://github.com/pyca/bcrypt/issues/1079",
    },
    Pair {
        text: "module 'bcrypt' has no attribute '__about__'",
        package: "bcrypt",
        with: "passlib",
        pin: "bcrypt<4.1",
        or: "hash with bcrypt itself or with a successor of passlib",
        source: "https://github.com/pyca/bcrypt/issues/684",
    },
    Pair {
        text: "cannot import name 'url_quote' from 'werkzeug.urls'",
        package: "Werkzeug",
        with: "Flask",
        pin: "werkzeug<3",
        or: "take Flask 2.2.5 or later (3 goes with Werkzeug 3)",
        source: "https://github.com/pallets/werkzeug/blob/main/CHANGES.rst (3.0.0)",
    },
    Pair {
        text: "cannot import name 'url_decode' from 'werkzeug.urls'",
        package: "Werkzeug",
        with: "Flask-Login",
        pin: "werkzeug<3",
        or: "take Flask-Login 0.6.3 or later",
        source: "https://github.com/maxcountryman/flask-login/releases/tag/0.6.3",
    },
    Pair {
        text: "got an unexpected keyword argument 'proxies'",
        package: "httpx",
        with: "",
        pin: "httpx<0.28",
        or: "take a version of the package that passes `proxies` which knows httpx 0.28 (openai 1.55.3, anthropic 0.40)",
        source: "https://github.com/encode/httpx/blob/master/CHANGELOG.md (0.28.0)",
    },
    Pair {
        text: "cannot import name 'escape' from 'jinja2'",
        package: "Jinja2",
        with: "",
        pin: "jinja2<3.1",
        or: "take Flask 2 or later; `escape` is in markupsafe",
        source: "https://jinja.palletsprojects.com/changes/#version-3-1-0",
    },
    Pair {
        text: "cannot import name 'Markup' from 'jinja2'",
        package: "Jinja2",
        with: "",
        pin: "jinja2<3.1",
        or: "import `Markup` from markupsafe",
        source: "https://jinja.palletsprojects.com/changes/#version-3-1-0",
    },
    Pair {
        text: "cannot import name 'json' from 'itsdangerous'",
        package: "itsdangerous",
        with: "",
        pin: "itsdangerous<2.1",
        or: "take Flask 2 or later",
        source: "https://itsdangerous.palletsprojects.com/changes/#version-2-1-0",
    },
    Pair {
        text: "`BaseSettings` has been moved to the `pydantic-settings` package",
        package: "pydantic",
        with: "",
        pin: "pydantic<2",
        or: "install pydantic-settings and import BaseSettings from pydantic_settings",
        source: "https://docs.pydantic.dev/latest/migration/",
    },
    Pair {
        text: "numpy.dtype size changed, may indicate binary incompatibility",
        package: "numpy",
        with: "",
        pin: "numpy<2",
        or: "install versions of the other packages that were built for numpy 2",
        source: "https://numpy.org/devdocs/numpy_2_0_migration_guide.html",
    },
    Pair {
        text: "cannot import name 'Connection' from 'rq'",
        package: "rq",
        with: "",
        pin: "rq<2",
        or: "give Queue and Worker their connection: Worker(queues, connection=redis) (rq 2 took the context manager away)",
        source: "https://github.com/rq/rq/releases/tag/v2.0",
    },
    Pair {
        text: "'EntryPoints' object has no attribute 'get'",
        package: "importlib-metadata",
        with: "",
        pin: "importlib-metadata<5",
        or: "take Celery 5.3 or later and kombu 5.3 or later",
        source: "https://github.com/celery/kombu/issues/1600",
    },
    Pair {
        text: "the greenlet library is required to use this function",
        package: "greenlet",
        with: "SQLAlchemy",
        pin: "sqlalchemy[asyncio]",
        or: "add greenlet: an async engine of SQLAlchemy needs it, and not every platform gets it by itself",
        source: "https://docs.sqlalchemy.org/en/20/orm/extensions/asyncio.html#asyncio-platform-installation-notes",
    },
];

/// The package of a known quarrel and the versions of it that end it, as a requirement.
pub(in crate::checks) fn settling<'t>(
    texts: impl Iterator<Item = &'t str>,
) -> Option<(&'static str, &'static str)> {
    let pair = find(texts).filter(|pair| !pair.pin.contains('['))?;
    Some((pair.package, pair.pin))
}

fn find<'t>(mut texts: impl Iterator<Item = &'t str>) -> Option<&'static Pair> {
    texts.find_map(|text| PAIRS.iter().find(|pair| text.contains(pair.text)))
}

/// What to do, if what was raised is a known quarrel. `texts`: the exception and what led to it; `version_of`: the
/// installed version of a package, or none if that is not known.
pub(in crate::checks) fn quarrel<'t>(
    texts: impl Iterator<Item = &'t str>,
    version_of: impl Fn(&str) -> Option<String>,
) -> Option<String> {
    let pair = find(texts)?;
    let shown = |package: &str| match version_of(package) {
        Some(version) => format!("{package} {version}"),
        None => package.to_owned(),
    };
    let who = match pair.with {
        "" => format!("what uses it does not go with {}", shown(pair.package)),
        with => format!("{} does not go with {}", shown(with), shown(pair.package)),
    };
    if pair.pin.contains('[') {
        return Some(format!("install {}, or {}", pair.pin, pair.or));
    }
    Some(format!(
        "{who}: pin {} in the requirements, or {}",
        pair.pin, pair.or
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_found_by_its_text_and_names_its_pin_and_its_source() {
        for (index, pair) in PAIRS.iter().enumerate() {
            let raised = format!("Error: x {} y", pair.text);
            let remedy = quarrel([raised.as_str()].into_iter(), |_| None).unwrap();
            assert!(remedy.contains(pair.pin), "{remedy}");
            assert!(pair.source.starts_with("https://"), "{}", pair.source);
            assert!(
                PAIRS[index + 1..]
                    .iter()
                    .all(|other| other.text != pair.text)
            );
        }
        assert_eq!(quarrel(["Error: no"].into_iter(), |_| None), None);
    }

    #[test]
    fn versions_are_shown_where_they_are_known() {
        let version = |name: &str| (name == "bcrypt").then(|| "5.0.0".to_owned());
        let text = "ValueError: password cannot be longer than 72 bytes, truncate manually";
        let remedy = quarrel([text].into_iter(), version).unwrap();
        assert!(
            remedy.starts_with("passlib does not go with bcrypt 5.0.0: pin bcrypt<4.1"),
            "{remedy}"
        );
    }
}
