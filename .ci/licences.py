#!/usr/bin/env python3
"""Every package that we depend on has a licence that deny.toml allows, and comes from the registry.

Reads `cargo metadata`; `cargo deny` (`.ci/run --all`) looks at the licence texts too.
"""
import json
import re
import subprocess
import sys


def allowed_licences():
    """Those for all packages, and those for some by name."""
    with open("deny.toml", encoding="utf-8") as file:
        text = file.read()
    listed = re.search(r"^allow = \[(.*?)^\]", text, re.M | re.S).group(1)
    exceptions = re.findall(r'\{ crate = "([^"]+)", allow = \["([^"]+)"\] \}', text)
    return set(re.findall(r'"([^"]+)"', listed)), {name: {one} for name, one in exceptions}


def is_allowed(expression, allowed):
    """SPDX: `OR` needs one, `AND` all; `/` is an old `OR`."""
    tokens = re.findall(r"\(|\)|[^\s()/]+|/", expression)
    place = 0

    def term():
        nonlocal place
        token = tokens[place]
        place += 1
        if token == "(":
            value = either()
            place += 1
            return value
        if tokens[place : place + 1] == ["WITH"]:
            token = f"{token} WITH {tokens[place + 1]}"
            place += 2
        return token in allowed

    def both():
        nonlocal place
        value = term()
        while tokens[place : place + 1] == ["AND"]:
            place += 1
            value = term() and value
        return value

    def either():
        nonlocal place
        value = both()
        while tokens[place : place + 1] in (["OR"], ["/"]):
            place += 1
            value = both() or value
        return value

    return either()


def main():
    allowed, exceptions = allowed_licences()
    assert is_allowed("MIT OR GPL-3.0", {"MIT"}) and not is_allowed("MIT AND GPL-3.0", {"MIT"})
    command = ["cargo", "metadata", "--format-version", "1", "--locked"]
    for target in ("x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"):
        command += ["--filter-platform", target]
    metadata = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    used = {node["id"] for node in metadata["resolve"]["nodes"]}
    bad = []
    for package in metadata["packages"]:
        if package["id"] not in used:
            continue
        name = f"{package['name']} {package['version']}"
        if not is_allowed(package["license"] or "none", allowed | exceptions.get(package["name"], set())):
            bad.append(f"{name}: {package['license']} is not in deny.toml")
        if package["source"] is not None and not package["source"].startswith("registry+"):
            bad.append(f"{name}: comes from {package['source']}")
    print(f"{len(used)} packages, {len(bad)} that are not allowed")
    sys.exit("\n".join(bad) or 0)


main()
