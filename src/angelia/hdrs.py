"""Names of methods and of header fields, ready to be keys.

Owns the spelling of the registered names (RFC 9110 section 16.3 and its registry), as
`multidict.istr`: equal without regard to case, and hashed once. Knows nothing of their values.
"""

from __future__ import annotations

from typing import Final

from multidict import istr

# Methods (RFC 9110 section 9, RFC 5789). They are case-sensitive, so they are plain strings.
METH_ANY: Final = "*"
METH_CONNECT: Final = "CONNECT"
METH_HEAD: Final = "HEAD"
METH_GET: Final = "GET"
METH_DELETE: Final = "DELETE"
METH_OPTIONS: Final = "OPTIONS"
METH_PATCH: Final = "PATCH"
METH_POST: Final = "POST"
METH_PUT: Final = "PUT"
METH_TRACE: Final = "TRACE"

METH_ALL: Final = frozenset(
    {
        METH_CONNECT,
        METH_HEAD,
        METH_GET,
        METH_DELETE,
        METH_OPTIONS,
        METH_PATCH,
        METH_POST,
        METH_PUT,
        METH_TRACE,
    }
)

# Content negotiation and representation (RFC 9110)
ACCEPT: Final = istr("Accept")
ACCEPT_CHARSET: Final = istr("Accept-Charset")
ACCEPT_ENCODING: Final = istr("Accept-Encoding")
ACCEPT_LANGUAGE: Final = istr("Accept-Language")
ACCEPT_PATCH: Final = istr("Accept-Patch")
ACCEPT_POST: Final = istr("Accept-Post")
ACCEPT_RANGES: Final = istr("Accept-Ranges")
CONTENT_DIGEST: Final = istr("Content-Digest")
CONTENT_DISPOSITION: Final = istr("Content-Disposition")
CONTENT_ENCODING: Final = istr("Content-Encoding")
CONTENT_LANGUAGE: Final = istr("Content-Language")
CONTENT_LENGTH: Final = istr("Content-Length")
CONTENT_LOCATION: Final = istr("Content-Location")
CONTENT_MD5: Final = istr("Content-MD5")
CONTENT_RANGE: Final = istr("Content-Range")
CONTENT_TRANSFER_ENCODING: Final = istr("Content-Transfer-Encoding")
CONTENT_TYPE: Final = istr("Content-Type")
DIGEST: Final = istr("Digest")
REPR_DIGEST: Final = istr("Repr-Digest")
WANT_CONTENT_DIGEST: Final = istr("Want-Content-Digest")
WANT_DIGEST: Final = istr("Want-Digest")
WANT_REPR_DIGEST: Final = istr("Want-Repr-Digest")

# Messages, connections and routing (RFC 9110, RFC 9112, RFC 7239)
ALT_SVC: Final = istr("Alt-Svc")
CONNECTION: Final = istr("Connection")
DATE: Final = istr("Date")
EARLY_DATA: Final = istr("Early-Data")
EXPECT: Final = istr("Expect")
FORWARDED: Final = istr("Forwarded")
FROM: Final = istr("From")
HOST: Final = istr("Host")
HTTP2_SETTINGS: Final = istr("HTTP2-Settings")
KEEP_ALIVE: Final = istr("Keep-Alive")
MAX_FORWARDS: Final = istr("Max-Forwards")
PREFER: Final = istr("Prefer")
PREFERENCE_APPLIED: Final = istr("Preference-Applied")
PRIORITY: Final = istr("Priority")
PROXY_CONNECTION: Final = istr("Proxy-Connection")
REFERER: Final = istr("Referer")
SERVER: Final = istr("Server")
SERVER_TIMING: Final = istr("Server-Timing")
TE: Final = istr("TE")
TRAILER: Final = istr("Trailer")
TRANSFER_ENCODING: Final = istr("Transfer-Encoding")
UPGRADE: Final = istr("Upgrade")
USER_AGENT: Final = istr("User-Agent")
VIA: Final = istr("Via")
X_FORWARDED_FOR: Final = istr("X-Forwarded-For")
X_FORWARDED_HOST: Final = istr("X-Forwarded-Host")
X_FORWARDED_PROTO: Final = istr("X-Forwarded-Proto")
X_REQUEST_ID: Final = istr("X-Request-ID")

