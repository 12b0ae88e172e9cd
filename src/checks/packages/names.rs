//! Which package brings a module: the names that differ, and how to find the one that was meant.

/// Names of modules whose packages are called otherwise. The rest are called as they are imported.
const PACKAGES: &[(&str, &str)] = &[
    ("Crypto", "pycryptodome"),
    ("Cryptodome", "pycryptodomex"),
    ("IPython", "ipython"),
    ("MySQLdb", "mysqlclient"),
    ("OpenSSL", "pyOpenSSL"),
    ("PIL", "Pillow"),
    ("Xlib", "python-xlib"),
    ("absl", "absl-py"),
    ("allauth", "django-allauth"),
    ("apt", "python-apt"),
    ("asyncpg_listen", "asyncpg-listen"),
    ("attr", "attrs"),
    ("auth0", "auth0-python"),
    ("Bio", "biopython"),
    ("bs4", "beautifulsoup4"),
    ("bson", "pymongo"),
    ("cairo", "pycairo"),
    ("cassandra", "cassandra-driver"),
    ("clickhouse_driver", "clickhouse-driver"),
    ("confluent_kafka", "confluent-kafka"),
    ("constance", "django-constance"),
    ("corsheaders", "django-cors-headers"),
    ("crispy_forms", "django-crispy-forms"),
    ("cv2", "opencv-python"),
    ("dash_bootstrap_components", "dash-bootstrap-components"),
    ("dateutil", "python-dateutil"),
    ("dbus", "dbus-python"),
    ("debug_toolbar", "django-debug-toolbar"),
    ("decouple", "python-decouple"),
    ("discord", "discord.py"),
    ("django_celery_beat", "django-celery-beat"),
    ("django_extensions", "django-extensions"),
    ("django_filters", "django-filter"),
    ("django_redis", "django-redis"),
    ("dns", "dnspython"),
    ("docx", "python-docx"),
    ("dotenv", "python-dotenv"),
    ("drf_spectacular", "drf-spectacular"),
    ("drf_yasg", "drf-yasg"),
    ("elasticsearch_dsl", "elasticsearch-dsl"),
    ("email_validator", "email-validator"),
    ("environ", "django-environ"),
    ("engineio", "python-engineio"),
    ("faiss", "faiss-cpu"),
    ("fitz", "PyMuPDF"),
    ("flask_caching", "Flask-Caching"),
    ("flask_cors", "Flask-Cors"),
    ("flask_jwt_extended", "Flask-JWT-Extended"),
    ("flask_limiter", "Flask-Limiter"),
    ("flask_login", "Flask-Login"),
    ("flask_mail", "Flask-Mail"),
    ("flask_migrate", "Flask-Migrate"),
    ("flask_restful", "Flask-RESTful"),
    ("flask_socketio", "Flask-SocketIO"),
    ("flask_sqlalchemy", "Flask-SQLAlchemy"),
    ("flask_wtf", "Flask-WTF"),
    ("gi", "PyGObject"),
    ("git", "GitPython"),
    ("github", "PyGithub"),
    ("gitlab", "python-gitlab"),
    ("googleapiclient", "google-api-python-client"),
    ("google_auth_oauthlib", "google-auth-oauthlib"),
    ("graphene_django", "graphene-django"),
    ("grpc", "grpcio"),
    ("grpc_health", "grpcio-health-checking"),
    ("grpc_reflection", "grpcio-reflection"),
    ("grpc_status", "grpcio-status"),
    ("grpc_tools", "grpcio-tools"),
    ("hydra", "hydra-core"),
    ("impala", "impyla"),
    ("influxdb_client", "influxdb-client"),
    ("jose", "python-jose"),
    ("jwt", "PyJWT"),
    ("kafka", "kafka-python"),
    ("keycloak", "python-keycloak"),
    ("kubernetes_asyncio", "kubernetes-asyncio"),
    ("ldap", "python-ldap"),
    ("libcloud", "apache-libcloud"),
    ("lxml_html_clean", "lxml-html-clean"),
    ("magic", "python-magic"),
    ("markdown", "Markdown"),
    ("memcache", "python-memcached"),
    ("model_bakery", "model-bakery"),
    ("mpl_toolkits", "matplotlib"),
    ("multipart", "python-multipart"),
    ("mysql", "mysql-connector-python"),
    ("nacl", "PyNaCl"),
    ("nmap", "python-nmap"),
    ("oauth2_provider", "django-oauth-toolkit"),
    ("odf", "odfpy"),
    ("opensearchpy", "opensearch-py"),
    ("osgeo", "GDAL"),
    ("paho", "paho-mqtt"),
    ("phonenumber_field", "django-phonenumber-field"),
    ("pkg_resources", "setuptools"),
    ("polymorphic", "django-polymorphic"),
    ("pptx", "python-pptx"),
    ("prometheus_client", "prometheus-client"),
    (
        "prometheus_fastapi_instrumentator",
        "prometheus-fastapi-instrumentator",
    ),
    ("psycopg2", "psycopg2-binary"),
    ("pwiz", "peewee"),
    ("pydantic_settings", "pydantic-settings"),
    ("pylab", "matplotlib"),
    ("pythonjsonlogger", "python-json-logger"),
    ("pyximport", "Cython"),
    ("pywintypes", "pywin32"),
    ("rapidjson", "python-rapidjson"),
    ("redis_om", "redis-om"),
    ("rest_framework", "djangorestframework"),
    ("rest_framework_simplejwt", "djangorestframework-simplejwt"),
    ("ruamel", "ruamel.yaml"),
    ("sentry_sdk", "sentry-sdk"),
    ("serial", "pyserial"),
    ("skimage", "scikit-image"),
    ("sklearn", "scikit-learn"),
    ("slack", "slackclient"),
    ("slack_bolt", "slack-bolt"),
    ("slack_sdk", "slack-sdk"),
    ("slugify", "python-slugify"),
    ("snappy", "python-snappy"),
    ("snowflake", "snowflake-connector-python"),
    ("social_django", "social-auth-app-django"),
    ("socketio", "python-socketio"),
    ("socks", "PySocks"),
    ("speech_recognition", "SpeechRecognition"),
    ("sqlalchemy_utils", "SQLAlchemy-Utils"),
    ("sse_starlette", "sse-starlette"),
    ("starlette_context", "starlette-context"),
    ("storages", "django-storages"),
    ("strawberry", "strawberry-graphql"),
    ("taggit", "django-taggit"),
    ("telegram", "python-telegram-bot"),
    ("telebot", "pyTelegramBotAPI"),
    ("tlz", "toolz"),
    ("tree_sitter_languages", "tree-sitter-languages"),
    ("umap", "umap-learn"),
    ("usb", "pyusb"),
    ("waffle", "django-waffle"),
    ("websocket", "websocket-client"),
    ("weaviate", "weaviate-client"),
    ("win32api", "pywin32"),
    ("wx", "wxPython"),
    ("xdist", "pytest-xdist"),
    ("yaml", "PyYAML"),
    ("zmq", "pyzmq"),
];

