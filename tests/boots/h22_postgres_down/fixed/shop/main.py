from contextlib import asynccontextmanager
from fastapi import FastAPI
from sqlalchemy import create_engine
import os
e = create_engine(os.environ["DATABASE_URL"])
@asynccontextmanager
async def life(app):
    e.connect().close()
    yield
app = FastAPI(lifespan=life)
@app.get("/health")
def h():
    return 1
