"""What the end-to-end tests share: the programs, a consortium on loopback, and how to wait without sleeping.

    CORDON_BIN      folder of the programs (CTest sets it)
    CORDON_DATA     folder with the real films; a test that needs it is skipped without
    CORDON_E2E      "small": sizes for sanitizer builds

Only processes started here are ever ended. Everything lives in a temporary folder that is removed.
"""

import atexit
import json
import os
import random
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

BIN = os.environ.get("CORDON_BIN", "")
SMALL = os.environ.get("CORDON_E2E") == "small"
SLOW = 6 if SMALL else 1  # deadlines in sanitizer builds
NODE, COORDINATOR, AUDIT, SIM = "cordon-node", "cordon-coordinator", "cordon-audit", "cordon-sim"

# What no message of ours ever says: the words of a crash.
CRASH = re.compile(r"Sanitizer|runtime error|Assertion|assertion|Segmentation|core dumped|Traceback|stack smashing|double free")


def program(name):
    return os.path.join(BIN, name)


def deadline(seconds):
    return time.monotonic() + seconds * SLOW


class Result:
    def __init__(self, args, code, out, err):
        self.args, self.code, self.out, self.err = args, code, out, err

    def __str__(self):
        return f"{' '.join(map(str, self.args))}\nexit {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"

    def json(self):
        return json.loads(self.out)


def run(name, *args, stdin=subprocess.DEVNULL, seconds=60, text=None, **more):
    """A command to its end. text: what it reads on standard input."""
    argv = [program(name), *map(str, args)]
    if text is not None:
        more["input"] = text
    else:
        more["stdin"] = stdin
    try:
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=seconds * SLOW, text=True,
                              errors="replace", **more)
    except subprocess.TimeoutExpired as e:
        raise AssertionError(f"{' '.join(argv)}: still runs after {seconds * SLOW} s") from e
    result = Result(argv, done.returncode, done.stdout, done.stderr)
    assert not CRASH.search(done.stdout + done.stderr) and done.returncode >= 0, f"a crash:\n{result}"
    return result


def ok(name, *args, code=0, **more):
    result = run(name, *args, **more)
    assert result.code == code, f"expected exit {code}:\n{result}"
    return result


_started, _servers = [], []


@atexit.register
def _end_what_was_started():
    for process in _started:
        if process.poll() is None:
            process.kill()
            process.wait()


