"""What the runs of the bench share: starting a server, loading it, and what that cost it.

Server CPU for each request (utime + stime of the process) is the figure: others on the machine and
the load generator disturb it least. The server is pinned to one core and the load generator to
another where there are two.
"""

import datetime
import json
import os
import pathlib
import platform
import shutil
import socket
import subprocess
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
CORES = sorted(os.sched_getaffinity(0))
SERVER_CORES = {CORES[0]}
CLIENT_CORES = {CORES[-1]}
TICKS = os.sysconf("SC_CLK_TCK")
# How long a server may take until it listens, and until it has ended, in seconds.
START_S = 60
STOP_S = 20


class Failed(Exception):
    """The run cannot be trusted; the message says why and what to do."""


def require_wrk():
    """Installs wrk where it is missing and we may."""
    if shutil.which("wrk"):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Failed("wrk is missing; install it, on Debian with: apt-get install wrk")
    subprocess.run(["apt-get", "update", "-qq"], check=True)
    subprocess.run(["apt-get", "install", "-qq", "-y", "wrk"], check=True)


class Server:
    """A process that serves HTTP and says where on its first lines: `listening on http://...`."""

    def __init__(self, command, env=None):
        self.log = tempfile.NamedTemporaryFile(prefix="bench-", suffix=".log")
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            preexec_fn=lambda: os.sched_setaffinity(0, SERVER_CORES),
        )
        self.url = self._listening()

    def _listening(self):
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            for line in self.said().splitlines():
                _, found, url = line.partition("listening on ")
                if found:
                    return url.split()[0].rstrip("/")
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        self.stop()
        raise Failed(f"{self.process.args[0]} did not listen:\n{self.said()}")

    def said(self):
        return pathlib.Path(self.log.name).read_text(errors="replace")

    def cpu(self):
        """User and kernel seconds of all its threads so far."""
        stat = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text()
        fields = stat.rpartition(")")[2].split()
        return int(fields[11]) / TICKS, int(fields[12]) / TICKS

    def memory(self):
        """Resident MiB."""
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        return 0.0

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def read_request(name, token="", key=""):
    """The headers and the body of requests/NAME.http."""
    text = (HERE / "requests" / f"{name}.http").read_text()
    head, _, body = text.replace("{{token}}", token).replace("{{key}}", key).partition("\n\n")
    return head.splitlines(), body.strip()


def exchange(url, path, name, token="", key=""):
    """Sends one request; the status, the body and the bytes of the whole response."""
    head, body = read_request(name, token, key)
    host, _, port = url.removeprefix("http://").partition(":")
    lines = [f"POST {path} HTTP/1.1", f"Host: {host}:{port}", f"Content-Length: {len(body)}", *head]
    with socket.create_connection((host, int(port)), timeout=30) as stream:
        stream.sendall(("\r\n".join(lines) + "\r\n\r\n" + body).encode())
        received = b""
        while True:
            start, end, rest = received.partition(b"\r\n\r\n")
            if end:
                fields = dict(
                    (name.strip().lower(), value.strip())
                    for name, _, value in (line.partition(":") for line in start.decode().split("\r\n")[1:])
                )
                if len(rest) >= int(fields.get("content-length", "0")):
                    return int(start.split()[1]), rest.decode(), len(received)
            chunk = stream.recv(65536)
            if not chunk:
                raise Failed(f"{url} hung up in the middle of an answer: {received!r}")
            received += chunk


def load(url, path, name, connections, seconds, token="", run=""):
    """Loads an endpoint with wrk; what wrk saw."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s"]
    command += ["-s", str(HERE / "wrk" / "request.lua"), url + path]
    env = {
        **os.environ,
        "BENCH_REQUEST": str(HERE / "requests" / f"{name}.http"),
        "BENCH_TOKEN": token,
        "BENCH_RUN": run,
    }
    done = subprocess.run(
        command,
        env=env,
        check=False,
        capture_output=True,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, CLIENT_CORES),
    )
    for line in done.stdout.splitlines():
        if line.startswith("JSON "):
            seen = json.loads(line.removeprefix("JSON "))
            if seen["broken"] or seen["refused"] or not seen["requests"]:
                raise Failed(f"{name} at {url}{path}: {seen}; a run with errors says nothing")
            return seen
    raise Failed(f"wrk said nothing of use:\n{done.stdout}{done.stderr}")


def measure(server, path, name, connections, seconds, size=None, **kwargs):
    """One round against one endpoint. `size`: the bytes that every response must have."""
    user, system = server.cpu()
    seen = load(server.url, path, name, connections, seconds, **kwargs)
    user_after, system_after = server.cpu()
    count = seen["requests"]
    # What was under way at the end was received in part.
    if size is not None and not count <= seen["bytes"] / size <= count + connections:
        mean = seen["bytes"] / count
        raise Failed(f"{name} at {server.url}: responses have {mean:.1f} bytes, the checked one {size}")
    user, system = (user_after - user) / count * 1e6, (system_after - system) / count * 1e6
    return {
        "rate": count / (seen["micros"] / 1e6),
        "p50": seen["p50"],
        "p99": seen["p99"],
        "cpu": user + system,
        "user": user,
        "system": system,
        "rss": server.memory(),
    }


def table(head, rows):
    """A table in Markdown: texts to the left, figures to the right."""
    rule = ["---" if index == 0 else "---:" for index in range(len(head))]
    return "\n".join("| " + " | ".join(str(cell) for cell in row) + " |" for row in [head, rule, *rows])


def shown(path):
    """A path as it is told: below the repository, not on this machine."""
    path = pathlib.Path(path).resolve()
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path.name


def setting(loads):
    """When and where a run took place."""
    model = "unknown CPU"
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    commit = subprocess.run(
        ["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], check=False, capture_output=True, text=True
    ).stdout.strip()
    changed = subprocess.run(
        ["git", "-C", ROOT, "status", "--porcelain", "--", "crates"], check=False, capture_output=True, text=True
    ).stdout
    commit = (commit or "unknown") + (" with changes" if changed else "")
    rustc = subprocess.run(["rustc", "--version"], check=False, capture_output=True, text=True).stdout.strip()
    pinned = "server and load generator on a core each" if len(CORES) > 1 else "server and load generator on one core"
    now = datetime.datetime.now(datetime.timezone.utc)
    return (
        f"{now:%Y-%m-%d %H:%M} UTC, commit {commit}, {rustc}, {len(CORES)} cores of {model}, "
        f"Linux {platform.release()}; {pinned}; load average {loads[0]:.1f} before and {loads[1]:.1f} after."
    )


def write_section(name, text):
    """Puts `text` between the marks of section `name` of RESULTS.md; the other sections stay."""
    path = HERE / "RESULTS.md"
    whole = path.read_text() if path.exists() else "# What it costs, as measured\n"
    begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->\n"
    block = f"{begin}{text.strip()}\n{end}"
    before, found, rest = whole.partition(begin)
    if found:
        whole = before + block + rest.partition(end)[2]
    else:
        whole = f"{whole.rstrip()}\n\n{block}"
    path.write_text(whole)
