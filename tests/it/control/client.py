"""A client made of the OpenAPI document that the supervisor itself gives, with the standard library only.

Run in the state directory. Calls every operation on a system of 20 services; each answer has to be what the document
says: a status that it has, the kind of content, and a body without a field that it does not have.
"""
import http.client
import json
import re
import socket
import sys
from urllib.parse import quote, urlencode


class Local(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect("control.sock")


def ask(method, path, body=None):
    connection = Local("ubs")
    connection.request(method, path, body=None if body is None else json.dumps(body))
    answer = connection.getresponse()
    kind = answer.headers.get("content-type", "").split(";")[0]
    if kind == "text/event-stream":
        text = b""
        while b"data: " not in text or not text.endswith(b"\n\n"):
            text += answer.read1(4096)
    else:
        text = answer.read()
    connection.close()
    return answer.status, kind, text.decode()


DOCUMENT = json.loads(ask("GET", "/openapi.json")[2])
KINDS = {"null": type(None), "boolean": bool, "integer": int, "number": (int, float), "string": str, "array": list,
         "object": dict}


def resolved(part):
    while "$ref" in part:
        place = part["$ref"].split("/")[1:]
        part = DOCUMENT
        for key in place:
            part = part[key]
    return part


def is_of(value, kind):
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, KINDS[kind])


def check(schema, value, at):
    schema = resolved(schema)
    if "anyOf" in schema:
        faults = []
        for choice in schema["anyOf"]:
            try:
                return check(choice, value, at)
            except AssertionError as fault:
                faults.append(str(fault))
        raise AssertionError("; or ".join(faults))
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    assert not kinds or any(is_of(value, kind) for kind in kinds), f"{at} is {value!r}, not {kinds}"
    assert value in schema.get("enum", [value]), f"{at} is {value!r}"
    if isinstance(value, dict) and "properties" in schema:
        lacking = [name for name in schema.get("required", []) if name not in value]
        assert not lacking, f"{at} has no {lacking}"
        other = [name for name in value if name not in schema["properties"]]
        assert not other, f"{at} has {other}, which the document does not have"
        for name, part in value.items():
            check(schema["properties"][name], part, f"{at}.{name}")
    if isinstance(value, list) and "items" in schema:
        for part in value:
            check(schema["items"], part, f"{at}[]")


CALLED = {}


def call(method, path, operation, body, query):
    if query:
        path += "?" + urlencode(query)
    status, kind, text = ask(method, path, body)
    responses = operation["responses"]
    assert str(status) in responses, f"{method} {path}: {status} is not in the document: {text}"
    content = resolved(responses[str(status)])["content"]
    assert kind in content, f"{method} {path}: {status} with {kind}"
    if kind == "application/json":
        value = json.loads(text)
        check(content[kind]["schema"], value, f"{method} {path} {status}")
    else:
        value = text
    CALLED.setdefault(operation["operationId"], set()).add(status)
    return status, value


def generate():
    """The text of a class with a method for each operation."""
    lines = ["class Api:"]
    for path, operations in DOCUMENT["paths"].items():
        for method, operation in operations.items():
            parameters = [resolved(p) for p in operation.get("parameters", [])]
            named = [p["name"] for p in parameters if p["in"] == "path"]
            query = [p["name"] for p in parameters if p["in"] == "query"]
            where = re.sub(r"\{(\w+)\}", r"{quote(\1, safe='')}", path)
            takes = ["self", *named, "*", "body=None", *[f"{name}=None" for name in query]]
            given = ", ".join(f"{name!r}: {name}" for name in query)
            lines += [
                f"    def {operation['operationId']}({', '.join(takes)}):",
                f"        query = {{name: given for name, given in {{{given}}}.items() if given is not None}}",
                f"        operation = DOCUMENT['paths'][{path!r}][{method!r}]",
                f"        return call({method.upper()!r}, f{where!r}, operation, body, query)",
            ]
    return "\n".join(lines)


