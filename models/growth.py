"""Inheritance across structures: a child's state out of its parent's.

Every tensor has named axes, and every axis one rule, which says of each index
of the child's which of the parent's it continues, if any. What continues
nothing begins as the fresh child has it, unless it would be heard: new heads,
hidden channels, blocks, value embeddings and biases add nothing at first. So
a child that only grows computes what its parent does (`preserves`); any other
keeps the corner that both have, of every tensor of the same name.

The same map carries every tree of the state: the weights and what is weighed
like them (the running average, schedule-free's z), which begin as the weights
where the parent had none, and moments, which begin at zero. A mean without its
variance is left behind: Adam would divide the one, grown, by the root of the
other, new, and take steps of ten learning rates.

The count of steps is no part of a state: a child counts the steps of its own
structure to the same fraction of the budget. Adam's correction for moments
that start at zero is then all but 1, as old moments want it, and new ones go
uncorrected: their first step is (1 - beta1) / sqrt(1 - beta2) of a full one,
which is 1 with the defaults, and later ones up to about twice that.

What training moves is what a child continues. That is not what evaluation saw
of a parent with a running average, if the child has none: `preserves` says no.
"""

import functools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from models.attention import GATE_CHANNELS
from models.structure import Structure

PyTree = Any
Path = tuple[str, ...]

NEW = -1  # an index that continues none of the parent's

# Every axis and how long it is.
AXES = {
  'vocabulary': lambda s: s.vocabulary,
  'context': lambda s: s.context,
  'width': lambda s: s.width,
  'hidden': lambda s: s.hidden,
  'query': lambda s: s.heads * s.head_dim,
  'key': lambda s: s.kv_heads * s.head_dim,
  'key_heads': lambda s: s.kv_heads,
  'gate': lambda s: min(GATE_CHANNELS, s.width),
}

# Trees of a state whose leaves are weights; the others hold moments.
WEIGHTS = ('weights', 'average', 'z')

# Inputs and outputs of the linear layers of a block.
ATTENTION = {
  'q': ('width', 'query'),
  'k': ('width', 'key'),
  'v': ('width', 'key'),
  'out': ('query', 'width'),
}
MLP = {
  'up': ('width', 'hidden'),
  'gate': ('width', 'hidden'),
  'down': ('hidden', 'width'),
}

# Norms of a block by placement.
NORMS = {
  'pre': ('attention_norm', 'mlp_norm'),
  'post': ('attention_norm', 'mlp_norm'),
  'sandwich': (
    *('attention_norm', 'attention_out_norm'),
    *('mlp_norm', 'mlp_out_norm'),
  ),
}

# What a new tensor is filled with, by any name in its path, lest it be heard.
SILENT = {
  'bias': 0,
  'out': 0,
  'down': 0,
  'value_embedding': 0,
  'x0': 0,
  'residual': 1,
}

# Fields of which a change is a change of the function. Not among them: what
# `preserves` works out, and what logits do not depend on.
FUNCTION = (
  *('vocabulary', 'width', 'head_dim', 'activation', 'norm', 'placement'),
  *('position', 'qk_norm', 'windows', 'capped', 'parallel'),
)


def inherit(
  old: Structure, new: Structure, state: PyTree, fresh: PyTree
) -> PyTree:
  """A child's state.

  Args:
    old: structure of the parent.
    new: structure of the child.
    state: of the parent: nested dicts of arrays without a member axis.
    fresh: of the child, likewise.

  Returns:
    NumPy arrays in the dicts, shapes and types of `fresh`, none of which
    shares memory with an argument.
  """
  parent, child = dict(_leaves(state)), dict(_leaves(fresh))

  def grow(node: PyTree, path: Path) -> PyTree:
    if isinstance(node, dict):
      return {name: grow(n, (*path, name)) for name, n in node.items()}
    tree, name = path[0], path[1:]
    source = _source(name, old)
    origin = 'weights' if tree in WEIGHTS and tree not in state else tree
    lost = (
      tree == 'mean'
      and ('variance', *name) in child
      and ('variance', *source) not in parent
    )
    if lost or (origin, *source) not in parent:
      return _begin(node, name if tree in WEIGHTS else ())
    return _continue(old, new, name, parent[origin, *source], node)

  return grow(fresh, ())


@functools.lru_cache(maxsize=4096)
def share(old: Structure, new: Structure) -> float:
  """The part of a child's weights that continue its parent's, in [0, 1]."""
  parents, total, known = tensors(old), 0, 0
  continued = {a: int((_sources(a, old, new) != NEW).sum()) for a in AXES}
  for name, axes in tensors(new).items():
    total += math.prod(AXES[a](new) for a in axes)
    if _source(name, old) in parents:
      known += math.prod(continued[a] for a in axes)
  return known / total


