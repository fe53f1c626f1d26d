"""Tests of angelia.cli.arguments: command lines -> options."""

from __future__ import annotations

import pytest

from angelia.cli.arguments import DemoOptions, FetchOptions, LoadOptions, parse_arguments
from angelia.cli.exits import UsageError


def fetch_options(*arguments: str) -> FetchOptions:
    options = parse_arguments(arguments, "1.2.3")
    assert isinstance(options, FetchOptions)
    return options


def test_only_a_url() -> None:
    """A URL alone means the defaults: redirects are followed, nothing is silent."""
    assert fetch_options("example.org") == FetchOptions(url="example.org")
    assert fetch_options("example.org").follow


def test_all_short_options() -> None:
    """Options are called as in curl."""
    options = fetch_options(
        "-XPUT", "-H", "A: b", "-H", "C: d", "-d", "x=1", "-u", "me:pw", "-x", "proxy:3128",
        "-k", "-v", "-i", "-s", "-S", "-f", "-L", "-m", "2.5", "-o", "file", "u",
    )  # fmt: skip
    assert options == FetchOptions(
        url="u", method="PUT", headers=["A: b", "C: d"], data=[("data", "x=1")], auth="me:pw",
        proxy="proxy:3128", insecure=True, verbose=True, include=True, silent=True, fail=True,
        timeout=2.5, output="file",
    )  # fmt: skip


def test_long_options() -> None:
    """The same by their long names, and what only has a long name."""
    options = fetch_options(
        "--request", "PUT", "--header", "A: b", "--auth", "me:pw", "--digest", "--insecure",
        "--no-follow", "--max-redirects", "3", "--timeout", "9", "--connect-timeout", "4",
        "--form", "a=b", "--form", "c=@d", "--verbose", "--fail", "--output", "-", "u",
    )  # fmt: skip
    assert options == FetchOptions(
        url="u", method="PUT", headers=["A: b"], auth="me:pw", digest=True, insecure=True,
        follow=False, max_redirects=3, timeout=9, connect_timeout=4, form=["a=b", "c=@d"],
        verbose=True, fail=True, output="-",
    )  # fmt: skip


def test_bodies_keep_their_order_and_kind() -> None:
    """--data and its kin may be mixed, and come in the order of the command line."""
    options = fetch_options("-d", "1", "--data-raw", "@2", "--data-binary", "3", "--data", "4", "u")
    assert options.data == [("data", "1"), ("raw", "@2"), ("binary", "3"), ("data", "4")]
    assert fetch_options("--json", "{}", "u").data == [("json", "{}")]


@pytest.mark.parametrize(
    "arguments",
    [
        ("-C", "u", "-o", "f"),
        ("-C", "-", "u", "-o", "f"),
        ("-sC", "-", "u", "-o", "f"),
        ("-o", "f", "-C", "-", "u"),
        ("-o", "f", "--continue-at", "-", "u"),
        ("-o", "f", "u", "-C"),
    ],
)
def test_continue_with_and_without_dash(arguments: tuple[str, ...]) -> None:
    """-C takes the dash that curl's users write behind it, and no other value."""
    options = fetch_options(*arguments)
    assert (options.url, options.output, options.resume) == ("u", "f", True)


def test_dash_elsewhere_stays() -> None:
    """Only the dash behind -C is dropped: that of -o means standard output."""
    assert fetch_options("-o", "-", "u").output == "-"


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ((), "URL"),
        (("u", "v"), "v"),
        (("--nonsense", "u"), "--nonsense"),
        (("--verb", "u"), "--verb"),
        (("-m", "0", "u"), "'0'"),
        (("-m", "soon", "u"), "'soon'"),
        (("-m", "nan", "u"), "'nan'"),
        (("-m", "inf", "u"), "'inf'"),
        (("-m", "٣", "u"), "'٣'"),
        (("-d", "a", "-F", "b=c", "u"), "--form"),
        (("-d", "a", "--json", "b", "u"), "--json"),
        (("-I", "-d", "a", "u"), "--head"),
        (("--digest", "u"), "--auth"),
        (("--unix-socket", "s", "-x", "p", "u"), "--proxy"),
        (("-C", "u"), "-o FILE"),
        (("-C", "-o", "-", "u"), "standard output"),
        (("-C", "-o", "f", "-d", "a", "u"), "GET"),
        (("-C", "-o", "f", "-X", "POST", "u"), "GET"),
        (("-I", "-o", "f", "u"), "--head"),
        (("load", "-n", "0", "u"), "1 or more"),
        (("load", "-n", "-5", "u"), "-n"),
        (("load", "-c", "٣", "u"), "'٣'"),
        (("load", "-n", "9999999999", "u"), "'9999999999'"),
        (("load", "-v", "u"), "-v"),
        (("load",), "URL"),
        (("demo", "u"), "u"),
    ],
)
def test_usage_errors(arguments: tuple[str, ...], part: str) -> None:
    """What cannot be meant is a usage error that names what is wrong."""
    with pytest.raises(UsageError) as caught:
        parse_arguments(arguments, "1.2.3")
    assert part in str(caught.value)


def test_load() -> None:
    """The load command has its own count and number, and a timeout for each request."""
    options = parse_arguments(["load", ":8080/", "-n", "10000", "-c", "50", "-d", "x"], "1.2.3")
    assert options == LoadOptions(
        url=":8080/", number=10000, concurrency=50, timeout=30, data=[("data", "x")]
    )
    assert parse_arguments(["load", "u"], "") == LoadOptions(
        url="u", number=1000, concurrency=10, timeout=30
    )


def test_demo() -> None:
    """The demonstration takes no arguments."""
    assert parse_arguments(["demo"], "1.2.3") == DemoOptions()


def test_a_command_is_the_first_word_only() -> None:
    """Behind an option a command's name is a URL."""
    assert fetch_options("-v", "demo").url == "demo"


@pytest.mark.parametrize("command", [["--help"], ["load", "--help"], ["demo", "-h"], ["-V"]])
def test_help_and_version(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Help and the version go to standard output and end with 0."""
    with pytest.raises(SystemExit) as caught:
        parse_arguments(command, "1.2.3")
    assert caught.value.code == 0
    assert "angelia" in capsys.readouterr().out


def test_help_tells_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    """The help names the other commands and the exit codes."""
    with pytest.raises(SystemExit):
        parse_arguments(["--help"], "1.2.3")
    text = capsys.readouterr().out
    assert "angelia load" in text
    assert "angelia demo" in text
    assert "exit codes" in text
