"""Starts the real binary and a real browser for one test class, and stops them again.

Whatever the browser complains about, a violation of the page's policy or an error of a script, and every
request to another host fails the test in which it happened.

The browser is the one that `CONDUIT_BROWSER` names, else the Chromium of the system, else the one that
`playwright install chromium` put in place. Screenshots go to the folder that `CONDUIT_SCREENSHOTS` names,
else to `browser-screenshots` beside the builds.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import tempfile
import unittest

from playwright.sync_api import Page, expect, sync_playwright

from gateway import PASSWORD, TARGET, Gateway

SCREENSHOTS = pathlib.Path(os.environ.get("CONDUIT_SCREENSHOTS", TARGET / "browser-screenshots"))
# How long something may take to appear on a machine that others are using as well.
PATIENCE_MS = 60_000
expect.set_options(timeout=PATIENCE_MS)


def browser_path() -> str | None:
    """The browser to use; none for playwright's own."""
    return os.environ.get("CONDUIT_BROWSER") or shutil.which("chromium") or shutil.which("google-chrome")


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
        context.set_default_timeout(PATIENCE_MS)
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
        (page or self.page).screenshot(path=SCREENSHOTS / f"{name}.png", full_page=whole, timeout=3 * PATIENCE_MS)
