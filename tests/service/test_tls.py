"""TLS with real clients: HTTP/1.1 and HTTP/2, certificates that change under load, and what goes wrong."""

from __future__ import annotations

import asyncio
import datetime
import http.client
import json
import os
import pathlib
import signal
import socket
import ssl
import subprocess
import threading
import time
import unittest

import h2.config
import h2.connection
import h2.events
import httpx
import openai
import trustme

from manager import PATIENCE, Manager, chat, headers, service

TLS = '[server.tls]\ncert = "tls.crt"\nkey = "tls.key"'
AUTHORITY = trustme.CA()


def put(folder: pathlib.Path, names: dict[str, bytes]) -> None:
    """Puts files in place as a client of ACME does: each by a rename."""
    for name, content in names.items():
        made = folder / f"{name}.new"
        made.write_bytes(content)
        made.rename(folder / name)


def pair(name: str = "localhost", **more: datetime.datetime) -> tuple[bytes, bytes]:
    """A certificate with its chain, and the key."""
    made = AUTHORITY.issue_cert(name, "127.0.0.1", **more)
    chain = b"".join(pem.bytes() for pem in made.cert_chain_pems)
    return chain, made.private_key_pem.bytes()


def issue(folder: pathlib.Path, name: str = "localhost", **more: datetime.datetime) -> None:
    """Puts a new certificate and its key in place."""
    chain, key = pair(name, **more)
    put(folder, {"tls.crt": chain, "tls.key": key})


def trust() -> ssl.SSLContext:
    """What clients verify with."""
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


def serial(address: tuple[str, int]) -> int:
    """The serial number of the certificate that is shown."""
    context = trust()
    with socket.create_connection(address, PATIENCE) as plain:
        with context.wrap_socket(plain, server_hostname="localhost") as stream:
            return int(stream.getpeercert()["serialNumber"], 16)


def started(manager: Manager) -> tuple[str, str]:
    """Starts a service with a certificate; its address for clients, and a key."""
    issue(manager.folder)
    manager.start()
    _, port = manager.address()
    return f"https://localhost:{port}", manager.command("keys", "create", "tls").strip()


def tls_service(server: str = ""):
    """A service that speaks TLS."""
    return service(f'listen = "127.0.0.1:0"\n{server}\n{TLS}')


def exactly(stream: ssl.SSLSocket, length: int) -> bytes:
    """So many bytes."""
    data = b""
    while len(data) < length:
        more = stream.recv(length - len(data))
        assert more, "the connection was closed"
        data += more
    return data


def wait_for(what) -> None:
    """Waits until something is so."""
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end, "it did not come to be"
        time.sleep(0.05)


