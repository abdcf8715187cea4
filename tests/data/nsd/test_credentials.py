"""Passwords and tokens in a URL: used for the transfer, and nowhere to be found afterwards."""

import base64
import logging
import pickle
import traceback
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pytest

pytest.importorskip("aiohttp", reason="aiohttp (of the extra 'cloud') is not installed")
pytest.importorskip("pooch", reason="pooch (of the extra 'cloud') is not installed")

from neuroalign.data import NSDDataModule, NSDError, extract_nsd, open_nsd, read_nsd
from neuroalign.data.nsd.remote import _default_folder
from tests.data.nsd.tree_writer import write_tree

PASSWORD, TOKEN = "s3cret-PW", "t0ken-VALUE"


class Handler(SimpleHTTPRequestHandler):
    """Files by ranges, for those who know the password and the token."""

    def do_GET(self, head=False):
        self.server.seen.append(self.path)
        known = self.headers.get("Authorization") == "Basic " + base64.b64encode(f"me:{PASSWORD}".encode()).decode()
        path, _, query = self.path.partition("?")
        if not known or query != f"token={TOKEN}":
            self.send_error(401)
            return
        if self.server.broken and self.server.broken in path:
            self.send_error(500)
            return
        file = self.server.root / path.strip("/").removeprefix("nsd/")
        if not file.is_file():
            self.send_error(404)
            return
        data = file.read_bytes()
        start, end = 0, len(data)
        if asked := self.headers.get("Range"):
            first, last = asked.removeprefix("bytes=").split("-")
            start, end = int(first), min(int(last) + 1, len(data))
        self.send_response(206 if asked else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(end - start))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
        self.end_headers()
        if not head:
            self.wfile.write(data[start:end])

    def do_HEAD(self):
        self.do_GET(head=True)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    tree = write_tree(tmp_path_factory.mktemp("served") / "tree", subjects=(2,))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.root, server.seen, server.broken = tree.root, [], None
    Thread(target=partial(server.serve_forever, 0.05), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def url(server, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    server.broken = None
    return f"http://me:{PASSWORD}@127.0.0.1:{server.server_port}/nsd?token={TOKEN}"


def check_hidden(text):
    for secret in (PASSWORD, TOKEN):
        assert secret not in text, text[max(0, text.index(secret) - 200) :][:400]


def check_files(folder):
    for path in folder.rglob("*"):
        check_hidden(str(path))
        if path.is_file():
            for secret in (PASSWORD, TOKEN):
                assert secret.encode() not in path.read_bytes(), path


def test_a_transfer_uses_them_and_keeps_none(server, url, tmp_path, caplog):
    access = {"accept_terms": True, "confirm": True, "download_folder": tmp_path / "cache", "retries": 1}
    with caplog.at_level(logging.DEBUG, "neuroalign"):
        out = extract_nsd(url, tmp_path / "x.h5", 2, roi="V1", transfer="files", **access)
        read = read_nsd(url, 2, roi="V1", **access)
        data = NSDDataModule(url, 2, "V1", accept_terms=True, cache=tmp_path / "data",
                             access={k: v for k, v in access.items() if k != "accept_terms"})  # fmt: skip
        data.prepare_data()
    np.testing.assert_array_equal(read.values, read_nsd(server.root, 2, roi="V1").values)
    assert read.info["root"] == f"http://***@127.0.0.1:{server.server_port}/nsd"
    assert out.exists() and (tmp_path / "cache/transfers.json").exists()
    check_files(tmp_path)
    check_hidden(caplog.text)
    tree = open_nsd(url, **access)
    check_hidden(repr(tree) + str(tree) + tree.name(tree.root / "nsddata/x") + repr(read))
    again = pickle.loads(pickle.dumps(tree))  # goes to workers, which need them
    assert again.exists(again.root / "nsddata/experiments/nsd/nsd_expdesign.mat")


@pytest.mark.parametrize(
    ("what", "kind"),
    [("terms", PermissionError), ("broken", NSDError), ("wrong password", NSDError), ("no atlas", FileNotFoundError),
     ("no subject", FileNotFoundError), ("unreachable", NSDError), ("broken betas", NSDError), ("declined", NSDError)],
)  # fmt: skip
def test_no_error_shows_them(what, kind, server, url, tmp_path, caplog):
    access = {"accept_terms": what != "terms", "confirm": what != "declined" or (lambda question: check_hidden(question)),
              "download_folder": tmp_path / "cache", "retries": 1}  # fmt: skip
    server.broken = {"broken": "nsddata", "broken betas": "betas_session02"}.get(what)
    if what == "wrong password":
        url = url.replace(PASSWORD, f"x{PASSWORD}")
    if what == "unreachable":
        url = url.replace(str(server.server_port), "9")
    with caplog.at_level(logging.DEBUG, "neuroalign"), pytest.raises(kind) as failed:
        read_nsd(url, 3 if what == "no subject" else 2, roi="mine:1" if what == "no atlas" else "V1", **access)
    check_hidden("".join(traceback.format_exception(failed.value)))
    check_hidden(caplog.text)
    check_files(tmp_path)


def test_options_of_the_file_system(server, tmp_path):
    url = f"http://127.0.0.1:{server.server_port}/nsd"
    options = {"headers": {"Authorization": f"Bearer {PASSWORD}"}}
    tree = open_nsd(url, accept_terms=True, storage_options=options, download_folder=tmp_path, retries=0)
    assert PASSWORD not in tree.server.told(ValueError(f"headers {options}"))


def test_the_folder_of_the_cache_is_that_of_the_host(monkeypatch):
    names = {_default_folder(f"https://{user}host/nsd{query}").name
             for user in ("", "me:PW@", "TOKEN@") for query in ("", "?token=PW", "/")}  # fmt: skip
    assert names == {"https_host_nsd"}
