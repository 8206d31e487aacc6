"""Starts the scripted upstream and the real binary for one test class, and stops them again.

Everything lives in a temporary folder and on free ports, so suites can run beside each other and
beside a gateway in use. When a class ends, the harness itself checks what must hold after any
calls: no key of ours reached the provider, and no secret reached the log.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request
from decimal import Decimal

import openai

ROOT = pathlib.Path(__file__).resolve().parents[3]
PROVIDER_KEY = "provider-secret-for-tests"
START_SECONDS = 20
STOP_SECONDS = 20
SETTLE_SECONDS = 10
NANO = Decimal("1e-9")


def binary() -> pathlib.Path:
    """The binary under test: `CONDUIT_BIN`, else the newest kind of build there is."""
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    named = os.environ.get("CONDUIT_BIN")
    places = (
        [pathlib.Path(named)]
        if named
        else [target / kind / "conduit" for kind in ("release", "debug")]
    )
    for place in places:
        if place.is_file():
            return place.resolve()
    raise FileNotFoundError(
        f"no binary at {' or '.join(map(str, places))}: run `cargo build` first"
    )


class Price:
    """Dollars per million tokens, and what a call costs at that price."""

    def __init__(self, input_usd: str, output_usd: str) -> None:
        self.input_usd = Decimal(input_usd)
        self.output_usd = Decimal(output_usd)

    def cost(self, prompt: int, completion: int) -> Decimal:
        """Dollars, rounded up to a whole nano-dollar once."""
        exact = (prompt * self.input_usd + completion * self.output_usd) / 1_000_000
        return exact.quantize(NANO, rounding="ROUND_UP")

    def of(self, usage) -> Decimal:
        """What a response's `usage` costs."""
        return self.cost(usage.prompt_tokens, getattr(usage, "completion_tokens", 0) or 0)


class Process:
    """A child process whose output goes to a file and who is stopped by its own id."""

    def __init__(self, name: str, command: list, log: pathlib.Path, **options) -> None:
        self.name, self.log = name, log
        with log.open("wb") as stderr:
            self.child = subprocess.Popen(
                [str(part) for part in command], stdin=subprocess.DEVNULL, stderr=stderr, **options
            )

    def stop(self) -> None:
        """Asks it to stop, and insists when it does not."""
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
        try:
            self.child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
            raise AssertionError(f"{self.name} did not stop within {STOP_SECONDS} s") from None
        finally:
            if self.child.stdout:
                self.child.stdout.close()

    def failed(self, why: str) -> RuntimeError:
        """An error that shows what the process said."""
        return RuntimeError(f"{self.name} {why}:\n{self.log.read_text(errors='replace')}")


class Upstream:
    """The scripted upstream."""

    def __init__(self, folder: pathlib.Path) -> None:
        script = ROOT / "tests/upstream/serve.py"
        command = [sys.executable, script, "--key", PROVIDER_KEY]
        log = folder / "upstream.log"
        self.process = Process("the scripted upstream", command, log, stdout=subprocess.PIPE)
        line = self.process.child.stdout.readline().decode()
        if not line.startswith("listening on "):
            raise self.process.failed("did not start")
        self.url = f"http://{line.split()[-1]}"

    def received(self, model: str | None = None) -> list[dict]:
        """The requests it received, for one model or all."""
        query = f"?model={model}" if model else ""
        with urllib.request.urlopen(f"{self.url}/__requests{query}", timeout=10) as answer:
            return json.load(answer)

    def last_body(self, model: str) -> dict:
        """The body of the last request for a model."""
        return json.loads(self.received(model)[-1]["body"])


class Gateway:
    """The binary under test, in a folder of its own."""

    def __init__(
        self,
        folder: pathlib.Path,
        upstream: Upstream,
        models: dict[str, Price],
        native: dict[str, tuple[str, str]] | None = None,
    ) -> None:
        self.secrets: list[str] = []
        self.config = folder / "conduit.toml"
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.config.write_text(config_text(port, upstream.url, models, native or {}))
        self.environment = {**clean_environment(), "MOCK_KEY": PROVIDER_KEY}
        self.process = Process(
            "conduit",
            [binary(), "serve", "--config", self.config],
            folder / "conduit.log",
            stdout=subprocess.DEVNULL,
            cwd=folder,
            env=self.environment,
        )
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Returns once `/readyz` answers 200."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.child.poll() is not None:
                raise self.process.failed(f"ended with {self.process.child.returncode}")
            with contextlib.suppress(OSError):
                with urllib.request.urlopen(f"{self.url}/readyz", timeout=1):
                    return
            time.sleep(0.02)
        raise self.process.failed(f"was not ready within {START_SECONDS} s")

    def command(self, *arguments: str) -> str:
        """Runs the command line against this gateway; its standard output."""
        command = [str(binary()), *arguments, "--config", str(self.config)]
        done = subprocess.run(
            command,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
        )
        if done.returncode != 0:
            raise AssertionError(f"{' '.join(arguments)}: exit {done.returncode}: {done.stderr}")
        return done.stdout

    def key(self, name: str, **limits: str) -> str:
        """Makes a key and returns its secret."""
        options = [part for period, usd in limits.items() for part in (f"--{period}", usd)]
        made = json.loads(self.command("admin", "keys", "create", name, *options, "--json"))
        self.secrets.append(made["secret"])
        return made["secret"]

    def billed(self) -> Decimal:
        """Dollars over all rows of the usage report.

        Never waited for after an answer that came to its end: its receipt is in the ledger before
        the client has seen the last of it.
        """
        report = json.loads(self.command("admin", "usage", "--json"))
        return sum((Decimal(row["cost_usd"]) for row in report["rows"]), Decimal(0))

    def billed_above(self, before: Decimal) -> Decimal:
        """The bill, once it is above `before` or there is no more point in waiting.

        Only for a client that left early: the gateway has to notice that it did.
        """
        deadline = time.monotonic() + SETTLE_SECONDS
        while (bill := self.billed()) <= before and time.monotonic() < deadline:
            time.sleep(0.05)
        return bill

    def client(self, secret: str, kind=openai.OpenAI, **options):
        """An official client that talks to this gateway; without retries unless asked for."""
        return kind(api_key=secret, base_url=f"{self.url}/v1", **{"max_retries": 0, **options})


