"""Hostile and odd first datagrams, under their numbers in docs/catalogue.md (groups 9.1 to 9.3).

A row is (number and what it is, the datagram, what has to come). It is judged by the parser alone
(tests/helpers/judge.c) and by the server; see test_catalogue.py.
"""

import struct

import tftp

SILENCE = "silence"
SERVED = "served"  # DATA 1 of a file with the content below, or an OACK


class Error:
    """An ERROR of one of these codes, once, short, and telling nothing. `judged` is what the parser
    says when only the file system knows better: True, it lets the request pass."""

    def __init__(self, *codes, judged=None):
        self.codes = codes
        self.judged = judged


class Oack:
    """Exactly these options, in this order and spelling; none: DATA 1 or ACK 0 at once."""

    def __init__(self, *options):
        self.options = [(str(key).encode(), str(value).encode()) for key, value in options]


E4 = Error(tftp.E_ILLEGAL)
E2 = Error(tftp.E_ACCESS)
E8 = Error(tftp.E_OPTION)
E3 = Error(tftp.E_DISK_FULL)
MISSING = Error(tftp.E_NOT_FOUND, judged=True)  # a fine name that nothing has
DENIED = Error(tftp.E_ACCESS, judged=True)      # a fine name of something not to be served

SIZE = 5000
WRITTEN = "written-by-nobody"


def sized(size):
    """A valid request of exactly that many bytes, by an unknown option."""
    raw = tftp.rrq("file", "octet", [("x", "")])
    return raw[:-1] + b"y" * (size - len(raw)) + b"\0"


def opcode(number):
    return struct.pack("!H", number) + b"file\0octet\0"


def datagrams():
    """9.1: what is no request, what is a broken one, and what only looks broken."""
    yield "B01 no bytes", b"", SILENCE
    for raw in (b"\0", b"\1"):
        yield f"B02 one byte {raw.hex()}", raw, SILENCE
    for raw in (b"\0\1", b"\0\2", b"\0\1a", b"\0\2\0"):
        yield f"B03 {raw.hex()}", raw, SILENCE
    for number in (0, 7, 8, 9, 255, 0x8001, 65535):
        yield f"B04 opcode {number}", opcode(number), SILENCE
    for code in (*range(10), 255, 65535):
        yield f"B05 ERROR {code}", tftp.error(code, "text"), SILENCE
        yield f"B05 ERROR {code} without text", tftp.error(code), SILENCE
    for what, raw in (("no code", b"\0\5"), ("half a code", b"\0\5\0"),
                      ("unterminated", b"\0\5\0\1text"),
                      ("60 KB", b"\0\5\0\0" + b"%n\x1b" * 20000)):
        yield f"B05 ERROR {what}", raw, SILENCE
    for block in (0, 1, 65535):
        yield f"B06 ACK {block}", tftp.ack(block), SILENCE
    yield "B07 DATA 1 of 4 bytes", tftp.data(1), SILENCE
    yield "B07 DATA 1 of 516 bytes", tftp.data(1, b"x" * 512), SILENCE
    yield "B08 OACK", b"\0\6blksize\x00512\0", SILENCE
    yield "B08 empty OACK", b"\0\6", SILENCE
    yield "B09 bytes of the opcode swapped", b"\1\0file\0octet\0", SILENCE
    for kind, op in (("RRQ", b"\0\1"), ("WRQ", b"\0\2")):
        yield f"B10 {kind} name unterminated", op + b"file", E4
        yield f"B11 {kind} no mode", op + b"file\0", E4
        yield f"B12 {kind} mode unterminated", op + b"file\0octet", E4
        yield f"B13 {kind} empty name", op + b"\0octet\0", E4
        yield f"B14 {kind} empty mode", op + b"file\0\0", E4
        yield f"B16 {kind} mail", op + b"file\0mail\0", E4
    for mode in ("OCTET", "NetAscii", "oCtEt", "NETASCII"):
        yield f"B15 mode {mode}", tftp.rrq("file", mode), SERVED
    for mode in ("binary", "image", "octet ", "octetX", "oct"):
        yield f"B17 mode '{mode}'", tftp.rrq("file", mode), E4
    yield "B18 mode of 490 bytes", tftp.rrq("file", "m" * 490), E4
    yield "B19 512 bytes", sized(512), SERVED
    for size in (513, 1500, 9000, 65507):
        yield f"B20 {size} bytes", sized(size), E4
    for count in (1, 2, 300, 900):
        yield f"B21 {count} zeros behind", tftp.rrq("file") + b"\0" * count, SERVED
    yield "B22 control byte as name", b"\0\1\1\0netascii\0", E2
    yield "B23 only zeros", b"\0\1" + b"\0" * 510, E4


