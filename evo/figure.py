"""What the pictures of a campaign have in common: size, palette, axes.

PNG files of 1200 by 700 pixels. Matplotlib is imported when something is
drawn, and without pyplot: no window system, no state between figures.
"""

import io
from typing import TYPE_CHECKING

from etils import epath

if TYPE_CHECKING:
  from matplotlib import axes
  from matplotlib import figure as figure_lib

BEST = '#1f6f9f'
OTHER = '#b4bcc4'
BASELINE = '#4a4a4a'
FAILED = '#c2553a'
TEXT = '#2b2b2b'


def new(title: str = '') -> 'figure_lib.Figure':
  """A figure, with its title at the top left."""
  from matplotlib import figure as figure_lib

  figure = figure_lib.Figure(figsize=(12, 7), dpi=100, layout='constrained')
  if title:
    look = {'fontsize': 15, 'fontweight': 'bold', 'color': TEXT}
    figure.text(0.012, 0.985, title, va='top', parse_math=False, **look)
    # The layout leaves a band for it.
    rect = (0.004, 0.004, 0.992, 0.935)
    figure.get_layout_engine().set(rect=rect, h_pad=0.09)
  return figure


def plain(ax: 'axes.Axes') -> None:
  """Draws the axes themselves without drawing attention to them."""
  ax.spines[['top', 'right']].set_visible(False)
  ax.spines[['left', 'bottom']].set_color('#8a8a8a')
  ax.tick_params(colors=TEXT, labelsize=10.5)
  ax.grid(axis='y', color='#ececec', lw=0.8)
  ax.set_axisbelow(True)
  ax.xaxis.label.set(fontsize=12, color=TEXT)
  ax.yaxis.label.set(fontsize=12, color=TEXT)


def say(ax: 'axes.Axes', text: str) -> None:
  """Puts a message in place of data."""
  ax.set(xticks=[], yticks=[])
  look = {'ha': 'center', 'fontsize': 16, 'color': '#6a6a6a'}
  ax.text(0.5, 0.5, text, transform=ax.transAxes, **look)


def save(figure: 'figure_lib.Figure', path: epath.PathLike) -> None:
  """Writes a PNG file."""
  buffer = io.BytesIO()
  figure.savefig(buffer, format='png')
  epath.Path(path).write_bytes(buffer.getvalue())
