import dataclasses

import pytest

from models import structure
from models.structure import Structure


@pytest.mark.parametrize(
  ('name', 'value'),
  [
    ('vocabulary', 0),
    ('depth', 1.0),
    ('width', -8),
    ('heads', True),
    ('head_dim', 3),  # rope turns channels in pairs
    ('context', '64'),
    ('batch', None),
    ('dropout', 1.0),
    ('dropout', float('nan')),
    ('mlp_ratio', 0),
    ('mlp_ratio', float('inf')),
    ('activation', 'tanh'),
    ('norm', 'batch'),
    ('position', None),
    ('qk_norm', 1),
    ('tied', 'false'),
    ('bias', 0),
    ('kv_sharing', 3),  # of four heads
    ('kv_sharing', 8),
    ('kv_sharing', 0),
    ('placement', 'before'),
    ('value_embeddings', True),
    ('windows', 'SSSL'),
    ('scalars', 1.0),
    ('optimiser', 'sgd'),
  ],
)
def test_a_bad_value_is_refused_in_one_line_that_names_it(name, value):
  with pytest.raises(ValueError, match=rf'^{name} .*; expected .+$') as error:
    Structure(**({'vocabulary': 65} | {name: value}))
  assert '\n' not in str(error.value)


def test_it_is_the_key_of_a_program_and_cannot_change():
  made = Structure(65)
  assert {made: 1}[Structure(65)] == 1
  with pytest.raises(dataclasses.FrozenInstanceError):
    made.depth = 2


def test_attention_is_as_wide_as_its_heads_whatever_the_width():
  made = Structure(65, width=96, heads=5, head_dim=8)
  assert made.heads * made.head_dim == 40 != made.width


def test_an_odd_head_is_fine_where_nothing_turns():
  assert Structure(65, head_dim=3, position='learned').head_dim == 3


def test_the_hidden_layer_follows_a_fractional_ratio():
  assert Structure(65, width=96, mlp_ratio=2.5).hidden == 240


def test_heads_that_share_leave_fewer_of_keys_and_values():
  assert Structure(65, heads=6, kv_sharing=3).kv_heads == 2


def test_every_choice_is_taken_alone():
  choices = {
    'activation': structure.ACTIVATIONS,
    'norm': structure.NORMS,
    'placement': structure.PLACEMENTS,
    'position': structure.POSITIONS,
    'value_embeddings': structure.VALUE_EMBEDDINGS,
    'optimiser': structure.OPTIMISERS,
    **{flag: (False, True) for flag in structure.FLAGS},
  }
  sizes = {'vocabulary', 'depth', 'width', 'heads', 'head_dim', 'kv_sharing'}
  sizes |= {'mlp_ratio', 'context', 'batch'}
  fields = {field.name for field in dataclasses.fields(Structure)}
  assert fields == sizes | set(choices)
  for name, values in choices.items():
    assert getattr(Structure(65), name) in values
    for value in values:
      assert getattr(Structure(65, **{name: value}), name) == value
