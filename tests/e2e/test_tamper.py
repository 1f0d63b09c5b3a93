"""A ledger in which anything was changed is never verified.

The ledgers are those of a small federation. Of each: every line dropped, neighbours swapped, a line twice, cut short
everywhere; and one bit flipped in every byte (of the node's ledger and its key; of the coordinator's in steps). The verifier
answers 1 (a finding) or 2 (not a ledger), never 0 and never by a signal.
"""

import os
import shutil
import subprocess
import unittest

import cordon
from cordon import AUDIT, COORDINATOR, ok

STEP = 40 if cordon.SMALL else 7  # test_audit_tamper does every bit
HUB_STEP = 97 if cordon.SMALL else 61


class Tamper(cordon.Test):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        hub = cordon.Consortium(cls.root)
        plan = hub.add_study(cordon.study("tiny", rounds=2, quorum=1))
        hub.server.start()
        node = hub.join("alder", next(iter(cls.phantoms(1, 12).values())), min_cohort=1)
        node.server.start()
        node.command("plan", "approve", plan, "--by", "Dr. Ada Lovelace", "--wait", 30)
        ok(COORDINATOR, "status", "--study", "tiny", "--watch", "--dir", hub.directory)
        node.wait_status(lambda s: s["plans"][0]["last_round"] == 2, what="the last receipt")
        hub.stop()
        cls.folder = hub.directory
        cls.node = os.path.join(cls.root, "node.jsonl")
        cls.hub = os.path.join(cls.root, "hub.jsonl")
        node.export(cls.node)
        hub.command("ledger", "export", "-o", cls.hub)
        cls.null = os.open(os.devnull, os.O_RDWR)
        cls.addClassCleanup(os.close, cls.null)

    def verify(self, bytes_, key):
        """The verifier's exit code for these bytes; negative: it died."""
        path = os.path.join(self.root, "changed.jsonl")
        with open(path, "wb") as f:
            f.write(bytes_)
        quiet = [(os.POSIX_SPAWN_DUP2, self.null, fd) for fd in (0, 1, 2)]
        child = os.posix_spawn(cordon.program(AUDIT), [AUDIT, "verify", path, "--key", key], os.environ, file_actions=quiet)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    def refused(self, bytes_, what, key):
        code = self.verify(bytes_, key)
        self.assertIn(code, (1, 2), f"{what}: exit {code}")

    def each(self):
        for path in (self.node, self.hub):
            with open(path, "rb") as f:
                yield path, f.read()

    def test_the_ledgers_as_they_are_are_verified(self):
        for path, bytes_ in self.each():
            self.assertEqual(self.verify(bytes_, path + ".pub"), 0)
            self.assertIn("verified", ok(AUDIT, "verify", path).out)
        ok(AUDIT, "verify", self.node, "--coordinator", self.hub)
        # the coordinator keeps the updates, and they hold their noise
        result = ok(AUDIT, "verify", self.node, "--updates", self.folder, "--json").json()["updates"]
        self.assertEqual((result["released"], result["here"], result["tested"]), (2, 2, 2))
        self.assertTrue(0.5 < result["noise"] < 1.5)

    def test_a_line_dropped_swapped_or_twice_is_found(self):
        for path, bytes_ in self.each():
            lines = bytes_.splitlines(keepends=True)
            self.assertGreater(len(lines), 10)
            for i in range(len(lines)):
                self.refused(b"".join(lines[:i] + lines[i + 1 :]), f"{path}: line {i + 1} dropped", path + ".pub")
                self.refused(b"".join(lines[: i + 1] + lines[i:]), f"{path}: line {i + 1} twice", path + ".pub")
                if i > 0:
                    swapped = lines[: i - 1] + [lines[i], lines[i - 1]] + lines[i + 1 :]
                    self.refused(b"".join(swapped), f"{path}: lines {i} and {i + 1} swapped", path + ".pub")

    def test_a_ledger_cut_short_or_with_something_behind_it_is_found(self):
        for path, bytes_ in self.each():
            ends = {i + d for i in range(len(bytes_)) if bytes_[i] == 0x0A for d in (-1, 0, 1)}
            for n in sorted(ends | set(range(0, len(bytes_), 509 * STEP))):
                if n < len(bytes_):
                    self.refused(bytes_[:n], f"{path}: cut to {n} bytes", path + ".pub")
            for more in (b"\n", b"x", b"{}\n", bytes_[-200:], bytes_):
                self.refused(bytes_ + more, f"{path}: {len(more)} bytes behind", path + ".pub")
            self.refused(b"\n" + bytes_, f"{path}: a line before", path + ".pub")

    def test_a_bit_flipped_in_any_byte_is_found(self):
        for path, step in ((self.node, STEP), (self.hub, HUB_STEP)):
            with open(path, "rb") as f:
                bytes_ = bytearray(f.read())
            for at in range(0, len(bytes_), step):
                bit = 1 << (at * 5 + 3) % 8
                bytes_[at] ^= bit
                self.refused(bytes_, f"{path}: bit {bit} of byte {at}", path + ".pub")
                bytes_[at] ^= bit
            self.assertEqual(self.verify(bytes_, path + ".pub"), 0)

    def test_thirty_lines_of_shell_see_it_too(self):
        script = os.path.join(os.environ.get("CORDON_SOURCE", "."), "scripts", "verify-ledger")
        with open(script) as f:
            self.assertLessEqual(len(f.readlines()), 30)
        for awk in ("gawk", "mawk"):
            if not shutil.which(awk):
                continue
            tools = os.path.join(self.root, awk)
            os.mkdir(tools)
            os.symlink(shutil.which(awk), os.path.join(tools, "awk"))
            path = os.path.join(self.root, "by-hand.jsonl")

            def verify(bytes_, key):
                with open(path, "wb") as f:
                    f.write(bytes_)
                environment = dict(os.environ, PATH=tools + ":" + os.environ["PATH"])
                done = subprocess.run([script, path, key], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                self.assertIn(done.returncode, (0, 1), done.stderr)
                return done.returncode == 0

            for ledger, bytes_ in self.each():
                key = ledger + ".pub"
                self.assertTrue(verify(bytes_, key))
                lines = bytes_.splitlines(keepends=True)
                last = len(bytes_) - len(lines[-1])
                changed = bytearray(bytes_)
                for at in list(range(0, last, last // 8)) + list(range(last, len(bytes_), 53)):
                    changed[at] ^= 1 << at % 8
                    self.assertFalse(verify(changed, key), f"{awk}: byte {at}")
                    changed[at] ^= 1 << at % 8
                middle = len(lines) // 2
                for other in (lines[:middle] + lines[middle + 1 :], lines[: middle + 1] + lines[middle:], lines[:-1], lines[:-2],
                              lines[:middle] + [lines[middle + 1], lines[middle]] + lines[middle + 2 :],
                              lines[:-2] + [lines[-2][:-1] + b"\0more\n", lines[-1]], lines + [b"\n"]):
                    self.assertFalse(verify(b"".join(other), key), f"{awk}: {len(other)} lines")
                self.assertFalse(verify(bytes_[:-1], key))
                for wrong in (self.node + ".pub", self.hub + ".pub"):
                    self.assertEqual(verify(bytes_, wrong), wrong == key)

    def test_a_bit_flipped_in_the_key_is_found(self):
        key = os.path.join(self.root, "changed.pub")
        with open(self.node, "rb") as f:
            ledger = f.read()
        with open(self.node + ".pub", "rb") as f:
            bytes_ = bytearray(f.read())
        for at in range(bytes_.index(b"\n")):  # the verifier's key; openssl's form of the same key stands below it
            bytes_[at] ^= 1 << at % 8
            with open(key, "wb") as f:
                f.write(bytes_)
            self.refused(ledger, f"byte {at} of the key", key)
            bytes_[at] ^= 1 << at % 8


if __name__ == "__main__":
    cordon.main()
