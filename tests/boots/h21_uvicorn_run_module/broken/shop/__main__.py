import uvicorn
if __name__ == "__main__":
    uvicorn.run("shop.main:app", host="127.0.0.1", port=18321)
