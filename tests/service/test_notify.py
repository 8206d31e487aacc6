"""What the service tells its manager, read from a real notify socket."""

from __future__ import annotations

import signal
import threading
import time
import unittest

from manager import chat, frozen, headers, service, threads

WATCHDOG_SECONDS = 2


class Notify(unittest.TestCase):
    """The messages of a service's life."""

    def test_ready_and_status(self) -> None:
        with service('listen = "127.0.0.1:0"') as manager:
            manager.child = manager.launch()
            ready = manager.told("READY", "1")
            self.assertRegex(
                ready["STATUS"],
                r"^Serving on 127\.0\.0\.1:\d+, no call under way; conduit \d+\.\d+\.\d+\S*; "
                r"configuration version 1 in force$",
            )
            secret = manager.command("keys", "create", "first").strip()
            client = manager.client()
            client.request("POST", "/v1/chat/completions", chat(300, True), headers(secret))
            answer = client.getresponse()
            answer.readline()
            manager.told("STATUS", "1 call under way")
            client.close()
            manager.told("STATUS", "no call under way")

    def test_a_reload_is_told_by_both_doors(self) -> None:
        with service('listen = "127.0.0.1:0"') as manager:
            manager.start()
            generation = 1
            doors = [
                lambda: manager.signal(signal.SIGHUP),
                lambda: manager.write("# changed"),
            ]
            for reload in doors:
                manager.skip()
                before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
                reload()
                message = manager.told("RELOADING", "1")
                after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
                self.assertLessEqual(before, int(message["MONOTONIC_USEC"]))
                self.assertLessEqual(int(message["MONOTONIC_USEC"]), after)
                generation += 1
                ready = manager.told("READY", "1")
                self.assertIn(f"configuration version {generation} in force", ready["STATUS"])

    def test_a_bad_file_is_told_and_the_service_goes_on(self) -> None:
        with service('listen = "127.0.0.1:0"') as manager:
            manager.start()
            manager.write("nonsense = 1")
            manager.told("RELOADING", "1")
            ready = manager.told("READY", "1")
            self.assertIn("has errors, version 1 stays in force", ready["STATUS"])
            manager.write()
            manager.told("STATUS", "configuration version 2 in force")

    def test_the_end_is_told_with_what_is_left(self) -> None:
        with service('listen = "127.0.0.1:0"\nshutdown_deadline = "30s"') as manager:
            manager.start()
            secret = manager.command("keys", "create", "first").strip()
            client = manager.client()
            client.request("POST", "/v1/chat/completions", chat(60, True), headers(secret))
            answer = client.getresponse()
            answer.readline()
            manager.signal(signal.SIGTERM)
            stopping = manager.told("STOPPING", "1")
            self.assertRegex(stopping["STATUS"], r"^Stopping: 1 call under way, for (29|30) more")
            self.assertGreater(int(stopping["EXTEND_TIMEOUT_USEC"]), 29_000_000)
            manager.told("EXTEND_TIMEOUT_USEC", r"\d+")
            self.assertIn(b"[DONE]", answer.read())
            self.assertEqual(manager.wait(), 0)
            late = [m for m in manager.messages if m.get("READY") and m.get("STOPPING")]
            self.assertEqual(late, [])


    def test_a_manager_that_does_not_listen_holds_nothing_up(self) -> None:
        with service('listen = "127.0.0.1:0"') as manager:
            manager.start()
            # More than such a socket holds.
            for generation in range(2, 26):
                manager.write(f"# {generation}")
                end = time.monotonic() + 20
                while f'"config.generation":{generation}' not in manager.log.read_text():
                    self.assertLess(time.monotonic(), end, generation)
                    time.sleep(0.05)
            client = manager.client()
            client.request("GET", "/healthz")
            self.assertEqual(client.getresponse().status, 200)


class Watchdog(unittest.TestCase):
    """That all is well is said only while it is."""

    def watched(self, manager) -> None:
        manager.environment["WATCHDOG_USEC"] = str(WATCHDOG_SECONDS * 1_000_000)
        manager.start()

    def pings(self, manager, seconds: float) -> int:
        end, count = time.monotonic() + seconds, 0
        while (left := end - time.monotonic()) > 0:
            message = manager.message(left)
            count += bool(message and message.get("WATCHDOG") == "1")
        return count

    def test_it_is_fed_twice_in_its_time(self) -> None:
        with service('listen = "127.0.0.1:0"') as manager:
            self.watched(manager)
            times = []
            for _ in range(5):
                manager.told("WATCHDOG", "^1$")
                times.append(time.monotonic())
            gaps = [after - before for before, after in zip(times, times[1:])]
            self.assertLess(max(gaps), WATCHDOG_SECONDS * 0.9)
            self.assertGreater(min(gaps), WATCHDOG_SECONDS * 0.3)

    def test_nobody_who_did_not_ask_is_told(self) -> None:
        with service('listen = "127.0.0.1:0"') as manager:
            manager.start()
            self.assertEqual(self.pings(manager, 3), 0)

    def test_a_worker_that_hangs_is_missed(self) -> None:
        with service('listen = "127.0.0.1:0"') as manager:
            self.watched(manager)
            manager.told("WATCHDOG", "1")
            workers = threads(manager.child.pid, "actix-rt")
            self.assertGreaterEqual(len(workers), 2)
            for worker in workers[:2]:
                with frozen(worker):
                    time.sleep(WATCHDOG_SECONDS)
                    manager.skip()
                    self.assertEqual(self.pings(manager, WATCHDOG_SECONDS * 1.5), 0)
                manager.told("WATCHDOG", "1")
            self.assertIn("does not turn", manager.log.read_text())

    def test_a_journal_that_hangs_is_missed(self) -> None:
        with service('listen = "127.0.0.1:0"') as manager:
            self.watched(manager)
            secret = manager.command("keys", "create", "first").strip()
            (journal,) = threads(manager.child.pid, "journal")
            answers = []

            def call() -> None:
                client = manager.client()
                client.request("POST", "/v1/chat/completions", chat(3, False), headers(secret))
                answers.append(client.getresponse().status)

            caller = threading.Thread(target=call)
            with frozen(journal):
                caller.start()
                time.sleep(WATCHDOG_SECONDS)
                manager.skip()
                self.assertEqual(self.pings(manager, WATCHDOG_SECONDS * 1.5), 0)
            caller.join()
            self.assertEqual(answers, [200])
            manager.told("WATCHDOG", "1")


if __name__ == "__main__":
    unittest.main()
