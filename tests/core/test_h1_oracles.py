"""Two other implementations, and us: accept the same responses, or say why not.

`h11` and `httptools` (llhttp) are asked what they make of the same octets: refused, or accepted
with which content. Where they differ from us, a reason must be named below, and each reason is a
narrow predicate on the octets. A difference without a reason fails the test, and so does one in the
content of what both accept.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

import h11
import httptools
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from angelia.core.interface import End, Failed
from core.h1_kit import asking, content_of, cut_at, each_octet, feed
from core.strategies import cuts, spoiled_responses

pytestmark = pytest.mark.usefixtures("implementation")


class Verdict(NamedTuple):
    """What a reader makes of a response, when the connection ends behind it."""

    accepted: bool
    content: bytes = b""


REFUSED = Verdict(False)


def our_verdict(pieces: Iterable[bytes], method: str = "GET") -> Verdict:
    events = feed(asking(method), pieces, eof=True)
    if any(isinstance(event, Failed) and event.stream_id for event in events):
        return REFUSED
    assert any(isinstance(event, End) for event in events)
    return Verdict(True, content_of(events))


def h11_verdict(pieces: Iterable[bytes], method: str = "GET") -> Verdict:
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    connection.send(h11.EndOfMessage())
    content = bytearray()
    try:
        for piece in [*filter(None, pieces), b""]:
            connection.receive_data(piece)
            while True:
                event = connection.next_event()
                if isinstance(event, h11.Data):
                    content += event.data
                elif isinstance(event, h11.EndOfMessage):
                    return Verdict(True, bytes(content))
                elif event is h11.NEED_DATA:
                    break
                elif isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED:
                    return REFUSED
    except h11.RemoteProtocolError:
        return REFUSED
    return REFUSED


class Collector:
    """The callbacks of httptools: what it found up to the end of the first final response."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.content = bytearray()
        self.names: list[tuple[bytes, bytes]] = []
        self.in_content = False
        self.done = False

    def on_message_begin(self) -> None:
        self.names.clear()

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.in_content:
            self.names.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.in_content = self.parser.get_status_code() >= 200

    def on_body(self, data: bytes) -> None:
        if not self.done:
            self.content += data

    def on_message_complete(self) -> None:
        if self.in_content:
            self.done = True

    def verdict_at_end(self) -> Verdict:
        """httptools is not told of the end of the connection: here it is, by RFC 9112 §6.3."""
        names = dict(self.names)
        coding = names.get(b"transfer-encoding", b"").lower().rpartition(b",")[2].strip()
        sized = b"content-length" in names or coding == b"chunked"
        if self.done or (self.in_content and not sized):
            return Verdict(True, bytes(self.content))
        return REFUSED


def httptools_verdict(pieces: Iterable[bytes]) -> Verdict:
    collector = Collector()
    try:
        for piece in pieces:
            collector.parser.feed_data(piece)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return Verdict(True, bytes(collector.content)) if collector.done else REFUSED
    return collector.verdict_at_end()


# --- the octets, taken apart without any of the three ------------------------------------------

_EMPTY_LINE = re.compile(rb"\n\r?\n")


class Parts(NamedTuple):
    """The heads before the final one, the final one, and what follows, as far as one can tell."""

    interim: bytes
    final: bytes
    content: bytes

    @property
    def heads(self) -> bytes:
        return self.interim + self.final

    def values(self, name: bytes) -> list[bytes]:
        """The values of a field of the final head, unfolded."""
        unfolded = re.sub(rb"\r?\n[ \t]+", b" ", self.final)
        found = re.findall(rb"(?im)^%b[ \t]*:([^\n]*)$" % name, unfolded)
        return [value.strip(b" \t\r") for value in found]

    @property
    def status(self) -> bytes:
        found = re.search(rb"HTTP/[0-9]\.[0-9] ([0-9]{3})", self.final)
        return found[1] if found else b""


def parts(wire: bytes) -> Parts:
    start = 0
    while True:
        # Empty lines before a head are no end of it.
        blank = re.compile(rb"[\r\n]*").match(wire, start)
        found = _EMPTY_LINE.search(wire, blank.end() if blank else start)
        end = found.end() if found else len(wire)
        if not re.match(rb"[\r\n]*HTTP/1\.[0-9] 1(?!01)[0-9][0-9]", wire[start:end]) or not found:
            return Parts(wire[:start], wire[start:end], wire[end:])
        start = end


