//! What frameworks say of code that they do not take, and what to write instead. One table; a row gives its source.

/// One message.
struct Message {
    /// Parts of the exception's text, all of them.
    texts: &'static [&'static str],
    /// What to do.
    remedy: &'static str,
    /// Where it was reported, or is documented.
    #[cfg_attr(not(test), allow(dead_code))]
    source: &'static str,
}

const MESSAGES: [Message; 24] = [
    Message {
        texts: &["Mapper 'Mapper[", "has no property '"],
        remedy: "let back_populates (or backref) of each of the two relationships name the attribute of the other class",
        source: "https://docs.sqlalchemy.org/en/20/orm/backref.html",
    },
    Message {
        texts: &["there are multiple foreign key paths linking the tables"],
        remedy: "say in foreign_keys= of the relationship which of the foreign keys it follows",
        source: "https://docs.sqlalchemy.org/en/20/orm/join_conditions.html",
    },
    Message {
        texts: &["are both of the same direction"],
        remedy: "give the many-to-one side remote_side=, or take back_populates from one of the two",
        source: "https://docs.sqlalchemy.org/en/20/orm/self_referential.html",
    },
    Message {
        texts: &["is not fully defined; you should define"],
        remedy: "import the type that the message names at run time (not under TYPE_CHECKING only), then call \
                 model_rebuild(), before the first value of the model is made",
        source: "https://errors.pydantic.dev/2.10/u/class-not-fully-defined",
    },
    Message {
        texts: &["Cannot add middleware after an application has started"],
        remedy: "call add_middleware where the application is made, not in its lifespan or a start-up handler",
        source: "https://github.com/fastapi/fastapi/discussions/9097",
    },
    Message {
        texts: &["does not define a \"", "\" attribute/class"],
        remedy: "correct the dotted path in the settings (MIDDLEWARE, AUTHENTICATION_BACKENDS, STORAGES, ...) that \
                 names it: the module is there, and has no such name",
        source: "https://docs.djangoproject.com/en/5.1/ref/utils/#django.utils.module_loading.import_string",
    },
    Message {
        texts: &["Could not parse SQLAlchemy URL from"],
        remedy: "give the variable a whole URL (driver://user:password@host:port/name), without quotes or blanks \
                 around it, and with what is special in the password in percent form (urllib.parse.quote_plus)",
        source: "https://docs.sqlalchemy.org/en/20/core/engines.html#escaping-special-characters-such-as-signs-in-passwords",
    },
    Message {
        texts: &["no pq wrapper available"],
        remedy: "install psycopg[binary] with the application's interpreter, or the system's libpq, and declare it so",
        source: "https://www.psycopg.org/psycopg3/docs/basic/install.html",
    },
    Message {
        texts: &["Invalid args for response field"],
        remedy: "write response_model=None in the decorator if the handler returns a type that pydantic does not know \
                 (a Response, a session); a parameter of such a type wants Depends(...)",
        source: "https://github.com/fastapi/fastapi/issues/5861",
    },
    Message {
        texts: &["Status code ", " must not have a response body"],
        remedy: "take the type that the handler returns away, or write `-> None` or response_model=None",
        source: "https://github.com/fastapi/fastapi/issues/717",
    },
    Message {
        texts: &["Cannot use `", "` for path param"],
        remedy: "take it away, or write Path(...): what stands in braces in the path comes from the path",
        source: "https://fastapi.tiangolo.com/tutorial/path-params-numeric-validations/",
    },
    Message {
        texts: &["The asyncio extension requires an async driver to be used"],
        remedy: "name an async driver in the URL: sqlite+aiosqlite://, postgresql+asyncpg://, mysql+aiomysql://",
        source: "https://docs.sqlalchemy.org/en/20/orm/extensions/asyncio.html",
    },
    Message {
        texts: &["Attribute name 'metadata' is reserved"],
        remedy: "name the attribute otherwise and keep the column: metadata_ = mapped_column(\"metadata\", ...)",
        source: "https://github.com/agronholm/sqlacodegen/issues/62",
    },
    Message {
        texts: &["can't be correctly interpreted for Annotated Declarative Table form"],
        remedy: "write the annotation as Mapped[...], or __allow_unmapped__ = True in the class (SQLAlchemy 2)",
        source: "https://sqlalche.me/e/20/zlpr",
    },
    Message {
        texts: &["Could not determine join condition between parent/child tables"],
        remedy: "give the child's table a ForeignKey to the parent's, or the relationship a primaryjoin",
        source: "https://docs.sqlalchemy.org/en/20/orm/join_conditions.html",
    },
    Message {
        texts: &["you MUST specify `skip_on_failure=True`"],
        remedy: "write @root_validator(skip_on_failure=True), or better @model_validator of pydantic 2",
        source: "https://github.com/python-kasa/python-kasa/issues/516",
    },
    Message {
        texts: &["A non-annotated attribute was detected"],
        remedy: "give the attribute a type, or ClassVar[...] if it is no field",
        source: "https://errors.pydantic.dev/2.10/u/model-field-missing-annotation",
    },
    Message {
        texts: &["Apps aren't loaded yet"],
        remedy: "import models where they are used, or in ready() of the AppConfig: while Django loads the apps, and \
                 before django.setup(), there are none",
        source: "https://github.com/bendavis78/django-template-email/issues/11",
    },
    Message {
        texts: &[
            "doesn't declare an explicit app_label and isn't in an application in INSTALLED_APPS",
        ],
        remedy: "add the app of that model to INSTALLED_APPS, and import it by the name that stands there",
        source: "https://docs.djangoproject.com/en/5.1/ref/models/options/#app-label",
    },
    Message {
        texts: &["The SECRET_KEY setting must not be empty"],
        remedy: "set the variable that the settings read SECRET_KEY from, or SECRET_KEY itself",
        source: "https://docs.djangoproject.com/en/5.1/ref/settings/#secret-key",
    },
    Message {
        texts: &["View function mapping is overwriting an existing endpoint function"],
        remedy: "give one of the two functions another name, or the route an endpoint=; a decorator of one's own wants \
                 functools.wraps",
        source: "https://github.com/pallets/flask/issues/3144",
    },
    Message {
        texts: &["The name ", "is already registered for"],
        remedy: "register the blueprint once, or with another name=",
        source: "https://flask.palletsprojects.com/en/stable/changes/#version-2-1-0",
    },
    Message {
        texts: &["Working outside of application context"],
        remedy: "do it within `with app.app_context():`, or in a function that a request or the factory calls",
        source: "https://flask.palletsprojects.com/en/stable/appcontext/",
    },
    Message {
        texts: &["Cannot mix new and old setting keys"],
        remedy: "write all settings of Celery in one form: lower case (broker_url), or upper case with the prefix of \
                 the namespace",
        source: "https://docs.celeryq.dev/en/stable/userguide/configuration.html#new-lowercase-settings",
    },
];

/// What to do about the first text that is known.
pub(super) fn remedy<'t>(mut texts: impl Iterator<Item = &'t str>) -> Option<&'static str> {
    let is_it =
        |text: &str, message: &Message| message.texts.iter().all(|part| text.contains(part));
    texts.find_map(|text| {
        let message = MESSAGES.iter().find(|message| is_it(text, message))?;
        Some(message.remedy)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_is_known_by_itself_and_has_a_source() {
        for message in &MESSAGES {
            let text = message.texts.join("204");
            assert_eq!(remedy(["other", &text].into_iter()), Some(message.remedy));
            assert!(message.source.starts_with("https://"), "{}", message.source);
        }
        assert_eq!(remedy(["Status code 204", "The name x"].into_iter()), None);
    }
}
