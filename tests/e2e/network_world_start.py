"""This file brings the world of tests/e2e/network.sh up in the network namespace that it runs in: it says
`netns`, waits for its interface, and becomes network_world.py."""
import os
import subprocess
import sys

print("netns", flush=True)
sys.stdin.buffer.raw.read(3)
for words in ("link set lo up", "address add 192.0.2.1/24 dev eth0", "link set eth0 up",
              "address add 93.184.215.14/32 dev lo", "address add 93.184.215.53/32 dev lo",
              "address add 10.1.2.3/32 dev lo"):
    subprocess.run(["ip", *words.split()], check=True, stdin=subprocess.DEVNULL)
os.execv(sys.executable, [sys.executable, "-B", os.path.join(os.path.dirname(__file__), "network_world.py")])
