"""angelia: an asyncio HTTP client and server with the documented API of aiohttp.

::

    import asyncio
    import angelia

    async def main():
        async with angelia.ClientSession() as session:
            async with session.get("http://example.org/") as response:
                print(response.status, await response.text())

    asyncio.run(main())
"""

import typing

from angelia import hdrs
from angelia.client.cookies import CookieJar, DummyCookieJar
from angelia.client.digest import DigestAuthMiddleware
from angelia.client.one_request import request
from angelia.client.reconnecting import Backoff
from angelia.client.request import ClientRequest, RequestInfo
from angelia.client.response import ClientResponse, ContentDisposition
from angelia.client.session import ClientSession
from angelia.client.settings import ClientHandlerType, ClientMiddlewareType
from angelia.client.timeouts import ClientTimeout, ClientWSTimeout
from angelia.client.tracing import (
    TraceConfig,
    TraceConnectionCreateEndParams,
    TraceConnectionCreateStartParams,
    TraceConnectionQueuedEndParams,
    TraceConnectionQueuedStartParams,
    TraceConnectionReuseconnParams,
    TraceDnsCacheHitParams,
    TraceDnsCacheMissParams,
    TraceDnsResolveHostEndParams,
    TraceDnsResolveHostStartParams,
    TraceRequestChunkSentParams,
    TraceRequestEndParams,
    TraceRequestExceptionParams,
    TraceRequestHeadersSentParams,
    TraceRequestRedirectParams,
    TraceRequestStartParams,
    TraceResponseChunkReceivedParams,
)
from angelia.client.websocket import ClientWebSocketResponse
from angelia.core.auth import BasicAuth, encode_basic_auth
from angelia.core.chain_map import ChainMapProxy
from angelia.core.coding import set_zlib_backend
from angelia.core.fields import (
    ETag,
    content_disposition_filename,
    parse_content_disposition,
)
from angelia.core.interface import HttpVersion, HttpVersion10, HttpVersion11
from angelia.core.ws_frames import WSCloseCode
from angelia.core.ws_messages import WSMessage, WSMsgType
from angelia.errors import (
    BadContentDispositionHeader,
    BadContentDispositionParam,
    ClientConnectionError,
    ClientConnectionResetError,
    ClientConnectorCertificateError,
    ClientConnectorDNSError,
    ClientConnectorError,
    ClientConnectorSSLError,
    ClientError,
    ClientHttpProxyError,
    ClientOSError,
    ClientPayloadError,
    ClientProxyConnectionError,
    ClientResponseError,
    ClientSSLError,
    ConnectionTimeoutError,
    ContentTypeError,
    EofStream,
    InvalidURL,
    InvalidUrlClientError,
    InvalidUrlRedirectClientError,
    NonHttpUrlClientError,
    NonHttpUrlRedirectClientError,
    PoolTimeoutError,
    RedirectClientError,
    ServerConnectionError,
    ServerDisconnectedError,
    ServerFingerprintMismatch,
    ServerTimeoutError,
    SocketTimeoutError,
    TooManyRedirects,
    TotalTimeoutError,
    UnixClientConnectorError,
    UploadAbortedError,
    WebSocketError,
    WSMessageTypeError,
    WSServerHandshakeError,
)
from angelia.net.addresses import AddrInfoType, SocketFactoryType
from angelia.net.connection import Connection
from angelia.net.connector import BaseConnector, ConnectorStats
from angelia.net.connector_kinds import NamedPipeConnector, TCPConnector, UnixConnector
from angelia.net.forms import FormData
from angelia.net.multipart import BodyPartReader, MultipartReader, MultipartWriter
from angelia.net.payload import (
    PAYLOAD_REGISTRY,
    AsyncIterablePayload,
    BufferedReaderPayload,
    BytesIOPayload,
    BytesPayload,
    IOBasePayload,
    JsonPayload,
    Payload,
    StringIOPayload,
    StringPayload,
    TextIOPayload,
    get_payload,
    payload_type,
    streamer,
)
from angelia.net.resolver import AsyncResolver, DefaultResolver, ThreadedResolver
from angelia.net.streams import EMPTY_PAYLOAD, StreamReader
from angelia.net.timings import Timings
from angelia.net.tls import Fingerprint
from angelia.net.upload import UploadTracker
from angelia.net.websocket import WSStats
from angelia.version import __version__

if typing.TYPE_CHECKING:
    from angelia.net.data_queue import DataQueue, FlowControlDataQueue
    from angelia.server.access_log import AccessLogger
    from angelia.server.files import Directory, FileResponse
    from angelia.server.forms import FileField
    from angelia.server.http_exception import HTTPException
    from angelia.server.request import Request
    from angelia.server.response import Response, json_response
    from angelia.server.runner import serve
    from angelia.server.server import Server
    from angelia.server.stream_response import StreamResponse
    from angelia.server.upgrade import UpgradeResponse
    from angelia.server.websocket import WebSocketReady, WebSocketResponse, check_origin

