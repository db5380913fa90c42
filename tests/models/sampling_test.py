import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import hyperparameters as traced
from models import sampling, tokenizer, transformer
from models.structure import Structure

STRUCTURE = Structure(
  5, depth=1, width=16, heads=1, head_dim=4, context=6, capped=True
)
LETTERS = tokenizer.Characters('abcde')


@pytest.fixture(scope='module', name='weights')
def _weights():
  """Of a model for which each letter is followed by the next in the alphabet.

  Its blocks add nothing and its head reads the embedding, turned by one.
  """
  weights = transformer.init_weights(STRUCTURE, 0, traced.complete({}))
  weights = jax.tree.map(lambda w: w * (w == 1), weights)
  weights['embedding'] = jnp.eye(5, 16)
  weights['head'] = 5 * jnp.roll(jnp.eye(5), 1, 1)[jnp.arange(16) % 5]
  weights['head'] *= (jnp.arange(16) < 5)[:, None]
  return weights


def _sample(weights, prompt, length=12, h=None, **options):
  return sampling.sample(
    STRUCTURE, weights, h or {}, LETTERS, prompt, length, **options
  )


def _surprises(weights, **options):
  """Letters of 200 that are not the next in the alphabet."""
  text = 'a' + _sample(weights, 'a', 200, **options)
  return (np.diff(LETTERS.encode(text).astype(int)) % 5 != 1).sum()


def test_the_likeliest_token_follows_far_beyond_the_context(weights):
  assert _sample(weights, 'a', temperature=0) == 'bcdeabcdeabc'


def test_a_prompt_longer_than_the_context_is_read_from_its_end(weights):
  assert _sample(weights, 'eeeeeeeeeeeec', temperature=0) == 'deabcdeabcde'


def test_one_seed_draws_one_text(weights):
  first = _sample(weights, 'a', seed=1, temperature=3.0)
  assert first == _sample(weights, 'a', seed=1, temperature=3.0)
  assert first != _sample(weights, 'a', seed=2, temperature=3.0)


def test_heat_makes_other_tokens_likelier(weights):
  cool, warm, hot = (
    _surprises(weights, temperature=heat) for heat in (0.5, 5.0, 1000.0)
  )
  assert cool < warm < hot


def test_the_hyperparameters_it_was_trained_with_are_in_effect(weights):
  assert _surprises(weights) < 20
  # Capped there, all letters are about as likely.
  assert 140 < _surprises(weights, h={'softcap': 0.01}) < 180


@pytest.mark.parametrize(
  ('prompt', 'options', 'message'),
  [
    ('', {}, r'^empty prompt; expected one token at least$'),
    ('x', {}, r"^character 'x'; expected one of the 5"),
    ('a', {'h': {'cap': 1.0}}, r'^hyperparameters cap; expected some of'),
    ('a', {'length': 0}, r'^length 0, temperature 1.0; expected'),
    ('a', {'temperature': -1.0}, r'^length 12, temperature -1.0; expected'),
  ],
)
def test_what_cannot_be_continued_is_refused(weights, prompt, options, message):
  with pytest.raises(ValueError, match=message):
    _sample(weights, prompt, **options)