# Authentication and state (RFC 9110, RFC 6265, RFC 7615)
AUTHENTICATION_INFO: Final = istr("Authentication-Info")
AUTHORIZATION: Final = istr("Authorization")
COOKIE: Final = istr("Cookie")
PROXY_AUTHENTICATE: Final = istr("Proxy-Authenticate")
PROXY_AUTHENTICATION_INFO: Final = istr("Proxy-Authentication-Info")
PROXY_AUTHORIZATION: Final = istr("Proxy-Authorization")
SET_COOKIE: Final = istr("Set-Cookie")
WWW_AUTHENTICATE: Final = istr("WWW-Authenticate")

# Caching, conditions and ranges (RFC 9110, RFC 9111)
AGE: Final = istr("Age")
CACHE_CONTROL: Final = istr("Cache-Control")
ETAG: Final = istr("ETag")
EXPIRES: Final = istr("Expires")
IF_MATCH: Final = istr("If-Match")
IF_MODIFIED_SINCE: Final = istr("If-Modified-Since")
IF_NONE_MATCH: Final = istr("If-None-Match")
IF_RANGE: Final = istr("If-Range")
IF_UNMODIFIED_SINCE: Final = istr("If-Unmodified-Since")
LAST_MODIFIED: Final = istr("Last-Modified")
PRAGMA: Final = istr("Pragma")
RANGE: Final = istr("Range")
VARY: Final = istr("Vary")
WARNING: Final = istr("Warning")

# Responses that point elsewhere (RFC 9110, RFC 8288)
ALLOW: Final = istr("Allow")
LAST_EVENT_ID: Final = istr("Last-Event-ID")
LINK: Final = istr("Link")
LOCATION: Final = istr("Location")
REFRESH: Final = istr("Refresh")
RETRY_AFTER: Final = istr("Retry-After")
SUNSET: Final = istr("Sunset")
URI: Final = istr("URI")

# Cross-origin requests and browser policies
ACCESS_CONTROL_ALLOW_CREDENTIALS: Final = istr("Access-Control-Allow-Credentials")
ACCESS_CONTROL_ALLOW_HEADERS: Final = istr("Access-Control-Allow-Headers")
ACCESS_CONTROL_ALLOW_METHODS: Final = istr("Access-Control-Allow-Methods")
ACCESS_CONTROL_ALLOW_ORIGIN: Final = istr("Access-Control-Allow-Origin")
ACCESS_CONTROL_EXPOSE_HEADERS: Final = istr("Access-Control-Expose-Headers")
ACCESS_CONTROL_MAX_AGE: Final = istr("Access-Control-Max-Age")
ACCESS_CONTROL_REQUEST_HEADERS: Final = istr("Access-Control-Request-Headers")
ACCESS_CONTROL_REQUEST_METHOD: Final = istr("Access-Control-Request-Method")
CLEAR_SITE_DATA: Final = istr("Clear-Site-Data")
CONTENT_SECURITY_POLICY: Final = istr("Content-Security-Policy")
CONTENT_SECURITY_POLICY_REPORT_ONLY: Final = istr("Content-Security-Policy-Report-Only")
CROSS_ORIGIN_EMBEDDER_POLICY: Final = istr("Cross-Origin-Embedder-Policy")
CROSS_ORIGIN_OPENER_POLICY: Final = istr("Cross-Origin-Opener-Policy")
CROSS_ORIGIN_RESOURCE_POLICY: Final = istr("Cross-Origin-Resource-Policy")
ORIGIN: Final = istr("Origin")
PERMISSIONS_POLICY: Final = istr("Permissions-Policy")
REFERRER_POLICY: Final = istr("Referrer-Policy")
SEC_FETCH_DEST: Final = istr("Sec-Fetch-Dest")
SEC_FETCH_MODE: Final = istr("Sec-Fetch-Mode")
SEC_FETCH_SITE: Final = istr("Sec-Fetch-Site")
SEC_FETCH_USER: Final = istr("Sec-Fetch-User")
STRICT_TRANSPORT_SECURITY: Final = istr("Strict-Transport-Security")
UPGRADE_INSECURE_REQUESTS: Final = istr("Upgrade-Insecure-Requests")
X_CONTENT_TYPE_OPTIONS: Final = istr("X-Content-Type-Options")
X_FRAME_OPTIONS: Final = istr("X-Frame-Options")
X_REQUESTED_WITH: Final = istr("X-Requested-With")

