#!/usr/bin/env python3
"""A worker in Python, with the standard library only: claims a mission, tries fixes, proposes the first that holds.

    python3 worker.py WORKSPACE FIX [FIX ...]

A FIX is a file: a unified diff (`*.diff`, `*.patch`), or a proposal as JSON. `UBS` names the program (default: `ubs`).
Put your own diagnosis in the place of `fixes_for`: it gets the mission as `ubs missions claim --json` gives it.
"""

import json
import os
import subprocess
import sys
import threading

LEASE_SECONDS = 120
# Codes of docs/missions.md.
NOT_HOLDER, BAD_PROPOSAL, CHANGED_MEANWHILE = "not_holder", "bad_proposal", "changed_meanwhile"


class Refused(Exception):
    """An error of ubs: its stable code, and its message."""

    def __init__(self, error):
        super().__init__(f"{error['code']}: {error['message']}")
        self.code = error["code"]


class Queue:
    """The missions of one workspace, through the command line."""

    def __init__(self, workspace, worker):
        self.workspace, self.worker = workspace, worker

    def ask(self, *arguments):
        command = [os.environ.get("UBS", "ubs"), "-C", self.workspace, "--json", "missions", *arguments]
        command += ["--worker", self.worker]
        ran = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        answer = json.loads(ran.stdout) if ran.stdout.strip() else None
        if isinstance(answer, dict) and "error" in answer:
            raise Refused(answer["error"])
        if ran.returncode not in (0, 1):
            raise RuntimeError(f"ubs ended with {ran.returncode}: {ran.stderr}")
        return answer

    def claim(self):
        return self.ask("claim", "--lease", str(LEASE_SECONDS))

    def heartbeat(self, mission):
        return self.ask("heartbeat", mission, "--lease", str(LEASE_SECONDS))

    def try_fix(self, mission, fix):
        return self.ask("try", mission, *fix)

    def propose(self, mission, fix):
        return self.ask("propose", mission, *fix)

    def fail(self, mission, reason):
        return self.ask("fail", mission, "--reason", reason)


def keep(queue, mission, ended):
    """Holds the mission for as long as the work takes."""
    while not ended.wait(LEASE_SECONDS / 3):
        try:
            queue.heartbeat(mission)
        except Refused:
            return


def fixes_for(mission, files):
    """The fixes to try, as arguments of `try` and `propose`."""
    for file in files:
        is_patch = file.endswith((".diff", ".patch"))
        yield ["--patch" if is_patch else "--file", os.path.abspath(file)]


def main():
    if len(sys.argv) < 3:
        sys.exit("usage: worker.py WORKSPACE FIX [FIX ...]")
    queue = Queue(sys.argv[1], f"example worker {os.getpid()}")
    mission = queue.claim()
    if mission is None:
        print("no mission waits for a worker")
        return 0
    slug = mission["slug"]
    print(f"claimed {slug}: {mission['failure']['error']}")
    ended = threading.Event()
    threading.Thread(target=keep, args=(queue, slug, ended), daemon=True).start()
    reason = "no fix was given"
    try:
        for fix in fixes_for(mission, sys.argv[2:]):
            try:
                tried = queue.try_fix(slug, fix)
            except Refused as refused:
                # Another fix may do; anything else is no matter of the fix.
                if refused.code not in (BAD_PROPOSAL, CHANGED_MEANWHILE):
                    raise
                reason = str(refused)
                print(f"refused: {reason}")
                continue
            print(f"{'holds' if tried['holds'] else 'does not hold'}: {tried['reason']}")
            if tried["holds"]:
                worked = queue.propose(slug, fix)
                print(f"{worked['outcome']}: {worked['reason']}")
                return 0 if worked["outcome"] != "rejected" else 1
            reason = tried["reason"]
        queue.fail(slug, reason)
        print("gave up")
        return 1
    except Refused as refused:
        if refused.code == NOT_HOLDER:
            sys.exit("the lease ran out")
        raise
    finally:
        ended.set()


if __name__ == "__main__":
    sys.exit(main())
