from sqlalchemy import create_engine, text
engine = create_engine("sqlite://")
with engine.connect() as c: c.execute(text("select 1"))
from fastapi import FastAPI
app = FastAPI()
@app.get("/health")
def health():
    return {"ok": True}