Reason = Callable[[Parts], bool]

# --- we accept, they refuse --------------------------------------------------------------------


def empty_line_before_a_head(wire: Parts) -> bool:
    """h11 knows none; RFC 9112 §2.2 lets a reader skip it, and some servers leave one."""
    return re.search(rb"(?:\A|\n\r?\n)\r?\n", wire.heads) is not None


def coding_that_is_not_chunked(wire: Parts) -> bool:
    """h11 refuses each; RFC 9112 §6.3 (4) reads a response with another last coding to the end."""
    values = wire.values(b"transfer-encoding")
    return bool(values) and b",".join(values).lower() != b"chunked"


def odd_fields_without_content(wire: Parts) -> bool:
    """RFC 9112 §6.3 (1) comes first: in 1xx, 204 and 304 the framing fields frame nothing."""
    odd = re.compile(rb"(?im)^(?:content-length|transfer-encoding)[ \t]*:")
    return bool(
        (wire.status in {b"204", b"304"} and odd.search(wire.final)) or odd.search(wire.interim)
    )


def blank_before_an_extension(wire: Parts) -> bool:
    """h11 takes blanks behind a size, but not before an extension; RFC 9112 §7.1.1: both."""
    return re.search(rb"(?m)^[0-9A-Fa-f]+[ \t]+;", wire.content) is not None


def bare_lf(wire: Parts) -> bool:
    """llhttp wants CRLF; RFC 9112 §2.2 lets a reader of heads, and of trailers, take LF."""
    return re.search(rb"(?<!\r)\n", wire.heads) is not None or bare_lf_in_trailers(wire)


def bare_lf_in_trailers(wire: Parts) -> bool:
    """The same for trailers alone."""
    return (
        re.search(
            rb"(?:^|\r\n)0+[ \t]*(?:;[^\r\n]*)?\r\n(?:[^\n]*\n)*?[^\n]*(?<!\r)\n", wire.content
        )
        is not None
    )


def folded_line(wire: Parts) -> bool:
    """llhttp refuses them; RFC 9112 §5.2 tells a user agent to unfold them."""
    return re.search(rb"\n[ \t]", wire.heads + wire.content) is not None


def minor_version(wire: Parts) -> bool:
    """llhttp knows 1.0 and 1.1; RFC 9110 §2.5 has a reader take any 1.x as the 1.1 it knows."""
    return re.search(rb"HTTP/1\.[2-9]", wire.heads) is not None


def repeated_length(wire: Parts) -> bool:
    """llhttp refuses them; RFC 9112 §6.3 (5) lets a reader take one number said twice as one."""
    joined = b",".join(wire.values(b"content-length"))
    return b"," in joined and len({member.strip() for member in joined.split(b",")}) == 1


_LLHTTP_CHUNK_LINE = re.compile(
    rb"[0-9A-Fa-f]+(?:;[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?:=(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+|"
    rb'"(?:[\t\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*"))?)*'
)


def chunk_line_with_odd_extension(wire: Parts) -> bool:
    """llhttp parses extensions, and takes no blanks; we skip what has no line's end in it."""
    lines = re.findall(rb"(?m)^([0-9A-Fa-f]+[ \t;][\t\x20-\x7e\x80-\xff]*)\r$", wire.content)
    return any(not _LLHTTP_CHUNK_LINE.fullmatch(line) for line in lines)


# --- we refuse, they accept --------------------------------------------------------------------


def other_major_version(wire: Parts) -> bool:
    """Both read HTTP/0.9 or 2.0 like 1.1; RFC 9110 §2.5: another major, another grammar."""
    return re.search(rb"HTTP/[02-9]\.", wire.heads) is not None


def control_character(wire: Parts) -> bool:
    """h11 minds NUL, CR and LF only; RFC 9110 §5.5 has all the others but TAB invalid."""
    chunked = wire.content if wire.values(b"transfer-encoding") else b""
    return re.search(rb"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]", wire.heads + chunked) is not None


