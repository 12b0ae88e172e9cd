from fastapi import FastAPI
from pydantic import BaseModel


class Item(BaseModel):
    name: str
    owner: "Person"


class Person(BaseModel):
    name: str


app = FastAPI()

@app.get("/")
def ping():
    return "up"


@app.post("/items")
def make(item: Item):
    return item
