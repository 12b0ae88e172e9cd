from fastapi import FastAPI
from pydantic import BaseModel, model_validator

app = FastAPI()


class Item(BaseModel):
    name: str

    @model_validator(mode="after")
    def known(self):
        return self


@app.get("/")
def home() -> Item:
    return Item(name="home")