class GatewayCase(unittest.TestCase):
    """A test class with a gateway, an upstream behind it, and a key without limits."""

    price = Price("2.50", "10")
    models = ("*",)
    # Providers of another dialect by name: their kind, and where the upstream speaks it.
    native: dict[str, tuple[str, str]] = {}

    @classmethod
    def setUpClass(cls) -> None:
        folder = tempfile.TemporaryDirectory(prefix="conduit-sdk-")
        cls.addClassCleanup(folder.cleanup)
        path = pathlib.Path(folder.name)
        cls.upstream = Upstream(path)
        cls.addClassCleanup(cls.upstream.process.stop)
        prices = dict.fromkeys(cls.models, cls.price)
        cls.gateway = Gateway(path, cls.upstream, prices, cls.native)
        cls.addClassCleanup(cls.check_nothing_leaked)
        cls.addClassCleanup(cls.gateway.process.stop)
        cls.secret = cls.gateway.key("tests")

    @classmethod
    def check_nothing_leaked(cls) -> None:
        """Ours never goes to the provider; neither key goes to the log."""
        log = cls.gateway.process.log.read_text(errors="replace")
        for request in cls.upstream.received():
            headers = {name.lower(): value for name, value in request["headers"]}
            key = headers.get("x-api-key") or headers.get("x-goog-api-key")
            key = key or headers["authorization"].removeprefix("Bearer ")
            assert key == PROVIDER_KEY, "not the provider's key"
            for secret in cls.gateway.secrets:
                assert secret not in json.dumps(request), "a key reached the provider"
        for secret in [*cls.gateway.secrets, PROVIDER_KEY]:
            assert secret not in log, "a secret reached the log"

    def client(self, **options):
        """An official client with the key without limits, closed when the test ends."""
        client = self.gateway.client(options.pop("secret", self.secret), **options)
        self.addCleanup(client.close)
        return client

    def say(self, client, model: str, **options):
        """One chat call with a short prompt."""
        return client.chat.completions.create(
            model=model, messages=[user("hello there")], **options
        )


def user(text: str) -> dict:
    """A message from the user."""
    return {"role": "user", "content": text}


def dollars(response) -> Decimal:
    """What the gateway says a call cost."""
    return Decimal(response.headers["x-conduit-cost"])


def config_text(
    port: int, upstream: str, models: dict[str, Price], native: dict[str, tuple[str, str]]
) -> str:
    """The configuration of a gateway with one provider, and those of other dialects."""
    price = next(iter(models.values()))
    others = [
        f'[providers.{name}]\nkind = "{kind}"\nbase_url = "{upstream}/{place}"\n'
        f'api_key_env = "MOCK_KEY"\n[models."{name}/*"]\nprovider = "{name}"\n'
        f"price = {{ input = {price.input_usd}, output = {price.output_usd} }}\n"
        "max_output_tokens = 1000\n"
        for name, (kind, place) in native.items()
    ]
    tables = [
        f'[models."{name}"]\nprovider = "mock"\n'
        f"price = {{ input = {price.input_usd}, output = {price.output_usd} }}\n"
        for name, price in models.items()
    ]
    return f"""\
[server]
listen = "127.0.0.1:{port}"

[store]
path = "conduit.redb"

[admin]
socket = "admin.sock"

[providers.mock]
kind = "openai"
base_url = "{upstream}/v1"
api_key_env = "MOCK_KEY"

{"".join(tables + others)}"""


def clean_environment() -> dict[str, str]:
    """The environment without settings of a gateway that may run here, and without proxies."""
    foreign = ("conduit_", "openai_", "notify_socket", "listen_", "credentials_directory")
    return {
        name: value
        for name, value in os.environ.items()
        if not name.lower().startswith(foreign) and not name.lower().endswith("_proxy")
    }


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
