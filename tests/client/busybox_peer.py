"""busybox's udpsvd and tftpd. Debian's own busybox is built without them, so they are built from
Debian's source package, once for each build folder."""

import os
import pathlib
import shutil
import subprocess

FEATURES = ("UDPSVD", "TFTPD", "FEATURE_TFTP_GET", "FEATURE_TFTP_PUT", "FEATURE_TFTP_BLOCKSIZE",
            "FEATURE_IPV6", "LFS")


class Unavailable(Exception):
    """It cannot be had here; the text says why."""


def _run(*command, cwd, **rest):
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True,
                          check=False, timeout=300, **rest)
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip().splitlines()
        raise Unavailable(f"busybox: {command[0]} failed: {words[-1] if words else 'no word'}")
    return done.stdout


def has_applets(program):
    listed = subprocess.run([program, "--list"], capture_output=True, text=True, check=False)
    return {"udpsvd", "tftpd"} <= set(listed.stdout.split())


def _source(folder):
    """Debian's source, by lists of our own: the machine's need not name sources."""
    targets = _run("apt-get", "indextargets", "--format", "$(SITE) $(REPO_URI) $(CODENAME)",
                   cwd=folder)
    mirrors = [line.split()[1:] for line in targets.splitlines()
               if len(line.split()) == 3 and "-" not in line.split()[2]]
    if not mirrors:
        raise Unavailable("busybox: apt knows no mirror")
    uri, suite = mirrors[0]
    (folder / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    (folder / "source.list").write_text(f"deb-src {uri} {suite} main\n", encoding="ascii")
    own = ("-o", f"Dir::Etc::sourcelist={folder}/source.list", "-o", "Dir::Etc::sourceparts=/dev/null",
           "-o", f"Dir::State::lists={folder}/lists", "-o", f"Dir::Cache={folder}")
    _run("apt-get", *own, "update", cwd=folder)
    _run("apt-get", *own, "source", "--download-only", "busybox", cwd=folder)
    found = sorted(folder.glob("busybox_*.orig.tar.*"))
    if not found:
        raise Unavailable("busybox: no source came")
    (folder / "source").mkdir(exist_ok=True)
    _run("tar", "xf", found[-1], "-C", "source", "--strip-components", "1", cwd=folder)
    return folder / "source"


def program(build):
    """A busybox with both applets: the one that is installed, or one made here."""
    installed = shutil.which("busybox")
    if installed and has_applets(installed):
        return installed
    made = build / "peers" / "busybox" / "busybox"
    if made.exists():
        return str(made)
    if not shutil.which("apt-get") or not shutil.which("make") or not shutil.which("bzip2"):
        raise Unavailable("busybox: no apt-get, make and bzip2 to make it with")
    folder = pathlib.Path(build) / "peers" / "busybox"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    source = _source(folder)
    _run("make", "allnoconfig", cwd=source)
    config = (source / ".config").read_text(encoding="utf-8")
    for feature in FEATURES:
        config = config.replace(f"# CONFIG_{feature} is not set\n", f"CONFIG_{feature}=y\n")
    (source / ".config").write_text(config, encoding="utf-8")
    _run("make", "oldconfig", cwd=source, input="\n" * 1000)
    _run("make", f"-j{os.cpu_count()}", "busybox", cwd=source)
    shutil.copy(source / "busybox", folder / "made")
    (folder / "made").rename(made)
    shutil.rmtree(source)
    return str(made)