class Server:
    """A `run` that goes on in the background; its stderr is read line by line."""

    def __init__(self, name, directory, notify):
        self.name, self.directory, self.notify = name, directory, notify
        self.process, self.lines, self._ended = None, [], True
        self._said = threading.Condition()
        os.mkfifo(notify)
        _servers.append(self)

    def start(self):
        """Returns when the program says that it serves."""
        fifo = os.open(self.notify, os.O_RDWR | os.O_NONBLOCK)
        try:
            self._ended = False
            self.process = subprocess.Popen([program(self.name), "run", "--dir", self.directory, "--notify", self.notify],
                                            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            _started.append(self.process)
            self._reader = threading.Thread(target=self._read, args=(self.process.stderr,), daemon=True)
            self._reader.start()
            watched = os.pidfd_open(self.process.pid)
            try:
                ready, _, _ = select.select([fifo, watched], [], [], 20 * SLOW)
                assert fifo in ready and os.read(fifo, 64) == b"ready\n", f"{self.name} does not serve:\n{self.text()}"
            finally:
                os.close(watched)
        finally:
            os.close(fifo)
        return self

    def _read(self, pipe):
        for line in iter(pipe.readline, b""):
            with self._said:
                self.lines.append(line.decode(errors="replace").rstrip("\n"))
                self._said.notify_all()
        pipe.close()
        with self._said:
            self._ended = True
            self._said.notify_all()

    def text(self):
        with self._said:
            return "\n".join(self.lines)

    def wait_line(self, pattern, seconds=30, since=0):
        """The first line (from index since) that matches; waits for it."""
        until = deadline(seconds)
        at = since
        with self._said:
            while True:
                for at in range(at, len(self.lines)):
                    if re.search(pattern, self.lines[at]):
                        return at
                at = len(self.lines)
                left = until - time.monotonic()
                if self._ended or left <= 0 or not self._said.wait(left):
                    if len(self.lines) == at:
                        raise AssertionError(f"{self.name} {self.directory}: never said {pattern}:\n" + "\n".join(self.lines))

    def mark(self):
        with self._said:
            return len(self.lines)

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        self.process.kill()
        self.process.wait()
        self._reader.join()

    def stop(self, seconds=30):
        """SIGTERM ends it, with 0."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        code = self.process.wait(seconds * SLOW)
        self._reader.join()
        assert code == 0, f"{self.name}: SIGTERM ended it with {code}:\n{self.text()}"
        assert not CRASH.search(self.text()), f"a crash:\n{self.text()}"


def free_port():
    """Below the ports that the kernel gives to connections, so that none of ours takes it in between."""
    for port in random.SystemRandom().sample(range(20000, 32000), 50):
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass
    raise AssertionError("no free port")


def edit_ini(path, **values):
    """Sets keys, whether they stand there, as a comment or not at all (a file of one key per name)."""
    with open(path) as f:
        text = f.read()
    for key, value in values.items():
        text, n = re.subn(rf"(?m)^[;#]* *{key} *=.*$", f"{key} = {value}", text, count=1)
        assert n == 1, f"{path}: has no key {key}"
    with open(path, "w") as f:
        f.write(text)


def study(name="tiny", hospitals="all", rounds=2, quorum=1, deadline_s=20, slot_ms=100, architecture="linear", shape="1x16x16",
          local_steps=1, epsilon=4, more=""):
    return f"""[study]
name = {name}
classes = normal, pneumonia
hospitals = {hospitals}
[input]
shape = {shape}
[model]
architecture = {architecture}
[rounds]
count = {rounds}
local_steps = {local_steps}
quorum = {quorum}
deadline_s = {deadline_s}
slot_ms = {slot_ms}
[local]
learning_rate = 0.1
[privacy]
epsilon = {epsilon}
delta = 0.00001
sampling_rate = 0.5
noise_multiplier = auto
clip_norm = 1
{more}
"""


class Consortium:
    """A coordinator and its hospitals, each in a folder of root."""

    def __init__(self, root, host="127.0.0.1", name="consortium"):
        self.root = root
        self.directory = os.path.join(root, "coordinator")
        self.port = free_port()
        self.nodes = {}
        said = ok(COORDINATOR, "init", "--dir", self.directory, "--name", name, "--host", host, "--port", self.port)
        self.fingerprint = re.search(r"\b[0-9a-f]{64}\b", said.out).group()
        self.server = Server(COORDINATOR, self.directory, os.path.join(root, "coordinator.ready"))

    def command(self, *args, **more):
        return ok(COORDINATOR, *args, "--dir", self.directory, **more)

    def add_study(self, text, name="study.ini", code=0):
        path = os.path.join(self.root, name)
        with open(path, "w") as f:
            f.write(text)
        self.command("study", "add", path, code=code)
        wanted = re.search(r"name = (\S+)", text).group(1)
        return [s for s in self.command("study", "list", "--json").json() if s["name"] == wanted][0]["plan_hash"]

    def invitation(self, hospital, *more):
        return self.command("invite", hospital, *more).out.strip()

    def join(self, hospital, images, labels=None, declared=50, code=0, **policy):
        """A hospital is made, enrols and reads its images."""
        node = Node(self.root, hospital)
        node.enrol(self.invitation(hospital))
        edit_ini(os.path.join(node.directory, "policy.ini"), declared_patients=declared, **policy)
        node.added = node.command("data", "add", *(["--labels", labels] if labels else []), images, code=code)
        self.nodes[hospital] = node
        return node

    def status(self, study_name=None):
        return self.command("status", "--json", *(["--study", study_name] if study_name else [])).json()

    def stop(self):
        for node in self.nodes.values():
            node.server.stop()
        self.server.stop()


class Node:
    def __init__(self, root, name):
        self.name = name
        self.directory = os.path.join(root, "node-" + name)
        ok(NODE, "init", "--dir", self.directory, "--name", name)
        self.server = Server(NODE, self.directory, os.path.join(root, name + ".ready"))

    def command(self, *args, **more):
        return ok(NODE, *args, "--dir", self.directory, **more)

    def enrol(self, invitation, code=0):
        return self.command("enrol", "--invitation", invitation, code=code)

    def status(self):
        return self.command("status", "--json").json()

    def wait_status(self, wanted, seconds=30, what="a status"):
        """Asks until wanted(status); each question is answered by the node's own loop, so this never spins ahead of it."""
        until = deadline(seconds)
        while True:
            status = self.status()
            if wanted(status):
                return status
            assert time.monotonic() < until, f"{self.name}: never came to {what}: {status}\n{self.server.text()}"

    def export(self, path):
        self.command("ledger", "export", "-o", path)
        return Ledger(path)


class Ledger:
    """An export as people read it: no code of the project is used here."""

    def __init__(self, path):
        self.path = path
        with open(path, "rb") as f:
            self.bytes = f.read()
        self.entries = [json.loads(line) for line in self.bytes.splitlines()][:-1]

    def kinds(self):
        return [e["kind"] for e in self.entries]

    def of(self, kind, **fields):
        return [e for e in self.entries if e["kind"] == kind and all(e.get(k) == v for k, v in fields.items())]


class Test(unittest.TestCase):
    """One temporary folder for each class, removed at its end."""

    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.root = tempfile.mkdtemp(prefix="cordon-e2e-")
        cls.addClassCleanup(shutil.rmtree, cls.root, ignore_errors=True)
        cls.addClassCleanup(_end_what_was_started)  # runs first

    def run(self, result=None):
        before = len(result.failures) + len(result.errors)
        result = super().run(result)
        if len(result.failures) + len(result.errors) > before:
            for server in _servers:
                ended = server.process and server.process.poll()
                print(f"\n==== {server.name} {server.directory}, ended with {ended}", *server.lines[-40:], sep="\n", file=sys.stderr)
        return result

    @classmethod
    def phantoms(cls, hospitals, patients, seed=1):
        out = os.path.join(cls.root, "phantoms")
        ok(SIM, "phantom", "--out", out, "--hospitals", hospitals, "--patients", patients, "--seed", seed)
        return {h: os.path.join(out, h) for h in sorted(os.listdir(out)) if os.path.isdir(os.path.join(out, h))}


def main():
    """As unittest.main, with 77 when everything was skipped."""
    for name in (NODE, COORDINATOR, AUDIT, SIM):
        if not os.access(program(name), os.X_OK):
            print(f"{program(name)}: is not there: set CORDON_BIN to the folder of the programs")
            sys.exit(2)
    os.environ.pop("FL_LOG_LEVEL", None)
    done = unittest.main(exit=False, verbosity=2).result
    if done.wasSuccessful() and done.testsRun == len(done.skipped):
        sys.exit(77)
    sys.exit(0 if done.wasSuccessful() else 1)
