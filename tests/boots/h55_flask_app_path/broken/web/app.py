from flask import Flask
from pricing import PRICE

app = Flask(__name__)
