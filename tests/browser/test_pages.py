"""Every page, in light, in dark and on a phone: that it fits, that it can be used without seeing it, and a
screenshot of it to be looked at."""

import json
import os
import pathlib
import unittest

from playwright.sync_api import Page, expect

from harness import BrowserCase

LOOKS = {
    "light": {"viewport": {"width": 1360, "height": 900}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1360, "height": 900}, "color_scheme": "dark"},
    "narrow": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light"},
}
PAGES = ["/", "/keys", "/teams", "/usage", "/requests", "/models", "/config", "/audit", "/settings", "/playground"]

# What is wrong with a page for somebody who does not see it, or does not see well.
CHECKS = """() => {
  const wrong = [];
  const seen = (element) => element.checkVisibility() && !element.closest('[aria-hidden=true]');
  const nameOf = (element) => (element.getAttribute('aria-label') ?? '') + (element.textContent ?? '')
    + [...(element.labels ?? [])].map((label) => label.textContent).join('') + (element.title ?? '');
  for (const element of document.querySelectorAll('a, button, input, select, textarea, summary, [role=meter]')) {
    if (seen(element) && !nameOf(element).trim()) wrong.push('no name: ' + element.outerHTML.slice(0, 120));
  }
  for (const image of document.querySelectorAll('img')) if (!image.hasAttribute('alt')) wrong.push('no alt');
  const ids = [...document.querySelectorAll('[id]')].map((element) => element.id);
  for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) wrong.push('twice: ' + id);
  if (document.querySelectorAll('h1').length !== 1) wrong.push('not one h1');
  if (document.documentElement.scrollWidth > innerWidth) wrong.push('wider than the window: ' + document.documentElement.scrollWidth);

  // Contrast, by the formula of WCAG 2.1, of each text against the nearest ground that is painted.
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const parse = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255).map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.data.trim() || !seen(element) || element.closest('svg, option, .offscreen, .skip, .sort-mark, :disabled, noscript')) continue;
    let ground = [255, 255, 255, 255];
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour[3] === 255) { ground = colour; break; }
    }
    const [a, b] = [light(parse(getComputedStyle(element).color)), light(ground)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) wrong.push(`contrast ${ratio.toFixed(2)}: ${node.data.trim().slice(0, 40)}`);
  }
  return wrong;
}"""


# Deque's checks of the guidelines for accessible pages, if they are there: tests/run installs them.
AXE = pathlib.Path(os.environ.get("CONDUIT_NODE_MODULES", "")) / "axe-core" / "axe.min.js"
# Rules of the guidelines to level AA, and what axe's authors advise besides.
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def problems(page: Page) -> list[str]:
    """What is wrong with a page as it is now."""
    wrong = page.evaluate(CHECKS)
    if not AXE.is_file():
        if "CONDUIT_NODE_MODULES" in os.environ:
            raise FileNotFoundError(AXE)
        return wrong
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("async (rules) => (await axe.run({ runOnly: rules })).violations", RULES)
    for violation in found:
        for node in violation["nodes"]:
            wrong.append(f"{violation['id']}: {violation['help']}: {node['html'][:200]} {node['any'][:1]}")
    return wrong


class Pages(BrowserCase):
    def test_without_anything_each_page_says_what_to_do(self):
        self.sign_in()
        for place in PAGES:
            with self.subTest(place=place):
                self.go(place)
                self.page.wait_for_timeout(300)
                self.screenshot(f"empty{place.replace('/', '-')}")
                self.assertEqual(problems(self.page), [])


