from fastapi import FastAPI
from fastapi.responses import JSONResponse

app = FastAPI()


@app.get("/", response_model=None)
def home() -> JSONResponse | dict:
    return {"home": True}
