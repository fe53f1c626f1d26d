from collections.abc import Iterable

from angelia.core.pure import MessageT, RequestScan, ResponseScan, Special

def scan_response_head(
    data: bytes, start: int, max_line: int, max_field: int, max_fields: int, /
) -> ResponseScan | None: ...
def scan_request_head(
    data: bytes, start: int, max_line: int, max_field: int, max_fields: int, /
) -> RequestScan | None: ...
def serialize_head(start_line: str, headers: Iterable[tuple[str, str]], /) -> bytes: ...
def serialize_and_group(
    start_line: str, headers: Iterable[tuple[str, str]], /
) -> tuple[bytes, Special]: ...
def mask(data: bytes | bytearray | memoryview, key: bytes, /) -> bytes: ...
def advise_huge_pages(buffer: memoryview, /) -> None: ...
def scan_frame(
    data: bytes, start: int, masked: bool, max_size: int, /
) -> tuple[int, int, bytes] | None: ...
def scan_messages(
    data: bytes,
    start: int,
    masked: bool,
    max_size: int,
    kinds: tuple[type[MessageT], object, object],
    messages: list[MessageT],
    /,
) -> int: ...
def serialize_frame(
    first: int, content: str | bytes | bytearray | memoryview, key: bytes | None, /
) -> bytes: ...