class FullPages(BrowserCase):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.is_filled = False

    def fill(self) -> None:
        """Some keys that did something; one at its limit."""
        if type(self).is_filled:
            return
        type(self).is_filled = True
        self.sign_in()
        for name, limit, calls in [("Production server", "5", 12), ("Staging", "0.2", 30), ("Mobile backend", None, 4)]:
            secret = self.create_key(name, limit)
            for turn in range(calls):
                self.gateway.call(secret, words=f"What is the {turn + 1}th of the months? " * (turn % 4 + 1), cap=24)
        self.create_key("Not used yet")
        self.create_key("A name that goes on for as long as any name may " + "n" * 80, "0.2")

    def test_each_page_in_each_look(self):
        self.fill()
        for name, look in LOOKS.items():
            page = self.new_page(**look)
            page.goto(self.gateway.admin)
            expect(page.get_by_label("Password")).to_be_visible()
            self.screenshot(f"sign-in-{name}", page)
            self.assertEqual(problems(page), [], f"sign-in {name}")
            self.sign_in(page)
            keys = page.evaluate("fetch('admin/api/v1/keys').then((answer) => answer.json())")
            receipts = page.evaluate("fetch('admin/api/v1/receipts').then((answer) => answer.json())")
            first = lambda answer: (answer if isinstance(answer, list) else answer["data"])[0]["id"]
            for place in [*PAGES, f"/keys/{first(keys)}", f"/requests/{first(receipts)}"]:
                with self.subTest(place=place, look=name):
                    self.go(place, page)
                    page.wait_for_timeout(400)
                    parts = place.split("/")
                    shown = "overview" if place == "/" else parts[1] + ("-one" if len(parts) > 2 else "")
                    self.screenshot(f"{shown}-{name}", page)
                    self.assertEqual(problems(page), [])

    def test_each_page_bears_a_file_with_a_mistake(self):
        self.fill()
        good = self.gateway.config.read_text()
        self.addCleanup(self.gateway.config.write_text, good)
        self.gateway.config.write_text(good + "\n[nonsense]\nx = 1\n")
        for name, look in LOOKS.items():
            page = self.sign_in(self.new_page(**look))
            expect(page.get_by_text("The configuration file has a mistake")).to_be_visible()
            for place in ("/", "/config"):
                with self.subTest(place=place, look=name):
                    self.go(place, page)
                    page.wait_for_timeout(300)
                    self.screenshot(f"mistake{place.replace('/', '-')}-{name}", page)
                    self.assertEqual(problems(page), [])

    def test_each_dialog_in_each_look(self):
        self.fill()
        for name, look in LOOKS.items():
            page = self.sign_in(self.new_page(**look))
            dialog = page.get_by_role("dialog")

            def seen(what: str) -> None:
                with self.subTest(what=what, look=name):
                    self.screenshot(f"{what}-{name}", page, whole=False)
                    self.assertEqual(problems(page), [])

            self.go("/keys", page)
            page.get_by_role("button", name="Create new key").click()
            expect(dialog).to_be_visible()
            seen("create-key")
            for part in dialog.locator("summary").all():
                part.click()
            dialog.get_by_role("button", name="Create key").scroll_into_view_if_needed()
            dialog.get_by_label("converse", exact=True).focus()
            seen("create-key-all")
            dialog.get_by_label("Name").fill(f"Made in {name}")
            dialog.get_by_label("Daily").fill("five")
            dialog.get_by_role("button", name="Create key").click()
            expect(dialog.get_by_text("Write an amount in dollars")).to_be_visible()
            seen("create-key-wrong")
            dialog.get_by_label("Daily").fill("5")
            dialog.get_by_role("button", name="Create key").click()
            expect(page.get_by_role("textbox", name="Secret")).to_be_visible()
            seen("secret")
            page.get_by_label("I have put it in a safe place").check()
            page.get_by_role("button", name="Done").click()
            page.get_by_role("button", name=f"Actions for Made in {name}").click()
            page.get_by_role("button", name="Revoke", exact=True).click()
            expect(dialog.get_by_text("This cannot be undone.")).to_be_visible()
            seen("revoke")
            page.keyboard.press("Escape")
            self.go("/models", page)
            page.get_by_role("button", name="$100.00 / $200.00").click()
            expect(dialog).to_be_visible()
            seen("rates")
            page.keyboard.press("Escape")
            page.get_by_role("button", name="Update prices").click()
            price = {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 0.0000123, "output_cost_per_token": 0.0000456}
            file = self.gateway.folder / "prices.json"
            file.write_text(json.dumps({"gpt-4o": price, "gpt-new": price}))
            seen("update-prices")
            dialog.get_by_label("Price list").set_input_files(file)
            dialog.get_by_role("button", name="See what would change").click()
            expect(page.get_by_role("dialog", name="What would change")).to_be_visible()
            seen("price-changes")
            page.keyboard.press("Escape")

    def test_the_chart_is_read_by_hovering_and_by_the_arrow_keys(self):
        self.fill()
        page = self.sign_in(self.page)
        drawing = page.locator(".chart-drawing").first
        drawing.focus()
        page.keyboard.press("End")
        expect(page.locator(".chart-tip").first).to_contain_text("echo")
        expect(page.locator(".chart [aria-live]").first).to_contain_text("$")
        page.keyboard.press("Escape")
        expect(page.locator(".chart-tip").first).to_be_hidden()
        box = drawing.bounding_box()
        page.mouse.move(box["x"] + box["width"] - 30, box["y"] + 60)
        expect(page.locator(".chart-tip").first).to_contain_text("$")

    def test_the_switch_outlives_the_page(self):
        page = self.sign_in()
        page.get_by_role("button", name="Theme: system").click()
        page.get_by_role("button", name="Theme: light").click()
        expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
        page.reload()
        self.assertEqual(page.evaluate("document.documentElement.dataset.theme"), "dark")


if __name__ == "__main__":
    unittest.main()
