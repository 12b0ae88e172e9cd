from sqlalchemy import create_engine
engine = create_engine("sqlite://")
engine.execute("select 1")
from fastapi import FastAPI
app = FastAPI()
@app.get("/health")
def health():
    return {"ok": True}
