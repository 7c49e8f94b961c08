"""The two sides of a comparison: how each is built, run, and asked for its figures."""

import datetime
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

BUILT = Path("target/bench")
C_FLAGS = ["-O3", "-march=native", "-fopenmp"]


class Failed(Exception):
    """A side could not be built or run."""


def command(words, **options):
    """Runs a command to its end; its output as text."""
    code, out = ended(words, **options)
    if code != 0:
        raise Failed(f"{shlex.join(map(str, words))} ended with {code}:\n{out}")
    return out


def ended(words, **options):
    """Runs a command to its end, whatever that is; its code, and its output as text. Nothing of it outlives this call."""
    child = subprocess.Popen([str(word) for word in words], text=True, start_new_session=True,
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
    try:
        out, _ = child.communicate()
        return child.returncode, out
    finally:
        end_group(child)


def end_group(child):
    """Ends a child that leads a process group, and the group: politely, so that a launcher ends its ranks, then for good."""
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGTERM)
        try:
            child.wait(timeout=20)
        except subprocess.TimeoutExpired:
            pass
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    child.wait()


def last_json(text):
    return json.loads(text.strip().splitlines()[-1])


class Sides:
    """Where the programs are, and what a run of one is like; `room` is a directory in memory, `disk` one on a disk."""

    def __init__(self, options):
        self.options = options
        self.room = Path(tempfile.mkdtemp(prefix="steadfast-bench-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
        self.disk = Path(tempfile.mkdtemp(prefix="steadfast-bench-", dir=options.disk))
        self.examples = BUILT / "release/examples"
        self.launcher = BUILT / "release/steadfast"
        self.exchange = None

    def close(self):
        shutil.rmtree(self.room, ignore_errors=True)
        shutil.rmtree(self.disk, ignore_errors=True)

    # Building.

    def build(self):
        BUILT.mkdir(parents=True, exist_ok=True)
        for source in sorted(Path("benches").glob("*.c")):
            command(["mpicc", *C_FLAGS, "-o", self.by_hand(source.stem), source, "-lm"])
        flags = f"{self.options.rustflags} {os.environ.get('RUSTFLAGS', '')}".strip()
        environment = dict(os.environ, CARGO_TARGET_DIR=str(BUILT), RUSTFLAGS=flags)
        cargo = ["cargo", "build", "--release", "--message-format=json-render-diagnostics", "--bin", "steadfast"]
        for example in ("heat", "gray_scott", "euler"):
            cargo += ["--example", example]
        cargo += ["--bench", "exchange"]
        built = subprocess.run(cargo, env=environment, stdout=subprocess.PIPE, text=True)
        if built.returncode != 0:
            raise Failed("cargo could not build Steadfast's side")
        for line in built.stdout.splitlines():
            message = json.loads(line)
            if message.get("target", {}).get("name") == "exchange" and message.get("executable"):
                (BUILT / "exchange").unlink(missing_ok=True)
                os.link(message["executable"], BUILT / "exchange")

    def by_hand(self, name):
        return BUILT / f"{name}_by_hand"

    # Running.

    def mpirun(self, ranks, words, threads=1, **options):
        """A command under mpirun, with a core for each rank, or all for the threads of one."""
        environment = dict(os.environ, OMP_NUM_THREADS=str(threads))
        if threads > 1:
            environment |= {"OMPI_MCA_hwloc_base_binding_policy": "none", "PRTE_MCA_hwloc_default_binding_policy": "none"}
            environment |= {"OMP_PROC_BIND": "close", "OMP_PLACES": "cores"}
        return command(["mpirun", "-n", ranks, *words], env=environment, **options)

    def opponent(self, name, *words, ranks=1, threads=1):
        """What a program of benches/ prints."""
        return last_json(self.mpirun(ranks, [self.by_hand(name), *words], threads))

    def case_words(self, example, case, directory, threads, settings):
        settings = {"output": "[]", "run.threads": threads, **settings}
        words = [self.examples / example, "run", f"examples/{case}.toml", "--quiet", "--dir", directory]
        for setting in [f"{key}={value}" for key, value in settings.items()] + self.options.set:
            words += ["--set", setting]
        return words

    def run(self, example, settings, case=None, ranks=1, threads=1, directory=None, fresh=True):
        """Runs an example to its end; what it left."""
        directory = directory or self.room / "run"
        if fresh:
            shutil.rmtree(directory, ignore_errors=True)
        begin = time.time()
        self.mpirun(ranks, self.case_words(example, case or example, directory, threads, settings), threads)
        return Run(directory, begin, time.time())

    def launch(self, ranks, directory, words, environment):
        """Runs an example under the supervisor, to its end."""
        command([self.launcher, "launch", "-n", ranks, "--dir", directory, "--", *words], env=environment)

    def seconds_of_mpirun(self, ranks, *words):
        """How long mpirun takes for a program, whatever comes of it."""
        begin = time.monotonic()
        ended(["mpirun", "-n", ranks, *words])
        return time.monotonic() - begin


def seconds(stamp):
    """A time of the journal as seconds since 1970."""
    return datetime.datetime.fromisoformat(re.sub(r"(\.\d{6})\d*", r"\1", stamp).replace("Z", "+00:00")).timestamp()


class Run:
    """What a finished run left in its directory."""

    def __init__(self, directory, begin, end):
        self.directory, self.begin, self.end = Path(directory), begin, end
        self.finished = json.loads((self.directory / "finished.json").read_text())
        self.journal = [json.loads(line) for line in (self.directory / "journal.jsonl").read_text().splitlines()]

    def last(self, event):
        return next(entry for entry in reversed(self.journal) if entry["event"] == event)

    def started(self):
        """When the loop over the steps began."""
        return seconds(self.last("started")["time"])

    def stepped(self):
        """When the last step was over: the last checkpoint began then."""
        saved = self.last("checkpoint_committed")
        return seconds(saved["time"]) - saved["seconds"]

    def loop_seconds(self):
        """How long the steps took, without start, initial state, and last checkpoint: by the run's own account of its time if it
        left one, else by the journal's clock."""
        account = self.directory / "times.json"
        if account.exists():
            parts = json.loads(account.read_text())["parts"]
            return sum(parts[part]["mean"] for part in ("sweeps", "packing", "waiting", "reductions") if part in parts)
        return self.stepped() - self.started()

    def attempt_began(self):
        """When the attempt had its memory, and began to set or to read its state."""
        return seconds(self.finished["at"]) - self.finished["wall_seconds"]


def watched(words, environment, until, limit=300):
    """Starts a command in a process group of its own, calls `until` every few milliseconds until it gives something, and ends
    the group; gives that."""
    said = tempfile.TemporaryFile("w+")
    child = subprocess.Popen([str(word) for word in words], env=environment, start_new_session=True, stdout=said, stderr=said)
    try:
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            found = until()
            if found is not None:
                return found
            if child.poll() is not None:
                said.seek(0)
                raise Failed(f"{shlex.join(map(str, words))} ended with {child.returncode} before what was waited for:\n{said.read()}")
            time.sleep(0.002)
        raise Failed(f"{shlex.join(map(str, words))}: nothing came within {limit} s")
    finally:
        end_group(child)


def heartbeats(directory):
    """The newest heartbeat of each rank."""
    try:
        lines = (Path(directory) / "heartbeats").read_bytes().splitlines()
    except FileNotFoundError:
        return []
    beats = []
    for line in lines:
        try:
            beats.append(json.loads(line))
        except ValueError:
            pass
    return beats