# Most programs do without these modules: they are imported when they are asked for.
_LATER = {
    "AccessLogger": "server.access_log",
    "DataQueue": "net.data_queue",
    "Directory": "server.files",
    "FileField": "server.forms",
    "FileResponse": "server.files",
    "FlowControlDataQueue": "net.data_queue",
    "HTTPException": "server.http_exception",
    "Request": "server.request",
    "Response": "server.response",
    "Server": "server.server",
    "StreamResponse": "server.stream_response",
    "UpgradeResponse": "server.upgrade",
    "WebSocketReady": "server.websocket",
    "WebSocketResponse": "server.websocket",
    "check_origin": "server.websocket",
    "json_response": "server.response",
    "serve": "server.runner",
}


def __getattr__(name: str) -> typing.Any:
    import importlib

    if name == "abc":
        # `angelia.abc.AbstractResolver` needs no import of its own.
        return importlib.import_module("angelia.abc")
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"angelia.{_LATER[name]}"), name)
    globals()[name] = value
    return value


__all__ = (
    "EMPTY_PAYLOAD",
    "PAYLOAD_REGISTRY",
    "AccessLogger",
    "AddrInfoType",
    "AsyncIterablePayload",
    "AsyncResolver",
    "Backoff",
    "BadContentDispositionHeader",
    "BadContentDispositionParam",
    "BaseConnector",
    "BasicAuth",
    "BodyPartReader",
    "BufferedReaderPayload",
    "BytesIOPayload",
    "BytesPayload",
    "ChainMapProxy",
    "ClientConnectionError",
    "ClientConnectionResetError",
    "ClientConnectorCertificateError",
    "ClientConnectorDNSError",
    "ClientConnectorError",
    "ClientConnectorSSLError",
    "ClientError",
    "ClientHandlerType",
    "ClientHttpProxyError",
    "ClientMiddlewareType",
    "ClientOSError",
    "ClientPayloadError",
    "ClientProxyConnectionError",
    "ClientRequest",
    "ClientResponse",
    "ClientResponseError",
    "ClientSSLError",
    "ClientSession",
    "ClientTimeout",
    "ClientWSTimeout",
    "ClientWebSocketResponse",
    "Connection",
    "ConnectionTimeoutError",
    "ConnectorStats",
    "ContentDisposition",
    "ContentTypeError",
    "CookieJar",
    "DataQueue",
    "DefaultResolver",
    "DigestAuthMiddleware",
    "Directory",
    "DummyCookieJar",
    "ETag",
    "EofStream",
    "FileField",
    "FileResponse",
    "Fingerprint",
    "FlowControlDataQueue",
    "FormData",
    "HTTPException",
    "HttpVersion",
    "HttpVersion10",
    "HttpVersion11",
    "IOBasePayload",
    "InvalidURL",
    "InvalidUrlClientError",
    "InvalidUrlRedirectClientError",
    "JsonPayload",
    "MultipartReader",
    "MultipartWriter",
    "NamedPipeConnector",
    "NonHttpUrlClientError",
    "NonHttpUrlRedirectClientError",
    "Payload",
    "PoolTimeoutError",
    "RedirectClientError",
    "Request",
    "RequestInfo",
    "Response",
    "Server",
    "ServerConnectionError",
    "ServerDisconnectedError",
    "ServerFingerprintMismatch",
    "ServerTimeoutError",
    "SocketFactoryType",
    "SocketTimeoutError",
    "StreamReader",
    "StreamResponse",
    "StringIOPayload",
    "StringPayload",
    "TCPConnector",
    "TextIOPayload",
    "ThreadedResolver",
    "Timings",
    "TooManyRedirects",
    "TotalTimeoutError",
    "TraceConfig",
    "TraceConnectionCreateEndParams",
    "TraceConnectionCreateStartParams",
    "TraceConnectionQueuedEndParams",
    "TraceConnectionQueuedStartParams",
    "TraceConnectionReuseconnParams",
    "TraceDnsCacheHitParams",
    "TraceDnsCacheMissParams",
    "TraceDnsResolveHostEndParams",
    "TraceDnsResolveHostStartParams",
    "TraceRequestChunkSentParams",
    "TraceRequestEndParams",
    "TraceRequestExceptionParams",
    "TraceRequestHeadersSentParams",
    "TraceRequestRedirectParams",
    "TraceRequestStartParams",
    "TraceResponseChunkReceivedParams",
    "UnixClientConnectorError",
    "UnixConnector",
    "UpgradeResponse",
    "UploadAbortedError",
    "UploadTracker",
    "WSCloseCode",
    "WSMessage",
    "WSMessageTypeError",
    "WSMsgType",
    "WSServerHandshakeError",
    "WSStats",
    "WebSocketError",
    "WebSocketReady",
    "WebSocketResponse",
    "__version__",
    "check_origin",
    "content_disposition_filename",
    "encode_basic_auth",
    "get_payload",
    "hdrs",
    "json_response",
    "parse_content_disposition",
    "payload_type",
    "request",
    "serve",
    "set_zlib_backend",
    "streamer",
)
