from fastapi import FastAPI
from shop import models

app = FastAPI()

@app.get("/")
def ping():
    return "up"
