import logging.config
logging.config.dictConfig({"version":1,"handlers":{"f":{"class":"logging.FileHandler","filename":"logs/app.log"}},"root":{"handlers":["f"]}})
from fastapi import FastAPI
app = FastAPI()
@app.get("/health")
def health():
    return {"ok": True}
