from shop.routes import router
from fastapi import FastAPI
app = FastAPI()
@app.get("/health")
def health():
    return {"ok": True}
app.include_router(router)
SETTING = 1
