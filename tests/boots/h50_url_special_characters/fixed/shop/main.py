from fastapi import FastAPI
from shop import db

app = FastAPI()

@app.get("/")
def ping():
    return "up"
