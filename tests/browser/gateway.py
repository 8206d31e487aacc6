"""Starts the real binary in a folder of its own and on free ports, and stops it again.

The provider is the built-in one that answers by itself, at a price that makes every call visible.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
PASSWORD = "a password only for these tests"
START_SECONDS = 60
# Dollars per million tokens: a call of a few words costs some tenths of a cent.
CONFIG = """
[server]
listen = "127.0.0.1:{gateway}"

[admin]
listen = "127.0.0.1:{admin}"
password_file = "password"

[providers.echo]
kind = "echo"

[models.echo]
provider = "echo"
price = {{ input = 100, output = 200 }}
"""


def binary() -> pathlib.Path:
    """The binary under test: `CONDUIT_BIN`, else the newest kind of build there is."""
    named = os.environ.get("CONDUIT_BIN")
    places = [pathlib.Path(named)] if named else [TARGET / kind / "conduit" for kind in ("release", "debug")]
    for place in places:
        if place.is_file():
            return place.resolve()
    raise FileNotFoundError(f"no binary at {' or '.join(map(str, places))}: run `cargo build` first")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Gateway:
    """The binary under test, in a folder of its own."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        gateway, admin = free_port(), free_port()
        self.url, self.admin = f"http://127.0.0.1:{gateway}", f"http://127.0.0.1:{admin}"
        self.config = folder / "conduit.toml"
        self.config.write_text(CONFIG.format(gateway=gateway, admin=admin))
        password = folder / "password"
        password.write_text(PASSWORD + "\n")
        password.chmod(0o600)
        self.log = folder / "conduit.log"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CONDUIT_")}
        with self.log.open("wb") as log:
            self.child = subprocess.Popen(
                [binary(), "serve", "--config", self.config],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, cwd=folder, env=environment,
            )
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            if self.child.poll() is not None:
                break
            with contextlib.suppress(OSError):
                with urllib.request.urlopen(f"{self.url}/readyz", timeout=2):
                    return
            time.sleep(0.05)
        raise RuntimeError(f"conduit did not start:\n{self.log.read_text(errors='replace')}")

    def stop(self) -> None:
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
        try:
            self.child.wait(20)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
            raise

    def call(self, secret: str, words: str = "Hello there, how are you today? " * 5, cap: int = 16) -> tuple[int, dict]:
        """One call as a program makes it: the status and the body."""
        body = {"model": "echo", "max_tokens": cap, "messages": [{"role": "user", "content": words}]}
        request = urllib.request.Request(
            f"{self.url}/v1/chat/completions",
            data=json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {secret}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as refusal:
            return refusal.code, json.load(refusal)

    def command(self, *arguments: str) -> str:
        """What a command of the same binary prints, about this gateway."""
        command = [binary(), *arguments, "--config", self.config]
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True, timeout=60, cwd=self.folder
        ).stdout
