"""The logs of the real binary: the lines of calls and of changes in files of their own, which are rotated
under it, and a configuration that changes what is logged, and how, while it runs."""

from __future__ import annotations

import json
import pathlib
import signal
import time
import unittest

from test_traces import PATIENCE, PROMPT, Gateway, free_port


def eventually(what: str, attempt):
    end = time.monotonic() + PATIENCE
    while True:
        found = attempt()
        if found:
            return found
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.05)


def lines(path: pathlib.Path, message: str) -> list[dict]:
    if not path.exists():
        return []
    each = [json.loads(line) for line in path.read_text().splitlines()]
    return [line for line in each if line["message"] == message]


class Logs(unittest.TestCase):
    def setUp(self) -> None:
        self.gateway = Gateway(self, OTEL_SDK_DISABLED="true")
        self.config = self.gateway.folder / "conduit.toml"
        self.without = self.config.read_text()

    def configure(self, section: str) -> None:
        before = self.gateway.log().count("config reloaded")
        self.config.write_text(f"{self.without}\n[log]\n{section}\n")
        eventually("the reload", lambda: self.gateway.log().count("config reloaded") > before)

    def test_files_are_written_and_rotated(self) -> None:
        gateway, folder = self.gateway, self.gateway.folder
        self.configure('level = "info"\naccess = "access.log"\naudit = "audit.log"')
        access, old = folder / "access.log", folder / "access.log.1"
        self.assertEqual(access.stat().st_mode & 0o777, 0o640)
        self.assertEqual(gateway.call(), 200)
        self.assertEqual(gateway.call(key="wrong"), 401)
        [call] = eventually("the call's line", lambda: lines(access, "call"))
        self.assertEqual((call["status"], call["client.address"], call["tokens.input"]), (200, "127.0.0.1", 20))
        [refused] = eventually("the refusal", lambda: lines(access, "refused"))
        self.assertEqual((refused["status"], refused["reason"]), (401, "invalid_api_key"))
        self.assertEqual(refused["path"], "/v1/chat/completions")

        access.rename(old)
        self.assertEqual(gateway.call(), 200)
        gateway.child.send_signal(signal.SIGHUP)
        eventually("a new file", access.exists)
        self.assertEqual(gateway.call(), 200)
        eventually("the last line", lambda: lines(access, "call"))
        self.assertEqual(len(lines(old, "call")) + len(lines(access, "call")), 3)

        gateway.command("keys", "create", "second")
        [change] = eventually("the change", lambda: lines(folder / "audit.log", "change"))
        self.assertEqual((change["verb"], change["outcome"], change["door"]), ("keys/create", "done", "socket"))
        self.assertNotIn('"message":"call"', gateway.log())
        for path in (access, old, folder / "audit.log", folder / "log"):
            text = path.read_text()
            for secret in (PROMPT, gateway.key, "secret-of-the-provider"):
                self.assertNotIn(secret, text)

        # A file that cannot be opened is said, and its lines are not lost.
        self.configure('access = "no/such/folder/access.log"')
        eventually("the complaint", lambda: "cannot be opened" in gateway.log())
        self.assertEqual(gateway.call(), 200)
        eventually("the call's line", lambda: '"message":"call"' in gateway.log())

    def test_a_full_disk_is_said_once_and_counted(self) -> None:
        gateway = self.gateway
        self.configure('access = "/dev/full"')
        for _ in range(3):
            self.assertEqual(gateway.call(), 200)
            time.sleep(0.3)
        eventually("the complaint", lambda: "its lines are dropped" in gateway.log())
        # Told to open it anew again and again, it goes on all the same.
        for _ in range(200):
            gateway.child.send_signal(signal.SIGHUP)
        self.assertEqual(gateway.call(), 200)
        gateway.stop()
        self.assertEqual(gateway.child.returncode, 0)
        self.assertEqual(gateway.log().count("its lines are dropped"), 1, gateway.log())

    def test_level_and_form_follow_the_file(self) -> None:
        gateway = self.gateway
        self.assertEqual(gateway.call(), 200)
        eventually("the call's line", lambda: gateway.log().count('"message":"call"') == 1)
        self.configure('level = "info,access=off"\nformat = "text"')
        self.assertEqual(gateway.call(), 200)
        self.configure('format = "json"')
        self.assertEqual(gateway.call(), 200)
        eventually("the third call's line", lambda: gateway.log().count('"message":"call"') == 2)
        text = [line for line in gateway.log().splitlines() if not line.startswith("{")]
        self.assertTrue(any("INFO" in line for line in text), text)

    def test_a_file_is_opened_at_the_start_too(self) -> None:
        self.gateway.stop()
        text = self.without.replace(f":{self.gateway.port}\"", f":{free_port()}\"")
        self.config.write_text(f'{text}\n[log]\nlevel = "warn"\naccess = "access.log"\n')
        self.gateway.restart(text)
        self.assertEqual(self.gateway.call(), 200)
        eventually("the call's line", lambda: lines(self.gateway.folder / "access.log", "call"))


if __name__ == "__main__":
    unittest.main()
