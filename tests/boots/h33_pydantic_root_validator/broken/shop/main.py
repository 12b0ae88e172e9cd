from fastapi import FastAPI
from pydantic import BaseModel, root_validator

app = FastAPI()


class Item(BaseModel):
    name: str

    @root_validator
    def known(cls, values):
        return values


@app.get("/")
def home() -> Item:
    return Item(name="home")
