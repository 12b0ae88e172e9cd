from fastapi import FastAPI

from shop.models import Item

app = FastAPI()


@app.get("/")
def home():
    return {"table": Item.__tablename__}
