"""Turns that somebody else begins and ends, so that several instances work at the same time."""

import select
import sys


def typed_turns(pause=0):
    """Says `ready`, begins when a line is typed, and goes on until the input ends, with a pause (seconds) after each turn."""
    print("ready", flush=True)
    sys.stdin.readline()
    while not select.select([sys.stdin], [], [], pause)[0]:
        yield
