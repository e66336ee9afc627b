"""Prints every request line that arrives at MLflow's port, as it was on the wire. Runs in the network of MLflow's
container and asks neither MLflow nor the door.
"""

import re
import socket
import struct
import sys

PORT = 5000
LINE = re.compile(rb"(?:^|(?<=\n))([A-Z]+ \S* HTTP/1\.\d)\r\n")

tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0003))
tap.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 * 1024 * 1024)
print("listening", flush=True)
while True:
    packet, (_, _, direction, *_) = tap.recvfrom(1 << 18)
    # 4: what this container itself has sent. Its own health check asks over the loopback.
    if direction == 4 or packet[0] >> 4 != 4 or packet[9] != 6 or packet[16] == 127:
        continue
    segment = packet[(packet[0] & 15) * 4 : struct.unpack("!H", packet[2:4])[0] or None]
    if struct.unpack("!H", segment[2:4])[0] != PORT:
        continue
    for line in LINE.findall(segment[(segment[12] >> 4) * 4 :]):
        sys.stdout.write(line.decode("latin-1") + "\n")
    sys.stdout.flush()
