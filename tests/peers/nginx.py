"""nginx as a peer: its configuration, the files it serves, the addresses it answers at.

Owns what the server offers; `Nginx` says where. Knows nothing of how it is started.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from yarl import URL

from peers.process import LOOPBACK, PASSWORD_HASH, USER

__all__ = ("HELLO", "LARGE_SIZE", "Nginx", "write_configuration")

HELLO: Final = b"Hello, World!\n"
LARGE_SIZE: Final = 16 * 1024 * 1024
STATUSES: Final = (200, 201, 204, 304, 400, 401, 403, 404, 410, 416, 429, 500, 502, 503, 504)
REDIRECTS: Final = (301, 302, 303, 307, 308)


@dataclass(frozen=True, slots=True)
class Nginx:
    """Where nginx answers, and what it serves.

    | path | answer |
    |---|---|
    | `/` | 14 bytes of text |
    | `/status/N` | that status, for the usual N |
    | `/redirect/N?to=PATH` | that redirect, N of 301 302 303 307 308 |
    | `/redirect/loop` | a redirect to itself |
    | `/files/...` | `large.bin` (16 MiB), `page.html`, `small.txt`, `empty`, `data.json`; gzip |
    | `/slow/...` | the same files, 256 KiB per second |
    | `/upload/NAME` | PUT stores it (201, then 204), GET gives it back |
    | `/auth/` | 14 bytes for the one account, else 401 |
    | `/cookies` | two Set-Cookie fields |
    | `/close` | 14 bytes, and the connection is closed |
    | `/proxy/...` | what the echo application answers, streamed both ways |
    """

    directory: Path
    http_port: int
    https_port: int
    mutual_tls_port: int
    impatient_port: int

    @property
    def url(self) -> URL:
        """Plain, over IPv4."""
        return URL.build(scheme="http", host=LOOPBACK, port=self.http_port)

    @property
    def url_ipv6(self) -> URL:
        """Plain, over IPv6."""
        return URL.build(scheme="http", host="::1", port=self.http_port)

    @property
    def url_by_name(self) -> URL:
        """Plain, by a name that may have addresses of both kinds."""
        return URL.build(scheme="http", host="localhost", port=self.http_port)

    @property
    def https_url(self) -> URL:
        """TLS with a certificate of `ca` for localhost, 127.0.0.1 and ::1."""
        return URL.build(scheme="https", host="localhost", port=self.https_port)

    @property
    def mutual_tls_url(self) -> URL:
        """TLS that asks for a certificate of the client, of `ca` too."""
        return URL.build(scheme="https", host="localhost", port=self.mutual_tls_port)

    @property
    def impatient_url(self) -> URL:
        """Plain; a connection takes two requests, or one second of silence, and is closed."""
        return URL.build(scheme="http", host=LOOPBACK, port=self.impatient_port)

    @property
    def unix_path(self) -> Path:
        """The socket it listens at as well."""
        return self.directory / "nginx.sock"

    @property
    def files(self) -> Path:
        """The directory behind `/files/`."""
        return self.directory / "files"

    @property
    def uploads(self) -> Path:
        """The directory behind `/upload/`."""
        return self.directory / "upload"

    @property
    def large_sha256(self) -> str:
        """The digest of `/files/large.bin`."""
        return hashlib.sha256((self.files / "large.bin").read_bytes()).hexdigest()


CONFIGURATION = """
daemon off;
master_process off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    default_type application/octet-stream;
    types {{
        text/html html; text/plain txt; application/json json;
    }}
    client_body_temp_path {directory}/temp/body;
    proxy_temp_path {directory}/temp/proxy;
    fastcgi_temp_path {directory}/temp/fastcgi;
    uwsgi_temp_path {directory}/temp/uwsgi;
    scgi_temp_path {directory}/temp/scgi;
    client_max_body_size 0;
    keepalive_requests 1000000;
    tcp_nodelay on;
    sendfile on;
    gzip on;
    gzip_min_length 256;
    gzip_types text/plain application/json;
    ssl_certificate {certificate};
    ssl_certificate_key {certificate};
    ssl_protocols TLSv1.2 TLSv1.3;
    map $arg_to $target {{ "" /; default $arg_to; }}
    server {{
        listen {loopback}:{http_port};
        {ipv6}listen [::1]:{http_port};
        listen {loopback}:{https_port} ssl;
        {ipv6}listen [::1]:{https_port} ssl;
        listen unix:{directory}/nginx.sock;
        keepalive_timeout 75s 75s;
        {locations}
    }}
    server {{
        listen {loopback}:{mutual_tls_port} ssl;
        {ipv6}listen [::1]:{mutual_tls_port} ssl;
        ssl_client_certificate {authority};
        ssl_verify_client on;
        default_type text/plain;
        location / {{ return 200 "Hello, World!\\n"; }}
    }}
    server {{
        listen {loopback}:{impatient_port};
        keepalive_requests 2;
        keepalive_timeout 1s 1s;
        default_type text/plain;
        location / {{ return 200 "Hello, World!\\n"; }}
    }}
}}
"""

LOCATIONS = """
        location = / { default_type text/plain; return 200 "Hello, World!\\n"; }
        location = /close {
            keepalive_timeout 0; default_type text/plain; return 200 "Hello, World!\\n";
        }
        location = /cookies {
            add_header Set-Cookie "first=1; Path=/";
            add_header Set-Cookie "second=two; Path=/; HttpOnly";
            default_type text/plain; return 200 "Hello, World!\\n";
        }
        location = /redirect/loop { return 302 /redirect/loop; }
        location /files/ { root DIRECTORY; }
        location /slow/ { alias DIRECTORY/files/; limit_rate 256k; }
        location /upload/ { root DIRECTORY; dav_methods PUT DELETE; create_full_put_path on; }
        location /auth/ {
            auth_basic "angelia"; auth_basic_user_file DIRECTORY/passwords;
            alias DIRECTORY/files/; index small.txt;
        }
        location /proxy/ {
            proxy_pass http://127.0.0.1:UPSTREAM/;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_buffering off;
            proxy_request_buffering off;
        }
