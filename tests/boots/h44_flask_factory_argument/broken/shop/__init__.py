from flask import Flask

DATABASES = {"production": "/srv/shop.db", "test": ":memory:"}


def create_app(name):
    app = Flask(__name__)
    app.config["DB"] = DATABASES[name]

    @app.get("/")
    def home():
        return "up"

    return app