/// Packages that share a top-level module with others, by the longest dotted name that tells them apart.
const NAMESPACES: &[(&str, &str)] = &[
    ("google.protobuf", "protobuf"),
    ("google.auth", "google-auth"),
    ("google.oauth2", "google-auth"),
    ("google.api_core", "google-api-core"),
    ("google.genai", "google-genai"),
    ("google.generativeai", "google-generativeai"),
    ("google.cloud", "google-cloud-core"),
    ("google.cloud.storage", "google-cloud-storage"),
    ("google.cloud.pubsub", "google-cloud-pubsub"),
    ("google.cloud.pubsub_v1", "google-cloud-pubsub"),
    ("google.cloud.bigquery", "google-cloud-bigquery"),
    ("google.cloud.firestore", "google-cloud-firestore"),
    ("google.cloud.logging", "google-cloud-logging"),
    ("google.cloud.secretmanager", "google-cloud-secret-manager"),
    ("google.cloud.tasks", "google-cloud-tasks"),
    ("google.cloud.tasks_v2", "google-cloud-tasks"),
    ("azure.core", "azure-core"),
    ("azure.identity", "azure-identity"),
    ("azure.storage.blob", "azure-storage-blob"),
    ("azure.storage.queue", "azure-storage-queue"),
    ("azure.servicebus", "azure-servicebus"),
    ("azure.keyvault.secrets", "azure-keyvault-secrets"),
    ("azure.cosmos", "azure-cosmos"),
    ("opentelemetry.sdk", "opentelemetry-sdk"),
    ("opentelemetry.exporter.otlp", "opentelemetry-exporter-otlp"),
    (
        "opentelemetry.instrumentation",
        "opentelemetry-instrumentation",
    ),
    (
        "opentelemetry.instrumentation.fastapi",
        "opentelemetry-instrumentation-fastapi",
    ),
    (
        "opentelemetry.instrumentation.sqlalchemy",
        "opentelemetry-instrumentation-sqlalchemy",
    ),
    ("opentelemetry", "opentelemetry-api"),
    ("zope.interface", "zope.interface"),
    ("ruamel.yaml", "ruamel.yaml"),
    ("backports.zoneinfo", "backports.zoneinfo"),
];

