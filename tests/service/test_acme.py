"""Certificates that are ordered: by a real authority for tests, which really looks at the gateway."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import socket
import ssl
import stat
import subprocess
import time
import unittest
import urllib.request
from collections.abc import Iterator

import httpx
import trustme

from manager import PATIENCE, Manager, chat, headers, service

NAME = "gateway.test"
# What is tried again may rest some seconds before.
LONG = 40
AUTHORITY = trustme.CA()


def free_port() -> int:
    """A port that nobody has just now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Pebble:
    """The authority, and a server of names that says that all names are here."""

    def __init__(self, folder: pathlib.Path, tls_port: int, **more: object) -> None:
        self.folder, self.more = folder, more
        self.tls_port = tls_port
        self.port, self.management, self.names = free_port(), free_port(), free_port()
        self.children: list[subprocess.Popen[bytes]] = []
        made = AUTHORITY.issue_cert("localhost", "127.0.0.1")
        made.private_key_pem.write_to_path(folder / "pebble.key")
        (folder / "pebble.crt").write_bytes(b"".join(p.bytes() for p in made.cert_chain_pems))
        AUTHORITY.cert_pem.write_to_path(folder / "authority.pem")

    @property
    def directory(self) -> str:
        """Where it says what it can do."""
        return f"https://localhost:{self.port}/dir"

    def start(self) -> None:
        """Starts it anew: it remembers nothing."""
        config = {
            "listenAddress": f"127.0.0.1:{self.port}",
            "managementListenAddress": f"127.0.0.1:{self.management}",
            "certificate": str(self.folder / "pebble.crt"),
            "privateKey": str(self.folder / "pebble.key"),
            "httpPort": free_port(),
            "tlsPort": self.tls_port,
            **self.more,
        }
        file = self.folder / "pebble.json"
        file.write_text(json.dumps({"pebble": config}))
        names = [
            "pebble-challtestsrv", "-defaultIPv4", "127.0.0.1", "-defaultIPv6", "",
            "-dns01", f"127.0.0.1:{self.names}", "-http01", "", "-https01", "",
            "-tlsalpn01", "", "-management", f"127.0.0.1:{free_port()}",
        ]  # fmt: skip
        pebble = ["pebble", "-config", str(file), "-dnsserver", f"127.0.0.1:{self.names}"]
        environment = {"PATH": os.environ["PATH"], "PEBBLE_VA_NOSLEEP": "1"}
        with (self.folder / "pebble.log").open("ab") as log:
            for command in (names, pebble):
                child = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
                self.children.append(child)
        wait_for(lambda: reachable(self.port) and reachable(self.management))

    def stop(self) -> None:
        """Takes it away."""
        for child in self.children:
            child.kill()
            child.wait()
        self.children.clear()

    def trust(self) -> ssl.SSLContext:
        """What clients verify with that believe it."""
        context = ssl.create_default_context()
        AUTHORITY.configure_trust(context)
        url = f"https://localhost:{self.management}/roots/0"
        with urllib.request.urlopen(url, context=context, timeout=PATIENCE) as answer:
            return ssl.create_default_context(cadata=answer.read().decode())


def reachable(port: int) -> bool:
    """Whether somebody listens."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def wait_for(what, seconds: float = PATIENCE) -> None:
    """Waits until something is so."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not come to be"
        time.sleep(0.05)


def written(directory: str, more: str = "") -> str:
    """The section of the configuration."""
    return (
        f'[acme]\nnames = ["{NAME}"]\nagree_to_terms = true\ncontact = "admin@example.com"\n'
        f'directory = "{directory}"\nauthority_file = "authority.pem"\n{more}\n'
    )


@contextlib.contextmanager
def gateway(**more: object) -> Iterator[tuple[Manager, Pebble]]:
    """A gateway that orders its certificate, and the authority, of which neither is started."""
    with service("", "[server.tls]\nacme = true") as manager:
        _, port = manager.hold("gateway")
        pebble = Pebble(manager.folder, port, **more)
        manager.write(written(pebble.directory))
        try:
            yield manager, pebble
        finally:
            pebble.stop()