class Clients(unittest.TestCase):
    """Clients that people use."""

    def test_httpx_over_both_versions(self) -> None:
        with tls_service() as manager:
            base, secret = started(manager)
            for http2, version in ((False, "HTTP/1.1"), (True, "HTTP/2")):
                with httpx.Client(http2=http2, verify=trust(), base_url=base) as client:
                    answer = client.post(
                        "/v1/chat/completions", content=chat(5, False), headers=headers(secret)
                    )
                    self.assertEqual((answer.status_code, answer.http_version), (200, version))
                    self.assertIn("word4", answer.json()["choices"][0]["message"]["content"])
                    self.assertEqual(int(answer.headers["content-length"]), len(answer.content))
                    self.assertIn("GMT", answer.headers["date"])
                    with client.stream(
                        "POST",
                        "/v1/chat/completions",
                        content=chat(20, True),
                        headers=headers(secret),
                    ) as stream:
                        self.assertEqual(stream.http_version, version)
                        pieces = list(stream.iter_raw())
                    self.assertGreater(len(pieces), 5)
                    self.assertTrue(b"".join(pieces).endswith(b"data: [DONE]\n\n"))
                    refused = client.post("/v1/chat/completions", content=b"{}")
                    self.assertEqual(refused.status_code, 401)
                    head = client.head("/healthz")
                    self.assertEqual((head.status_code, head.content), (200, b""))
            self.assertEqual(manager.calls(), 4)

    def test_many_streams_on_one_connection(self) -> None:
        with tls_service() as manager:
            base, secret = started(manager)
            failures = []

            async def call(client: httpx.AsyncClient, words: int) -> None:
                answer = await client.post(
                    "/v1/chat/completions", content=chat(words, True), headers=headers(secret)
                )
                if f"word{words - 1}" not in answer.text or answer.http_version != "HTTP/2":
                    failures.append(answer.text)

            async def all_at_once() -> None:
                # The synchronous client mixes up the streams of its threads.
                limits = httpx.Limits(max_connections=1)
                more = {"verify": trust(), "base_url": base, "timeout": PATIENCE, "limits": limits}
                async with httpx.AsyncClient(http2=True, **more) as client:
                    await client.get("/healthz")
                    await asyncio.gather(*(call(client, 5 + n % 20) for n in range(60)))

            asyncio.run(all_at_once())
            self.assertEqual(failures, [])
            self.assertEqual(manager.calls(), 60)

    def test_a_large_body_and_a_slow_reader(self) -> None:
        with tls_service() as manager:
            base, secret = started(manager)
            # More than the window of a stream, and an answer that is more than one piece.
            body = chat(300_000, False)
            self.assertGreater(len(body), 2 << 20)
            with httpx.Client(http2=True, verify=trust(), base_url=base, timeout=60) as client:
                with client.stream(
                    "POST", "/v1/chat/completions", content=body, headers=headers(secret)
                ) as answer:
                    self.assertEqual((answer.status_code, answer.http_version), (200, "HTTP/2"))
                    text = b""
                    for piece in answer.iter_raw(1000):
                        text += piece
                        time.sleep(0.002)
            self.assertGreater(len(text), 60_000)
            self.assertEqual(len(text), int(answer.headers["content-length"]))
            said = json.loads(text)["choices"][0]["message"]["content"].split()
            self.assertEqual(said[:3] + said[5000:5001], ["word0", "word1", "word2", "word5000"])

    def test_the_openai_sdk(self) -> None:
        with tls_service() as manager:
            base, secret = started(manager)
            versions = []

            def note(answer) -> None:
                versions.append(answer.http_version)

            http_client = openai.DefaultHttpxClient(
                http2=True, verify=trust(), event_hooks={"response": [note]}
            )
            with openai.OpenAI(
                base_url=f"{base}/v1", api_key=secret, http_client=http_client, max_retries=0
            ) as client:
                ask = {"model": "echo", "messages": [{"role": "user", "content": "Hello there!"}]}
                answer = client.chat.completions.create(**ask)
                self.assertEqual(answer.choices[0].message.content, "Hello there!")
                stream = client.chat.completions.create(**ask, stream=True)
                text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
                self.assertEqual(text, "Hello there!")
                with self.assertRaises(openai.NotFoundError):
                    client.chat.completions.create(**ask | {"model": "none"})
            self.assertEqual(versions, ["HTTP/2"] * 3)

    def test_curl(self) -> None:
        with tls_service() as manager:
            base, secret = started(manager)
            authority = manager.folder / "ca.pem"
            authority.write_bytes(AUTHORITY.cert_pem.bytes())
            for option, version in (("--http2", "2"), ("--http1.1", "1.1")):
                for tls in ("1.2", "1.3"):
                    done = subprocess.run(
                        [
                            "curl", "--silent", "--show-error", "--noproxy", "*", option,
                            f"--tlsv{tls}", "--tls-max", tls, "--cacert", authority,
                            "--write-out", "\n%{http_version} %{http_code}", "--data-binary", "@-",
                            "--header", f"Authorization: Bearer {secret}",
                            "--header", "Content-Type: application/json",
                            f"{base}/v1/chat/completions",
                        ],
                        input=chat(3, True), capture_output=True, timeout=PATIENCE,
                    )  # fmt: skip
                    text, said = done.stdout.decode().rsplit("\n", 1)
                    self.assertEqual(said, f"{version} 200", done.stderr)
                    self.assertIn("[DONE]", text)

    def test_old_tls_and_no_tls(self) -> None:
        with tls_service() as manager:
            base, _ = started(manager)
            old = trust()
            old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
            old.maximum_version = ssl.TLSVersion.TLSv1_1
            with self.assertRaises((httpx.ConnectError, ssl.SSLError)):
                httpx.get(f"{base}/healthz", verify=old, trust_env=False)
            answer = httpx.get(base.replace("https", "http") + "/healthz", trust_env=False)
            self.assertEqual(answer.status_code, 400)
            self.assertIn("speaks TLS", answer.text)