@functools.lru_cache(maxsize=4096)
def preserves(old: Structure, new: Structure) -> bool:
  """Whether a child begins with the logits that its parent is evaluated by.

  With the parent's hyperparameters in effect, and on sequences within both
  contexts. A no claims nothing.
  """
  if any(getattr(old, name) != getattr(new, name) for name in FUNCTION):
    return False
  if old.ema and not new.ema:
    return False
  taken = {_source(name, old) for name in tensors(new)}
  if not taken.issuperset(tensors(old)):
    return False
  for axis in AXES:
    kept = np.setdiff1d(_sources(axis, old, new), [NEW]).size
    if kept < AXES[axis](old) and axis != 'context':
      return False
  query = np.arange(old.heads)
  keys = _key_heads(old, new)[query // new.kv_sharing]
  return bool((keys == query // old.kv_sharing).all())


@functools.lru_cache
def tensors(structure: Structure) -> dict[Path, tuple[str, ...]]:
  """The names of the axes of every tensor of the weights, by its path."""
  found = {('embedding',): ('vocabulary', 'width'), **_norm(structure, 'norm')}
  if structure.position == 'learned':
    found['positions',] = ('context', 'width')
  if not structure.tied:
    found['head',] = ('width', 'vocabulary')
  for i in range(structure.depth):
    for path, axes in _block(structure, i).items():
      found['blocks', str(i), *path] = axes
  return found


def _block(structure: Structure, i: int) -> dict[Path, tuple[str, ...]]:
  found = {}
  for name in NORMS[structure.placement]:
    found |= _norm(structure, name)
  for folder, layers in (('attention', ATTENTION), ('mlp', MLP)):
    for name, axes in layers.items():
      if name == 'gate' and structure.activation != 'swiglu':
        continue
      found[folder, name, 'kernel'] = axes
      if structure.bias:
        found[folder, name, 'bias'] = axes[1:]
  if structure.value_embeddings in ('all', 'alternate' if i % 2 else 'all'):
    found['attention', 'value_embedding'] = ('vocabulary', 'key')
    found['attention', 'value_gate'] = ('gate', 'key_heads')
  if structure.scalars:
    found['residual',] = found['x0',] = ()
  return found


def _norm(structure: Structure, name: str) -> dict[Path, tuple[str, ...]]:
  found = {(name, 'scale'): ('width',)}
  if structure.bias and structure.norm != 'rms':
    found[name, 'bias'] = ('width',)
  if structure.norm == 'dyt':
    found[name, 'alpha'] = ()
  return found


def _source(name: Path, old: Structure) -> Path:
  """The parent's tensor that a tensor of the child continues, if it is there.

  Its own namesake, but that an untied head was the embedding, whose axes tell
  how it lay.
  """
  return ('embedding',) if name == ('head',) and old.tied else name


def _begin(fresh: np.ndarray, name: Path) -> np.ndarray:
  """What continues nothing, silent if it has to be."""
  for part in name:
    if part in SILENT:
      return np.full(fresh.shape, SILENT[part], fresh.dtype)
  return np.array(fresh)


def _continue(
  old: Structure,
  new: Structure,
  name: Path,
  given: np.ndarray,
  fresh: np.ndarray,
) -> np.ndarray:
  """One tensor of a child: what it continues written over its beginning."""
  axes = tensors(new)[name] if name else ()
  before = tensors(old)[_source(name, old)] if name else ()
  given = np.transpose(np.asarray(given), [before.index(a) for a in axes])
  if given.shape == fresh.shape:
    return np.array(given, fresh.dtype, order='C')
  sources = [_sources(a, old, new) for a in axes]
  result = np.array(fresh)
  if 'out' in name or 'down' in name:
    result[sources[0] == NEW] = 0
  places = [np.flatnonzero(s != NEW) for s in sources]
  taken = [s[p] for s, p in zip(sources, places, strict=True)]
  result[np.ix_(*places)] = given[np.ix_(*taken)]
  return result


def _sources(axis: str, old: Structure, new: Structure) -> np.ndarray:
  """Which index of the parent's axis each of the child's continues, or NEW."""
  before, after = AXES[axis](old), AXES[axis](new)
  if before != after and axis == 'query':
    return _channels(_leading(old.heads, new.heads), old, new)
  if before != after and axis == 'key':
    return _channels(_key_heads(old, new), old, new)
  if before != after and axis == 'key_heads':
    return _key_heads(old, new)
  return _leading(before, after)


@functools.lru_cache  # vocabularies are long, and the same for all
def _leading(old: int, new: int) -> np.ndarray:
  index = np.arange(new)
  return np.where(index < old, index, NEW)


def _key_heads(old: Structure, new: Structure) -> np.ndarray:
  """Key/value heads follow the first of the query heads that use them."""
  if old.kv_heads == new.kv_heads:
    return np.arange(new.kv_heads)
  query = np.arange(new.kv_heads) * new.kv_sharing
  return np.where(query < old.heads, query // old.kv_sharing, NEW)


def _channels(heads: np.ndarray, old: Structure, new: Structure) -> np.ndarray:
  """Channels of heads, the leading ones of every head that continues one."""
  channel = _leading(old.head_dim, new.head_dim)[None, :]
  head = heads[:, None]
  index = np.where(channel == NEW, NEW, head * old.head_dim + channel)
  return np.where(head == NEW, NEW, index).reshape(-1)


def _leaves(node: PyTree, path: Path = ()) -> Iterator[tuple[Path, Any]]:
  if not isinstance(node, dict):
    yield path, node
    return
  for name, child in node.items():
    yield from _leaves(child, (*path, name))
