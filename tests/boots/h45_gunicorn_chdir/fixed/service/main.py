import json

with open("settings.json") as file:
    SETTINGS = json.load(file)


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"up"]