def control_character_in_reason(wire: Parts) -> bool:
    """llhttp looks at no reason; RFC 9112 §4 has none of them there."""
    return (
        re.search(rb"HTTP/1\.[0-9] [0-9]{3} [^\r\n]*[\0-\x08\x0b\x0c\x0e-\x1f\x7f]", wire.heads)
        is not None
    )


def length_and_coding(wire: Parts) -> bool:
    """h11 believes the coding; RFC 9112 §6.3 (3) lets a reader see the attack that it may be."""
    return bool(wire.values(b"content-length") and wire.values(b"transfer-encoding"))


def coding_that_we_never_asked_for(wire: Parts) -> bool:
    """llhttp looks at the last one alone; we want chunked alone, and nothing that looks like it."""
    return b"chunked" in b",".join(wire.values(b"transfer-encoding")).lower()


def coding_that_is_no_token(wire: Parts) -> bool:
    """llhttp takes anything, and nothing, for a coding; RFC 9112 §7: its name is a token."""
    values = wire.values(b"transfer-encoding")
    members = b",".join(values).split(b",") if values else []
    return any(
        not re.fullmatch(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?:[ \t]*;.*)?", member.strip(b" \t"))
        for member in members
    )


def cr_before_a_head(wire: Parts) -> bool:
    """llhttp skips any CR; RFC 9112 §2.2 speaks of empty lines."""
    return re.search(rb"(?:\A|\n)\r+(?:[^\r\n]|\r\n)", wire.heads) is not None


def many_empty_lines(wire: Parts) -> bool:
    """llhttp skips them without end; we take two, and a server that goes on has no answer."""
    return re.search(rb"(?:\A|\n\r?\n)(?:\r?\n){3}", wire.heads) is not None


class Differences(NamedTuple):
    """The reasons for which we, or they, alone accept a response."""

    we_accept: list[Reason]
    they_accept: list[Reason]

    def explain(self, wire: bytes, ours: Verdict, theirs: Verdict) -> str | None:
        """The reason's name; None where there is none."""
        if ours.accepted == theirs.accepted:
            # Of what all accept the content is the same.
            return "none needed" if ours == theirs else None
        reasons = self.we_accept if ours.accepted else self.they_accept
        taken_apart = parts(wire)
        return next((reason.__name__ for reason in reasons if reason(taken_apart)), None)


H11 = Differences(
    we_accept=[
        empty_line_before_a_head,
        coding_that_is_not_chunked,
        odd_fields_without_content,
        blank_before_an_extension,
    ],
    they_accept=[other_major_version, control_character, length_and_coding],
)
HTTPTOOLS = Differences(
    we_accept=[
        bare_lf,
        folded_line,
        minor_version,
        repeated_length,
        odd_fields_without_content,
        chunk_line_with_odd_extension,
    ],
    they_accept=[
        other_major_version,
        control_character_in_reason,
        coding_that_we_never_asked_for,
        coding_that_is_no_token,
        cr_before_a_head,
        many_empty_lines,
    ],
)

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"

