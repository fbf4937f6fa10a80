"""What the server shuts itself into: identity, files, calls, rings, and tries to get out of it by a
server that has been taken over (tests/helpers/break_out.c)."""

import errno
import os
import pathlib
import re
import signal
import socket
import subprocess

import pytest

import conftest
import tftp

HELPERS = conftest.BUILD / "tests" / "helpers"
TAKEN_OVER = HELPERS / "ringtftpd-taken-over"
DENY = HELPERS / "deny-call"
OSERR, NOPERM, CONFIG = os.EX_OSERR, os.EX_NOPERM, os.EX_CONFIG
ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not ROOT, reason="only root can start a server that changes its "
                                                 "user")

if conftest.SANITIZED:
    pytest.skip("a sanitizer looks at more than the walls let it", allow_module_level=True)


def status(path):
    text = pathlib.Path(path, "status").read_text(encoding="ascii")
    return dict(re.findall(r"^(\w+):[ \t]*(.*)$", text, re.MULTILINE))


def tasks(server):
    folder = pathlib.Path("/proc", str(server.process.pid), "task")
    return [status(task) for task in folder.iterdir()]


def confined(server):
    return server.wait_event("confined")


def serve_root(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    for name in ("file", "inside"):
        (root / name).write_bytes(b"content of " + name.encode())
        (root / name).chmod(0o644)
    return root


def run(*arguments, program=(conftest.PROGRAM,), timeout=30, prepare=None):
    """(exit code, standard output, standard error's last line) of a server that must end by
    itself."""
    command = [*map(str, program), "-o", "log.format=text"]
    for option in conftest.SURROUNDINGS:
        command += ["-o", option]
    done = subprocess.run([*command, *map(str, arguments)], timeout=timeout,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                          preexec_fn=prepare)
    return done.returncode, done.stdout, done.stderr.strip().splitlines()[-1:]


# ---- S01: every thread ----

def test_every_thread(start, tmp_path, backend):
    """S01: no thread has a capability, can get one, or runs without the filter."""
    server = start(serve_root(tmp_path), backend)
    server.works()
    state = confined(server)
    user = conftest.service_user().pw_uid if ROOT else os.geteuid()
    for task in tasks(server):
        assert task["Uid"].split() == [str(user)] * 4
        assert user != 0 or not ROOT
        for field in ("CapInh", "CapPrm", "CapEff", "CapAmb", *(("CapBnd",) if ROOT else ())):
            assert int(task[field], 16) == 0, (task["Name"], field, task[field])
        assert task["NoNewPrivs"] == "1", task["Name"]
        if state["seccomp"] == "in force":
            assert task["Seccomp"] == "2", task["Name"]
        if ROOT:
            assert task["Groups"] == "", task["Name"]


# ---- S02, S03, S05 to S07: break-outs ----

# Each try, and the errors that may answer it.
REFUSED = {
    "open": "EPERM", "openat2": "EACCES", "openat2-climb": "EACCES", "openat2-link": "EACCES",
    "openat2-proc": "EACCES", "write-root": "EACCES", "write-outside": "EACCES",
    "mkdir": "EPERM", "symlink": "EPERM", "mknod": "EPERM", "chmod": "EPERM", "mount": "EPERM",
    "second-ring": "EPERM", "connect": "EPERM", "unix": "EPERM", "packet": "EPERM",
    "netlink": "EPERM", "raw": "EPERM", "exec": "EPERM", "ptrace": "EPERM", "fork": "EPERM",
    "namespace": "EPERM", "kill": "EPERM", "code": "EPERM", "setuid": "EPERM", "setgid": "EPERM",
    "bpf": "EPERM", "seccomp": "EPERM",
}
RING_REFUSED = {
    "ring-openat": "EACCES", "ring-openat2": "EACCES", "ring-openat2-worker": "EACCES",
    "ring-socket": "EACCES", "ring-connect": "EACCES", "ring-mkdir": "EACCES",
    "ring-register-files": "EPERM",
}


def break_out(start, tmp_path, backend, options=(), root=None, word="break-out ", **rest):
    """({try: errno}, server) of a server that has been taken over."""
    (tmp_path / "outside").write_text("secret", encoding="ascii")
    (tmp_path / "outside").chmod(0o644)
    tmp_path.chmod(0o755)
    root = root or serve_root(tmp_path)
    if not (root / "link").is_symlink():
        (root / "link").symlink_to("../outside")
    server = start(root, backend, ("performance.workers=1", *options), program=(TAKEN_OVER,),
                   environment={"RINGTFTPD_OUTSIDE": str(tmp_path / "outside")}, **rest)
    server.process.send_signal(signal.SIGUSR1)
    server.wait_event("stats")
    tries = [line.split()[1:] for line in server.lines if line.startswith(word)]
    return dict(tries), server


def world_can_pass(path):
    """Whether another user could get there at all: else DAC stops what other walls should."""
    return all(parent.stat().st_mode & 0o001 for parent in path.resolve().parents)


@pytest.fixture
def passable(tmp_path_factory):
    """A folder that every user can reach, as an intruder would want it."""
    base = pathlib.Path("/tmp") if world_can_pass(pathlib.Path("/tmp/x")) else None
    if not base:
        pytest.skip("no folder that everybody can reach")
    made = subprocess.run(["mktemp", "-d", "/tmp/ringtftp-sandbox.XXXXXX"], capture_output=True,
                          text=True, check=True).stdout.strip()
    os.chmod(made, 0o755)
    yield pathlib.Path(made)
    subprocess.run(["rm", "-rf", made], check=False)


def test_break_out(start, passable, backend):
    """S02, S03, S05, S06, S07: every try fails, with the error of the wall that stopped it."""
    tries, server = break_out(start, passable, backend,
                              ("security.landlock=require", "security.seccomp=require"))
    assert tries.pop("udp") == "0"
    expected = dict(REFUSED)
    if confined(server)["rings"] != "none":
        assert confined(server)["rings"] == "restricted"
        expected.update(RING_REFUSED)
    assert tries == expected
    assert sorted(p.name for p in (passable / "root").iterdir()) == ["file", "inside", "link"]
    server.works()


READER_REFUSED = dict.fromkeys(("outside", "write", "stderr", "tcp", "udp", "exec", "ring", "ptrace",
                                "kill", "setuid", "memory"), "EPERM") | {"climb": "EACCES"}


@pytest.mark.parametrize("walls", ["require", "off"])
def test_break_out_of_the_reader(start, passable, walls):
    """The process that reads the configuration again reaches that file and nothing else; without
    walls its tries get through."""
    (passable / "etc").mkdir()
    config = passable / "etc" / "ringtftpd.toml"
    config.write_text("", encoding="ascii")
    options = [f"security.{wall}={walls}" for wall in ("landlock", "seccomp")]
    tries, server = break_out(start, passable, "threads-mmsg", options, word="reader-break-out ",
                              arguments=("-c", config))
    assert tries.pop("its-file") == "0"
    children = pathlib.Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    reader = status(f"/proc/{int(children.read_text(encoding='ascii'))}")
    assert (reader["Name"], reader["CapEff"], reader["NoNewPrivs"]) == ("ringtftpd-conf", "0" * 16, "1")
    assert "0" not in reader["Uid"].split() or not ROOT
    if walls == "require":
        tries.setdefault("ring", "EPERM")  # of a build without io_uring
        assert tries == READER_REFUSED
    else:
        assert {tries[name] for name in ("outside", "climb", "udp", "stderr", "memory")} == {"0"}
        assert tries["exec"] == "ENOENT"
    config.write_text("[log]\nlevel = 'nonsense'\n", encoding="ascii")
    server.process.send_signal(signal.SIGHUP)
    server.wait_line(lambda line: "log.level" in line)


def test_landlock_alone(start, passable, backend):
    """Without filter and restrictions no way leads to a file outside, not through the ring
    either."""
    tries, _ = break_out(start, passable, backend,
                         ("security.landlock=require", "security.seccomp=off",
                          "security.ring_restrictions=off"))
    for name in ("open", "openat2", "openat2-climb", "openat2-link", "ring-openat", "ring-openat2",
                 "ring-openat2-worker", "write-root", "write-outside", "connect"):
        assert tries.get(name, "EACCES") == "EACCES", (name, tries)


def test_nothing_in_force(start, passable):
    """The tries are real: without walls they get through."""
    tries, server = break_out(start, passable, "uring-uring",
                              ("security.landlock=off", "security.seccomp=off",
                               "security.ring_restrictions=off"))
    assert confined(server)["landlock"] == confined(server)["seccomp"] == "off"
    for name in ("open", "openat2", "openat2-climb", "openat2-link", "ring-openat", "ring-openat2",
                 "ring-openat2-worker", "second-ring", "unix", "fork", "code"):
        assert tries[name] == "0", (name, tries)
    assert tries["exec"] == "ENOENT" and tries["connect"] == "0"
    if ROOT:
        assert tries["setuid"] == tries["packet"] == "EPERM"
    subprocess.run(["rmdir", "/tmp/planted"], check=False, stderr=subprocess.DEVNULL)
    pathlib.Path("/tmp/planted").unlink(missing_ok=True)


def test_uploads_write_where_they_may(start, passable, backend):
    """S02: with uploads to one folder, nothing else can be written to."""
    root = serve_root(passable)
    (root / "backup").mkdir()
    tries, server = break_out(start, passable, backend,
                              ("security.landlock=require", "write.enabled=true",
                               "write.allow_overwrite=true",
                               "write.allowed_patterns=['backup/*.cfg']"), root)
    assert tries["write-root"] == tries["write-outside"] == "EACCES"
    assert tftp.store(server.address(), "backup/sw1.cfg", b"1" * 5000) is None
    assert tftp.store(server.address(), "backup/sw1.cfg", b"2" * 7000) is None
    assert (root / "backup" / "sw1.cfg").read_bytes() == b"2" * 7000
    assert tftp.store(server.address(), "other.cfg", b"x").code == tftp.E_ACCESS


# ---- S04: a polling thread ----

@pytest.mark.parametrize("backend", ["uring-uring", "uring-mmsg", "threads-uring"])
def test_sqpoll(start, passable, backend):
    """S04: the kernel's polling thread is as confined as the server, being made after."""
    tries, server = break_out(start, passable, backend,
                              ("performance.platform.io_uring.use_sqpoll=true",
                               "security.landlock=require", "security.seccomp=off",
                               "security.ring_restrictions=off"))
    names = [task["Name"] for task in tasks(server)]
    if not any(name.startswith("iou-sqp") for name in names):
        pytest.skip("no polling thread here")
    for name in ("ring-openat", "ring-openat2", "ring-openat2-worker"):
        assert tries[name] == "EACCES", tries
    server.works()


# ---- S11: a kernel that lacks something ----

@pytest.mark.parametrize("key,call,word", [
    ("landlock", "landlock_create_ruleset", "ENOSYS"),
    ("landlock", "landlock_restrict_self", "EOPNOTSUPP"),
    ("seccomp", "seccomp", "EOPNOTSUPP"),
])
def test_missing(start, tmp_path, key, call, word):
    """S11: told in one line, and served all the same; with "require" not started at all."""
    root = serve_root(tmp_path)
    program = (DENY, call, str(getattr(errno, word)), conftest.PROGRAM)
    server = start(root, program=program)
    assert confined(server)[key] == f"missing ({word})" and confined(server)["level"] == "warning"
    assert len(server.events("confined")) == 1
    server.works()
    code, _, said = run("--root", root, "--listen", "127.0.0.1:0", "-o", f"security.{key}=require",
                        program=program)
    assert code == OSERR
    assert f"security.{key}: required, but not to be had here ({word}" in said[0], said


@pytest.mark.parametrize("backend", ["threads-mmsg", "threads-uring"])
def test_no_openat2(start, tmp_path, backend):
    """S11: files are opened component by component, with all walls up. (A ring has an openat2 of its
    own.)"""
    server = start(serve_root(tmp_path), backend, ("security.seccomp=require",),
                   program=(DENY, "openat2", str(errno.ENOSYS), conftest.PROGRAM))
    assert tftp.fetch(server.address(), "file")[0] == b"content of file"


# ---- S13: descriptors ----

def test_descriptors(start, tmp_path, backend):
    """S13: what is open after the start is ours, and none of it would outlive an exec."""
    config = tmp_path / "ringtftpd.toml"
    config.write_text("", encoding="ascii")
    server = start(serve_root(tmp_path), backend, ("performance.workers=1",),
                   arguments=("-c", config))
    server.works()
    folder = pathlib.Path("/proc", str(server.process.pid))
    expected = re.compile(r"socket:|anon_inode:(\[eventpoll\]|\[eventfd\]|\[io_uring\]|inotify)|"
                          + re.escape(str(tmp_path / "root")))
    for entry in (folder / "fd").iterdir():
        try:
            target = os.readlink(entry)
            flags = (folder / "fdinfo" / entry.name).read_text(encoding="ascii")
        except FileNotFoundError:
            continue  # closed meanwhile
        if int(entry.name) <= 2:
            continue
        assert expected.match(target), (entry.name, target)
        assert int(re.search(r"flags:\s+(\d+)", flags).group(1), 8) & os.O_CLOEXEC, target


# ---- S14: each step of the way fails ----

def in_another_group():
    os.setgroups([1])


@needs_root
@pytest.mark.parametrize("call,number,options", [
    ("setgroups", errno.EPERM, ()), ("setgroups", 0, ()),
    ("setresgid", errno.EPERM, ()), ("setresgid", 0, ()),
    ("setresuid", errno.EPERM, ()), ("setresuid", 0, ()),
    ("prctl", errno.EPERM, ()), ("prctl", 0, ()),
    # Another user has lost them already with the change.
    ("capset", errno.EPERM, ("security.user=root", "security.allow_root=true")),
    ("capset", 0, ("security.user=root", "security.allow_root=true")),
])
def test_drop_fails(tmp_path, call, number, options):
    """S14: a call that fails, or says it succeeded and did nothing, ends the start."""
    arguments = [word for option in options for word in ("-o", option)]
    code, _, said = run("--root", serve_root(tmp_path), "--listen", "127.0.0.1:0", *arguments,
                        program=(DENY, call, str(number), conftest.PROGRAM),
                        prepare=in_another_group)
    assert code == OSERR, said
    assert "privileges cannot be given up: " in said[0], said


@needs_root
def test_chroot_fails(tmp_path):
    """S14"""
    code, _, said = run("--root", serve_root(tmp_path), "--listen", "127.0.0.1:0", "-o",
                        "security.chroot=true",
                        program=(DENY, "chroot", str(errno.EPERM), conftest.PROGRAM))
    assert code == NOPERM and "security.chroot: the root cannot be changed" in said[0], said


def test_config_reader_fails(tmp_path):
    """S14"""
    (tmp_path / "c.toml").write_text("", encoding="ascii")
    code, _, said = run("--root", serve_root(tmp_path), "--listen", "127.0.0.1:0", "-c",
                        tmp_path / "c.toml",
                        program=(DENY, "socketpair", str(errno.EMFILE), conftest.PROGRAM))
    assert code == OSERR and "cannot start the process that reads" in said[0], said


# ---- S15 and identity ----

@needs_root
@pytest.mark.parametrize("option,code,words", [
    ("user=root", CONFIG, "security.user: the server does not serve as root"),
    ("user='0'", CONFIG, "security.user: the server does not serve as root"),
    ("group=root", CONFIG, "security.group: the server does not serve as root"),
    ("user=no-such-user", CONFIG, 'security.user: there is no user "no-such-user"'),
    ("group=no-such-group", CONFIG, 'security.group: there is no group "no-such-group"'),
    ("user='54321'", CONFIG, "security.group: user 54321 has no entry that names a group, "
                             "expected one here"),
])
def test_identity_mistakes(tmp_path, option, code, words):
    """S15 and its kin: one sentence."""
    got, _, said = run("--root", serve_root(tmp_path), "--listen", "127.0.0.1:0", "-o",
                       f"security.{option}")
    assert got == code and words in said[0], said


@needs_root
@pytest.mark.parametrize("options,uid,gid", [
    (("security.user='54321'", "security.group='54322'"), 54321, 54322),
    (("security.group='54322'",), conftest.service_user().pw_uid, 54322),
    (("security.user=daemon",), 1, 1),
    (("security.user=nobody", "security.group=daemon"), 65534, 1),
    (("security.user=root", "security.allow_root=true"), 0, 0),
])
def test_identity(start, tmp_path, options, uid, gid):
    root = serve_root(tmp_path)
    server = start(root, options=options)
    for task in tasks(server):
        assert task["Uid"].split() == [str(uid)] * 4 and task["Gid"].split() == [str(gid)] * 4
        assert int(task["CapEff"], 16) == 0 and int(task["CapBnd"], 16) == 0
    assert tftp.fetch(server.address(), "file")[0] == b"content of file"


@needs_root
def test_numbers_of_an_ordinary_user(start, passable):
    """Who stays who it is may say so by numbers that nobody else knows."""
    def as_a_number():
        os.setgroups([])
        os.setresgid(54322, 54322, 54322)
        os.setresuid(54321, 54321, 54321)

    root = serve_root(passable)
    if not world_can_pass(conftest.PROGRAM):
        pytest.skip("another user cannot reach the program")
    for options in (("security.user='54321'",), ("security.group='54322'",)):
        server = start(root, options=options, prepare=as_a_number)
        assert tftp.fetch(server.address(), "file")[0] == b"content of file"


def as_nobody():
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)