def names():
    """9.2: names that climb, that are no files, and that are files all the same."""
    for name in ("../etc/passwd", "x/../../y"):
        yield f"B26 {name}", tftp.rrq(name), E2
    for name in ("a/../b", "dir/../file", "dir/./sub/deep", "..", "."):
        yield f"B27 {name}", tftp.rrq(name), E2
    yield "B28 /etc/passwd", tftp.rrq("/etc/passwd"), MISSING
    yield "B29 four dots", tftp.rrq("....//x"), MISSING
    yield "B29 three dots", tftp.rrq(".../x"), MISSING
    yield "B29 two dots and two slashes", tftp.rrq("..//file"), E2
    for name in ("..\\x", "a\\..\\b", "\\x"):
        yield f"B30 {name}", tftp.rrq(name), MISSING
    yield "B30 backslash in a name that is there", tftp.rrq("b\\ack:slash%2e"), SERVED
    for name in ("C:\\x", "C:x", "\\\\h\\s\\f"):
        yield f"B31 {name}", tftp.rrq(name), MISSING
    yield "B32 percent", tftp.rrq("%2e%2e%2ffile"), MISSING
    for name in ("/file", "//file", "///file"):
        yield f"B33 {name}", tftp.rrq(name), SERVED
    yield "B33 slashes inside", tftp.rrq("/dir//sub///deep"), SERVED
    yield "B33 host form", tftp.rrq("//h/x"), MISSING
    yield "B33 only slashes", tftp.rrq("///"), E2
    yield "B34 overlong UTF-8", tftp.rrq(b"\xc0\xae\xc0\xae/file"), MISSING
    yield "B35 UTF-8 name", tftp.rrq("caf\u00e9".encode()), SERVED
    yield "B35 the same name, decomposed", tftp.rrq("cafe\u0301".encode()), MISSING
    yield "B36 byte FF in a name", tftp.rrq(b"byte-\xff"), SERVED
    for byte in (b"\n", b"\r", b"\x1b", b"\1", b"\x7f"):
        yield f"B37 byte {byte.hex()}", tftp.rrq(b"a" + byte + b"b"), E2
    yield "B38 format directives", tftp.rrq("%n%s%x" * 40), MISSING
    yield "B38 format directives, long", tftp.rrq("%n%s%x" * 80), Error(tftp.E_NOT_FOUND)
    for name in ("|", ";id", "$(id)", "`id`"):
        yield f"B39 {name}", tftp.rrq(name), MISSING
    yield "B40 component of 255 bytes", tftp.rrq("l" * 255), SERVED
    yield "B40 component of 256 bytes", tftp.rrq("m" * 256), Error(tftp.E_NOT_FOUND)
    yield "B40 WRQ component of 256 bytes", tftp.wrq("m" * 256), E2
    yield "B41 490 bytes of one-letter folders", tftp.rrq("a/" * 244 + "a"), MISSING
    yield "B43 folder", tftp.rrq("dir"), DENIED
    yield "B43 folder with slash", tftp.rrq("dir/"), Error(tftp.E_NOT_FOUND, tftp.E_ACCESS)
    yield "B44 file with slash", tftp.rrq("file/"), Error(tftp.E_NOT_FOUND)
    yield "B44 file as a folder", tftp.rrq("file/x"), MISSING
    yield "B45 link inside", tftp.rrq("inside"), SERVED
    yield "B45 linked folder", tftp.rrq("linked-dir/sub/deep"), SERVED
    for name in ("outside", "climbs", "absolute", "magic"):
        yield f"B46 link {name}", tftp.rrq(name), DENIED
    yield "B46 link dangling", tftp.rrq("dangling"), Error(tftp.E_NOT_FOUND, tftp.E_ACCESS,
                                                           judged=True)
    yield "B47 FIFO", tftp.rrq("fifo"), DENIED
    yield "B48 socket", tftp.rrq("socket"), DENIED
    yield "B48 device", tftp.rrq("zero"), DENIED
    yield "B49 not for everybody", tftp.rrq("private"), DENIED
    yield "B50 staged upload", tftp.rrq(".ringtftp-x"), Error(tftp.E_NOT_FOUND)
    yield "B50 WRQ staged upload", tftp.wrq(".ringtftp-x"), E2
    yield "B51 wrong letter case", tftp.rrq("FILE"), MISSING
    yield "B52 one space", tftp.rrq(" "), MISSING
    for name in ("with space", "dot.", "trailing ", "-dash"):
        yield f"B52 '{name}'", tftp.rrq(name), SERVED


def ask(*pairs, name="file", mode="octet"):
    return tftp.rrq(name, mode, pairs)


def put(*pairs):
    return tftp.wrq(WRITTEN, "octet", pairs)