exec(generate())
api = Api()  # noqa: F821


def good(answer):
    status, value = answer
    assert status == 200, (status, value)
    return value


def bad(answer, wanted):
    status, value = answer
    assert status == wanted, (status, value)
    return value["error"]["code"]


good(api.live())
assert good(api.ready())["ready"]
assert good(api.health())["status"] == "healthy"
assert len(good(api.status())["services"]) == 20
names = [service["name"] for service in good(api.services())["services"]]
assert len(names) == 20, names
for name in names:
    assert good(api.service(name))["name"] == name
    good(api.output(name, lines=3))
assert "hello" in api.output("s0", follow="true")[1]
assert bad(api.service("s-1"), 404) == "unknown_service"
assert bad(api.service("../control.sock"), 404) == "unknown_service"
bad(api.output("s0", lines=-1), 400)
good(api.stop("s1"))
assert api.ready()[0] == 503
good(api.start("s1"))
good(api.restart("s2"))
good(api.signal("s3", body={"signal": "CONT"}))
bad(api.signal("s3", body={"signal": "NO"}), 400)
bad(api.start("nobody"), 404)
boot = good(api.boots(number=5))[0]["boot_id"]
assert good(api.currentBoot())["boot_id"] == boot
assert good(api.boot("last"))["boot_id"] == boot
bad(api.boot("nobody"), 404)
good(api.wake())
assert "ubs_ready" in good(api.metrics())
assert good(api.openapi()) == DOCUMENT
assert "id: 1\n" in good(api.events(after=0))
assert good(api.reload(dry_run="true"))["restart"] == []
good(api.reload())
assert good(api.validate())["validation"] >= 1

fix = {"summary": "bring it", "changes": [{"write": {"path": "new.txt", "text": "here\n"}}]}
good(api.fileMission(body={"subject": "queue", "error": "is full"}))
slug = good(api.missions())[0]["slug"]
good(api.mission(slug))
bad(api.mission("nobody"), 404)
who = {"worker": "w"}
good(api.claimMission(slug, body=who))
assert bad(api.failMission(slug, body={"worker": "x", "reason": "r"}), 409) == "not_holder"
good(api.heartbeatMission(slug, body={**who, "lease": 60}))
good(api.releaseMission(slug, body=who))
assert good(api.claimNext(body=who))["slug"] == slug
bad(api.claimNext(body=who), 404)
assert good(api.tryMission(slug, body={**who, "proposal": fix}))["holds"]
bad(api.proposeMission(slug, body={**who, "proposal": {"no": "such"}}), 400)
good(api.proposeMission(slug, body={**who, "proposal": fix}))
good(api.approveMission(slug, body={"by": "ann"}))
number = str(good(api.fixes())[0]["id"])
assert good(api.fix(number))["slug"] == slug
bad(api.fix("nobody"), 404)
good(api.keepFix(number, body={"by": "ann"}))
good(api.undoFix(number, body={"by": "ann", "reason": "as a test"}))
bad(api.undoFix("nobody", body={}), 404)
good(api.fileMission(body={"subject": "cache", "error": "is cold"}))
other = good(api.missions())[-1]["slug"]
good(api.claimMission(other, body=who))
good(api.failMission(other, body={**who, "reason": "no idea"}))
good(api.missions(all="true"))
for action, body in [("rejectMission", {"reason": "no"}), ("completeMission", who), ("requeueMission", {})]:
    status, _ = getattr(api, action)(other, body=body)
    assert status in (200, 409), (action, status)

every = {o["operationId"] for operations in DOCUMENT["paths"].values() for o in operations.values()}
assert set(CALLED) == every, every - set(CALLED)
tame = {name for name, statuses in CALLED.items() if 200 not in statuses}
assert tame <= {"rejectMission", "completeMission", "requeueMission"}, tame
print(f"{len(every)} operations, all as the document says")
