"""Entry points: absl flags in, `evo` and `models` wired together."""
