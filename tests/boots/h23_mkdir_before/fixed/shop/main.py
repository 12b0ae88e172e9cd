import logging
logging.basicConfig(filename="var/log/app.log")
from fastapi import FastAPI
app = FastAPI()
@app.get("/health")
def health():
    return {"ok": True}
