"""Evolutionary search over training configurations.

Knows nothing of transformers, files of text or flags: a `Trainee` supplies
what is trained, a `Space` what may change, a `Strategy` what to try next.
Importing this package starts no JAX backend.
"""
