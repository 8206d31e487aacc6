#!/usr/bin/env python3
"""A soak: calls that end in every way there is, for minutes on end, against the real binary.

    soak.py [SECONDS]

At the end no hold may be open, the books must add up, and memory must not have grown since the
first third. Uses the harness of the Python SDK suite for the upstream and the gateway.
"""

from __future__ import annotations

import http.client
import json
import pathlib
import random
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "sdk/python"))
import harness  # noqa: E402

THREADS = 16
# What the allocator may keep beside what the first third of the time needed.
SLACK_KIB = 24 * 1024
MODELS = [
    "words-8", "words-40", "pace-5", "drip-7", "no-usage", "slow-30", "fail-500", "fail-429",
    "cut-mid-stream", "error-in-stream", "garbage", "reset", "usage-1000-200",
]


def call(address: tuple[str, int], secret: str, model: str, stream: bool, leave: str | None) -> str:
    """One call; `leave` says how the client goes before the end: not at all, closing or resetting."""
    connection = http.client.HTTPConnection(*address, timeout=30)
    body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": "hello there"}]}
    headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        if leave == "at once":
            return "left"
        answer = connection.getresponse()
        if leave == "reset":
            answer.read(1)
            connection.sock and connection.sock.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
            return "left"
        if leave == "close":
            answer.read(40)
            return "left"
        answer.read()
        return str(answer.status)
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__
    finally:
        connection.close()


def work(address, secrets, end: float, seed: int, seen: Counter) -> None:
    chance = random.Random(seed)
    while time.monotonic() < end:
        leave = chance.choice([None] * 6 + ["at once", "close", "reset"])
        model = chance.choice(MODELS)
        outcome = call(address, chance.choice(secrets), model, chance.random() < 0.5, leave)
        seen[outcome] += 1


def rss_kib(pid: int) -> int:
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def soak(seconds: float, folder: pathlib.Path) -> list[str]:
    upstream = harness.Upstream(folder)
    gateway = harness.Gateway(folder, upstream, {"*": harness.Price("2.50", "10")})
    try:
        secrets = [gateway.key("free"), gateway.key("limited", daily="0.50")]
        host, port = gateway.url.removeprefix("http://").split(":")
        end, seen, memory = time.monotonic() + seconds, Counter(), []
        workers = [
            threading.Thread(target=work, args=((host, int(port)), secrets, end, seed, seen))
            for seed in range(THREADS)
        ]
        for worker in workers:
            worker.start()
        while time.monotonic() < end:
            time.sleep(min(1.0, max(0.0, end - time.monotonic())))
            memory.append(rss_kib(gateway.process.child.pid))
            forget = urllib.request.Request(f"{upstream.url}/__requests", method="DELETE")
            urllib.request.urlopen(forget, timeout=30).close()
        for worker in workers:
            worker.join()
        print("outcomes:", dict(sorted(seen.items())))
        return judge(gateway, memory)
    finally:
        gateway.process.stop()
        upstream.process.stop()


def judge(gateway: harness.Gateway, memory: list[int]) -> list[str]:
    problems = []
    deadline = time.monotonic() + 20
    while (held := json.loads(gateway.command("admin", "holds", "--json"))) and time.monotonic() < deadline:
        time.sleep(0.5)
    if held:
        problems.append(f"holds are open at the end: {held}")
    try:
        print(gateway.command("admin", "verify").strip())
    except (AssertionError, subprocess.SubprocessError) as error:
        problems.append(f"the books do not add up: {error}")
    third = max(1, len(memory) // 3)
    early, late = max(memory[:third]), max(memory[-third:])
    print(f"memory: at most {early} KiB in the first third, {late} KiB in the last")
    if late > early + SLACK_KIB:
        problems.append(f"memory grew from {early} to {late} KiB")
    return problems


def main() -> int:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 30.0
    with tempfile.TemporaryDirectory(prefix="conduit-soak-") as folder:
        problems = soak(seconds, pathlib.Path(folder))
    for problem in problems:
        print("problem:", problem)
    print(f"{0 if problems else 1} passed, {len(problems)} failed")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
