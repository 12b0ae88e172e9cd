from pydantic import BaseModel, Field
class A(BaseModel):
    a: str = Field(regex="x+")
from fastapi import FastAPI
app = FastAPI()
@app.get("/health")
def health():
    return {"ok": True}
