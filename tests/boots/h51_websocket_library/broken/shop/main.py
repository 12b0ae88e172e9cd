from fastapi import FastAPI, WebSocket

app = FastAPI()

@app.get("/")
def ping():
    return "up"


@app.websocket("/live")
async def live(socket: WebSocket):
    await socket.accept()
