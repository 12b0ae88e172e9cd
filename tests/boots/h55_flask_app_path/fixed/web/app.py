from flask import Flask
from prices import PRICE

app = Flask(__name__)


@app.get("/")
def home():
    return str(PRICE)
