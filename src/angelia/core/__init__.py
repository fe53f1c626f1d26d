"""Protocols as pure state: bytes in, events out, bytes to send.

Nothing here knows asyncio, sockets, TLS, clocks, randomness or logging; all of that comes in as
arguments or lives in `angelia.net`.
"""
