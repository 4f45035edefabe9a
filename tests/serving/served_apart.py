"""A server in a process of its own, as the command line starts it."""

import re
import subprocess
import sys
import threading

MAIN = "from keras_llm.entry import main; raise SystemExit(main())"


class Process:
    """`keras-llm serve` with these arguments, once it answers.

    Attributes:
        url: Where it is; `None` if it has ended instead.
        said: All it has written on stderr.
    """

    def __init__(self, *arguments, before=""):
        command = [sys.executable, "-c", f"{before}\n{MAIN}", "serve"]
        self.popen = subprocess.Popen(
            [*command, "--port", "0", *map(str, arguments)],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        self.said, self.url = "", None
        self._begun = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._begun.wait()

    def _read(self):
        for line in self.popen.stderr:
            self.said += line
            found = re.search(r"(http://\S+) \(API", line)
            if found:
                self.url = found[1]
                self._begun.set()
        self._begun.set()

    def end(self, signal=None):
        """Its exit code, once it has ended by the signal or by itself."""
        if signal is not None:
            self.popen.send_signal(signal)
        code = self.popen.wait(120)
        self._reader.join()
        return code

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.popen.kill()
        self.popen.wait()
