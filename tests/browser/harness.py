"""Starts the real binary and a real browser for one test class, and stops them again.

Everything lives in a temporary folder and on free ports. The provider is the built-in one that answers
by itself, at a price that makes every call visible. Whatever the browser complains about, a violation of
the page's policy or an error of a script, fails the test in which it happened.

The browser is the one that `CONDUIT_BROWSER` names, else the Chromium of the system, else the one that
`playwright install chromium` put in place. Screenshots go to the folder that `CONDUIT_SCREENSHOTS` names,
else to `browser-screenshots` beside the builds.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest
import urllib.error
import urllib.request

from playwright.sync_api import Page, expect, sync_playwright

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
SCREENSHOTS = pathlib.Path(os.environ.get("CONDUIT_SCREENSHOTS", TARGET / "browser-screenshots"))
PASSWORD = "a password only for these tests"
START_SECONDS = 20
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


def browser_path() -> str | None:
    """The browser to use; none for playwright's own."""
    return os.environ.get("CONDUIT_BROWSER") or shutil.which("chromium") or shutil.which("google-chrome")


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


class BrowserCase(unittest.TestCase):
    """A gateway and a browser for the class; a page of its own, signed out, for each test."""

    # Changes nothing but how the page looks.
    look = {"viewport": {"width": 1360, "height": 900}, "color_scheme": "light"}

    @classmethod
    def setUpClass(cls) -> None:
        folder = tempfile.TemporaryDirectory(prefix="conduit-browser-")
        cls.addClassCleanup(folder.cleanup)
        cls.gateway = Gateway(pathlib.Path(folder.name))
        cls.addClassCleanup(cls.gateway.stop)
        playwright = sync_playwright().start()
        cls.addClassCleanup(playwright.stop)
        options = {"executable_path": browser_path(), "args": ["--no-sandbox"] if os.geteuid() == 0 else []}
        cls.browser = playwright.chromium.launch(**options)
        cls.addClassCleanup(cls.browser.close)

    def setUp(self) -> None:
        self.complaints: list[str] = []
        self.elsewhere: list[str] = []
        self.page = self.new_page(**self.look)

    def new_page(self, **look) -> Page:
        context = self.browser.new_context(locale="en-GB", timezone_id="Europe/Berlin", **look)
        self.addCleanup(context.close)
        context.add_init_script(
            "addEventListener('securitypolicyviolation', (event) =>"
            " console.error('violates the policy: ' + event.violatedDirective + ' ' + event.blockedURI))"
        )
        page = context.new_page()
        page.on("pageerror", lambda error: self.complaints.append(f"a script failed: {error}"))
        page.on("console", self.heard)
        page.on("request", self.asked)
        return page

    def heard(self, message) -> None:
        # An answer that is a refusal is not the page's fault; tests look at what the page makes of it.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.complaints.append(message.text)

    def asked(self, request) -> None:
        if not request.url.startswith((self.gateway.admin, "data:", "blob:")):
            self.elsewhere.append(request.url)

    def tearDown(self) -> None:
        self.assertEqual(self.complaints, [])
        self.assertEqual(self.elsewhere, [], "a request to another host")

    def sign_in(self, page: Page | None = None) -> Page:
        page = page or self.page
        page.goto(self.gateway.admin)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", level=1, name="Overview")).to_be_visible()
        return page

    def go(self, place: str, page: Page | None = None) -> None:
        page = page or self.page
        page.evaluate("place => { location.hash = place }", place)
        expect(page.locator(".page:not(.loading)")).to_be_visible()

    def create_key(self, name: str, daily: str | None = None) -> str:
        """Makes a key as people do, and returns its secret."""
        page = self.page
        self.go("/keys")
        page.get_by_role("button", name="Create new key").first.click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Name").fill(name)
        if daily is not None:
            dialog.get_by_label("Daily").fill(daily)
        dialog.get_by_role("button", name="Create key").click()
        secret = page.get_by_role("textbox", name="Secret")
        expect(secret).to_be_visible()
        text = secret.text_content()
        page.get_by_label("I have put it in a safe place").check()
        page.get_by_role("button", name="Done").click()
        expect(page.get_by_role("dialog")).to_have_count(0)
        return text

    def screenshot(self, name: str, page: Page | None = None, whole: bool = True) -> None:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        (page or self.page).screenshot(path=SCREENSHOTS / f"{name}.png", full_page=whole)
