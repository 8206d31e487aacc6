"""The Python examples of the README, run as they stand."""

import re
import subprocess
import sys

from harness import ROOT, GatewayCase

ADDRESS = "http://127.0.0.1:8080"


class Readme(GatewayCase):
    def test_the_examples_run(self):
        text = (ROOT / "README.md").read_text()
        examples = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
        self.assertGreater(len(examples), 0)
        environment = {**self.gateway.environment, "CONDUIT_API_KEY": self.secret}
        for example in examples:
            self.assertIn(ADDRESS, example)
            done = subprocess.run(
                [sys.executable, "-c", example.replace(ADDRESS, self.gateway.url)],
                env=environment,
                capture_output=True,
                text=True,
                timeout=60,
            )
            self.assertEqual(done.returncode, 0, done.stderr)
            # What the scripted upstream answers to a name that is no script.
            self.assertTrue(done.stdout.startswith("one two three"), done.stdout)
