"""Sockets that the manager passes on: who connects while the service restarts waits, and nobody fails."""

from __future__ import annotations

import configparser
import contextlib
import http.client
import json
import os
import pathlib
import select
import shutil
import signal
import socket
import subprocess
import threading
import time
import unittest

from manager import PATIENCE, chat, headers, service

ROOT = pathlib.Path(__file__).resolve().parents[2]
RESTARTS = 6


class Client:
    """A client that keeps its connection as HTTP clients do: it looks before it uses it again."""

    def __init__(self, address: tuple[str, int], secret: str) -> None:
        self.address, self.secret = address, secret
        self.connection: http.client.HTTPConnection | None = None

    def _connection(self, fresh: bool) -> http.client.HTTPConnection:
        held = self.connection
        if held and held.sock:
            closed = bool(select.select([held.sock], [], [], 0)[0])
            if not fresh and not closed:
                return held
            held.close()
        self.connection = http.client.HTTPConnection(*self.address, timeout=PATIENCE)
        return self.connection

    def close(self) -> None:
        """Leaves."""
        if self.connection:
            self.connection.close()

    def call(self, words: int, stream: bool, fresh: bool = False, last: bool = False) -> None:
        """One call, which must be answered whole."""
        connection = self._connection(fresh)
        connection.request(
            "POST", "/v1/chat/completions", chat(words, stream), headers(self.secret)
        )
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200, (answer.status, body)
        if stream:
            assert body.endswith(b"data: [DONE]\n\n"), body[-200:]
            events = [line[6:] for line in body.splitlines() if line.startswith(b"data: {")]
            pieces = [json.loads(event)["choices"] for event in events]
            text = "".join(p[0]["delta"].get("content") or "" for p in pieces if p)
        else:
            text = json.loads(body)["choices"][0]["message"]["content"]
        assert text.split() == [f"word{n}" for n in range(words)], text
        if last:
            self.close()


class Load:
    """Callers of every sort, until they are told to stop."""

    def __init__(self, address: tuple[str, int], secret: str) -> None:
        self.stop = threading.Event()
        self.failures: list[str] = []
        self.done = 0
        self.lock = threading.Lock()
        sorts = [
            {"words": 3, "stream": False},
            {"words": 3, "stream": False},
            {"words": 3, "stream": False, "fresh": True},
            {"words": 20, "stream": True},
            {"words": 20, "stream": True, "fresh": True},
        ]
        self.threads = [
            threading.Thread(target=self._run, args=(Client(address, secret), sort))
            for sort in sorts * 3
        ]

    def _run(self, client: Client, sort: dict) -> None:
        while not self.stop.is_set():
            try:
                client.call(**sort)
                with self.lock:
                    self.done += 1
            except Exception as error:  # noqa: BLE001: each failure is what is looked for
                with self.lock:
                    self.failures.append(f"{sort}: {error!r}")
        client.close()

    def __enter__(self) -> Load:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join()


