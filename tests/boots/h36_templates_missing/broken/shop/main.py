from fastapi import FastAPI
from jinja2 import Environment, FileSystemLoader

app = FastAPI()
templates = Environment(loader=FileSystemLoader("templates"))


@app.get("/")
def home():
    return templates.get_template("home.html").render()
