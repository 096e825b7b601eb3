"""Latency that can be trusted: a protocol, the machine's fingerprint, and the runtimes.

Import the modules of this package by name: ``protocol`` and ``fingerprint`` need numpy at most, ``runtimes`` torch.
"""
