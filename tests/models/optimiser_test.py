import jax
import jax.numpy as jnp
import numpy as np
import optax

from models import hyperparameters, optimiser

WEIGHTS = {
  'kernel': jnp.linspace(-1, 1, 12).reshape(3, 4),
  'norm': {'scale': jnp.ones(4)},
  'fused': jnp.linspace(1, 2, 8).reshape(2, 2, 2),
}
CHOSEN = {
  'learning_rate': 0.02,
  'beta1': 0.85,
  'beta2': 0.97,
  'epsilon': 1e-6,
  'weight_decay': 0.3,
  'gradient_clip': 20.0,
}


def _loss(weights, i):
  # Bends by step, so that gradients lie on both sides of the clip.
  squares = [
    (jnp.sin(w * (i + 1)) ** 2).sum() for w in jax.tree.leaves(weights)
  ]
  return sum(squares)


def _ours(h, steps=20):
  def body(carry, i):
    weights, moments = carry
    gradient = jax.grad(_loss)(weights, i)
    norm = optax.tree.norm(gradient)
    rate = h['learning_rate']
    return optimiser.update(weights, moments, gradient, rate, h, i), norm

  start = WEIGHTS, optimiser.init_moments(WEIGHTS)
  return jax.lax.scan(body, start, jnp.arange(steps))


def _optax(h, steps=20):
  transform = optax.chain(
    optax.clip_by_global_norm(h['gradient_clip']),
    optax.adamw(
      h['learning_rate'],
      h['beta1'],
      h['beta2'],
      h['epsilon'],
      weight_decay=h['weight_decay'],
      mask=lambda weights: jax.tree.map(lambda w: w.ndim >= 2, weights),
    ),
  )

  def body(carry, i):
    weights, state = carry
    change, state = transform.update(
      jax.grad(_loss)(weights, i), state, weights
    )
    return (optax.apply_updates(weights, change), state), None

  return jax.lax.scan(
    body, (WEIGHTS, transform.init(WEIGHTS)), jnp.arange(steps)
  )


def test_it_is_the_adamw_of_optax_with_clipping():
  h = hyperparameters.complete(CHOSEN)
  (ours, _), norms = jax.jit(_ours)(h)
  (theirs, _), _ = jax.jit(_optax)(h)
  assert norms.min() < CHOSEN['gradient_clip'] < norms.max()
  for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
    np.testing.assert_allclose(a, b, atol=1e-6)


def test_an_inherited_count_goes_on():
  h = hyperparameters.complete(CHOSEN)
  (weights, moments), _ = jax.jit(_ours)(h)
  gradient = jax.jit(jax.grad(_loss))(weights, 20)
  args = weights, moments, gradient, h['learning_rate'], h
  update = jax.jit(optimiser.update)
  after, _ = update(*args, jnp.int32(20))
  again, _ = update(*args, jnp.int32(0))
  assert not np.allclose(after['kernel'], again['kernel'], atol=1e-4)


def test_decay_shrinks_matrices_and_nothing_else():
  h = hyperparameters.complete(CHOSEN)
  zero = jax.tree.map(jnp.zeros_like, WEIGHTS)
  weights, _ = jax.jit(optimiser.update)(
    WEIGHTS, optimiser.init_moments(WEIGHTS), zero, 0.5, h, jnp.int32(0)
  )
  kept = 1 - 0.5 * CHOSEN['weight_decay']
  np.testing.assert_allclose(
    weights['kernel'], kept * WEIGHTS['kernel'], rtol=1e-6
  )
  np.testing.assert_allclose(
    weights['fused'], kept * WEIGHTS['fused'], rtol=1e-6
  )
  np.testing.assert_array_equal(weights['norm']['scale'], 1)


def test_clipping_shortens_to_the_norm_and_spares_the_short():
  gradient = {'a': jnp.array([3.0]), 'b': jnp.array([[4.0]])}
  short = optimiser.clip(gradient, jnp.float32(1))
  np.testing.assert_allclose(optax.tree.norm(short), 1, rtol=1e-6)
  same = optimiser.clip(gradient, jnp.float32(6))
  np.testing.assert_array_equal(same['b'], gradient['b'])


def test_clipping_a_gradient_of_zeros_leaves_zeros():
  zeros = optimiser.clip({'a': jnp.zeros(3)}, jnp.float32(1))
  np.testing.assert_array_equal(zeros['a'], 0)


def test_moments_are_float32_of_their_own():
  moments = optimiser.init_moments(WEIGHTS)
  leaves = jax.tree.leaves(moments)
  assert {leaf.dtype for leaf in leaves} == {jnp.dtype('float32')}
  assert len({id(leaf) for leaf in leaves}) == len(leaves)
