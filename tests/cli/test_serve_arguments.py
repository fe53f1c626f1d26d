"""Tests of angelia.cli.serve_arguments."""

from __future__ import annotations

import inspect

import pytest

import angelia
from angelia.cli.arguments import parse_arguments
from angelia.cli.exits import UsageError
from angelia.cli.serve_arguments import LIMITS, ServeOptions, parse_serve_arguments
from angelia.server.access_log import DEFAULT_FORMAT


def test_defaults() -> None:
    """An application is all that has to be said; ``serve`` is the command for it."""
    assert parse_arguments(["serve", "a:b"], "0") == ServeOptions(app="a:b")
    assert parse_serve_arguments(["--directory", "d"]) == ServeOptions(directory="d")


def test_access_log() -> None:
    """--access-log may be followed by a format, or by nothing."""
    assert parse_serve_arguments(["a:b", "--access-log"]).access_log == DEFAULT_FORMAT
    assert parse_serve_arguments(["a:b", "--access-log", "%s"]).access_log == "%s"
    assert parse_serve_arguments(["--access-log", "--", "a:b"]).access_log == DEFAULT_FORMAT


def test_limits() -> None:
    """Each limit is a parameter of the server; sizes may have units."""
    parameters = inspect.signature(angelia.Server).parameters
    assert {limit.parameter for limit in LIMITS} <= set(parameters)
    options = parse_serve_arguments(
        [
            *("a:b", "--limit-body", "2M", "--limit-head", "64k", "--limit-line", "100"),
            *("--limit-fields", "7", "--limit-idle-time", "1.5", "--limit-connections", "0"),
        ]
    )
    assert options.limits == {
        "max_body_size": 2 << 20,
        "max_head_size": 64 << 10,
        "max_line_size": 100,
        "max_headers": 7,
        "keepalive_timeout": 1.5,
        "max_connections": 0,
    }


def test_every_limit_of_the_server() -> None:
    """No limit of the server is left out."""
    parameters = inspect.signature(angelia.Server).parameters
    named = {name for name in parameters if name.startswith("max_") or "time" in name}
    assert named == {limit.parameter for limit in LIMITS}


def test_named_address() -> None:
    """It counts whether an address was given, were it the default one."""
    assert not parse_serve_arguments(["a:b"]).names_address
    for arguments in (["--host", "h"], ["--port", "8080"], ["--unix", "u"], ["--fd", "0"]):
        assert parse_serve_arguments(["a:b", *arguments]).names_address


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["a:b", "c:d"],
        ["a:b", "--directory", "d"],
        ["--access-log", "a:b"],
        ["a:b", "--interface", "cgi"],
        ["--directory", "d", "--interface", "asgi"],
        ["--directory", "d", "--workers", "2"],
        ["a:b", "--port", "65536"],
        ["a:b", "--port", "-1"],
        ["a:b", "--port", "\u0661"],
        ["a:b", "--unix", "u", "--port", "1"],
        ["a:b", "--unix", "u", "--fd", "1"],
        ["a:b", "--tls-key", "k"],
        ["a:b", "--reload", "--workers", "2"],
        ["a:b", "--workers", "0"],
        ["a:b", "--limit-body", "1T"],
        ["a:b", "--limit-body", "-1"],
        ["a:b", "--limit-body-time", "nan"],
        ["a:b", "--limit-nonsense", "1"],
    ],
)
def test_usage(arguments: list[str]) -> None:
    """What makes no sense is refused."""
    with pytest.raises(UsageError):
        parse_serve_arguments(arguments)


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    """--help lists all options and exits with 0."""
    with pytest.raises(SystemExit) as caught:
        parse_serve_arguments(["--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    for word in ("--tls-cert", "--reload", "--fd", *(limit.option for limit in LIMITS)):
        assert word in out
