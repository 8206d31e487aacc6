"""The admin API as its own document describes it: that the document is a good one, and that nothing which
can be made up from it finds the API doing anything else.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest
import urllib.error
import urllib.request

import jsonschema
from hypothesis import HealthCheck, Phase, given, seed, settings
from openapi_spec_validator import validate

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "browser"))

import forms  # noqa: E402
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
    def ask(cls, path: str, role: str, body: dict | None = None):
        request = urllib.request.Request(
            f"{cls.gateway.admin}/admin/api/v1/{path}",
            headers={"Authorization": f"Bearer {cls.tokens[role]}", "Content-Type": "application/json"},
            data=None if body is None else json.dumps(body).encode(),
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def test_the_document_is_valid(self):
        validate(self.document)
        self.assertGreater(len(self.document["paths"]), 20)

    def is_taken(self, text: str) -> bool:
        """Whether a file of prices is."""
        try:
            self.ask("prices/update", "admin", {"text": text, "dry_run": True})
        except urllib.error.HTTPError as refusal:
            self.assertEqual(refusal.code, 422, text)
            return False
        return True

    def test_a_price_file_is_taken_exactly_when_its_schema_takes_it(self):
        fits = jsonschema.Draft202012Validator(forms.schema_of_price_files(self.document)).is_valid

        @seed(SEED)
        @settings(max_examples=100, deadline=None, database=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
        @given(forms.price_files(self.document))
        def each_is_taken(text: str) -> None:
            self.assertTrue(self.is_taken(text), text)

        each_is_taken()
        good = {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}
        cost = {"input": 1, "output": 2}
        providers = lambda cost, name="openai", **more: {name: {"models": {"m": {"cost": cost, **more}}}}
        for file, expected in [
            ({"m": good}, True),
            ({"m": {**good, "cache_read_input_token_cost": None}, "sample_spec": {}, "n": 5}, True),
            ({}, False),
            ({"sample_spec": good}, False),
            ({"with a blank": good}, False),
            *[({"m": {name: value for name, value in good.items() if name != gone}}, False) for gone in good],
            ({"m": {**good, "litellm_provider": "nobody"}}, False),
            ({"m": {**good, "mode": "video_generation"}}, False),
            ({"m": {**good, "output_cost_per_token": 0}}, False),
            ({"m": {**good, "input_cost_per_token": "1e-6"}}, False),
            ({"m": {**good, "cache_read_input_token_cost": -1}}, False),
            (providers(cost), True),
            (providers({**cost, "cache_read": None, "reasoning": 3}), True),
            (providers(cost, "nobody"), False),
            (providers({"input": 1}), False),
            (providers({**cost, "output": 0}), False),
            (providers({**cost, "cache_read": "free"}), False),
            (providers(cost, modalities={"output": ["text", "image"]}), False),
        ]:
            with self.subTest(file=file):
                self.assertEqual((fits(file), self.is_taken(json.dumps(file))), (expected, expected))

    def run_as(self, role: str, *options: str) -> None:
        file = self.folder / "openapi.json"
        file.write_text(json.dumps(self.document))
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