def shown(manager: Manager, trust: ssl.SSLContext, name: str = NAME) -> int | None:
    """The serial number of the certificate that is shown to a client that verifies it."""
    address = manager.passed[0][1].getsockname()
    with socket.create_connection(address, PATIENCE) as plain:
        try:
            with trust.wrap_socket(plain, server_hostname=name) as stream:
                return int(stream.getpeercert()["serialNumber"], 16)
        except ssl.SSLCertVerificationError:
            raise
        except (ssl.SSLError, ConnectionError):
            return None


def standing(manager: Manager) -> dict[str, object]:
    """What the gateway says of its certificate."""
    [one] = json.loads(manager.command("admin", "status", "--json"))["certificates"]
    return one


class Orders(unittest.TestCase):
    """Orders that go well."""

    def test_issue_serve_and_keep(self) -> None:
        with gateway() as (manager, pebble):
            pebble.start()
            trust = pebble.trust()
            manager.start()
            wait_for(lambda: shown(manager, trust), LONG)
            serial = shown(manager, trust)
            secret = manager.command("keys", "create", "acme").strip()
            port = manager.passed[0][1].getsockname()[1]
            with httpx.Client(http2=True, verify=trust) as client:
                answer = client.post(
                    f"https://127.0.0.1:{port}/v1/chat/completions",
                    content=chat(3, False),
                    headers=headers(secret),
                    extensions={"sni_hostname": NAME},
                )
            self.assertEqual((answer.status_code, answer.http_version), (200, "HTTP/2"))
            said = standing(manager)
            self.assertEqual((said["listener"], said["source"]), ("gateway", NAME))
            self.assertIsNone(said["last_failure"])
            self.assertLess(said["next_order"], said["valid_until"])
            self.assertIn("valid until", manager.command("admin", "status"))
            self.assertIn(NAME, manager.command("doctor", "--offline"))
            self.assertIn("result=\"issued\"} 1", self.metrics(manager))
            folder = manager.folder / "acme"
            kept = sorted(folder.iterdir())
            self.assertEqual(len(kept), 2, kept)
            for file in (folder, *kept):
                self.assertEqual(stat.S_IMODE(file.stat().st_mode) & 0o077, 0, file)
            # Neither a restart nor an authority that is away is noticed by clients.
            pebble.stop()
            manager.restart()
            self.assertEqual(shown(manager, trust), serial)
            time.sleep(1)
            self.assertIn('result="issued"} 0', self.metrics(manager))
            self.assertIn('result="failed"} 0', self.metrics(manager))

    def metrics(self, manager: Manager) -> str:
        """The page for Prometheus."""
        transport = httpx.HTTPTransport(uds=str(manager.folder / "admin.sock"))
        with httpx.Client(transport=transport) as client:
            answer = client.get("http://localhost/metrics")
        self.assertEqual(answer.status_code, 200)
        return answer.text

    def test_renewed_while_it_serves(self) -> None:
        with gateway(certificateValidityPeriod=15) as (manager, pebble):
            pebble.start()
            trust = pebble.trust()
            manager.start()
            wait_for(lambda: shown(manager, trust), LONG)
            serials = [shown(manager, trust)]
            began = time.monotonic()
            while len(serials) < 3:
                serial = shown(manager, trust)
                self.assertIsNotNone(serial, "a handshake failed")
                if serial != serials[-1]:
                    serials.append(serial)
                self.assertLess(time.monotonic() - began, LONG)
                time.sleep(0.05)
            # One that forgets its customers is told of them again.
            pebble.stop()
            pebble.start()
            trust = pebble.trust()

            def renewed() -> bool:
                with contextlib.suppress(ssl.SSLCertVerificationError):
                    return shown(manager, trust) is not None
                return False

            wait_for(renewed, LONG)
            self.assertRegex(manager.log.read_text(), "order was not taken.*ccount")

    def test_bound_to_an_account_elsewhere(self) -> None:
        key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
        more = {"externalAccountBindingRequired": True, "externalAccountMACKeys": {"kid-1": key}}
        with gateway(**more) as (manager, pebble):
            pebble.start()
            manager.start()
            wait_for(lambda: standing(manager)["last_failure"])
            self.assertIn("externalAccountBinding", standing(manager)["last_failure"])
            (manager.folder / "eab").write_text(key)
            bound = 'eab_key_id = "kid-1"\neab_key_file = "eab"'
            manager.write(written(pebble.directory, bound))
            wait_for(lambda: shown(manager, pebble.trust()), LONG)


