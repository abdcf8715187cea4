"""A Hub of one process on the loopback: as much of its API as uploads and downloads of small models ask for."""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "1" * 40


class Hub:
    """What the server holds: files by repository, which are private, and the requests that came."""

    def __init__(self):
        self.files, self.private, self.gated, self.requests, self.messages = {}, set(), set(), [], []


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def hub(self):
        return self.server.hub

    def log_message(self, *args):
        pass

    def answer(self, status, body=b"", **headers):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": len(body), "Content-Type": "application/json", **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def missing(self, code, status=404):
        self.answer(status, {"error": code}, X_Error_Code=code, X_Error_Message=code)

    def do_POST(self):
        sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.hub.requests.append(("POST", self.path))
        found = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(preupload|commit)/[^?]+(?:\?.*)?", self.path)
        if self.path == "/api/repos/create":
            asked = json.loads(sent)
            name = f"{asked.get('organization') or 'me'}/{asked['name']}"
            if name in self.hub.files:
                return self.answer(409, {"error": "exists", "url": f"{self.server.url}/{name}"})
            self.hub.files[name] = {}
            if asked.get("private") or asked.get("visibility") == "private":
                self.hub.private.add(name)
            return self.answer(200, {"url": f"{self.server.url}/{name}", "name": name})
        if self.path == "/api/validate-yaml":
            return self.answer(200, {"errors": [], "warnings": []})
        if found and found[2] == "preupload":
            asked = json.loads(sent)["files"]
            files = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in asked]
            return self.answer(200, {"files": files, "commitOid": COMMIT})
        if found and found[2] == "commit":
            for line in map(json.loads, sent.decode().splitlines()):
                if line["key"] == "header":
                    self.hub.messages.append(line["value"]["summary"])
                elif line["key"] == "file":
                    content = base64.b64decode(line["value"]["content"])
                    self.hub.files[found[1]][line["value"]["path"]] = content
            url = f"{self.server.url}/{found[1]}/commit/{COMMIT}"
            return self.answer(200, {"success": True, "commitOid": COMMIT, "commitUrl": url})
        return self.missing("EntryNotFound")

    def do_GET(self):
        self.hub.requests.append((self.command, self.path))
        if self.path.startswith("/api/whoami-v2"):
            return self.answer(200, {"type": "user", "name": "me", "orgs": []})
        info = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(?:revision|tree)/[^?]+)?(?:\?.*)?", self.path)
        if info and info[1] in self.hub.files:
            if "/tree/" in self.path:
                tree = [self._entry(name, content) for name, content in self.hub.files[info[1]].items()]
                return self.answer(200, tree)
            siblings = [{"rfilename": name} for name in self.hub.files[info[1]]]
            return self.answer(200, {"id": info[1], "sha": COMMIT, "siblings": siblings, "private": False, "tags": [],
                                     "downloads": 0, "likes": 0})  # fmt: skip
        found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/([^?]+)", self.path)
        name = found[1] if found else info[1] if info else None
        if name in self.hub.gated:
            return self.missing("GatedRepo", 403)
        if name not in self.hub.files or (name in self.hub.private and "Authorization" not in self.headers):
            return self.missing("RepoNotFound", 401)
        if found[2] not in ("main", COMMIT):
            return self.missing("RevisionNotFound")
        content = self.hub.files[name].get(found[3])
        if content is None:
            return self.answer(404, {"error": "no"}, X_Error_Code="EntryNotFound", X_Repo_Commit=COMMIT)
        etag = hashlib.sha256(content).hexdigest()
        return self.answer(200, content, ETag=f'"{etag}"', X_Repo_Commit=COMMIT, Accept_Ranges="none")

    do_HEAD = do_GET

    @staticmethod
    def _entry(name, content):
        return {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}


@contextmanager
def serving():
    """A running server's address and what it holds."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.hub, server.url = Hub(), f"http://127.0.0.1:{server.server_port}"
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.url, server.hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
