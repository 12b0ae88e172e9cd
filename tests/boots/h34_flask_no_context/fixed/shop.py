from flask import Flask

app = Flask(__name__)
NAME = app.name


@app.route("/")
def home():
    return NAME