class Passed(unittest.TestCase):
    """The service behind sockets that somebody else holds."""

    def streaming(self, manager, words: int):
        """Starts it and a stream of so many words, which has begun: address, secret, client and answer."""
        address = manager.hold("gateway")
        manager.start()
        secret = manager.command("keys", "create", "one").strip()
        client = manager.client(address)
        client.request("POST", "/v1/chat/completions", chat(words, True), headers(secret))
        answer = client.getresponse()
        answer.readline()
        return address, secret, client, answer

    def test_restarts_under_load_lose_no_call(self) -> None:
        with service('shutdown_deadline = "10s"') as manager:
            address = manager.hold("gateway")
            manager.start()
            secret = manager.command("keys", "create", "load").strip()
            with Load(address, secret) as load:
                for _ in range(RESTARTS):
                    time.sleep(0.7)
                    manager.restart()
                time.sleep(0.5)
            self.assertEqual(load.failures, [])
            self.assertGreater(load.done, 20 * RESTARTS)
            self.assertEqual(manager.calls(), load.done)
            manager.command("admin", "verify")
            manager.stop()

    def test_a_stream_goes_on_to_its_end_and_the_next_call_waits(self) -> None:
        with service('shutdown_deadline = "20s"') as manager:
            address, secret, client, answer = self.streaming(manager, 60)
            manager.signal(signal.SIGTERM)
            manager.told("STOPPING", "1")
            waiting = threading.Thread(target=Client(address, secret).call, args=(3, False, True, True))
            waiting.start()
            self.assertIn(b"[DONE]", answer.read())
            # Its head promised to keep the connection: it is kept for one more call.
            client.request("POST", "/v1/chat/completions", chat(1, False), headers(secret))
            again = client.getresponse()
            self.assertEqual((again.status, again.getheader("connection")), (200, "close"))
            again.read()
            self.assertTrue(waiting.is_alive())
            self.assertEqual(manager.wait(), 0)
            manager.start()
            waiting.join()
            self.assertEqual(manager.calls(), 3)
            manager.stop()

    def test_a_stream_is_cut_at_the_deadline_and_not_before(self) -> None:
        with service('shutdown_deadline = "3s"') as manager:
            _, _, _, answer = self.streaming(manager, 400)
            began = time.monotonic()
            manager.signal(signal.SIGTERM)
            with self.assertRaises((http.client.IncompleteRead, ConnectionError)):
                answer.read()
            self.assertTrue(2.9 < time.monotonic() - began < 5, time.monotonic() - began)
            self.assertEqual(manager.wait(), 0)
            self.assertEqual(manager.calls(), 1)
            manager.command("admin", "verify")

    def test_the_next_process_waits_for_the_one_before(self) -> None:
        with service('shutdown_deadline = "20s"') as manager:
            address, secret, _, answer = self.streaming(manager, 120)
            before = manager.child
            manager.signal(signal.SIGTERM)
            manager.told("STOPPING", "1")
            manager.child = manager.launch()
            manager.told("STATUS", "^Waiting for another process to close the store$")
            self.assertIn(b"[DONE]", answer.read())
            manager.told("READY", "1")
            self.assertEqual(before.wait(PATIENCE), 0)
            Client(address, secret).call(3, False, last=True)
            manager.stop()

    def test_all_three_doors_are_passed(self) -> None:
        with service() as manager:
            del manager.environment["CONDUIT_ADMIN_LISTEN"]
            gateway, admin = manager.hold("gateway"), manager.hold("admin")
            door = socket.socket(socket.AF_UNIX)
            door.bind(str(manager.folder / "admin.sock"))
            door.listen(64)
            manager.passed.append(("socket", door))
            manager.start()
            secret = manager.command("keys", "create", "one").strip()
            Client(gateway, secret).call(2, False, last=True)
            client = manager.client(admin)
            client.request("GET", "/")
            self.assertEqual(client.getresponse().status, 200)
            manager.restart()
            # The path is the manager's: it is still there.
            manager.command("keys", "list")
            manager.stop()
            self.assertTrue((manager.folder / "admin.sock").exists())

    def shown(self, manager, gateway: tuple[str, int], admin: tuple[str, int]) -> None:
        """What administrators are told is where the service really listens."""
        calls, administration = ([f"{host}:{port}"] for host, port in (gateway, admin))
        status = json.loads(manager.command("admin", "status", "--json"))
        self.assertEqual((status["listen"], status["admin_listen"]), (calls, administration))
        self.assertIn(f"listens   {calls[0]}\n", manager.command("admin", "status"))
        found = json.loads(manager.command("doctor", "--offline", "--json"))["checks"]
        ports = {one["subject"]: one["state"] for one in found if one["check"].endswith("port")}
        self.assertEqual(ports, {calls[0]: "good", administration[0]: "good"})

    def test_the_packaged_unit_names_what_it_passes(self) -> None:
        unit = configparser.ConfigParser(strict=False, interpolation=None)
        unit.optionxform = str
        unit.read(ROOT / "packaging/systemd/conduit.socket")
        name = unit["Socket"]["FileDescriptorName"]
        example = (ROOT / "conduit.toml.example").read_text()
        self.assertIn(f'#listen = "{unit["Socket"]["ListenStream"]}"', example)
        with service() as manager:
            del manager.environment["CONDUIT_ADMIN_LISTEN"]
            gateway, admin = manager.hold(name), manager.hold("admin")
            manager.start()
            self.shown(manager, gateway, admin)
            secret = manager.command("keys", "create", "one").strip()
            manager.restart()
            self.shown(manager, gateway, admin)
            Client(gateway, secret).call(2, False, last=True)
            manager.stop()

    @unittest.skipUnless(shutil.which("systemd-socket-activate"), "systemd's own tool is not here")
    def test_systemd_passes_the_sockets_itself(self) -> None:
        with service() as manager:
            del manager.environment["CONDUIT_ADMIN_LISTEN"]
            places = []
            for _ in range(2):
                with socket.create_server(("127.0.0.1", 0)) as found:
                    places.append(found.getsockname())
            activate = ["systemd-socket-activate", "--fdname=gateway:admin"]
            for host, port in places:
                activate.append(f"--listen={host}:{port}")
            for name in ("NOTIFY_SOCKET", "PATH"):
                activate.append(f"--setenv={name}={manager.environment[name]}")
            activate += [os.environ["CONDUIT_BIN"], "serve", "--config", str(manager.config)]
            with manager.log.open("ab") as log:
                manager.child = subprocess.Popen(activate, stderr=log, env=manager.environment)
            end = time.monotonic() + PATIENCE
            while True:
                # The first connection starts the service, and is served by it.
                with contextlib.suppress(ConnectionRefusedError):
                    client = manager.client(places[0])
                    client.request("GET", "/healthz")
                    break
                self.assertLess(time.monotonic(), end, manager.log.read_text())
                time.sleep(0.05)
            self.assertEqual(client.getresponse().status, 200)
            manager.told("READY", "1")
            self.shown(manager, *places)
            manager.stop()

    def refused(self, manager, *words: str) -> None:
        child = manager.launch()
        self.assertEqual(child.wait(PATIENCE), 78)
        log = manager.log.read_text()
        for word in words:
            self.assertIn(word, log)

    def test_what_does_not_fit_is_an_error(self) -> None:
        with service('listen = "127.0.0.1:1"') as manager:
            _, port = manager.hold("gateway")
            self.refused(manager, f"127.0.0.1:{port}", "`server.listen` is 127.0.0.1:1")
        with service() as manager:
            manager.hold("web")
            self.refused(manager, "`web` is not known", "gateway, admin or socket")
        with service() as manager:
            _, port = manager.hold("conduit.socket")
            self.refused(manager, f"passes 127.0.0.1:{port}, which is not in the configuration")
        with service() as manager:
            datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            datagrams.bind(("127.0.0.1", 0))
            manager.passed.append(("gateway", datagrams))
            self.refused(manager, "the passed socket 1 cannot be used")

    def test_without_a_socket_the_address_is_bound(self) -> None:
        with service('listen = "127.0.0.1:0"') as manager:
            # For another process: not for this one.
            manager.environment |= {"LISTEN_FDS": "1", "LISTEN_PID": "1"}
            manager.start()
            with socket.create_connection(manager.address()):
                pass
            manager.stop()


if __name__ == "__main__":
    unittest.main()
