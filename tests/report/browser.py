"""A real, headless Chromium, spoken to through its debugging pipe (Chrome DevTools Protocol): pages are clicked and looked at as a person would."""

import base64
import contextlib
import fcntl
import itertools
import json
import os
import shutil
import subprocess
import tempfile
import time

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def found():
    """The browser of this machine, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page. `trouble` collects what the page complains about: errors, refused loads."""

    def __init__(self, page, *, size=(1500, 950), dark=False):
        (theirs, self._to), (back, ours) = os.pipe(), os.pipe()
        theirs, ours = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 20) for end in (theirs, ours))  # out of the way of 3 and 4
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        command = [found(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={self._profile.name}"]
        self._process = subprocess.Popen(
            [*command, "--remote-debugging-pipe", "about:blank"], pass_fds=(3, 4), stderr=subprocess.DEVNULL,
            preexec_fn=lambda: (os.dup2(theirs, 3), os.dup2(ours, 4)),
        )  # fmt: skip
        os.close(theirs), os.close(ours)
        self._from = os.fdopen(back, "rb", buffering=0)
        self._read, self._numbers, self._session, self.trouble = b"", itertools.count(1), None, []
        (target, *_) = [one["targetId"] for one in self._do("Target.getTargets")["targetInfos"] if one["type"] == "page"]
        self._session = self._do("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Runtime", "Page", "Log"):
            self._do(f"{domain}.enable")
        self._do("Emulation.setDeviceMetricsOverride", width=size[0], height=size[1], deviceScaleFactor=1, mobile=False)
        self._do("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        self._do("Page.navigate", url=page.absolute().as_uri())
        deadline = time.monotonic() + 60
        while self.js("document.readyState + location.protocol") != "completefile:":
            assert time.monotonic() < deadline, "the page does not load"
            time.sleep(0.05)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._session = None
        with contextlib.suppress(OSError, EOFError):
            self._do("Browser.close")
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._from.close(), os.close(self._to)
        self._profile.cleanup()

    def _do(self, method, **parameters):
        number = next(self._numbers)
        session = {"sessionId": self._session} if self._session else {}
        os.write(self._to, json.dumps({"id": number, "method": method, "params": parameters, **session}).encode() + b"\0")
        while True:
            while b"\0" not in self._read:
                more = self._from.read(1 << 16)
                if not more:
                    raise EOFError("the browser has gone")
                self._read += more
            one, _, self._read = self._read.partition(b"\0")
            told = json.loads(one)
            if told.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled"):
                self.trouble.append(told["params"])
            if told.get("id") == number:
                assert "error" not in told, told
                return told["result"]

    def js(self, expression):
        """The value of a JavaScript expression."""
        told = self._do("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def click(self, selector):
        """Press the mouse in the middle of the first element that matches."""
        middle = f"(box => [box.x + box.width / 2, box.y + box.height / 2])(document.querySelector({json.dumps(selector)}).getBoundingClientRect())"
        x, y = self.js(middle)
        for kind in ("mousePressed", "mouseReleased"):
            self._do("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, *keys):
        """Press keys one after the other; a word longer than one letter is the name of a key."""
        for key in keys:
            self._do("Input.dispatchKeyEvent", type="keyDown", key=key, **({"text": key} if len(key) == 1 else {}))
            self._do("Input.dispatchKeyEvent", type="keyUp", key=key)

    def wheel(self, x, y, by):
        self._do("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=by)

    def screenshot(self, path):
        path.write_bytes(base64.b64decode(self._do("Page.captureScreenshot")["data"]))
