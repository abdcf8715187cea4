"""Pages in a headless Chromium, driven by its DevTools protocol over a pipe: no package and no driver is needed."""

import contextlib
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-extensions", "--disable-dev-shm-usage",
)  # fmt: skip
_PATIENCE = 90  # seconds until a browser that doesn't answer counts as broken


def executable():
    """Path of a Chromium; None if there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((found for found in map(shutil.which, names) if found), None)


class Browser:
    """A running browser; a context manager."""

    def __enter__(self):
        self._profile = tempfile.mkdtemp(prefix="browser-")
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()
        # The protocol's pipe has to be descriptors 3 and 4, which only a shell can promise. Above 9, some can't name them.
        script = f'exec 3<&{to_browser} 4>&{from_browser}; exec "$@"'
        command = [executable(), *_FLAGS, "--remote-debugging-pipe", f"--user-data-dir={self._profile}", "about:blank"]
        self._process = subprocess.Popen(
            ["bash", "-c", script, "bash", *command],
            pass_fds=(to_browser, from_browser), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_browser)
        os.close(from_browser)
        self._number, self._rest, self._events = 0, b"", []
        return self

    def __exit__(self, *error):
        with contextlib.suppress(OSError, RuntimeError):
            self.send("Browser.close")
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._out)
        os.close(self._in)
        shutil.rmtree(self._profile, ignore_errors=True)

    def send(self, method, session=None, **params):
        """Call a method of the protocol and return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self._events.append(answer)

    def _next(self):
        end = time.monotonic() + _PATIENCE
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._in], [], [], max(0.0, end - time.monotonic()))
            part = os.read(self._in, 1 << 20) if ready else b""
            if not part:
                raise RuntimeError("the browser stopped or doesn't answer")
            self._rest += part
        message, self._rest = self._rest.split(b"\0", 1)
        return json.loads(message)

    def resize(self, session, width):
        """Give a page's window some width."""
        self.send(
            "Emulation.setDeviceMetricsOverride", session, width=width, height=900, deviceScaleFactor=1, mobile=False
        )

    @contextlib.contextmanager
    def page(self, url, width, *, dark=False):
        """Open an address in a window of some width; gives the page's :class:`Page`."""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable", session)
        self.resize(session, width)
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", session, features=[theme])
        self._events.clear()
        self.send("Page.navigate", session, url=url)
        while not any(event["method"] == "Page.loadEventFired" for event in self._events):
            self._events.append(self._next())
        self.send("Runtime.evaluate", session, expression="1")  # whatever was said while loading has come by now
        yield Page(self, session, list(self._events))
        self.send("Target.closeTarget", targetId=target)


class Page:
    """An open page, and what it said and asked for while it was loaded."""

    def __init__(self, browser, session, events):
        self._browser, self._session, self._events = browser, session, events

    def _of(self, method):
        return [event["params"] for event in self._events if event["method"] == method]

    @property
    def requests(self):
        """Addresses that the page asked for, blocked ones too, data within the page apart."""
        asked = [each["request"]["url"] for each in self._of("Network.requestWillBeSent")]
        return [url for url in asked if not url.startswith("data:")]

    @property
    def blocked(self):
        """Why requests were blocked before they left the browser."""
        return [each["blockedReason"] for each in self._of("Network.loadingFailed") if "blockedReason" in each]

    @property
    def errors(self):
        """Errors of scripts, and what the console calls errors."""
        thrown = [each["exceptionDetails"]["text"] for each in self._of("Runtime.exceptionThrown")]
        logged = [each["entry"]["text"] for each in self._of("Log.entryAdded") if each["entry"]["level"] == "error"]
        said = [
            str(each["args"]) for each in self._of("Runtime.consoleAPICalled") if each["type"] in ("error", "assert")
        ]
        return [*thrown, *logged, *said]

    def value(self, expression):
        """Value of a JavaScript expression in the page, or of its promise; it may do what a reader's click may."""
        found = self._browser.send(
            "Runtime.evaluate", self._session, expression=expression,
            returnByValue=True, awaitPromise=True, userGesture=True,
        )  # fmt: skip
        return found["result"].get("value")

    def wait_for(self, expression, patience=30):
        """Value of an expression once it is true; null if it isn't within so many seconds."""
        return self.value(
            f"""new Promise(done => {{
                const end = performance.now() + {1000 * patience};
                const look = () => {{
                    const value = {expression};
                    if (value || performance.now() > end) done(value || null); else setTimeout(look, 20);
                }};
                look();
            }})"""
        )

    def resize(self, width):
        """Give the window another width."""
        self._browser.resize(self._session, width)

    def send(self, method, **params):
        """Call a method of the protocol on this page."""
        return self._browser.send(method, self._session, **params)
