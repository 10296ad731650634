"""A hub on this machine: as much of its protocol as an upload walks through, and what it was given."""

import base64
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """Keeps files by name; large ones come by their SHA-256 first, as to git's large file storage."""

    def __init__(self, token: str) -> None:
        super().__init__(("127.0.0.1", 0), Requests)
        self.token = token
        self.asked: list[str] = []
        self.created: dict[str, Any] = {}
        self.large: dict[str, bytes] = {}
        self.files: dict[str, bytes] = {}
        Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Requests(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *words: object) -> None:
        """Nothing."""

    def do_PUT(self) -> None:
        self.server.large[self.path.rpartition("/")[2]] = self._body()
        self._answer({})

    def do_POST(self) -> None:
        self.server.asked.append(self.path)
        body = self._body()
        if self.headers.get("authorization") != f"Bearer {self.server.token}":
            self._answer({"error": "Invalid username or password."}, 401)
        elif self.path == "/api/repos/create":
            self.server.created = json.loads(body)
            self._answer({"url": f"{self.server.address}/someone/small", "name": "someone/small"})
        elif "/preupload/" in self.path:
            large = {True: "lfs", False: "regular"}
            files = [each["path"] for each in json.loads(body)["files"]]
            modes = [{"path": p, "uploadMode": large[p.endswith(".safetensors")], "shouldIgnore": False} for p in files]
            self._answer({"files": modes})
        elif self.path.endswith("/objects/batch"):
            self._answer({"transfer": "basic", "objects": [self._place(each) for each in json.loads(body)["objects"]]})
        elif "/commit/" in self.path:
            self._commit([json.loads(line) for line in body.splitlines()])
        else:
            self._answer({"errors": [], "warnings": []})  # of the card's metadata

    def _place(self, wanted: dict[str, Any]) -> dict[str, Any]:
        return {**wanted, "actions": {"upload": {"href": f"{self.server.address}/large/{wanted['oid']}"}}}

    def _commit(self, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            if line["key"] == "file":
                self.server.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            if line["key"] == "lfsFile":
                self.server.files[line["value"]["path"]] = self.server.large[line["value"]["oid"]]
        self._answer({"commitUrl": f"{self.server.address}/someone/small/commit/{COMMIT}", "commitOid": COMMIT})

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        found = b""
        while size := int(self.rfile.readline(), 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def _answer(self, content: dict[str, Any], status: int = 200) -> None:
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
