"""Markdown: tables and text from outside that stays text."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from evo import wording


def cell(value: Any) -> str:
  """Text from outside, so that it is only text in a Markdown table."""
  text = ' '.join(wording.short(value).split())
  text = text.replace('&', '&amp;').replace('<', '&lt;')
  return re.sub(r'([\\`*_\[\]|~$])', r'\\\1', text)


def code(text: str) -> str:
  """Text from outside, so that it can stand between backticks."""
  return ' '.join(str(text).replace('`', "'").split())


def table(header: Sequence[str], lines: Iterable[Sequence[Any]]) -> str:
  """A Markdown table; its cells are escaped."""
  rows = ['| ' + ' | '.join(map(cell, line)) + ' |' for line in lines]
  ruler = '|' + ' --- |' * len(header)
  return '\n'.join(['| ' + ' | '.join(map(cell, header)) + ' |', ruler, *rows])
