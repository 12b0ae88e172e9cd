SECRET_KEY = "kFj3v9sL0qPz7xW2mN8bT5yR1cD6gH4u-not-in-use"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "site1.urls"
INSTALLED_APPS = ["django.contrib.contenttypes", "shop"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
