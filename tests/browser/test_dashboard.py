"""What an administrator does, in a real browser, against the real binary."""

import json
import re
import time
import unittest
import urllib.error
import urllib.request

from playwright.sync_api import expect

from harness import PASSWORD, BrowserCase

LIMIT_EXCEEDED = {
    "message": "API key has exceeded its spending limit.",
    "type": "authorization_error",
    "code": "spending_limit_exceeded",
}


class Administration(BrowserCase):
    def test_nothing_is_shown_to_somebody_who_is_not_signed_in(self):
        self.page.goto(f"{self.gateway.admin}/#/keys")
        expect(self.page.get_by_role("heading", name="Sign in to Conduit")).to_be_visible()
        for path in ("keys", "status", "receipts", "sessions", "config"):
            with self.assertRaises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(f"{self.gateway.admin}/admin/api/v1/{path}", timeout=10)
            self.assertEqual(caught.exception.code, 401, path)

    def test_a_key_from_creation_to_revocation(self):
        page = self.sign_in()
        # The secret is shown once.
        self.go("/keys")
        page.get_by_role("button", name="Create new key").first.click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_role("button", name="Create key").click()
        expect(dialog.get_by_text("Give the key a name")).to_be_visible()
        dialog.get_by_label("Name").fill("Production server")
        dialog.get_by_label("Daily").fill("a lot")
        dialog.get_by_role("button", name="Create key").click()
        expect(dialog.get_by_text("Write an amount in dollars")).to_be_visible()
        dialog.get_by_label("Daily").fill("0.10")
        dialog.get_by_role("button", name="Create key").click()
        shown = page.get_by_role("textbox", name="Secret")
        expect(shown).to_be_visible()
        secret = shown.text_content()
        self.assertRegex(secret, r"^sk-cdt-[0-9A-Za-z]{38}$")
        # The examples lead to this gateway.
        for language in ("curl", "Python", "JavaScript"):
            page.get_by_role("button", name=language, exact=True).click()
            expect(page.locator("pre.code")).to_contain_text(f"{self.gateway.url}/v1/chat/completions")
        page.keyboard.press("Escape")
        expect(shown).to_be_visible()
        expect(page.get_by_role("button", name="Done")).to_be_disabled()
        page.get_by_label("I have put it in a safe place").check()
        page.get_by_role("button", name="Done").click()
        self.gone(secret)
        page.reload()
        expect(page.get_by_role("link", name="Production server")).to_be_visible()
        self.gone(secret)

        # It is used, and the spend moves without reloading.
        page.evaluate("window.sameDocument = true")
        bar = page.get_by_role("meter", name=re.compile("^Daily"))
        expect(bar).to_have_attribute("aria-valuenow", "0")
        status, _ = self.gateway.call(secret)
        self.assertEqual(status, 200)
        expect(bar).not_to_have_attribute("aria-valuenow", "0", timeout=10_000)

        # The limit is reached, and the page says so.
        for _ in range(100):
            status, body = self.gateway.call(secret, cap=8)
            if status != 200:
                break
        self.assertEqual(status, 403)
        body["error"].pop("param", None)
        self.assertEqual(body["error"], LIMIT_EXCEEDED)
        page.get_by_role("link", name="Production server").click()
        spent = page.get_by_role("meter", name=re.compile("^Daily"))
        expect(spent).to_be_visible()
        self.assertGreater(int(spent.get_attribute("aria-valuenow")), 50)
        expect(page.get_by_role("region", name="Requests")).to_contain_text("echo")

        # Charged for more than is left, it is at its limit in every word.
        self.choose("More for Production server", "Adjust spend")
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("What to do").select_option(label="Charge")
        dialog.get_by_label("Amount").fill("0.10")
        dialog.get_by_label("Reason").fill("an invoice that came late")
        dialog.get_by_role("button", name="Adjust", exact=True).click()
        expect(page.get_by_text("The daily limit is reached")).to_be_visible()
        expect(page.get_by_role("region", name="Adjustments")).to_contain_text("an invoice that came late")

        # It is raised, and calls go again.
        page.get_by_role("button", name="Edit", exact=True).first.click()
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_label("Daily")).to_have_value("0.10")
        dialog.get_by_label("Daily").fill("5")
        dialog.get_by_role("button", name="Save").click()
        expect(page.get_by_role("dialog")).to_have_count(0)
        self.assertEqual(self.gateway.call(secret)[0], 200)
        expect(page.locator(".windows")).to_contain_text("$5.00")

        # A new secret takes the old one's place.
        page.get_by_role("button", name="Rotate", exact=True).click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("The old secret ends").select_option("0")
        dialog.get_by_role("button", name="Make a new secret").click()
        renewed = page.get_by_role("textbox", name="Secret").text_content()
        page.get_by_label("I have put it in a safe place").check()
        page.get_by_role("button", name="Done").click()
        self.assertNotEqual(renewed, secret)
        self.assertEqual(self.gateway.call(secret)[0], 401)
        self.assertEqual(self.gateway.call(renewed)[0], 200)

        # It is disabled and enabled.
        self.choose("More for Production server", "Disable")
        expect(page.get_by_text("This key is disabled")).to_be_visible()
        self.assertEqual(self.gateway.call(renewed)[0], 401)
        self.choose("More for Production server", "Enable")
        expect(page.get_by_text("This key is disabled")).to_have_count(0)
        self.assertEqual(self.gateway.call(renewed)[0], 200)

        # It is revoked, by its name.
        self.choose("More for Production server", "Revoke")
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("Revoke Production server?")
        dialog.get_by_label("Type Production server to confirm").fill("production")
        dialog.get_by_role("button", name="Revoke key").click()
        expect(dialog.get_by_text("That is not the name")).to_be_visible()
        dialog.get_by_label("Type Production server to confirm").fill("Production server")
        dialog.get_by_role("button", name="Revoke key").click()
        expect(page.get_by_text("This key is revoked")).to_be_visible()
        self.assertEqual(self.gateway.call(renewed)[0], 401)
        self.assertTrue(page.evaluate("window.sameDocument"), "the page was loaded again")

        # Nothing of it is left in the browser, and it all stands in the audit log.
        kept = page.evaluate("JSON.stringify([localStorage, sessionStorage])")
        self.assertNotIn("sk-cdt", kept)
        self.go("/audit")
        for verb in ("Create a key", "Change limits", "Rotate a secret", "Disable a key", "Enable a key", "Revoke a key"):
            expect(page.get_by_role("region", name="Audit log")).to_contain_text(verb)

    def gone(self, secret: str) -> None:
        self.assertNotIn(secret, self.page.content())

    def choose(self, menu: str, action: str) -> None:
        self.page.get_by_role("button", name=menu).click()
        self.page.get_by_role("button", name=action, exact=True).click()

    def key_as_told(self, name: str) -> dict:
        """A key as the admin API shows it to the page."""
        return self.page.evaluate("name => fetch(`admin/api/v1/keys/${encodeURIComponent(name)}`).then((answer) => answer.json())", name)

    def test_everything_about_a_key_is_set_and_changed_in_the_form(self):
        page = self.sign_in()
        self.go("/keys")
        page.get_by_role("button", name="Create new key").first.click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Name").fill("Everything")
        dialog.get_by_label("Weekly").fill("20")
        dialog.get_by_label("Expires").select_option(label="In 30 days")
        dialog.get_by_label("Models").fill("echo, gpt-*")
        dialog.get_by_text("Rates, networks and enforcement").click()
        dialog.get_by_label("Enforcement").select_option(label="Soft: admit calls while less is spent")
        dialog.get_by_label("Requests / min").fill("60")
        dialog.get_by_label("Tokens / min").fill("100000")
        dialog.get_by_label("At the same time").fill("4")
        dialog.get_by_label("Networks").fill("127.0.0.0/8, 192.0.2.1")
        dialog.get_by_text("Endpoints", exact=True).click()
        dialog.get_by_label("chat/completions").check()
        dialog.get_by_label("messages", exact=True).check()
        dialog.locator("summary", has_text="Tags").click()
        dialog.get_by_role("textbox", name="Tags").fill("team=web\nno tag")
        dialog.get_by_role("button", name="Create key").click()
        expect(dialog.get_by_text("“no tag” is not so")).to_be_visible()
        dialog.get_by_role("textbox", name="Tags").fill("team=web\ncost = a=b")
        dialog.get_by_role("button", name="Create key").click()
        page.get_by_label("I have put it in a safe place").check()
        page.get_by_role("button", name="Done").click()
        key = self.key_as_told("Everything")
        self.assertEqual((key["rpm"], key["tpm"], key["parallel"]), (60, 100_000, 4))
        self.assertEqual(key["endpoints"], ["chat/completions", "messages"])
        self.assertEqual(key["tags"], [["team", "web"], ["cost", "a=b"]])
        self.assertEqual((key["enforcement"], key["models"]), ("soft", ["echo", "gpt-*"]))
        self.assertEqual(key["allow_ips"], ["127.0.0.0/8", "192.0.2.1/32"])
        self.assertIsNotNone(key["expires_at"])

        # The form shows it all again, and what is taken out is cleared.
        page.get_by_role("link", name="Everything").click()
        expect(page.get_by_text("Soft: admit while less is spent")).to_be_visible()
        page.get_by_role("button", name="Edit", exact=True).first.click()
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_label("Requests / min")).to_have_value("60")
        expect(dialog.get_by_label("chat/completions")).to_be_checked()
        expect(dialog.get_by_role("textbox", name="Tags")).to_have_value("team=web\ncost=a=b")
        dialog.get_by_label("Enforcement").select_option(label="As the configuration says")
        dialog.get_by_label("Expires").select_option(label="Never")
        dialog.get_by_label("Requests / min").fill("")
        dialog.get_by_label("messages", exact=True).uncheck()
        dialog.get_by_role("textbox", name="Tags").fill("")
        dialog.get_by_label("Networks").fill("somewhere")
        dialog.get_by_role("button", name="Save").click()
        # What the server refuses stands at the field.
        expect(dialog.locator('[data-field="allow_ips"] .field-error')).to_contain_text("somewhere")
        dialog.get_by_label("Networks").fill("")
        dialog.get_by_role("button", name="Save").click()
        expect(page.get_by_role("dialog")).to_have_count(0)
        key = self.key_as_told("Everything")
        self.assertEqual((key["rpm"], key["tpm"], key["endpoints"]), (None, 100_000, ["chat/completions"]))
        self.assertEqual((key["tags"], key["enforcement"], key["expires_at"], key["allow_ips"]), ([], None, None, []))

    def test_how_long_calls_take_is_told_and_drawn(self):
        page = self.sign_in()
        secret = self.create_key("Timed")
        for _ in range(3):
            self.assertEqual(self.gateway.call(secret)[0], 200)
        self.go("/")
        tile = page.locator(".tile", has_text="Whole call, 7 days")
        expect(tile).to_contain_text("ms")
        expect(tile).to_contain_text("95 %:")
        chart = page.get_by_role("img", name=re.compile("How long calls take"))
        chart.focus()
        page.keyboard.press("End")
        expect(page.locator(".chart-tip:visible")).to_contain_text("First byte, median")

    def test_prices_are_updated_from_a_file_after_a_look_at_what_changes(self):
        page = self.sign_in()
        self.go("/models")
        catalogue = page.locator(".card", has_text="Price catalogue")
        expect(catalogue).to_contain_text("None")
        price = {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 0.0000123, "output_cost_per_token": 0.0000456}
        file = self.gateway.folder / "prices.json"
        page.get_by_role("button", name="Update prices").click()
        for text, words in [("no list", "not JSON"), (json.dumps({"gpt-4o": price}), None)]:
            file.write_text(text)
            dialog = page.get_by_role("dialog")
            dialog.get_by_label("Price list").set_input_files(file)
            dialog.get_by_role("button", name="See what would change").click()
            if words:
                expect(dialog.locator(".field-error")).not_to_be_empty()
        dialog = page.get_by_role("dialog", name="What would change")
        expect(dialog).to_contain_text("gpt-4o")
        expect(dialog).to_contain_text("12.3")
        dialog.get_by_role("button", name="Put in force").click()
        expect(catalogue).to_contain_text("1 model")
        page.get_by_role("button", name="Go back to the built-in prices").click()
        page.get_by_role("dialog").get_by_role("button", name="Go back").click()
        expect(catalogue).to_contain_text("None")

    def test_every_rate_of_a_model_is_shown(self):
        page = self.sign_in()
        self.go("/models")
        page.get_by_role("button", name="$100.00 / $200.00").click()
        dialog = page.get_by_role("dialog", name="Prices of echo")
        expect(dialog).to_contain_text("million tokens")
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)

    def test_a_request_is_explained_to_the_last_digit(self):
        page = self.sign_in()
        secret = self.create_key("Explained")
        self.assertEqual(self.gateway.call(secret)[0], 200)
        self.go("/requests")
        page.get_by_label("Key").select_option(label="Explained")
        row = page.locator("tbody tr").first
        expect(row).to_contain_text("Explained")
        row.get_by_role("link").click()
        expect(page.get_by_role("heading", name="How the cost came about")).to_be_visible()
        expect(page.get_by_text("rounded up once to the nano-dollar")).to_be_visible()
        # An address that can be kept.
        page.reload()
        expect(page.get_by_role("heading", name="How the cost came about")).to_be_visible()

    def test_the_playground_streams_an_answer_and_says_what_it_cost(self):
        page = self.sign_in()
        self.create_key("Other")
        self.create_key("Player")
        self.go("/playground")
        # By its name: nobody has to paste a secret.
        page.get_by_label("API key").select_option(label=self.option_of("Player"))
        page.get_by_label("Message", exact=True).fill("How are you today?")
        page.keyboard.press("Enter")
        talk = page.get_by_role("log")
        expect(talk.locator(".bubble-text").nth(1)).to_contain_text("How are you today?")
        expect(talk.locator(".bubble-foot")).to_contain_text(re.compile(r"\$0\.0\d+"))
        self.assertEqual(self.key_as_told("Other")["windows"][0]["spent"], "0.00")
        self.gateway.command("keys", "disable", "Player")
        page.get_by_label("Message", exact=True).fill("Again")
        page.get_by_role("button", name="Send").click()
        expect(talk).to_contain_text("Invalid API key provided.")

    def test_a_new_key_is_tried_at_once(self):
        page = self.sign_in()
        self.create_key("Before")
        page.get_by_role("button", name="Create new key").first.click()
        page.get_by_role("dialog").get_by_label("Name").fill("Eager")
        page.get_by_role("dialog").get_by_role("button", name="Create key").click()
        page.get_by_role("button", name="Try it").click()
        expect(page.get_by_label("API key")).to_have_value(self.key_as_told("Eager")["id"])

    def option_of(self, name: str) -> str:
        """A key as the playground lists it."""
        return f"{name} (…{self.key_as_told(name)['secret_ends_in']})"

    def test_only_a_page_of_ours_calls_from_the_playground(self):
        page = self.sign_in()
        secret = self.create_key("Careful")
        address = f"{self.gateway.admin}/playground/v1/models"
        request = urllib.request.Request(address, headers={"Authorization": f"Bearer {secret}"})
        with self.assertRaises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=10)
        self.assertEqual(caught.exception.code, 401)
        ask = """async ([path, secret, token]) => (await fetch(path, { headers: {
            Authorization: `Bearer ${secret}`, ...(token ? { 'X-Csrf-Token': token } : {}) } })).status"""
        session = page.evaluate("fetch('admin/api/v1/session').then((answer) => answer.json())")
        asked = lambda secret, token: page.evaluate(ask, ["playground/v1/models", secret, token])
        self.assertEqual(asked(secret, None), 403)
        self.assertEqual(asked(secret, session["csrf_token"]), 200)
        self.assertEqual(asked("sk-cdt-wrong", session["csrf_token"]), 401)

    def test_usage_is_grouped_and_taken_home_as_a_file(self):
        page = self.sign_in()
        secret = self.create_key("=Counted")
        self.assertEqual(self.gateway.call(secret)[0], 200)
        self.go("/usage?by=key")
        expect(page.get_by_role("region", name="Usage", exact=True)).to_contain_text("=Counted")
        with page.expect_download() as started:
            page.get_by_role("button", name="Download CSV").click()
        with open(started.value.path()) as file:
            lines = file.read().splitlines()
        self.assertTrue(lines[0].startswith("key_id,key_name,calls,") and lines[0].endswith(",total_p95_ms"))
        # A spreadsheet must not take a name for a formula.
        self.assertTrue(any(",'=Counted,1," in line for line in lines), lines)
        # Days are the viewer's own.
        self.go("/usage?by=day")
        with page.expect_download() as started:
            page.get_by_role("button", name="Download CSV").click()
        with open(started.value.path()) as file:
            lines = file.read().splitlines()
        today = page.evaluate("new Intl.DateTimeFormat('sv-SE').format(new Date())")
        self.assertTrue(lines[-1].startswith(f"{today},"), lines)

    def test_a_team_has_limits_and_keys(self):
        page = self.sign_in()
        self.go("/teams")
        page.get_by_role("button", name="Create team").first.click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Name").fill("Research")
        dialog.get_by_label("Monthly").fill("50")
        dialog.get_by_role("button", name="Create team").click()
        expect(page.get_by_role("heading", name="Research")).to_be_visible()
        expect(page.get_by_role("meter", name=re.compile(r"^Monthly: \$0\.00 of \$50\.00"))).to_be_visible()

    def test_a_mistake_in_the_file_is_shown_with_its_line(self):
        page = self.sign_in()
        good = self.gateway.config.read_text()
        self.addCleanup(self.gateway.config.write_text, good)
        self.go("/config")
        expect(page.get_by_text("As the file says")).to_be_visible()
        self.gateway.config.write_text(good.replace('provider = "echo"', 'provider = "ekko"'))
        wrong = page.get_by_role("region", name="What is wrong with the file")
        expect(wrong).to_contain_text("ekko", timeout=15_000)
        expect(wrong).to_contain_text("^")
        self.gateway.config.write_text(good)
        expect(page.get_by_text("As the file says")).to_be_visible(timeout=15_000)

    def test_a_token_and_the_sessions(self):
        page = self.sign_in()
        self.go("/settings")
        page.get_by_role("button", name="Create token").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Name").fill("Billing export")
        dialog.get_by_label("Expires").select_option(label="In 30 days")
        dialog.get_by_role("button", name="Create token").click()
        token = page.get_by_role("textbox", name="Token").text_content()
        page.get_by_role("button", name="Done").click()
        request = urllib.request.Request(
            f"{self.gateway.admin}/admin/api/v1/keys", headers={"Authorization": f"Bearer {token}"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            json.load(answer)
        self.assertNotIn(token, page.content())
        expect(page.get_by_role("region", name="Tokens")).to_contain_text("expires in 29 d")
        other = self.sign_in(self.new_page())
        self.go("/settings", other)
        expect(other.get_by_role("region", name="Sessions").get_by_role("button", name="End").first).to_be_visible()

    def test_the_audit_log_goes_back_to_its_beginning(self):
        page = self.sign_in()
        token = self.gateway.command("admin", "tokens", "create", f"many {time.time()}", "--role", "admin").strip()
        for _ in range(120):
            request = urllib.request.Request(
                f"{self.gateway.admin}/admin/api/v1/prices/reset", method="POST", data=b'{"dry_run": true}',
                headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
            )
            urllib.request.urlopen(request, timeout=10).close()
        self.go("/audit")
        log = page.get_by_role("region", name="Audit log")
        expect(log).to_contain_text("Reset prices")
        expect(log).not_to_contain_text("Sign in")
        page.get_by_role("button", name="Show more").click()
        expect(log).to_contain_text("Sign in")

    def test_what_the_server_refuses_stands_where_it_can_be_mended(self):
        page = self.sign_in()
        self.create_key("There already")
        page.get_by_role("button", name="Create new key").first.click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Name").fill("There already")
        dialog.get_by_text("Rates, networks and enforcement").click()
        networks = dialog.get_by_label("Networks")
        networks.fill("10.0.0.1/8")
        # Out of sight when the form is sent.
        dialog.get_by_text("Rates, networks and enforcement").click()
        dialog.get_by_role("button", name="Create key").click()
        expect(dialog.get_by_text("`10.0.0.1/8` is not the start of a network: write 10.0.0.0/8", exact=True)).to_be_visible()
        expect(networks).to_be_focused()
        networks.fill("10.0.0.0/8")
        dialog.get_by_role("button", name="Create key").click()
        expect(dialog.get_by_text("there is a key called `There already` already")).to_be_visible()
        expect(dialog.get_by_role("button", name="Create key")).to_be_focused()

    def instead(self, address: str, answer) -> None:
        """Answers the page's requests otherwise, until the test is over."""
        self.page.route(address, answer)
        self.addCleanup(self.page.unroute_all, behavior="ignoreErrors")

    def test_of_very_many_keys_some_are_drawn(self):
        page = self.sign_in()

        def very_many(route):
            answer = route.fetch()
            keys = answer.json()
            one = keys["data"][0]
            keys["data"] = [{**one, "id": f"key_{n:011}", "name": f"worker {n:03}", "status": "active"} for n in range(250)]
            route.fulfill(response=answer, json=keys)

        self.create_key("One of many")
        self.instead("**/admin/api/v1/keys?*", very_many)
        self.go("/keys?search=worker")
        rows = page.get_by_role("region", name="API keys").get_by_role("link")
        expect(rows).to_have_count(100)
        expect(page.get_by_text("100 of 250")).to_be_visible()
        page.get_by_role("button", name="Name").click()
        expect(rows.first).to_have_text("worker 000")
        page.get_by_role("button", name="Show more").click()
        expect(rows).to_have_count(200)
        page.get_by_label("Search keys").fill("worker 24")
        expect(rows).to_have_count(10)

    def test_examples_are_as_the_gateway_is_reached(self):
        page = self.sign_in()

        def over_tls(route):
            status = route.fetch()
            route.fulfill(response=status, json={**status.json(), "listen": ["0.0.0.0:8443"], "tls": True})

        self.instead("**/admin/api/v1/status", over_tls)
        self.go("/settings")
        expect(page.get_by_label("Address of the gateway in examples")).to_have_value("https://127.0.0.1:8443")

    def test_the_keyboard_alone_is_enough(self):
        page = self.sign_in()
        self.go("/keys")
        page.get_by_role("button", name="Create new key").first.focus()
        page.keyboard.press("Enter")
        expect(page.get_by_label("Name")).to_be_focused()
        # The focus stays in the dialog, however often it is moved on.
        for _ in range(30):
            page.keyboard.press("Tab")
            inside = page.evaluate("!document.activeElement || document.activeElement === document.body || Boolean(document.activeElement.closest('dialog'))")
            self.assertTrue(inside)
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
        expect(page.get_by_role("button", name="Create new key").first).to_be_focused()

    def test_signing_out_ends_the_session(self):
        page = self.sign_in()
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", name="Sign in to Conduit")).to_be_visible()
        page.reload()
        expect(page.get_by_role("heading", name="Sign in to Conduit")).to_be_visible()


class WrongPasswords(BrowserCase):
    def test_so_many_wrong_passwords_and_no_more(self):
        page = self.page
        page.goto(self.gateway.admin)
        for tries in range(40):
            page.get_by_label("Password").fill("not the password at all")
            page.get_by_role("button", name="Sign in").click()
            alert = page.get_by_role("alert").filter(has_text=re.compile("password", re.I))
            expect(alert.first).to_be_visible()
            expect(page.get_by_role("button", name="Sign in")).to_be_enabled()
            if "Too many" in alert.first.text_content():
                break
        self.assertEqual(tries, 10, "ten attempts, and the next is turned away")
        expect(page.get_by_text(re.compile("Too many wrong passwords"))).to_be_visible()
        # Now even the right one has to wait.
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_text(re.compile("Too many wrong passwords"))).to_be_visible()
        self.screenshot("locked-out")


if __name__ == "__main__":
    unittest.main()
