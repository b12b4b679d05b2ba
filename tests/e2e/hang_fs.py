# SPDX-License-Identifier: Apache-2.0
"""hang_fs.py DIR: mounts a file system at DIR that answers until somebody looks up "hang", and then never again: as a network
mount whose server is gone. Prints "mounted", then "hung". Needs root."""
import ctypes, os, struct, sys, time

LOOKUP, FORGET, GETATTR, STATFS, INIT, BATCH_FORGET = 1, 2, 3, 17, 26, 42
S_IFDIR, S_IFREG = 0o040755, 0o100644


def attr(node):
    mode = S_IFDIR if node == 1 else S_IFREG
    return struct.pack("<6Q10I", node, 4096, 8, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def answer(opcode, node, body):
    """(error, reply); the name looked up is never anything but "hang"."""
    if opcode == INIT:
        return 0, struct.pack("<IIIIHHIIHHI7I", 7, 31, 65536, 0, 16, 12, 65536, 1, 0, 0, 0, *([0] * 7))
    if opcode == GETATTR:
        return 0, struct.pack("<QII", 1000, 0, 0) + attr(node)
    if opcode == LOOKUP:
        if body.rstrip(b"\0") != b"hang":
            return -2, b""
        return 0, struct.pack("<QQQQII", 2, 0, 1000, 1000, 0, 0) + attr(2)
    if opcode == STATFS:
        return 0, bytes(80)
    return -38, b""


def main():
    fd = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={fd},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"hang", os.fsencode(sys.argv[1]), b"fuse", 0, options):
        sys.exit(f"mount: {os.strerror(ctypes.get_errno())}")
    print("mounted", flush=True)
    while True:
        request = os.read(fd, 1 << 20)
        _, opcode, unique, node = struct.unpack_from("<IIQQ", request)
        if opcode in (FORGET, BATCH_FORGET):
            continue
        error, reply = answer(opcode, node, request[40:])
        os.write(fd, struct.pack("<IiQ", 16 + len(reply), error, unique) + reply)
        if opcode == LOOKUP and not error:
            break
    print("hung", flush=True)
    time.sleep(3600)


main()
