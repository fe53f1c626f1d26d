"""Negotiating WebSocket extensions (RFC 6455 §9, RFC 7692 §5, §7.1), as pure functions.

Owns: the grammar of Sec-WebSocket-Extensions, what a client offers, what a server takes of several
offers, and whether its answer fits. What the parameters then do to messages belongs to `deflate`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from angelia.core.deflate import MIN_DEFLATE_WINDOW_BITS
from angelia.core.fields import end_of, is_token, scan_quoted
from angelia.core.interface import Role
from angelia.core.patterns import lazy
from angelia.errors import HandshakeError

__all__ = (
    "MAX_WINDOW_BITS",
    "MIN_WINDOW_BITS",
    "DeflateOffer",
    "Extension",
    "PerMessageDeflate",
    "Side",
    "accept_deflate",
    "check_extensions",
    "parse_extensions",
)

FIELD: Final = "Sec-WebSocket-Extensions"
DEFLATE: Final = "permessage-deflate"

# RFC 7692 §7.1.2: the base-2 logarithm of the LZ77 window.
MIN_WINDOW_BITS: Final = 8
MAX_WINDOW_BITS: Final = 15

# Each offer may be made anew with other parameters; nobody needs many.
MAX_EXTENSIONS: Final = 32

_BLANKS: Final = lazy(r"[ \t]*")
_TOKEN_TEXT: Final = lazy(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]*")

_NO_VALUE: Final = ("server_no_context_takeover", "client_no_context_takeover")
_BITS: Final = ("server_max_window_bits", "client_max_window_bits")
_BITS_VALUES: Final = {str(bits): bits for bits in range(MIN_WINDOW_BITS, MAX_WINDOW_BITS + 1)}


class Extension(NamedTuple):
    """An extension and its parameters in their order; None is the value of one without."""

    name: str
    parameters: tuple[tuple[str, str | None], ...] = ()

    def serialize(self) -> str:
        """A member of the field's list; the twin of `parse_extensions`."""
        parts = [self.name]
        parts += (name if value is None else f"{name}={value}" for name, value in self.parameters)
        return "; ".join(parts)


def parse_extensions(values: Iterable[str]) -> list[Extension]:
    """The members of Sec-WebSocket-Extensions over all its lines.

    HandshakeError for what is not of its grammar (RFC 6455 §9.1), and for more than
    MAX_EXTENSIONS.
    """
    extensions: list[Extension] = []
    for value in values:
        at = 0
        while at <= len(value):
            extension, at = _parse_extension(value, at)
            if extension is not None:
                extensions.append(extension)
            if len(extensions) > MAX_EXTENSIONS:
                raise _refused(f"more than {MAX_EXTENSIONS} extensions", value)
    return extensions


def _parse_extension(text: str, at: int) -> tuple[Extension | None, int]:
    """The member at `at`, None if it is empty, and where the next one begins."""
    name, at = _parse_token(text, at)
    if not name:
        # RFC 9110 §5.6.1.2: empty members of a list are ignored.
        if text[at : at + 1] in ("", ","):
            return None, at + 1
        raise _refused("an extension has no name", text)
    parameters: list[tuple[str, str | None]] = []
    while text.startswith(";", at):
        parameter, at = _parse_token(text, at + 1)
        if not parameter:
            raise _refused("a parameter of an extension has no name", text)
        value = None
        if text.startswith("=", at):
            value, at = _parse_value(text, at + 1)
        parameters.append((parameter, value))
    if text[at : at + 1] not in ("", ","):
        raise _refused("an extension is malformed", text)
    return Extension(name, tuple(parameters)), at + 1


def _parse_token(text: str, at: int) -> tuple[str, int]:
    """The token at `at`, maybe empty, and the end of the blanks around it."""
    start = end_of(_BLANKS, text, at)
    end = end_of(_TOKEN_TEXT, text, start)
    return text[start:end], end_of(_BLANKS, text, end)