class Restarts(unittest.TestCase):
    """Restarts with a passed socket, under clients that keep their connections."""

    def test_no_call_is_lost_over_tls(self) -> None:
        with service(f'shutdown_deadline = "30s"\n{TLS}') as manager:
            host, port = manager.hold("gateway")
            base, secret = started(manager)
            stop, failures, done = threading.Event(), [], []

            def call(http2: bool, words: int) -> None:
                with httpx.Client(http2=http2, verify=trust(), timeout=PATIENCE) as client:
                    while not stop.is_set():
                        try:
                            answer = client.post(
                                f"https://localhost:{port}/v1/chat/completions",
                                content=chat(words, True),
                                headers=headers(secret),
                            )
                            assert answer.status_code == 200 and "[DONE]" in answer.text, answer
                            done.append(http2)
                        except Exception as error:  # noqa: BLE001: what is looked for
                            failures.append(repr(error))

            sorts = [(True, 3), (True, 15), (True, 3), (False, 3), (False, 15)]
            callers = [threading.Thread(target=call, args=sort) for sort in sorts]
            for caller in callers:
                caller.start()
            for _ in range(4):
                time.sleep(1)
                manager.restart()
            time.sleep(1)
            stop.set()
            for caller in callers:
                caller.join()
            self.assertEqual(failures, [])
            self.assertGreater(len(done), 30)
            self.assertEqual(manager.calls(), len(done))
            manager.stop()