EXAMPLES = [
    (H11, empty_line_before_a_head, b"\r\n" + OK + b"\r\n"),
    (H11, coding_that_is_not_chunked, OK + b"Transfer-Encoding: gzip\r\n\r\nx"),
    (H11, odd_fields_without_content, b"HTTP/1.1 304 X\r\nContent-Length: x\r\n\r\n"),
    (H11, blank_before_an_extension, CHUNKED + b"5 ;a\r\nhello\r\n0\r\n\r\n"),
    (H11, other_major_version, b"HTTP/2.0 200 OK\r\n\r\n"),
    (H11, control_character, OK + b"A: \x01\r\n\r\n"),
    (H11, control_character, CHUNKED + b"0;\x01\r\n\r\n"),
    (H11, length_and_coding, OK + b"Content-Length: 5\r\n" + CHUNKED[17:] + b"0\r\n\r\n"),
    (HTTPTOOLS, bare_lf, b"HTTP/1.1 200 OK\n\n"),
    (HTTPTOOLS, bare_lf, CHUNKED + b"0\r\nA: b\n\r\n"),
    (HTTPTOOLS, folded_line, OK + b"A: b\r\n c\r\n\r\n"),
    (HTTPTOOLS, folded_line, CHUNKED + b"0\r\nA: b\r\n c\r\n\r\n"),
    (HTTPTOOLS, minor_version, b"HTTP/1.2 200 OK\r\n\r\n"),
    (HTTPTOOLS, repeated_length, OK + b"Content-Length: 5\r\ncontent-length: 5\r\n\r\nhello"),
    (HTTPTOOLS, odd_fields_without_content, b"HTTP/1.1 304 X\r\nContent-Length: x\r\n\r\n"),
    (HTTPTOOLS, chunk_line_with_odd_extension, CHUNKED + b"5 \r\nhello\r\n0;\r\n\r\n"),
    (HTTPTOOLS, other_major_version, b"HTTP/0.9 200 OK\r\n\r\n"),
    (HTTPTOOLS, control_character_in_reason, b"HTTP/1.1 200 O\x1bK\r\n\r\n"),
    (
        HTTPTOOLS,
        coding_that_we_never_asked_for,
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    ),
    (HTTPTOOLS, coding_that_we_never_asked_for, OK + b"Transfer-Encoding: xchunked\r\n\r\nx"),
    (HTTPTOOLS, coding_that_is_no_token, OK + b"Transfer-Encoding: gzip,\r\n\r\nx"),
    (HTTPTOOLS, coding_that_is_no_token, OK + b"Transfer-Encoding: g zip\r\n\r\nx"),
    (HTTPTOOLS, many_empty_lines, b"\r\n" * 3 + OK + b"\r\n"),
    (HTTPTOOLS, cr_before_a_head, b"\r" + OK + b"\r\n"),
]


class TestReasons:
    """The reasons are reasons."""

    @pytest.mark.parametrize(("oracle", "reason", "wire"), EXAMPLES)
    def test_each_is_one(self, oracle: Differences, reason: Reason, wire: bytes) -> None:
        """Each reason explains a difference that there is; without it there would be none."""
        verdict = h11_verdict if oracle is H11 else httptools_verdict
        ours, theirs = our_verdict([wire]), verdict([wire])
        assert ours.accepted != theirs.accepted
        side = oracle.we_accept if ours.accepted else oracle.they_accept
        assert [other for other in side if other(parts(wire))] == [reason]

    def test_all_are_shown(self) -> None:
        """None of them is there for nothing."""
        for oracle in (H11, HTTPTOOLS):
            shown = {reason for other, reason, _ in EXAMPLES if other is oracle}
            assert shown == {*oracle.we_accept, *oracle.they_accept}


class TestOracles:
    """Responses, regular and spoiled, in front of three readers."""

    @given(spoiled_responses, cuts)
    @example(CHUNKED + b"5\r\nhello\r\n0\r\nA: b\r\n\r\n", [50])
    @example(OK + b"Content-Length: 5\r\n\r\nhello", [])
    @settings(max_examples=250, deadline=None)
    def test_h11(self, wire: bytes, places: list[int]) -> None:
        """h11 and we differ for the reasons above, and no other."""
        ours = our_verdict([wire])
        for pieces in ([wire], cut_at(wire, places)):
            assert our_verdict(pieces) == ours
            assert H11.explain(wire, ours, h11_verdict(pieces))

    @given(spoiled_responses, cuts)
    @example(CHUNKED + b"5\r\nhello\r\n0\r\nA: b\r\n\r\n", [50])
    @settings(max_examples=250, deadline=None)
    def test_httptools(self, wire: bytes, places: list[int]) -> None:
        """httptools and we differ for the reasons above, and no other."""
        ours = our_verdict([wire])
        assert our_verdict(each_octet(wire)) == ours
        for pieces in ([wire], cut_at(wire, places)):
            assert HTTPTOOLS.explain(wire, ours, httptools_verdict(pieces))

    @given(spoiled_responses, cuts, st.just("HEAD"))
    @settings(max_examples=150, deadline=None)
    def test_h11_on_head(self, wire: bytes, places: list[int], method: str) -> None:
        """The same for responses to HEAD: framing fields frame nothing, and are not looked at."""
        ours = our_verdict([wire], method)
        assert our_verdict(cut_at(wire, places), method) == ours
        explained = H11.explain(wire, ours, h11_verdict([wire], method))
        taken_apart = parts(wire)
        framed = taken_apart.values(b"content-length") or taken_apart.values(b"transfer-encoding")
        assert explained or (ours.accepted and framed)
        assert not ours.content
