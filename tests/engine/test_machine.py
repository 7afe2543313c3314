"""Training keeps the memory it freed."""

import ctypes
import platform
import subprocess
import sys

import pytest

from criinet.engine.machine import keep_memory

THIS_SYSTEM = sys.platform
FREED_AND_TAKEN = """
import resource
import torch
from criinet.engine.machine import keep_memory

def new_pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

torch.ones(2**24)
usual = new_pages()
keep_memory()
new_pages()
print(usual, new_pages())
"""
"""Prints how many pages the system had to give for twenty tensors of 64 MiB, each freed before the next."""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left as they are")
def test_memory_that_was_freed_is_used_again():
    said = subprocess.run([sys.executable, "-c", FREED_AND_TAKEN], capture_output=True, text=True, check=True).stdout
    usual, kept = map(int, said.split())
    assert usual > 20_000
    assert kept < usual / 20


def test_a_system_without_that_call_is_left_as_it_is(monkeypatch):
    """Its C library is not even opened; nor is one without the call asked for it."""
    opened: list[object] = []
    monkeypatch.setattr(ctypes, "CDLL", lambda name: opened.append(name) or object())
    keep_memory()
    monkeypatch.setattr(sys, "platform", "darwin")
    keep_memory()
    assert opened == [None] * (THIS_SYSTEM == "linux")
