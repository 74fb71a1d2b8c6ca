"""A registry of images on the loopback interface, to pull from and no more.

It has an image for every name; which, a function says.

Source: github.com/opencontainers/distribution-spec spec.md; github.com/opencontainers/image-spec
manifest.md.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from clients.images import Image

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


def digest_of(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _described(kind: str, content: bytes) -> dict[str, str | int]:
    return {"mediaType": kind, "digest": digest_of(content), "size": len(content)}


class Registry:
    """The server, in threads of this process; `find(repository)` returns an image.

    `address` is "127.0.0.1:PORT". A tag plays no part: all tags of a repository are one image.
    """

    def __init__(self, find: Callable[[str], Image]) -> None:
        self._find = find
        self._blobs: dict[str, bytes] = {}
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = registry.look_up(self.path)
                self.send_response(404 if found is None else 200)
                kind, content = found or ("application/json", b'{"errors": []}')
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.send_header("Docker-Content-Digest", digest_of(content))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(content)

            do_HEAD = do_GET  # noqa: N815  # the name that http.server calls

            def log_message(self, *_: object) -> None:
                """Keep quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def look_up(self, path: str) -> tuple[str, bytes] | None:
        """Return (media type, content) of a path such as "/v2/pause/manifests/3.9", or None."""
        words = path.partition("?")[0].strip("/").split("/")
        if words == ["v2"]:
            return "application/json", b"{}"
        if len(words) < 4:
            return None
        repository, kind, reference = "/".join(words[1:-2]), words[-2], words[-1]
        if kind == "manifests":
            manifest = self._manifest(repository)
            if not reference.startswith("sha256:") or reference == digest_of(manifest):
                return MANIFEST, manifest
        if kind == "blobs" and reference in self._blobs:
            return "application/octet-stream", self._blobs[reference]
        return None

    def _manifest(self, repository: str) -> bytes:
        image = self._find(repository)
        for content in image:
            self._blobs[digest_of(content)] = content
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": _described(CONFIG, image.config),
            "layers": [_described(LAYER, image.layer)],
        }
        return json.dumps(manifest).encode()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
