from functools import wraps

from flask import Flask

app = Flask(__name__)


@app.route("/")
def home():
    return "home"


def logged(view):
    @wraps(view)
    def wrapper(*args):
        return view(*args)

    return wrapper


@app.route("/a")
@logged
def a():
    return "a"


@app.route("/b")
@logged
def b():
    return "b"