# WebSocket (RFC 6455)
SEC_WEBSOCKET_ACCEPT: Final = istr("Sec-WebSocket-Accept")
SEC_WEBSOCKET_EXTENSIONS: Final = istr("Sec-WebSocket-Extensions")
SEC_WEBSOCKET_KEY: Final = istr("Sec-WebSocket-Key")
SEC_WEBSOCKET_KEY1: Final = istr("Sec-WebSocket-Key1")
SEC_WEBSOCKET_PROTOCOL: Final = istr("Sec-WebSocket-Protocol")
SEC_WEBSOCKET_VERSION: Final = istr("Sec-WebSocket-Version")

# WebDAV (RFC 4918)
DAV: Final = istr("DAV")
DEPTH: Final = istr("Depth")
DESTINATION: Final = istr("Destination")
IF: Final = istr("If")
LOCK_TOKEN: Final = istr("Lock-Token")
OVERWRITE: Final = istr("Overwrite")
TIMEOUT: Final = istr("Timeout")

# Client hints, reporting and privacy of browsers
ACCEPT_CH: Final = istr("Accept-CH")
NEL: Final = istr("NEL")
ORIGIN_AGENT_CLUSTER: Final = istr("Origin-Agent-Cluster")
REPORT_TO: Final = istr("Report-To")
REPORTING_ENDPOINTS: Final = istr("Reporting-Endpoints")
SEC_CH_UA: Final = istr("Sec-CH-UA")
SEC_CH_UA_MOBILE: Final = istr("Sec-CH-UA-Mobile")
SEC_CH_UA_PLATFORM: Final = istr("Sec-CH-UA-Platform")
SEC_GPC: Final = istr("Sec-GPC")
SEC_PURPOSE: Final = istr("Sec-Purpose")
TIMING_ALLOW_ORIGIN: Final = istr("Timing-Allow-Origin")
X_XSS_PROTECTION: Final = istr("X-XSS-Protection")

# Caches and networks of caches (RFC 7838, RFC 8586, RFC 9211, RFC 9213)
ALT_USED: Final = istr("Alt-Used")
CACHE_STATUS: Final = istr("Cache-Status")
CDN_CACHE_CONTROL: Final = istr("CDN-Cache-Control")
CDN_LOOP: Final = istr("CDN-Loop")

# Parts of a message (RFC 2045)
CONTENT_ID: Final = istr("Content-ID")

# Distributed tracing (W3C Trace Context, W3C Baggage)
BAGGAGE: Final = istr("baggage")
TRACEPARENT: Final = istr("traceparent")
TRACESTATE: Final = istr("tracestate")

# In common use, registered nowhere
X_CORRELATION_ID: Final = istr("X-Correlation-ID")
X_FORWARDED_PORT: Final = istr("X-Forwarded-Port")
X_POWERED_BY: Final = istr("X-Powered-By")
X_RATELIMIT_LIMIT: Final = istr("X-RateLimit-Limit")
X_RATELIMIT_REMAINING: Final = istr("X-RateLimit-Remaining")
X_RATELIMIT_RESET: Final = istr("X-RateLimit-Reset")
X_REAL_IP: Final = istr("X-Real-IP")
