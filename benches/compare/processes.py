"""Child processes of compare.py: found, started on one CPU, watched and ended."""
import contextlib
import os
import pathlib
import shutil
import signal
import subprocess

TICK = 1.0 / os.sysconf("SC_CLK_TCK")


def find(name):
    """The path of a program; system administrators' directories count too."""
    extra = ["/usr/local/sbin", "/usr/sbin", "/sbin"]
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *extra]))


def cpu_seconds(pids):
    """User and system time that these processes have used, as a pair."""
    user = system = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            user += int(fields[11])
            system += int(fields[12])
    return user * TICK, system * TICK


def session_of(leader):
    """All processes of the session that `leader` began."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == leader:
                    found.append(int(entry.name))
    return found


class Process:
    """A child in a session of its own on one CPU, ended with everything it started."""

    def __init__(self, argv, cpu, output):
        self.popen = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True, preexec_fn=lambda: os.sched_setaffinity(0, {cpu}))

    def end(self):
        for number, patience in ((signal.SIGTERM, 3), (signal.SIGKILL, 3)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.popen.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.popen.wait(patience)
                break
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
