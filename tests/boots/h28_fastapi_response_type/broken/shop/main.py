from fastapi import FastAPI
from fastapi.responses import JSONResponse

app = FastAPI()


@app.get("/")
def home() -> JSONResponse | dict:
    return {"home": True}
