# SPDX-License-Identifier: Apache-2.0
# Runs the scapy scripts of weft lab attack: one job a line on stdin (JSON), one answer a line on stdout. Importing scapy takes
# longer than most attacks do, so one process plays them all, each in a thread, which enters the namespace of a machine for
# each socket: it is a thread that is in one, not the process.
import ctypes, json, logging, os, socket, sys, threading, time, traceback

logging.getLogger("scapy").setLevel(logging.ERROR)
from scapy.layers.l2 import *
from scapy.layers.inet import *
from scapy.layers.inet6 import *
from scapy.layers.dhcp import *
from scapy.layers.dhcp6 import *
from scapy.layers.vrrp import *
from scapy.layers.hsrp import *
from scapy.layers.ipsec import *

libc = ctypes.CDLL(None, use_errno=True)


def enter(netns):
    fd = os.open("/run/netns/" + netns, os.O_RDONLY)
    try:
        if libc.setns(fd, 0x40000000) != 0:
            raise OSError(ctypes.get_errno(), "setns " + netns)
    finally:
        os.close(fd)


def play(job):
    sockets = {}

    def to(at, dev):
        if (at, dev) not in sockets:
            enter(job["lab"] + at)
            s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            s.bind((dev, 0))
            sockets[at, dev] = s
        return sockets[at, dev]

    def send(*frames, n=1, at=job["at"], dev="eth0"):
        s = to(at, dev)
        for f in frames:
            f = bytes(f)
            for _ in range(n):
                while True:
                    try:
                        s.send(f)
                        break
                    except OSError as e:
                        if e.errno != 105:  # ENOBUFS
                            raise
                        time.sleep(0.001)

    try:
        exec(compile(job["script"], job["name"], "exec"), {**globals(), **job["values"], "LAB": job["lab"], "send": send})
    finally:
        for s in sockets.values():
            s.close()


answering = threading.Lock()


def answer(job):
    error = ""
    try:
        play(job)
    except Exception:
        error = traceback.format_exc()
    with answering:
        print(json.dumps({"id": job["id"], "error": error}), flush=True)


for line in sys.stdin:
    threading.Thread(target=answer, args=(json.loads(line),), daemon=True).start()
