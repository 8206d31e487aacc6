"""The admin API as its own document describes it: that the document is a good one, and that nothing which
can be made up from it finds the API doing anything else.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest
import urllib.request

from openapi_spec_validator import validate

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "browser"))

from gateway import Gateway  # noqa: E402

SEED = 20261126
# For each operation and phase; bounded so that the run ends in a minute or two.
EXAMPLES = 10
SECONDS = 600


class Api(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        folder = tempfile.TemporaryDirectory(prefix="conduit-api-")
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        cls.gateway = Gateway(cls.folder)
        cls.addClassCleanup(cls.gateway.stop)
        # Something of everything, so that lists are not empty.
        command = cls.gateway.command
        cls.tokens = {
            role: command("admin", "tokens", "create", f"the tests as {role}", "--role", role).strip()
            for role in ("admin", "viewer")
        }
        command("admin", "teams", "create", "research", "--monthly", "50")
        secret = command("keys", "create", "caller", "--daily", "5", "--team", "research").strip()
        for _ in range(3):
            status, _ = cls.gateway.call(secret)
            assert status == 200, status
        command("admin", "adjust", "caller", "-0.001", "--why", "a test")
        cls.document = cls.ask("openapi.json", "viewer")

    @classmethod
    def ask(cls, path: str, role: str):
        request = urllib.request.Request(
            f"{cls.gateway.admin}/admin/api/v1/{path}", headers={"Authorization": f"Bearer {cls.tokens[role]}"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def test_the_document_is_valid(self):
        validate(self.document)
        self.assertGreater(len(self.document["paths"]), 20)

    def run_as(self, role: str, *options: str) -> None:
        file = self.folder / "openapi.json"
        file.write_text(json.dumps(self.document))
        shutil.copy(HERE / "schemathesis.toml", self.folder)
        own = [token["id"] for token in self.ask("tokens", "admin")["data"]]
        command = [
            sys.executable, "-m", "schemathesis.cli", "run", str(file), "--url", f"{self.gateway.admin}/admin/api/v1",
            "--header", f"Authorization: Bearer {self.tokens[role]}",
            "--generation-database", "none",
            "--seed", str(SEED), "--max-examples", str(EXAMPLES), "--no-shrink", "--continue-on-failure", "--no-color",
            "--suppress-health-check", "all", *options,
        ]
        environment = {**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(HERE), "CONDUIT_OWN_TOKENS": " ".join(own)}
        run = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=self.folder, env=environment,
            timeout=SECONDS,
        )
        print(run.stdout[-20_000:])
        self.assertEqual(run.returncode, 0, run.stdout[-20_000:] + run.stderr)
        # It was asked by somebody who was known, to the end.
        self.assertNotIn("401 Unauthorized", run.stdout)
        if role == "admin":
            self.assertNotIn("403 Forbidden", run.stdout)
        self.ask("status", role)

    def test_nothing_is_found_as_an_administrator(self):
        self.run_as("admin")

    def test_nothing_is_found_as_a_viewer(self):
        self.run_as("viewer", "--phases", "examples,coverage")


if __name__ == "__main__":
    unittest.main()
