"""Stands in for systemd: a notify socket, sockets that are passed on, and the binary as a service."""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

PATIENCE = 60

# Puts the passed sockets where the protocol wants them, and says who they are for.
SHIM = """
import os, sys
count, fds, program = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
for place, fd in enumerate(int(fd) for fd in fds.split(",") if fd):
    os.dup2(fd, 100 + place, inheritable=False)
for place in range(count):
    os.dup2(100 + place, 3 + place, inheritable=True)
if count:
    os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(program[0], program)
"""


def binary() -> str:
    """The program under test."""
    return os.environ["CONDUIT_BIN"]


class Manager:
    """One service in a folder of its own, started as often as a test likes."""

    def __init__(self, folder: pathlib.Path, server: str = "", more: str = "") -> None:
        self.folder = folder
        self.config = folder / "conduit.toml"
        self.log = folder / "log"
        self.server, self.more = server, more
        self.write()
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(str(folder / "notify"))
        self.notify.settimeout(PATIENCE)
        self.passed: list[tuple[str, socket.socket]] = []
        self.environment = {
            "PATH": os.environ["PATH"],
            "NOTIFY_SOCKET": str(folder / "notify"),
            "CONDUIT_ADMIN_LISTEN": "off",
        }
        self.child: subprocess.Popen[bytes] | None = None
        self.messages: list[dict[str, str]] = []
        self.clients: list[http.client.HTTPConnection] = []

    def write(self, extra: str = "") -> None:
        """Writes the configuration as a whole."""
        text = (
            f"{extra}\n[server]\nworkers = 2\n{self.server}\n"
            '[store]\npath = "conduit.redb"\n[admin]\nsocket = "admin.sock"\n'
            f'[providers.echo]\nkind = "echo"\n[models.echo]\nprovider = "echo"\n{self.more}\n'
        )
        made = self.config.with_suffix(".new")
        made.write_text(text)
        made.rename(self.config)

    def hold(self, name: str, address: tuple[str, int] = ("127.0.0.1", 0)) -> tuple[str, int]:
        """Makes a socket that is passed on at each start."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(4096)
        self.passed.append((name, listener))
        return listener.getsockname()

    def launch(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Starts the service, without waiting for it."""
        environment = dict(self.environment)
        fds = [listener.fileno() for _, listener in self.passed]
        if fds:
            environment["LISTEN_FDS"] = str(len(fds))
            environment["LISTEN_FDNAMES"] = ":".join(name for name, _ in self.passed)
        service = [binary(), "serve", "--config", str(self.config), *arguments]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-c", SHIM, str(len(fds)), ",".join(map(str, fds)), *service],
                stdin=subprocess.DEVNULL,
                stderr=log,
                env=environment,
                pass_fds=fds,
            )

    def start(self) -> None:
        """Starts the service and waits until it is ready."""
        self.child = self.launch()
        self.told("READY", "1")

    def signal(self, number: int) -> None:
        """Sends a signal to the service."""
        assert self.child
        self.child.send_signal(number)

    def wait(self, seconds: float = PATIENCE) -> int:
        """Waits for the end of the service; its exit status."""
        assert self.child
        code = self.child.wait(seconds)
        self.child = None
        return code

    def stop(self) -> None:
        """Ends the service, which must go well."""
        self.signal(signal.SIGTERM)
        code = self.wait()
        assert code == 0, f"exit {code}\n{self.log.read_text()}"

    def restart(self) -> None:
        """As systemd does it: stops, and only then starts."""
        self.stop()
        self.start()

    def message(self, seconds: float = PATIENCE) -> dict[str, str] | None:
        """The next message; None if there is none in time."""
        self.notify.settimeout(max(seconds, 0.001))
        try:
            text = self.notify.recv(65536).decode()
        except TimeoutError:
            return None
        message = dict(line.split("=", 1) for line in text.splitlines())
        self.messages.append(message)
        return message

    def told(self, name: str, pattern: str, seconds: float = PATIENCE) -> dict[str, str]:
        """Waits for a message with a value that matches."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            message = self.message(left)
            if message and re.search(pattern, message.get(name, "")):
                return message
            assert self.child is None or self.child.poll() is None, self.log.read_text()
        raise AssertionError(f"no {name}={pattern}: {self.messages}\n{self.log.read_text()}")

    def skip(self) -> None:
        """Reads what was told so far."""
        while self.message(0):
            pass

    def command(self, *arguments: str) -> str:
        """Runs a command of the program."""
        done = subprocess.run(
            [binary(), *arguments, "--config", str(self.config)],
            env={"PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, f"{arguments}: {done.stderr}"
        return done.stdout

    def calls(self) -> int:
        """How many calls are on the bill."""
        rows = json.loads(self.command("admin", "usage", "--by", "model", "--json"))
        rows = rows["rows"] if isinstance(rows, dict) else rows
        return sum(row["calls"] for row in rows)

    def client(self, address: tuple[str, int] | None = None) -> http.client.HTTPConnection:
        """A connection that is closed with the service."""
        client = http.client.HTTPConnection(*(address or self.address()), timeout=PATIENCE)
        self.clients.append(client)
        return client

    def address(self) -> tuple[str, int]:
        """Where the service listens, as it told when it was ready."""
        ready = [message["STATUS"] for message in self.messages if "READY" in message]
        host, port = re.findall(r"127\.0\.0\.1:\d+", ready[-1])[0].split(":")
        return host, int(port)

    def close(self) -> None:
        """Leaves nothing behind."""
        if self.child and self.child.poll() is None:
            self.child.kill()
            self.child.wait()
        self.notify.close()
        for client in self.clients:
            client.close()
        for _, listener in self.passed:
            listener.close()


@contextlib.contextmanager
def service(server: str = "", more: str = "") -> Iterator[Manager]:
    """A service for one test."""
    with tempfile.TemporaryDirectory(prefix="conduit-service-") as folder:
        manager = Manager(pathlib.Path(folder), server, more)
        try:
            yield manager
        finally:
            manager.close()


def chat(words: int, stream: bool) -> bytes:
    """The body of a call that is answered with so many words."""
    text = " ".join(f"word{number}" for number in range(words))
    return json.dumps(
        {"model": "echo", "stream": stream, "messages": [{"role": "user", "content": text}]}
    ).encode()


def headers(secret: str) -> dict[str, str]:
    """The headers of a call."""
    return {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}


# --- one thread of another process, held still ----------------------------------------------------

SEIZE, INTERRUPT, DETACH = 0x4206, 0x4207, 17
WALL = 0x40000000


def _ptrace(request: int, thread: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    if libc.ptrace(request, thread, None, None) != 0:
        raise OSError(ctypes.get_errno(), f"ptrace {request}")


def threads(pid: int, name: str) -> list[int]:
    """The threads of a process that have a name, the oldest first."""
    found = []
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        if (task / "comm").read_text().strip().startswith(name):
            found.append(int(task.name))
    return sorted(found)


@contextlib.contextmanager
def frozen(thread: int) -> Iterator[None]:
    """Holds one thread still: the rest of its process goes on."""
    _ptrace(SEIZE, thread)
    _ptrace(INTERRUPT, thread)
    os.waitpid(thread, WALL)
    try:
        yield
    finally:
        _ptrace(DETACH, thread)