@needs_root
@pytest.mark.parametrize("arguments,words", [
    (("-o", "security.user=daemon"), "only a server that root has started can become"),
    (("-o", "security.chroot=true"), "the server has to be started by root for it"),
    (("--listen", "127.0.0.1:69"), "for this port the server has to be started by root"),
])
def test_mistakes_of_an_ordinary_user(passable, arguments, words):
    root = serve_root(passable)
    listen = () if "--listen" in arguments else ("--listen", "127.0.0.1:0")
    command = [conftest.PROGRAM, "--root", root, *listen, *arguments]
    if not world_can_pass(conftest.PROGRAM):
        pytest.skip("another user cannot reach the program")
    if int(pathlib.Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 69:
        pytest.skip("every user may have port 69 here")
    done = subprocess.run([str(word) for word in command], preexec_fn=as_nobody, timeout=20,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == NOPERM, done.stderr
    assert words in done.stderr.splitlines()[-1], done.stderr


# ---- The root ----

@needs_root
def test_root_that_cannot_be_entered(tmp_path):
    root = serve_root(tmp_path)
    root.chmod(0o700)
    code, _, said = run("--root", root, "--listen", "127.0.0.1:0")
    assert code == NOPERM
    user = conftest.service_user().pw_name
    assert f'root: user "{user}" cannot enter {root}: Permission denied' in said[0], said


@needs_root
def test_root_below_a_private_folder(start, tmp_path):
    """Only the root itself has to be open to the server's user, not the way to it."""
    private = tmp_path / "private"
    private.mkdir(0o700)
    server = start(serve_root(private))
    assert tftp.fetch(server.address(), "file")[0] == b"content of file"


def test_root_that_others_may_write(start, tmp_path):
    root = serve_root(tmp_path)
    root.chmod(0o777)
    server = start(root)
    server.wait_line(lambda line: "everybody on this machine may write into" in line)
    again = start(root, options=("write.enabled=true",))
    again.works()
    assert not [line for line in again.lines if "everybody on this machine" in line]


@needs_root
def test_uploads_that_cannot_be(start, tmp_path):
    root = serve_root(tmp_path)
    server = start(root, options=("write.enabled=true", "security.user=daemon",
                                  "write.allowed_patterns=['a/*', '**']"))
    server.wait_line(lambda line: 'user \\"daemon\\" cannot write where item' in line)


@needs_root
def test_configuration_that_cannot_be_read_again(start, tmp_path):
    """Said at the start, not only when it is needed."""
    config = tmp_path / "ringtftpd.toml"
    config.write_text("", encoding="ascii")
    config.chmod(0o600)
    server = start(serve_root(tmp_path), arguments=("-c", config))
    server.wait_line(lambda line: "cannot read" in line and "ringtftpd.toml" in line
                     and "Permission denied" in line)
    server.works()


# ---- chroot ----

@needs_root
def test_chroot(start, tmp_path, backend):
    """Everything works in there: uploads without /proc, a reload of a file outside."""
    config = tmp_path / "ringtftpd.toml"
    config.write_text("[log]\nlevel = 'info'\n", encoding="ascii")
    tmp_path.chmod(0o755)
    root = serve_root(tmp_path)
    server = start(root, backend, ("security.chroot=true", "write.enabled=true",
                                   "write.allow_overwrite=true"), arguments=("-c", config))
    assert os.readlink(f"/proc/{server.process.pid}/root") == str(root)
    assert tftp.fetch(server.address(), "file")[0] == b"content of file"
    for content in (b"1" * 3000, b"2" * 4000):
        assert tftp.store(server.address(), "new", content) is None
        assert (root / "new").read_bytes() == content
    config.write_text("[log]\nlevel = 'nonsense'\n", encoding="ascii")
    server.process.send_signal(signal.SIGHUP)
    server.wait_line(lambda line: "log.level" in line)


# ---- A service manager ----

def test_sockets_from_systemd(start, tmp_path):
    """LISTEN_FDS: bound elsewhere, one socket for each worker; READY when it can be asked."""
    root = serve_root(tmp_path)
    own = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    port = 0
    for sock in own:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(("127.0.0.1", port))
        port = sock.getsockname()[1]
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind(str(tmp_path / "notify"))
    notify.settimeout(20)

    try:
        with conftest.handed(*own) as arguments:
            server = start(root, listen=("127.0.0.1:0",), **arguments,
                           environment={"NOTIFY_SOCKET": str(tmp_path / "notify")})
        assert notify.recv(100) == b"READY=1"
        assert server.addresses == [("127.0.0.1", port)]
        for _ in range(8):
            assert tftp.fetch(("127.0.0.1", port), "file")[0] == b"content of file"
        workers = [line for line in server.lines if "packets by" in line]
        assert len(workers) == 2
    finally:
        for sock in (*own, notify):
            sock.close()


def test_systemd_units(tmp_path):
    """S12: systemd understands the units, and finds little to fear in the service."""
    if not subprocess.run(["which", "systemd-analyze"], capture_output=True,
                          check=False).returncode == 0:
        pytest.skip("no systemd-analyze")
    for name in ("ringtftpd.service", "ringtftpd.socket"):
        text = (conftest.TOP / "dist" / name).read_text(encoding="ascii")
        (tmp_path / name).write_text(text.replace("/usr/sbin/ringtftpd", str(conftest.PROGRAM)),
                                     encoding="ascii")
    units = [tmp_path / name for name in ("ringtftpd.service", "ringtftpd.socket")]
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", *map(str, units)], timeout=60,
                          capture_output=True, text=True, check=False)
    complaints = [line for line in done.stderr.splitlines() if "ringtftpd" in line]
    assert done.returncode == 0 and not complaints, done.stderr
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=15",
                           str(tmp_path / "ringtftpd.service")], timeout=60, capture_output=True,
                          text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr


# ---- --self-test ----

def test_self_test(tmp_path):
    """Also beside a server that has the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.bind(("127.0.0.1", 0))
        code, out, _ = run("--self-test", "--root", serve_root(tmp_path), "--listen",
                           f"127.0.0.1:{own.getsockname()[1]}")
    assert code == os.EX_OK, out
    lines = dict(re.split(r"\s{2,}", line, 1) for line in out.splitlines())
    assert lines["capabilities"] == "none" and lines["no_new_privs"] == "set"
    assert lines["result"] == "held"
    assert lines["io_uring"].startswith("not used; a ring for this test: ")
    if lines["system call filter"] == "in force":
        for what in ("execute a program", "make another ring", "AF_UNIX socket"):
            assert lines.get(what, "refused (EPERM)") == "refused (EPERM)", out


def test_self_test_is_not_fooled(tmp_path):
    """S14: a kernel that says it has shut us in, and has not, is found out."""
    code, out, _ = run("--self-test", "--root", serve_root(tmp_path), "-o", "security.seccomp=off",
                       program=(DENY, "landlock_restrict_self", "0", conftest.PROGRAM))
    if "Landlock                       in force" not in out:
        pytest.skip("no Landlock here")
    assert code == os.EX_SOFTWARE and "POSSIBLE" in out and "NOT HELD" in out, out