class Troubles(unittest.TestCase):
    """Orders that do not go well: the gateway serves all the same, and says what is wrong."""

    def test_an_authority_that_comes_later(self) -> None:
        with gateway() as (manager, pebble):
            manager.start()
            wait_for(lambda: standing(manager)["last_failure"])
            self.assertIn("does not answer", standing(manager)["last_failure"])
            self.assertIn("none yet", manager.command("admin", "status"))
            pebble.start()
            wait_for(lambda: shown(manager, pebble.trust()), LONG)
            self.assertIsNone(standing(manager)["last_failure"])

    def test_files_go_on_until_what_is_ordered_in_their_place_has_come(self) -> None:
        with gateway() as (manager, pebble):
            made = AUTHORITY.issue_cert(NAME)
            made.private_key_pem.write_to_path(manager.folder / "tls.key")
            made.cert_chain_pems[0].write_to_path(manager.folder / "tls.crt")
            manager.more = '[server.tls]\ncert = "tls.crt"\nkey = "tls.key"'
            manager.write()
            manager.start()
            context = ssl.create_default_context()
            AUTHORITY.configure_trust(context)
            before = shown(manager, context)
            self.assertIsNotNone(before)
            manager.more = "[server.tls]\nacme = true"
            manager.write(written(pebble.directory))
            wait_for(lambda: standing(manager)["last_failure"])
            self.assertEqual(shown(manager, context), before)
            pebble.start()
            manager.signal(signal.SIGHUP)

            def came() -> bool:
                with contextlib.suppress(ssl.SSLCertVerificationError):
                    return shown(manager, pebble.trust()) is not None
                return False

            wait_for(came)

    def test_a_wrong_directory(self) -> None:
        with gateway() as (manager, pebble):
            pebble.start()
            manager.write(written(pebble.directory.replace("/dir", "/nothing")))
            manager.start()
            wait_for(lambda: standing(manager)["last_failure"])
            self.assertIn("404", standing(manager)["last_failure"])
            # Whoever mends it does not wait.
            manager.write(written(pebble.directory))
            wait_for(lambda: shown(manager, pebble.trust()))

    def test_an_authority_that_is_not_believed(self) -> None:
        with gateway() as (manager, pebble):
            pebble.start()
            trustme.CA().cert_pem.write_to_path(manager.folder / "authority.pem")
            manager.start()
            wait_for(lambda: standing(manager)["last_failure"])
            self.assertIn("certificate", standing(manager)["last_failure"])
            self.assertFalse((manager.folder / "acme").exists())

    def test_a_name_that_is_not_here(self) -> None:
        with gateway() as (manager, pebble):
            pebble.tls_port = free_port()
            pebble.start()
            manager.start()
            wait_for(lambda: standing(manager)["last_failure"], LONG)
            why = standing(manager)["last_failure"]
            self.assertIn(NAME, why)
            self.assertIn("Failed to connect", why)
            rest = subprocess.run(
                ["date", "--date", str(standing(manager)["next_order"]), "+%s"],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            # An authority that refuses is not asked again and again.
            self.assertGreater(int(rest.stdout), time.time() + 500)

    def test_only_an_authority_that_was_asked_sees_a_proof(self) -> None:
        with gateway() as (manager, pebble):
            pebble.start()
            manager.start()
            wait_for(lambda: shown(manager, pebble.trust()), LONG)
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.set_alpn_protocols(["acme-tls/1"])
            self.assertIsNone(shown(manager, context))

    def test_a_stop_does_not_wait_for_an_authority(self) -> None:
        with gateway() as (manager, pebble):
            # It takes connections and says nothing.
            with socket.create_server(("127.0.0.1", pebble.port)):
                manager.start()
                time.sleep(0.5)
                began = time.monotonic()
                manager.signal(signal.SIGTERM)
                self.assertEqual(manager.wait(), 0)
                self.assertLess(time.monotonic() - began, 5)


if __name__ == "__main__":
    unittest.main()
