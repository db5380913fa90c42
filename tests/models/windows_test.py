import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import windows

TOKENS = np.arange(100, dtype=np.int32)
draw = jax.jit(windows.draw, static_argnums=(3, 4))


@pytest.mark.parametrize('context', [1, 7, 98, 99])
def test_drawn_windows_lie_within_the_data_and_reach_both_ends(context):
  starts = set()
  for step in range(40):
    rows = np.asarray(draw(TOKENS, 0, step, 32, context))
    assert rows.shape == (32, context + 1)
    assert (np.diff(rows, axis=1) == 1).all()
    starts |= set(rows[:, 0].tolist())
  assert starts == set(range(100 - context))


def test_a_window_depends_on_seed_step_and_row_alone():
  few, many = draw(TOKENS, 3, 5, 4, 8), draw(TOKENS, 3, 5, 16, 8)
  np.testing.assert_array_equal(few, many[:4])
  assert not np.array_equal(few, draw(TOKENS, 4, 5, 4, 8))
  assert not np.array_equal(few, draw(TOKENS, 3, 6, 4, 8))


def test_members_draw_as_they_would_alone():
  seeds = jnp.arange(3)
  together = jax.vmap(lambda s: windows.draw(TOKENS, s, 5, 4, 8))(seeds)
  for seed in range(3):
    alone = draw(TOKENS, seed, 5, 4, 8)
    np.testing.assert_array_equal(together[seed], alone)


@pytest.mark.parametrize('size', [9, 10, 16, 17, 18, 99, 100])
def test_a_whole_split_scores_each_token_but_its_first_once(size):
  rows, first, _ = windows.spread(TOKENS[:size], 8, 0, 1.0)
  scored = np.concatenate([row[1 + f :] for row, f in zip(rows, first)])
  np.testing.assert_array_equal(scored, np.arange(1, size))


@pytest.mark.parametrize('targets', [1, 8, 15, 16, 40, 96])
def test_fewer_targets_come_in_whole_windows_spread_to_both_ends(targets):
  rows, first, _ = windows.spread(TOKENS, 8, targets, 1.0)
  assert len(rows) == max(targets // 8, 1) and not first.any()
  scored = rows[:, 1:].reshape(-1)
  assert len(set(scored.tolist())) == scored.size
  if len(rows) > 1:
    assert rows[0, 0] == 0 and rows[-1, -1] == 99
    gaps = np.diff(rows[:, 0])
    assert gaps.max() - gaps.min() <= 1


def test_more_targets_than_there_are_score_the_whole_split():
  for a, b in zip(
    windows.spread(TOKENS, 8, 10**9, 1.0), windows.spread(TOKENS, 8, 0, 1.0)
  ):
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize('context', [1, 2, 4, 8])
@pytest.mark.parametrize('size', [9, 20, 97, 100])
def test_shorter_windows_score_the_same_targets_in_the_same_order(
  context, size
):
  whole = windows.spread(TOKENS[:size], 8, 0, 1.5)
  rows, first, ratio = windows.cut(whole, context)
  assert rows.shape == (len(whole.tokens) * 8 // context, context + 1)
  assert (np.diff(rows, axis=1) == 1).all() and ratio == 1.5
  scored = np.concatenate([row[1 + f :] for row, f in zip(rows, first)])
  np.testing.assert_array_equal(scored, np.arange(1, size))


def test_windows_cut_to_their_own_length_are_themselves():
  whole = windows.spread(TOKENS, 8, 0, 1.0)
  for a, b in zip(windows.cut(whole, 8), whole):
    np.testing.assert_array_equal(a, b)