/// The package that brings a module, as far as the tables know; else it is called as the module.
pub(in crate::checks) fn package_of(module: &str) -> String {
    let is_within = |name: &str| {
        module
            .strip_prefix(name)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    if let Some((_, package)) = NAMESPACES
        .iter()
        .filter(|(name, _)| is_within(name))
        .max_by_key(|(name, _)| name.len())
    {
        return (*package).to_owned();
    }
    let top = module.split('.').next().unwrap_or(module);
    PACKAGES
        .iter()
        .find(|(name, _)| *name == top)
        .map_or_else(|| top.to_owned(), |(_, package)| (*package).to_owned())
}

/// [`package_of`], in favour of names that somebody declared: `foo_bar` is `foo-bar` then, and `ldap3` may
/// be `python-ldap3`.
pub(super) fn providing<'a>(
    module: &str,
    declared: impl Iterator<Item = &'a str> + Clone,
) -> String {
    let known = package_of(module);
    let top = module.split('.').next().unwrap_or(module);
    let names = [
        known.clone(),
        module.replace('.', "-"),
        top.to_owned(),
        format!("python-{top}"),
        format!("py{top}"),
        format!("django-{top}"),
        format!("{top}-python"),
        format!("{top}-py"),
    ];
    for name in names {
        let wanted = normalise(&name);
        if declared.clone().any(|name| normalise(name) == wanted) {
            // The tables' spelling is the published one; a declared name comes here normalised.
            let is_in_table = known != top && wanted == normalise(&known);
            return if is_in_table { known } else { wanted };
        }
    }
    known
}

/// PEP 503: runs of `-`, `_` and `.` are one `-`, in lower case.
pub(crate) fn normalise(name: &str) -> String {
    let mut normal = String::with_capacity(name.len());
    for letter in name.chars() {
        match letter {
            '-' | '_' | '.' if normal.ends_with('-') => {}
            '-' | '_' | '.' => normal.push('-'),
            _ => normal.extend(letter.to_lowercase()),
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_called_as_they_are_published() {
        assert_eq!(package_of("yaml.loader"), "PyYAML");
        assert_eq!(package_of("google.protobuf.message"), "protobuf");
        assert_eq!(
            package_of("google.cloud.storage.blob"),
            "google-cloud-storage"
        );
        assert_eq!(package_of("opentelemetry.trace"), "opentelemetry-api");
        assert_eq!(package_of("redis.asyncio"), "redis");
    }

    #[test]
    fn a_declared_name_is_preferred() {
        let declared = ["foo-bar", "pyyaml", "python-nowhere"];
        let of = |module| providing(module, declared.iter().copied());
        assert_eq!(of("foo_bar.x"), "foo-bar");
        assert_eq!(of("yaml"), "PyYAML");
        assert_eq!(of("nowhere"), "python-nowhere");
        assert_eq!(of("elsewhere"), "elsewhere");
    }

    #[test]
    fn each_module_is_in_the_table_once() {
        for table in [PACKAGES, NAMESPACES] {
            for (index, (name, _)) in table.iter().enumerate() {
                assert!(
                    table[index + 1..].iter().all(|(other, _)| other != name),
                    "{name}"
                );
            }
        }
    }
}