class H2(unittest.TestCase):
    """What clients of HTTP/2 may do that they should not, or that nobody expects."""

    def connect(self, manager: Manager) -> tuple[ssl.SSLSocket, h2.connection.H2Connection]:
        context = trust()
        context.set_alpn_protocols(["h2"])
        plain = socket.create_connection(manager.address(), PATIENCE)
        stream = context.wrap_socket(plain, server_hostname="localhost")
        self.assertEqual(stream.selected_alpn_protocol(), "h2")
        connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        connection.initiate_connection()
        stream.sendall(connection.data_to_send())
        self.addCleanup(stream.close)
        return stream, connection

    def request(self, connection, secret: str, body: bytes | None) -> int:
        """Asks; without a body it is still to come."""
        number = connection.get_next_available_stream_id()
        pairs = [
            (":method", "POST"),
            (":path", "/v1/chat/completions"),
            (":scheme", "https"),
            (":authority", "localhost"),
            ("authorization", f"Bearer {secret}"),
            ("content-type", "application/json"),
        ]
        connection.send_headers(number, pairs)
        if body is not None:
            connection.send_data(number, body, end_stream=True)
        return number

    def heard(self, stream, connection, kind: type) -> list:
        """What comes until something of a kind has come, with what comes together with it."""
        events = []
        while not any(isinstance(event, kind) for event in events):
            data = stream.recv(65536)
            assert data, "the connection was closed"
            events += connection.receive_data(data)
            stream.sendall(connection.data_to_send())
        return events

    def until(self, stream, connection, kind: type):
        events = self.heard(stream, connection, kind)
        return next(event for event in events if isinstance(event, kind))

    def held(self, manager: Manager) -> int:
        return len(json.loads(manager.command("admin", "holds", "--json")))

    def test_who_is_answered_before_the_end_of_a_body_is_not_told_to_stop(self) -> None:
        # Some clients throw the answer away when they are.
        with tls_service() as manager:
            started(manager)
            stream, connection = self.connect(manager)
            number = self.request(connection, "of-nobody", None)
            stream.sendall(connection.data_to_send())
            events = self.heard(stream, connection, h2.events.ResponseReceived)
            pairs = [pair for event in events for pair in getattr(event, "headers", None) or []]
            self.assertIn((":status", "401"), pairs)
            connection.send_data(number, b"{}", end_stream=True)
            connection.ping(b"still on")
            stream.sendall(connection.data_to_send())
            events += self.heard(stream, connection, h2.events.PingAckReceived)
            kinds = [type(event) for event in events]
            self.assertIn(h2.events.StreamEnded, kinds)
            self.assertNotIn(h2.events.StreamReset, kinds)

    def test_a_reset_stream_ends_its_call_and_the_others_go_on(self) -> None:
        # The provider is silent: nothing of the answer could tell that nobody listens.
        silent = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(silent.close)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        more = (
            f'[providers.silent]\nkind = "openai"\nbase_url = "{url}"\n'
            '[models.silent]\nprovider = "silent"\nprice = { input = 1, output = 1 }\n'
        )
        with service(f'listen = "127.0.0.1:0"\n{TLS}', more) as manager:
            _, secret = started(manager)
            stream, connection = self.connect(manager)
            body = json.dumps({"model": "silent", "messages": [], "stream": True}).encode()
            first = self.request(connection, secret, body)
            second = self.request(connection, secret, body)
            stream.sendall(connection.data_to_send())
            wait_for(lambda: self.held(manager) == 2)
            connection.reset_stream(first)
            stream.sendall(connection.data_to_send())
            wait_for(lambda: self.held(manager) == 1)
            third = self.request(connection, secret, chat(2, False))
            stream.sendall(connection.data_to_send())
            ended = self.until(stream, connection, h2.events.StreamEnded)
            self.assertEqual(ended.stream_id, third)
            self.assertEqual(second, 3)
            # The whole connection goes: nothing of it is left.
            stream.close()
            wait_for(lambda: self.held(manager) == 0)
            manager.command("admin", "verify")

    def test_a_stream_in_the_middle_is_left(self) -> None:
        with tls_service() as manager:
            _, secret = started(manager)
            stream, connection = self.connect(manager)
            number = self.request(connection, secret, chat(400, True))
            stream.sendall(connection.data_to_send())
            self.until(stream, connection, h2.events.DataReceived)
            self.assertEqual(self.held(manager), 1)
            connection.reset_stream(number)
            stream.sendall(connection.data_to_send())
            wait_for(lambda: self.held(manager) == 0)
            self.assertEqual(manager.calls(), 1)

    def test_more_streams_than_allowed_are_bounded(self) -> None:
        with tls_service() as manager:
            started(manager)
            stream, connection = self.connect(manager)
            settings = self.until(stream, connection, h2.events.RemoteSettingsChanged)
            code = h2.settings.SettingCodes
            changed = settings.changed_settings
            self.assertEqual(changed[code.MAX_CONCURRENT_STREAMS].new_value, 256)
            self.assertEqual(changed[code.MAX_HEADER_LIST_SIZE].new_value, 131072)

    def test_garbage_after_the_handshake_ends_the_connection(self) -> None:
        with tls_service() as manager:
            base, _ = started(manager)
            stream, _ = self.connect(manager)
            stream.sendall(b"\xff" * 4096)
            stream.settimeout(PATIENCE)
            try:
                while stream.recv(4096):
                    pass
            except OSError:
                pass
            self.assertEqual(httpx.get(f"{base}/healthz", verify=trust()).status_code, 200)

    def test_a_stop_lets_streams_end_and_says_so(self) -> None:
        with tls_service('shutdown_deadline = "30s"') as manager:
            _, secret = started(manager)
            stream, connection = self.connect(manager)
            self.request(connection, secret, chat(40, True))
            stream.sendall(connection.data_to_send())
            self.until(stream, connection, h2.events.DataReceived)
            manager.signal(signal.SIGTERM)
            text, ended, told = b"", False, False
            while not told:
                # One frame at a time: the library takes none after it was told.
                frame = exactly(stream, 9)
                frame += exactly(stream, int.from_bytes(frame[:3], "big"))
                for event in connection.receive_data(frame):
                    if isinstance(event, h2.events.DataReceived):
                        text += event.data
                        connection.acknowledge_received_data(len(event.data), event.stream_id)
                    ended |= isinstance(event, h2.events.StreamEnded)
                    told |= isinstance(event, h2.events.ConnectionTerminated)
                    # Many clients give their streams up when they are told.
                    self.assertTrue(ended or not told)
                    if told:
                        break
            self.assertIn(b"[DONE]", text)
            stream.close()
            self.assertEqual(manager.wait(), 0)

