"""The metrics of the real binary, read by Prometheus's own programs.

`promtool` says whether the page, the alert rules and the README's example are sound. A Prometheus
scrapes the gateway and is asked every query of the board and of the rules; each name and each label
in them must be one that was really exposed.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
RULES = ROOT / "packaging/prometheus/conduit.rules.yml"
BOARD = ROOT / "packaging/grafana/conduit.json"
PATIENCE = 30

CONFIG = """
[server]
listen = "127.0.0.1:{gateway}"
workers = 2
[server.tls]
cert = "tls.crt"
key = "tls.key"
[store]
path = "conduit.redb"
[admin]
listen = "127.0.0.1:{admin}"
socket = "admin.sock"
metrics = "local"
[log]
level = "warn"
[limits]
max_wait = "1s"
[providers.echo]
kind = "echo"
[providers.dead]
kind = "openai"
base_url = "http://127.0.0.1:{closed}/v1"
api_key_env = "DEAD_KEY"
[models.echo]
provider = "echo"
price = {{ input = 1, output = 2 }}
[models.dead]
provider = "dead"
price = "free"
[routing]
retries = 0
"""

# What Prometheus itself adds to what it scrapes.
ADDED = {"instance", "job", "le"}


def free_port() -> int:
    with contextlib.closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def binary() -> pathlib.Path:
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    place = pathlib.Path(os.environ.get("CONDUIT_BIN", target / "release/conduit"))
    return place.resolve(strict=True)


def fetch(url: str, body: dict | None = None, **headers: str) -> tuple[int, str]:
    data = json.dumps(body).encode() if body is not None else None
    headers["Content-Type"] = "application/json"
    request = urllib.request.Request(url, data, {k.replace("_", "-"): v for k, v in headers.items()})
    try:
        context = ssl._create_unverified_context()
        with urllib.request.urlopen(request, timeout=PATIENCE, context=context) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def eventually(what: str, attempt):
    end = time.monotonic() + PATIENCE
    while True:
        with contextlib.suppress(OSError, AssertionError, LookupError):
            found = attempt()
            if found:
                return found
        if time.monotonic() > end:
            raise AssertionError(f"waited in vain for {what}")
        time.sleep(0.1)


class Page:
    """The families of a page, each with the labels that its samples have."""

    SAMPLE = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$")
    LABEL = re.compile(r'(\w+)="(?:[^"\\]|\\.)*"')

    def __init__(self, text: str) -> None:
        self.text = text
        self.kinds: dict[str, str] = {}
        self.labels: dict[str, set[str]] = {}
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split()
                self.kinds[name] = kind
                endings = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
                self.labels.update({name + ending: set() for ending in endings})
            elif not line.startswith("#"):
                name, labels, _ = self.SAMPLE.match(line).groups()
                self.labels[name] |= set(self.LABEL.findall(labels or "")) | {""}


class Queries:
    """What a query in PromQL names."""

    NAME = re.compile(r"\b((?:conduit|process)_\w+)(?:\{([^}]*)\})?")
    MATCHER = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"')
    GROUP = re.compile(r"\b(?:by|on|without|group_left|ignoring)\s*\(([^)]*)\)")

    def __init__(self, text: str) -> None:
        self.names = {name for name, _ in self.NAME.findall(text)}
        self.matched = {
            (name, label) for name, inside in self.NAME.findall(text) for label in self.MATCHER.findall(inside)
        }
        self.grouped = {
            label.strip() for inside in self.GROUP.findall(text) for label in inside.split(",") if label.strip()
        }


class Metrics(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        cls.gateway, cls.admin = free_port(), free_port()
        config = cls.folder / "conduit.toml"
        config.write_text(CONFIG.format(gateway=cls.gateway, admin=cls.admin, closed=free_port()))
        # It ends so soon that there is an alert.
        make = "openssl req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 -days 3 -subj /CN=localhost"
        files = ["-keyout", cls.folder / "tls.key", "-out", cls.folder / "tls.crt"]
        subprocess.run([*make.split(), *files], check=True, capture_output=True)
        environment = {**os.environ, "CONDUIT_CONFIG": str(config), "DEAD_KEY": "x"}
        cls.environment = environment
        cls.server = cls.start([binary(), "serve"], environment)
        eventually("the gateway", lambda: fetch(f"https://127.0.0.1:{cls.gateway}/readyz")[0] == 200)
        cls.make_calls()
        page = fetch(f"http://127.0.0.1:{cls.admin}/metrics")
        assert page[0] == 200, page
        cls.page = Page(page[1])

    @classmethod
    def start(cls, command: list, environment: dict) -> subprocess.Popen:
        log = (cls.folder / f"{pathlib.Path(command[0]).name}.log").open("wb")
        child = subprocess.Popen(
            [str(part) for part in command], env=environment, cwd=cls.folder, stdin=subprocess.DEVNULL, stderr=log
        )
        log.close()

        def stop() -> None:
            child.send_signal(signal.SIGTERM)
            child.wait(PATIENCE)

        cls.addClassCleanup(stop)
        return child

    @classmethod
    def conduit(cls, *arguments: str) -> str:
        run = subprocess.run([str(binary()), *arguments], env=cls.environment, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        return run.stdout.strip()

    @classmethod
    def make_calls(cls) -> None:
        """A call of every kind that a family has samples of only after one."""
        cls.conduit("admin", "teams", "create", "research", "--daily", "5")
        plain = cls.conduit("keys", "create", "plain", "--team", "research")
        small = cls.conduit("keys", "create", "small \"one\"\\", "--daily", "0.001")

        def call(key: str, **more) -> int:
            body = {"model": "echo", "messages": [{"role": "user", "content": "hello"}], **more}
            url = f"https://127.0.0.1:{cls.gateway}/v1/chat/completions"
            return fetch(url, body, Authorization=f"Bearer {key}")[0]

        statuses = [
            call(plain),
            call(plain, stream=True),
            call(small),
            call("wrong"),
            call(plain, model="dead"),
            call(plain, model="made up by a client"),
        ]
        assert statuses == [200, 200, 200, 401, 502, 404], statuses

    def promtool(self, *arguments: str, text: str = "") -> None:
        run = subprocess.run(["promtool", *arguments], input=text, capture_output=True, text=True)
        self.assertEqual((run.returncode, run.stderr), (0, ""), run.stdout + run.stderr)

    def test_the_page_is_as_prometheus_wants_it(self) -> None:
        self.promtool("check", "metrics", text=self.page.text)
        self.assertNotIn("made up", self.page.text)

    def test_the_rules_are_sound(self) -> None:
        self.promtool("check", "rules", str(RULES))

    def test_the_readmes_example_is_a_configuration(self) -> None:
        readme = (ROOT / "README.md").read_text()
        example = re.search(r"```yaml\n(scrape_configs:.*?)```", readme, re.DOTALL)[1]
        token = self.folder / "token"
        token.write_text("x")
        place = self.folder / "example.yml"
        place.write_text(example.replace("/etc/prometheus/conduit-token", str(token)))
        self.promtool("check", "config", str(place))

    @staticmethod
    def queries() -> list[tuple[str, str]]:
        """Every query there is, and where it stands."""
        board = json.loads(BOARD.read_text())
        found = [
            (f"{panel['title']}: {target['legendFormat']}", target["expr"])
            for panel in board["panels"]
            for target in panel.get("targets", [])
        ]
        found += [(note["name"], note["expr"]) for note in board["annotations"]["list"]]
        # promtool has seen to it that the file is what it seems.
        rules = RULES.read_text()
        blocks = re.findall(r"^ +expr: (?:\|\n((?: {10,}.*\n)+)|(.+)\n)", rules, re.MULTILINE)
        found += [("rule", (block or line).strip()) for block, line in blocks]
        assert len(blocks) == rules.count("- alert:"), "a rule has no query that was found"
        return found

    def test_queries_name_what_is_exposed(self) -> None:
        names = set()
        for where, query in self.queries():
            named = Queries(query)
            names |= named.names
            self.assertTrue(named.names or "up{" in query, f"{where}: {query}")
            labels = set(ADDED)
            for name in named.names:
                self.assertIn(name, self.page.labels, f"{where}: {query}")
                self.assertTrue(self.page.labels[name], f"{name} has no sample here: make a call that has one")
                labels |= self.page.labels[name]
            for name, label in named.matched:
                self.assertIn(label, self.page.labels[name] | ADDED, f"{where}: {query}")
            self.assertLessEqual(named.grouped, labels, f"{where}: {query}")
            shown = set(re.findall(r"\{\{(\w+)\}\}", where))
            self.assertLessEqual(shown, labels, where)
        # The variables of the board.
        for name, label in re.findall(r"label_values\((\w+), (\w+)\)", BOARD.read_text()):
            self.assertIn(label, self.page.labels[name] | ADDED)
        self.assertGreater(len(names), 30)

    def test_a_prometheus_answers_every_query(self) -> None:
        port = free_port()
        (self.folder / "prometheus.yml").write_text(
            f"global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [{RULES}]\n"
            f"scrape_configs:\n- job_name: conduit\n  static_configs: [{{ targets: ['127.0.0.1:{self.admin}'] }}]\n"
        )
        self.start(
            [
                "prometheus",
                f"--config.file={self.folder}/prometheus.yml",
                f"--storage.tsdb.path={self.folder}/data",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            dict(os.environ),
        )

        def ask(query: str) -> list:
            query = query.replace("$__rate_interval", "10s").replace("$instance", ".*").replace("$provider", ".*")
            status, answer = fetch(f"http://127.0.0.1:{port}/api/v1/query?{urllib.parse.urlencode({'query': query})}")
            self.assertEqual(status, 200, f"{query}: {answer}")
            return json.loads(answer)["data"]["result"]

        eventually("a few scrapes", lambda: float(ask("count_over_time(conduit_holds_open[1m])")[0]["value"][1]) > 3)
        self.assertEqual(ask("up")[0]["value"][1], "1")
        silent = []
        for where, query in self.queries():
            if not ask(query) and " > " not in query and " == " not in query:
                silent.append(f"{where}: {query}")
        self.assertEqual(silent, [], "these show nothing although there is something to show")


if __name__ == "__main__":
    unittest.main()
