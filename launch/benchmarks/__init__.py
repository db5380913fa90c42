"""Benchmarks of `launch.bench`, one noun per file."""
