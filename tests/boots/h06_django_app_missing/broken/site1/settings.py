SECRET_KEY = "k3j4h5k3j4h5kj3h4kj5h3k4j5h3kj4h5"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "site1.urls"
INSTALLED_APPS = ["django.contrib.contenttypes","corsheaders"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
