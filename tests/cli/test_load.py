"""Tests of angelia.cli.load: many requests, counted."""

from __future__ import annotations

import gzip
import itertools
import re

import pytest

from angelia.cli.load import MAX_MESSAGE, Tally, report_lines
from angelia.cli.main import main
from cli.site import Request, Site, reply


def facts(text: str) -> dict[str, str]:
    """The report's lines by their first word."""
    pairs = (line.split(maxsplit=1) for line in text.splitlines() if line.startswith("  "))
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}


def test_report(capfd: pytest.CaptureFixture[str]) -> None:
    """Every request is made and counted; rate, percentiles and histogram are shown."""
    with Site(reply(b"0123456789", "Content-Type: text/plain")) as site:
        assert main(["load", site.url, "-n", "40", "-c", "4"]) == 0
    out, err = capfd.readouterr()
    assert len(site.requests) == 40
    shown = facts(out)
    assert re.fullmatch(r"40 in \d+\.\d\d s", shown["done"])
    assert shown["received"] == "400 B"
    assert shown["errors"] == "0"
    assert shown["200"] == "40"
    assert {"p50", "p90", "p95", "p99", "max", "min", "mean"} <= set(shown)
    assert "#" in out
    assert "\x1b" not in out + err
    assert err == ""


def test_requests_are_as_asked_for() -> None:
    """Method, fields and body go with every request."""
    with Site(reply(b"")) as site:
        arguments = ["load", site.url, "-n", "3", "-c", "2", "-X", "PUT", "-H", "A: b", "-d", "x=1"]
        assert main(arguments) == 0
    sent = {(request.method, request.headers["a"], request.body) for request in site.requests}
    assert sent == {("PUT", "b", b"x=1")}
    assert len(site.requests) == 3


def test_forms_are_sent_each_time() -> None:
    """A form can be sent as often as it takes."""
    with Site(reply(b"")) as site:
        assert main(["load", site.url, "-n", "3", "-F", "a=b"]) == 0
    assert [b"\r\n\r\nb\r\n" in request.body for request in site.requests] == [True] * 3


def test_concurrency() -> None:
    """No more requests than asked for are under way at a time, and that many are."""
    peak = now = 0
    counter = itertools.count()

    def answer(request: Request) -> bytes:
        nonlocal peak, now
        now += 1
        peak = max(peak, now)
        if next(counter) < 4:
            # The first four come together, or the test ends here.
            barrier.wait(30)
        now -= 1
        return reply(b"")

    import threading

    barrier = threading.Barrier(4)
    with Site(answer) as site:
        assert main(["load", site.url, "-n", "8", "-c", "4"]) == 0
    assert peak == 4


def test_statuses_and_fail(capfd: pytest.CaptureFixture[str]) -> None:
    """Statuses are counted; with --fail those of errors make the exit code 1."""
    counter = itertools.count()

    def answer(request: Request) -> bytes:
        return reply(b"", status="500 No" if next(counter) % 2 else "200 OK")

    with Site(answer) as site:
        assert main(["load", site.url, "-n", "4"]) == 0
        assert main(["load", "-f", site.url, "-n", "4"]) == 1
    shown = facts(capfd.readouterr().out)
    assert (shown["200"], shown["500"], shown["errors"]) == ("2", "2", "0")


def test_errors_by_kind(capfd: pytest.CaptureFixture[str]) -> None:
    """Failures are counted by their class, with one message each; the exit code is 3."""
    counter = itertools.count()

    def answer(request: Request) -> bytes:
        number = next(counter) % 3
        return (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", reply(b""))[number]

    with Site(answer) as site:
        assert main(["load", site.url, "-n", "9", "-c", "1", "-X", "POST"]) == 3
    shown = facts(capfd.readouterr().out)
    assert shown["errors"] == "6"
    assert shown["ServerDisconnectedError"].startswith("3  ")
    assert shown["ClientPayloadError"].startswith("3  ")
    assert shown["200"] == "3"


def test_no_server(capfd: pytest.CaptureFixture[str]) -> None:
    """When nothing gets through there is a report of that."""
    assert main(["load", "http://127.0.0.1:1/", "-n", "5"]) == 3
    shown = facts(capfd.readouterr().out)
    assert shown["ClientConnectorError"].startswith("5  ")
    assert "p50" not in shown


def test_timeout(capfd: pytest.CaptureFixture[str]) -> None:
    """A request that takes too long is an error like others."""

    def answer(request: Request) -> bytes:
        site.ending.wait(30)
        return b""

    with Site(answer) as site:
        assert main(["load", site.url, "-n", "2", "-c", "2", "-m", "0.05"]) == 3
    assert facts(capfd.readouterr().out)["TotalTimeoutError"].startswith("2")


def test_decoded_content_is_counted(capfd: pytest.CaptureFixture[str]) -> None:
    """Content with a coding is counted as it is decoded, not gathered by its length."""
    with Site(reply(gzip.compress(b"0" * 5000), "Content-Encoding: gzip")) as site:
        assert main(["load", site.url, "-n", "2"]) == 0
    assert facts(capfd.readouterr().out)["received"] == "10.0 kB"


def test_usage_errors_end_the_run(capfd: pytest.CaptureFixture[str]) -> None:
    """What is wrong with every request is said once, and nothing is sent."""
    with Site(reply(b"")) as site:
        assert main(["load", site.url, "-n", "100", "-H", "Bad Name: x"]) == 2
    assert site.requests == []
    out, err = capfd.readouterr()
    assert out == ""
    assert "Bad Name" in err


def test_tally_is_bounded_and_safe() -> None:
    """Of each kind one message is kept, of bounded length, and no control character gets out."""
    tally = Tally()
    for number in range(10_000):
        tally.add_error(RuntimeError(f"\x1b[2J{number}" + "x" * 10_000))
    assert tally.errors == {"RuntimeError": 10_000}
    assert len(tally.examples["RuntimeError"]) <= MAX_MESSAGE
    assert "\x1b" not in str(report_lines(tally))