class Certificates(unittest.TestCase):
    """Certificates come and go while calls run."""

    def test_a_swap_under_load_fails_no_handshake(self) -> None:
        with tls_service() as manager:
            base, secret = started(manager)
            stop, failures, done = threading.Event(), [], []

            def call(http2: bool) -> None:
                while not stop.is_set():
                    try:
                        # A handshake for each call.
                        with httpx.Client(http2=http2, verify=trust(), timeout=30) as client:
                            answer = client.post(
                                f"{base}/v1/chat/completions",
                                content=chat(3, True),
                                headers=headers(secret),
                            )
                        assert answer.status_code == 200 and "[DONE]" in answer.text, answer
                        done.append(http2)
                    except Exception as error:  # noqa: BLE001: each failure is what is looked for
                        failures.append(repr(error))

            callers = [threading.Thread(target=call, args=(n % 2 == 0,)) for n in range(6)]
            for caller in callers:
                caller.start()
            seen = {serial(manager.address())}
            for swap in range(5):
                before = serial(manager.address())
                issue(manager.folder)
                wait_for(lambda: serial(manager.address()) != before)
                seen.add(serial(manager.address()))
            stop.set()
            for caller in callers:
                caller.join()
            self.assertEqual(failures, [])
            self.assertEqual(len(seen), 6)
            self.assertGreater(len(done), 20)

    def test_a_bad_pair_keeps_the_one_before(self) -> None:
        with tls_service() as manager:
            base, _ = started(manager)
            shown = serial(manager.address())
            _, other_key = pair()
            past = datetime.datetime(2020, 1, 1)
            expired, expired_key = pair(not_before=past, not_after=past.replace(month=2))
            folder = manager.folder
            for names, words in (
                ({"tls.key": other_key}, "does not belong to the first certificate in"),
                ({"tls.key": b"nonsense"}, "tls.key holds no key in PEM"),
                ({"tls.crt": b"nonsense"}, "tls.crt holds no certificate in PEM"),
                ({"tls.crt": b""}, "tls.crt is empty"),
                ({"tls.crt": expired, "tls.key": expired_key}, "tls.crt has expired"),
            ):
                good = {name: (folder / name).read_bytes() for name in ("tls.crt", "tls.key")}
                put(folder, names)
                wait_for(lambda: words in httpx.get(f"{base}/readyz", verify=trust()).text)
                answer = httpx.get(f"{base}/readyz", verify=trust())
                self.assertEqual(answer.status_code, 200)
                self.assertIn("an earlier version is in force", answer.json()["config"]["status"])
                self.assertEqual(serial(manager.address()), shown)
                wait_for(lambda: words in manager.log.read_text())
                self.assertIn(words, manager.command("admin", "status"))
                put(folder, good)
                wait_for(lambda: "errors" not in httpx.get(f"{base}/readyz", verify=trust()).text)
            self.assertTrue(json.loads(manager.command("admin", "status", "--json"))["tls"])
            # And a good one is taken, also at SIGHUP.
            issue(folder)
            manager.signal(signal.SIGHUP)
            wait_for(lambda: serial(manager.address()) != shown)

    def refused(self, manager: Manager, *words: str) -> None:
        child = manager.launch()
        self.assertEqual(child.wait(PATIENCE), 78)
        for word in words:
            self.assertIn(word, manager.log.read_text())

    def test_a_start_without_a_good_pair_says_why(self) -> None:
        chain, key = pair()
        _, other = pair()
        der = ssl.PEM_cert_to_DER_cert(chain.decode())
        locked = subprocess.run(
            ["openssl", "pkey", "-aes128", "-passout", "pass:secret"],
            input=key, capture_output=True, check=True,
        ).stdout  # fmt: skip
        for files, words in (
            ({}, "tls.crt cannot be read: No such file"),
            ({"tls.crt": key, "tls.key": chain}, "are `cert` and `key` the wrong way round?"),
            ({"tls.crt": der, "tls.key": key}, "is in DER: convert it to PEM"),
            ({"tls.crt": chain, "tls.key": other}, "does not belong to the first certificate"),
            ({"tls.crt": chain, "tls.key": locked}, "protected by a passphrase"),
            ({"tls.crt": chain[:-40], "tls.key": key}, "is not PEM"),
        ):
            with self.subTest(words), tls_service() as manager:
                put(manager.folder, files)
                self.refused(manager, words)

    @unittest.skipIf(os.geteuid() == 0 and not pathlib.Path("/usr/bin/setpriv").exists(), "root")
    def test_a_key_that_may_not_be_read_is_named(self) -> None:
        with tls_service() as manager:
            issue(manager.folder)
            (manager.folder / "tls.key").chmod(0)
            command = ["setpriv", "--reuid=65534", "--clear-groups", "--bounding-set=-all"]
            manager.folder.chmod(0o755)
            command = command if os.geteuid() == 0 else []
            program = [os.environ["CONDUIT_BIN"], "check", str(manager.config)]
            if command and subprocess.run([*command, program[0], "--version"]).returncode != 0:
                self.skipTest("the program is where others cannot reach it")
            done = subprocess.run([*command, *program], capture_output=True, text=True)
            self.assertEqual(done.returncode, 78, done.stderr)
            self.assertIn("tls.key cannot be read: this process has no permission", done.stderr)

    def test_check_warns_of_an_expired_certificate(self) -> None:
        with tls_service() as manager:
            past = datetime.datetime(2020, 1, 1)
            issue(manager.folder, not_before=past, not_after=past.replace(month=2))
            done = subprocess.run(
                [os.environ["CONDUIT_BIN"], "check", str(manager.config)],
                capture_output=True, text=True, timeout=PATIENCE,
            )  # fmt: skip
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("has expired: it was valid until 2020-02-01", done.stderr)
            # It starts all the same: an old certificate is better than none.
            manager.start()
            manager.stop()
            self.assertIn("has expired", manager.log.read_text())