def _parse_value(text: str, at: int) -> tuple[str, int]:
    at = end_of(_BLANKS, text, at)
    if text.startswith('"', at):
        # RFC 6455 §9.1: what is quoted has to be a token all the same.
        value, at, closed = scan_quoted(text, at)
        at = end_of(_BLANKS, text, at)
        if not closed or not is_token(value):
            raise _refused("a quoted parameter of an extension is no token", text)
        return value, at
    value, at = _parse_token(text, at)
    if not value:
        raise _refused("a parameter of an extension has an empty value", text)
    return value, at


def _refused(message: str, found: str) -> HandshakeError:
    return HandshakeError(message, field=FIELD, found=found)


# --- permessage-deflate ------------------------------------------------------------------------


class Side(NamedTuple):
    """How the messages of one direction are compressed."""

    window_bits: int
    takeover: bool
    """Whether a message may refer to those before it."""


class PerMessageDeflate(NamedTuple):
    """What both sides agreed on (RFC 7692 §7.1)."""

    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False
    server_max_window_bits: int = MAX_WINDOW_BITS
    client_max_window_bits: int = MAX_WINDOW_BITS

    def sides(self, role: Role) -> tuple[Side, Side]:
        """How `role` compresses, and how its peer does."""
        server = Side(self.server_max_window_bits, not self.server_no_context_takeover)
        client = Side(self.client_max_window_bits, not self.client_no_context_takeover)
        return (client, server) if role is Role.CLIENT else (server, client)


@dataclass(frozen=True, slots=True)
class DeflateOffer:
    """What a client offers, or what a server is ready to take.

    ``client_max_window_bits`` None is silence: then a server may not limit the client's window.
    A client that offers MAX_WINDOW_BITS there just says that it could be limited.
    """

    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False
    server_max_window_bits: int = MAX_WINDOW_BITS
    client_max_window_bits: int | None = MAX_WINDOW_BITS

    def __post_init__(self) -> None:
        for bits in (self.server_max_window_bits, self.client_max_window_bits):
            if bits is not None and not MIN_DEFLATE_WINDOW_BITS <= bits <= MAX_WINDOW_BITS:
                raise ValueError(
                    f"{bits} window bits, not {MIN_DEFLATE_WINDOW_BITS} to {MAX_WINDOW_BITS}"
                )

    def serialize(self) -> str:
        """The value of Sec-WebSocket-Extensions in a request."""
        parameters: list[tuple[str, str | None]] = []
        if self.server_no_context_takeover:
            parameters.append(("server_no_context_takeover", None))
        if self.client_no_context_takeover:
            parameters.append(("client_no_context_takeover", None))
        if self.server_max_window_bits < MAX_WINDOW_BITS:
            parameters.append(("server_max_window_bits", str(self.server_max_window_bits)))
        if self.client_max_window_bits is not None:
            limited = self.client_max_window_bits < MAX_WINDOW_BITS
            value = str(self.client_max_window_bits) if limited else None
            parameters.append(("client_max_window_bits", value))
        return Extension(DEFLATE, tuple(parameters)).serialize()


def _parameters(extension: Extension, *, offered: bool) -> dict[str, int | None]:
    """The parameters of permessage-deflate; ValueError where RFC 7692 §7.1 forbids them."""
    found: dict[str, int | None] = {}
    for name, value in extension.parameters:
        if name in found:
            raise ValueError(f"{name} is repeated")
        if name in _NO_VALUE:
            if value is not None:
                raise ValueError(f"{name} has a value")
            found[name] = None
        elif name in _BITS:
            # §7.1.2.2: only in an offer, and only for the client's window, the value is optional.
            if value is None and offered and name == "client_max_window_bits":
                found[name] = None
            elif value in _BITS_VALUES:
                found[name] = _BITS_VALUES[value]
            else:
                raise ValueError(f"{name} is not {MIN_WINDOW_BITS} to {MAX_WINDOW_BITS}")
        else:
            raise ValueError(f"parameter {name!r} is unknown")
    return found


