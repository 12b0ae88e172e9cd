from flask import Flask
app = Flask(__name__)
@app.before_first_request
def f():
    pass
@app.route("/health")
def h():
    return "ok"