class Admin(unittest.TestCase):
    """The door of administration over TLS."""

    def test_cookies_are_for_tls_alone(self) -> None:
        with service('listen = "127.0.0.1:0"') as manager:
            _, port = manager.hold("admin")
            del manager.environment["CONDUIT_ADMIN_LISTEN"]
            text = manager.config.read_text()
            text = text.replace("[admin]\n", f'[admin]\nlisten = "127.0.0.1:{port}"\n')
            manager.config.write_text(
                text + '[admin.tls]\ncert = "tls.crt"\nkey = "tls.key"\n'
            )
            issue(manager.folder)
            manager.start()
            password = "a long enough password"
            subprocess.run(
                [os.environ["CONDUIT_BIN"], "admin", "password", "--config", manager.config],
                input=f"{password}\n", text=True, check=True, capture_output=True,
            )  # fmt: skip
            base = f"https://localhost:{port}"
            for http2 in (False, True):
                with httpx.Client(http2=http2, verify=trust(), base_url=base) as client:
                    answer = client.post("/admin/api/v1/session", json={"password": password})
                    self.assertEqual(answer.status_code, 200, answer.text)
                    cookie = answer.headers["set-cookie"]
                    self.assertTrue(cookie.startswith("__Host-conduit_session="), cookie)
                    self.assertIn("; Secure", cookie)
                    self.assertEqual(client.get("/admin/api/v1/session").status_code, 200)
                    self.assertEqual(client.get("/").status_code, 200)
                    other = client.get("/", headers={"host": "evil.example"})
                    self.assertNotEqual(other.status_code, 200)


if __name__ == "__main__":
    unittest.main()