def options():
    """9.3: what is granted, what is left out, what is refused."""
    size = ("tsize", SIZE)
    yield "B56 only unknown", ask(("multicast", ""), ("utimeout", 1000), ("x", "y")), Oack()
    yield "B56 WRQ only unknown", put(("x", "y")), Oack()
    yield "B56 unknown among known", ask(("x", "y"), ("blksize", 600), ("z", "")), \
        Oack(("blksize", 600))
    yield "B57 spelling", ask(("BLKSIZE", 1000), ("tSiZe", 0)), \
        Oack(("BLKSIZE", 1000), ("tSiZe", SIZE))
    yield "B57 order", ask(("timeout", 5), ("windowsize", 4), ("blksize", 1468), ("tsize", 0)), \
        Oack(("timeout", 5), ("windowsize", 4), ("blksize", 1468), size)
    yield "B58 similar names", ask(("blksizeFOO", 600), ("foo_blksize_bar", 600), ("blk", 600)), \
        Oack()
    yield "B59 same value twice", ask(("blksize", 512), ("blksize", 512)), E8
    yield "B59 two values", ask(("blksize", 512), ("BLKSIZE", 1024)), E8
    yield "B59 WRQ tsize twice", put(("tsize", 5), ("tsize", 6)), E8
    yield "B60 empty name", ask(("", "5"), ("blksize", 600)), Oack(("blksize", 600))
    for tail in (b"tsize\0", b"tsize", b"tsize\x000", b"\xff\xff", b"x"):
        yield f"B61 tail {tail}", ask(("blksize", 600)) + tail, Oack(("blksize", 600))
    yield "B62 empty values", ask(("blksize", ""), ("tsize", ""), ("windowsize", "")), Oack()
    for value in (0, 1, 7):
        yield f"B63 blksize {value}", ask(("blksize", value)), Oack()
    yield "B64 blksize 8", ask(("blksize", 8)), Oack(("blksize", 8))
    yield "B65 blksize 8 and more", ask(("blksize", 8), ("timeout", 3), ("tsize", 0)), \
        Oack(("blksize", 8), ("timeout", 3), size)
    yield "B66 blksize 65464", ask(("blksize", 65464)), Oack(("blksize", 65464))
    for value in (65465, 99999):
        yield f"B67 blksize {value}", ask(("blksize", value)), Oack(("blksize", 65464))
    for value in ("-1", "+8", " 512", "512x", "0x200", "1e3"):
        yield f"B68 blksize '{value}'", ask(("blksize", value)), Oack()
    for value in ("4294967808", "18446744073709552128"):
        yield f"B69 blksize {value}", ask(("blksize", value)), Oack(("blksize", 65464))
    yield "B70 leading zeros", ask(("blksize", "000512")), Oack(("blksize", 512))
    yield "B70 400 digits", ask(("blksize", "9" * 400)), Oack(("blksize", 65464))
    for value in ("0", "256", "-1", "1.5"):
        yield f"B71 timeout {value}", ask(("timeout", value)), Oack()
    for value in (1, 255):
        yield f"B72 timeout {value}", ask(("timeout", value)), Oack(("timeout", value))
    for value in (0, 5):
        yield f"B73 tsize {value}", ask(("tsize", value)), Oack(size)
    for value in ("abc", ""):
        yield f"B73 tsize '{value}'", ask(("tsize", value)), Oack()
    yield "B74 tsize in netascii", ask(("tsize", 0), ("blksize", 600), mode="netascii"), \
        Oack(("blksize", 600))
    for value in (1 << 63, 1 << 64, "9" * 400):
        yield f"B76 WRQ tsize {str(value)[:25]}", put(("tsize", value)), E3
    yield "B75 WRQ tsize above the limit", put(("tsize", (1 << 30) + 1)), \
        Error(tftp.E_DISK_FULL, judged=True)
    yield "B77 WRQ tsize 0", put(("tsize", 0)), Oack(("tsize", 0))
    yield "B77 WRQ tsize and blksize", put(("tsize", 3000), ("blksize", 700)), \
        Oack(("tsize", 3000), ("blksize", 700))
    for value in ("0", "abc"):
        yield f"B78 windowsize {value}", ask(("windowsize", value)), Oack()
    for value in (65535, 65536):
        yield f"B78 windowsize {value}", ask(("windowsize", value)), Oack(("windowsize", 64))
    yield "B79 both largest", ask(("blksize", 65464), ("windowsize", 65535)), \
        Oack(("blksize", 65464), ("windowsize", (1 << 20) // 65464))
    yield "B80 123 options", b"\0\1file\0octet\0" + b"a\0b\0" * 123, Oack()
    for name, expect in (("missing", MISSING), ("private", DENIED), ("dir", DENIED)):
        yield f"B81 options, {name}", ask(("tsize", 0), ("blksize", 1428), name=name), expect
    yield "B82 options of others", ask(("utimeout", 1000), ("rollover", 0), ("multicast", ""),
                                       ("blksize2", 1024)), Oack()
    yield "B83 hostile value", ask(("blksize", "%n\x1b[2J"), ("tsize", 0)), Oack(size)


ROWS = {title: (raw, expect) for rows in (datagrams, names, options)
        for title, raw, expect in rows()}
