"""The PROXY protocol: who really connects, and what is no header."""

from __future__ import annotations

import http.client
import socket
import ssl
import struct
import time
import unittest

from manager import PATIENCE, Manager, chat, headers, service

PLACE = 'listen = "127.0.0.1:0"\nproxy_protocol = true\nheader_timeout = "2s"'
TRUSTED = f'{PLACE}\ntrusted_proxies = ["127.0.0.0/8"]'
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def version_2(address: str, port: int, more: bytes = b"", command: int = 0x21) -> bytes:
    """A header of version 2 for TCP over IPv4."""
    body = socket.inet_aton(address) + socket.inet_aton("192.0.2.2") + struct.pack(">HH", port, 443)
    body += more
    return SIGNATURE + bytes([command, 0x11]) + struct.pack(">H", len(body)) + body


class Behind(http.client.HTTPConnection):
    """A connection that begins as a proxy's does."""

    def __init__(self, address: tuple[str, int], *pieces: bytes) -> None:
        super().__init__(*address, timeout=PATIENCE)
        self.pieces = pieces

    def connect(self) -> None:
        super().connect()
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for place, piece in enumerate(self.pieces):
            time.sleep(0.01 if place else 0)
            self.sock.sendall(piece)


class Proxied(unittest.TestCase):
    """A gateway that proxies connect to."""

    def key(self, manager: Manager) -> str:
        """A key that is good from one address alone."""
        return manager.command("keys", "create", "one", "--allow-ip", "192.0.2.7").strip()

    def status(self, manager: Manager, secret: str, *pieces: bytes, **more: str) -> int:
        """What a call gets behind these first bytes."""
        client = Behind(manager.address(), *pieces)
        manager.clients.append(client)
        client.request("POST", "/v1/chat/completions", chat(2, False), headers(secret) | more)
        answer = client.getresponse()
        answer.read()
        return answer.status

    def test_both_versions_say_who_calls(self) -> None:
        with service(TRUSTED) as manager:
            manager.start()
            secret = self.key(manager)
            line = b"PROXY TCP4 192.0.2.7 192.0.2.2 4711 443\r\n"
            for pieces in (
                (line,),
                tuple(line[at : at + 1] for at in range(len(line))),
                (line[:20], line[20:]),
                (version_2("192.0.2.7", 4711),),
                (version_2("192.0.2.7", 4711, b"\x04\x00\x01\x00"),),
                tuple(version_2("192.0.2.7", 1)[at : at + 1] for at in range(28)),
            ):
                self.assertEqual(self.status(manager, secret, *pieces), 200)
            other = b"PROXY TCP4 192.0.2.8 192.0.2.2 4711 443\r\n"
            self.assertEqual(self.status(manager, secret, other), 401)
            # Of the proxy itself, which is not the key's address.
            for pieces in (b"PROXY UNKNOWN\r\n", version_2("192.0.2.7", 1, command=0x20)):
                self.assertEqual(self.status(manager, secret, pieces), 401)
            # What a stranger wrote himself is not believed, what another proxy of ours wrote is.
            forged = {"X-Forwarded-For": "192.0.2.7"}
            self.assertEqual(self.status(manager, secret, other, **forged), 401)
            inner = b"PROXY TCP4 127.0.0.9 192.0.2.2 4711 443\r\n"
            self.assertEqual(self.status(manager, secret, inner, **forged), 200)

    def closed(self, manager: Manager, start: bytes) -> float:
        """Sends something and waits for the end; how long it took."""
        began = time.monotonic()
        with socket.create_connection(manager.address(), PATIENCE) as stream:
            stream.sendall(start)
            try:
                self.assertEqual(stream.recv(4096), b"")
            except ConnectionResetError:
                pass
        return time.monotonic() - began

    def test_what_is_no_header_ends_the_connection(self) -> None:
        with service(TRUSTED) as manager:
            manager.start()
            get = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
            for start in (
                get,
                b"PROXY TCP4 192.0.2.7 192.0.2.2 4711\r\n" + get,
                b"PROXY TCP4 192.0.2.7 192.0.2.2 4711 99999\r\n" + get,
                b"PROXY TCP4 " + b"1" * 200 + get,
                SIGNATURE + b"\x21\x11\x00\x04" + b"1234" + get,
                SIGNATURE + b"\x21\x11\xff\xff" + b"x" * 4096,
                SIGNATURE + b"\x31\x11\x00\x0c" + b"x" * 12 + get,
                b"\xff" * 64,
            ):
                self.assertLess(self.closed(manager, start), 1.5, start[:40])
            manager.stop()
            self.assertIn("did not begin with a header of the PROXY protocol", manager.log.read_text())

    def test_a_slow_header_is_not_waited_for(self) -> None:
        with service(TRUSTED) as manager:
            manager.start()
            for start in (b"", b"PROXY TC", b"PROXY TCP4 192.0.2.7", version_2("192.0.2.7", 1)[:20]):
                took = self.closed(manager, start)
                self.assertTrue(1.5 < took < 10, (start, took))
            secret = self.key(manager)
            line = b"PROXY TCP4 192.0.2.7 192.0.2.2 4711 443\r\n"
            self.assertEqual(self.status(manager, secret, line), 200)

    def test_a_stranger_may_not_say_anything(self) -> None:
        with service(f'{PLACE}\ntrusted_proxies = ["10.0.0.0/8"]') as manager:
            manager.start()
            line = b"PROXY TCP4 192.0.2.7 192.0.2.2 4711 443\r\n"
            self.assertLess(self.closed(manager, line + b"GET /healthz HTTP/1.1\r\n\r\n"), 1.5)
            manager.stop()
            self.assertIn("127.0.0.1 is not in `server.trusted_proxies`", manager.log.read_text())

    def test_tls_comes_after_the_header(self) -> None:
        try:
            import trustme
        except ImportError:
            self.skipTest("trustme is not there")
        authority = trustme.CA()
        made = authority.issue_cert("localhost")
        context = ssl.create_default_context()
        authority.configure_trust(context)
        with service(f'{TRUSTED}\n[server.tls]\ncert = "tls.crt"\nkey = "tls.key"') as manager:
            made.private_key_pem.write_to_path(str(manager.folder / "tls.key"))
            for pem in made.cert_chain_pems:
                pem.write_to_path(str(manager.folder / "tls.crt"), append=True)
            manager.start()
            secret = self.key(manager)
            for line, status in (
                (b"PROXY TCP4 192.0.2.7 192.0.2.2 4711 443\r\n", 200),
                (version_2("192.0.2.7", 4711), 200),
                (version_2("192.0.2.8", 4711), 401),
            ):
                client = Behind(manager.address(), line)
                client.connect()
                client.sock = context.wrap_socket(client.sock, server_hostname="localhost")
                client.request("POST", "/v1/chat/completions", chat(2, True), headers(secret))
                answer = client.getresponse()
                answer.read()
                self.assertEqual(answer.status, status)
                client.close()

    def test_without_proxies_nobody_could_connect(self) -> None:
        with service(PLACE) as manager:
            child = manager.launch()
            self.assertEqual(child.wait(PATIENCE), 78)
            self.assertIn("`server.proxy_protocol` needs", manager.log.read_text())


if __name__ == "__main__":
    unittest.main()
