"""What the figures were measured on."""

import os
import pathlib
import platform
import re
import subprocess


def _first_line(path):
    try:
        return pathlib.Path(path).read_text(encoding="ascii", errors="replace").splitlines()[0]
    except (OSError, IndexError):
        return ""


def _cpu_model():
    try:
        for line in open("/proc/cpuinfo", encoding="ascii", errors="replace"):
            if line.startswith(("model name", "Processor", "CPU part")):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return "unknown"


def _memory_mb():
    for line in open("/proc/meminfo", encoding="ascii"):
        if line.startswith("MemTotal"):
            return int(line.split()[1]) // 1024
    return 0


def _commit(top):
    got = subprocess.run(["git", "-C", str(top), "rev-parse", "--short", "HEAD"],
                         capture_output=True, text=True, check=False)
    return got.stdout.strip() or "unknown"


def label():
    """A neutral name for this kind of machine: 2cpu-amd-epyc."""
    words = re.sub(r"\(R\)|\(TM\)|@.*", "", _cpu_model()).lower()
    words = re.findall(r"[a-z0-9]+", words)[:2]
    return "-".join([f"{os.cpu_count()}cpu", *(words or [platform.machine()])])


def facts(top):
    return {
        "architecture": platform.machine(),
        "processors": os.cpu_count(),
        "processor": _cpu_model(),
        "memory_mb": _memory_mb(),
        "kernel": platform.release().split("-")[0],
        "rmem_max": _first_line("/proc/sys/net/core/rmem_max"),
        "loopback_mtu": _first_line("/sys/class/net/lo/mtu"),
        "io_uring_disabled": _first_line("/proc/sys/kernel/io_uring_disabled") or "absent",
        "commit": _commit(top),
    }


def softirq_thread_s(cpu):
    """Processor time of the kernel's thread for network work that nobody else is charged for."""
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit() and _first_line(entry / "comm") == f"ksoftirqd/{cpu}":
            return int((_first_line(entry / "schedstat") or "0").split()[0]) / 1e9
    return 0.0
