"""Text from a trained model, one token at a time."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from models import hyperparameters as traced
from models import transformer
from models.structure import Structure
from models.tokenizer import Tokenizer


def sample(
  structure: Structure,
  weights: dict[str, Any],
  hyperparameters: dict[str, float],
  tokenizer: Tokenizer,
  prompt: str,
  length: int,
  temperature: float = 1.0,
  seed: int = 0,
) -> str:
  """Continues a prompt.

  Args:
    structure: of the model.
    weights: of the model.
    hyperparameters: that it was trained with; what is left out has its
      default.
    tokenizer: that it was trained with.
    prompt: one token at least; its last `context` tokens are read.
    length: tokens to add.
    temperature: divides the logits; 0 takes the likeliest token.
    seed: of the draws.

  Returns:
    The text that was added.

  Raises:
    ValueError: the prompt is empty or not of the tokenizer's alphabet, a
      number is out of its range or a hyperparameter is unknown.
  """
  tokens = np.asarray(tokenizer.encode(prompt))[-structure.context :]
  if not tokens.size:
    raise ValueError('empty prompt; expected one token at least')
  if length < 1 or temperature < 0:
    raise ValueError(
      f'length {length}, temperature {temperature}; expected 1 or more and 0 '
      'or more'
    )
  window = np.zeros(structure.context, np.int32)
  window[: tokens.size] = tokens
  added = _continue(
    structure,
    length,
    weights,
    traced.complete(hyperparameters),
    jnp.asarray(window),
    jnp.int32(tokens.size),
    jnp.float32(temperature),
    jax.random.key(seed),
  )
  return tokenizer.decode(np.asarray(added))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _continue(
  structure: Structure,
  length: int,
  weights: dict[str, Any],
  hyperparameters: dict[str, jax.Array],
  window: jax.Array,
  filled: jax.Array,
  temperature: jax.Array,
  key: jax.Array,
) -> jax.Array:
  """Tokens `[length]`. The whole window is read again for each: no cache."""

  def add(carry: tuple, i: jax.Array) -> tuple:
    window, filled = carry
    logits = transformer.apply(
      structure, weights, hyperparameters, window[None]
    )[0, filled - 1]
    divisor = jnp.where(temperature > 0, temperature, 1.0)
    drawn = jax.random.categorical(jax.random.fold_in(key, i), logits / divisor)
    token = jnp.where(temperature > 0, drawn, logits.argmax()).astype(jnp.int32)
    full = filled == structure.context
    window = jnp.where(full, jnp.roll(window, -1), window)
    place = jnp.minimum(filled, structure.context - 1)
    return (window.at[place].set(token), place + 1), token

  return jax.lax.scan(add, (window, filled), jnp.arange(length))[1]
