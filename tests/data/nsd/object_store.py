"""An object store on the loopback (moto's server), behind a proxy that counts bytes and breaks on command."""

import http.client
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BUCKET = "natural-scenes-dataset"


class Faults:
    """What the proxy does and has seen."""

    def __init__(self, port):
        self.port = port  # of the server behind
        self.cut = None  # (pattern, times): break off the body of matching requests half-way, so often
        self.deny = None  # pattern: answer 403
        self.sent = 0  # bytes of bodies
        self.paths = []


def _handler(faults):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _forward(self):
            faults.paths.append(self.path)
            if faults.deny and re.search(faults.deny, self.path):
                self.send_error(403)
                return
            server = http.client.HTTPConnection("127.0.0.1", faults.port)
            server.request(self.command, self.path, headers=dict(self.headers))
            answer = server.getresponse()
            body = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                    self.send_header(name, value)
            length = answer.getheader("content-length") if self.command == "HEAD" else len(body)
            self.send_header("Content-Length", str(length or 0))
            self.end_headers()
            if self.command == "HEAD":
                return
            if faults.cut and faults.cut[1] > 0 and re.search(faults.cut[0], self.path) and len(body) > 1000:
                faults.cut = (faults.cut[0], faults.cut[1] - 1)
                self.wfile.write(body[: len(body) // 2])
                self.wfile.flush()
                self.close_connection = True
                self.connection.close()
                return
            self.wfile.write(body)
            faults.sent += len(body)

        do_GET = do_HEAD = _forward

        def log_message(self, *args):
            pass

    return Handler


@contextmanager
def object_store(root):
    """Serve a tree as a bucket; yields (endpoint url, faults)."""
    import boto3
    from moto.server import ThreadedMotoServer

    store = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    store.start()
    host, port = store.get_host_and_port()
    client = boto3.client(
        "s3",
        endpoint_url=f"http://{host}:{port}",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        region_name="us-east-1",
    )
    client.create_bucket(Bucket=BUCKET, ACL="public-read")
    for path in sorted(root.rglob("*")):
        if path.is_file():
            name = path.relative_to(root).as_posix()
            client.put_object(Bucket=BUCKET, Key=name, Body=path.read_bytes(), ACL="public-read")
    faults = Faults(port)
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), _handler(faults))
    thread = threading.Thread(target=proxy.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{proxy.server_port}", faults, client
    finally:
        proxy.shutdown()
        proxy.server_close()
        store.stop()
