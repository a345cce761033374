"""This file brings a world of the network tests up in the network namespace that it runs in: it says `netns`,
waits for its interface, and becomes the program beside it that its first argument names."""
import os
import subprocess
import sys

print("netns", flush=True)
sys.stdin.buffer.raw.read(3)
for words in ("link set lo up", "address add 192.0.2.1/24 dev eth0", "address add 2001:db8:9::1/64 dev eth0 nodad",
              "link set eth0 up", "address add 93.184.215.14/32 dev lo", "address add 93.184.215.53/32 dev lo",
              "address add 93.184.215.16/30 dev lo", "address add 10.1.2.3/32 dev lo",
              "-6 address add 2606:2800:220:1::6/128 dev lo nodad", "-6 address add 2606:2800:220:1::15/128 dev lo nodad",
              "address add 93.184.215.15/32 dev lo"):
    subprocess.run(["ip", *words.split()], check=True, stdin=subprocess.DEVNULL)
program = os.path.join(os.path.dirname(__file__), sys.argv[1])
os.execv(sys.executable, [sys.executable, "-B", program, *sys.argv[2:]])