def check_extensions(values: Sequence[str], offer: DeflateOffer | None) -> PerMessageDeflate | None:
    """What a server's Sec-WebSocket-Extensions agrees to; None where it takes none.

    HandshakeError (RFC 6455 §9.1, RFC 7692 §7.1) where it has what was not offered, has it twice,
    or with parameters that are unknown, repeated, out of range or no answer to the offer.
    """
    extensions = parse_extensions(values)
    if not extensions:
        return None
    found = ", ".join(values)
    if offer is None or any(extension.name != DEFLATE for extension in extensions):
        raise _refused("the server answers with an extension that was not offered", found)
    if len(extensions) > 1:
        raise _refused("the server answers with an extension twice", found)
    try:
        parameters = _parameters(extensions[0], offered=False)
    except ValueError as error:
        raise _refused(f"{DEFLATE}: {error}", found) from error
    server_bits = parameters.get("server_max_window_bits") or MAX_WINDOW_BITS
    # RFC 7692 §7.1.2.1: the answer has the same or a smaller value.
    if server_bits > offer.server_max_window_bits:
        raise _refused("the server's window is larger than it was to be", found)
    # §7.1.1.1: a server that takes the offer takes this with it.
    if offer.server_no_context_takeover and "server_no_context_takeover" not in parameters:
        raise _refused("the server keeps its context, which it was not to", found)
    # §7.1.2.2: not in an answer to an offer without it.
    if "client_max_window_bits" in parameters and offer.client_max_window_bits is None:
        raise _refused("the server limits the client's window, which was not offered", found)
    client_bits = parameters.get("client_max_window_bits") or MAX_WINDOW_BITS
    return PerMessageDeflate(
        "server_no_context_takeover" in parameters,
        # What was said in the offer is kept to, whatever is answered.
        "client_no_context_takeover" in parameters or offer.client_no_context_takeover,
        server_bits,
        min(client_bits, offer.client_max_window_bits or MAX_WINDOW_BITS),
    )


def accept_deflate(
    values: Iterable[str], policy: DeflateOffer
) -> tuple[PerMessageDeflate, str] | None:
    """The first of a client's offers that a server with this `policy` can take, and its answer.

    Offers of other extensions, and those that cannot be taken, are passed over. The policy's
    flags ask for no takeover, its bits bound the windows. HandshakeError for a malformed field.
    """
    for extension in parse_extensions(values):
        if extension.name != DEFLATE:
            continue
        try:
            offered = _parameters(extension, offered=True)
        except ValueError:
            # RFC 7692 §7: an offer with parameters that are not valid is declined.
            continue
        agreed = _agree(offered, policy)
        if agreed is not None:
            return agreed, _answer(agreed, offered)
    return None


def _agree(offered: dict[str, int | None], policy: DeflateOffer) -> PerMessageDeflate | None:
    server_bits = offered.get("server_max_window_bits") or MAX_WINDOW_BITS
    # zlib cannot deflate in so small a window.
    if server_bits < MIN_DEFLATE_WINDOW_BITS:
        return None
    client_bits = offered.get("client_max_window_bits") or MAX_WINDOW_BITS
    # A client that does not say that it could be limited cannot be.
    if "client_max_window_bits" in offered and policy.client_max_window_bits is not None:
        client_bits = min(client_bits, policy.client_max_window_bits)
    return PerMessageDeflate(
        policy.server_no_context_takeover or "server_no_context_takeover" in offered,
        policy.client_no_context_takeover or "client_no_context_takeover" in offered,
        min(server_bits, policy.server_max_window_bits),
        client_bits,
    )


def _answer(agreed: PerMessageDeflate, offered: dict[str, int | None]) -> str:
    parameters: list[tuple[str, str | None]] = []
    if agreed.server_no_context_takeover:
        parameters.append(("server_no_context_takeover", None))
    if agreed.client_no_context_takeover:
        parameters.append(("client_no_context_takeover", None))
    if agreed.server_max_window_bits < MAX_WINDOW_BITS or "server_max_window_bits" in offered:
        parameters.append(("server_max_window_bits", str(agreed.server_max_window_bits)))
    # RFC 7692 §7.1.2.2: never in answer to an offer without it.
    if agreed.client_max_window_bits < MAX_WINDOW_BITS and "client_max_window_bits" in offered:
        parameters.append(("client_max_window_bits", str(agreed.client_max_window_bits)))
    return Extension(DEFLATE, tuple(parameters)).serialize()
