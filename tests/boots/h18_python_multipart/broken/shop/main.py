from fastapi import Form
from fastapi import FastAPI
app = FastAPI()
@app.get("/health")
def health():
    return {"ok": True}
@app.post("/x")
def x(a: str = Form()):
    return a