"""


def _write_files(directory: Path) -> None:
    files = directory / "files"
    files.mkdir()
    (files / "large.bin").write_bytes(random.Random(1).randbytes(LARGE_SIZE))
    (files / "page.html").write_text("<p>angelia brings a message</p>\n" * 4096)
    (files / "small.txt").write_bytes(HELLO)
    (files / "empty").write_bytes(b"")
    (files / "data.json").write_text('{"name": "angelia", "numbers": [1, 2, 3]}\n')
    (directory / "upload").mkdir()
    (directory / "temp").mkdir()
    (directory / "passwords").write_text(f"{USER}:{PASSWORD_HASH}\n")


def write_configuration(
    nginx: Nginx, *, certificate: Path, authority: Path, upstream_port: int, ipv6: bool
) -> Path:
    """Write what nginx needs into its directory, and return the configuration's path.

    `upstream_port` is the echo application's, on 127.0.0.1.
    """
    directory = nginx.directory
    _write_files(directory)
    locations = LOCATIONS.replace("DIRECTORY", str(directory))
    locations = locations.replace("UPSTREAM", str(upstream_port))
    for status in STATUSES:
        locations += f"        location = /status/{status} {{ return {status}; }}\n"
    for status in REDIRECTS:
        locations += f"        location = /redirect/{status} {{ return {status} $target; }}\n"
    path = directory / "nginx.conf"
    path.write_text(
        CONFIGURATION.format(
            authority=authority,
            certificate=certificate,
            directory=directory,
            http_port=nginx.http_port,
            https_port=nginx.https_port,
            impatient_port=nginx.impatient_port,
            ipv6="" if ipv6 else "# ",
            locations=locations,
            loopback=LOOPBACK,
            mutual_tls_port=nginx.mutual_tls_port,
        )
    )
    return path
