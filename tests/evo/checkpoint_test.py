"""Tests of checkpoints, through real Orbax and real files."""

import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath

from evo import checkpoint, failure
from evo import hosts as hosts_lib
from evo import mesh as mesh_lib


def tree(seed=0):
  rng = np.random.default_rng(seed)
  return {
    'weights': {'w': rng.standard_normal((8, 3)).astype(np.float32)},
    'count': np.arange(8, dtype=np.int32),
    'half': jnp.asarray(rng.standard_normal(8), jnp.bfloat16),
  }


def abstract(value):
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), value)


def test_what_was_saved_comes_back_bit_for_bit(tmp_path):
  written = checkpoint.Checkpoints(tmp_path)
  written.save('a', tree(), lambda: {'dead': [3]})
  written.wait()
  saved = checkpoint.Checkpoints(tmp_path)
  chex.assert_trees_all_equal(saved.restore('a', abstract(tree())), tree())
  assert saved.note('a') == {'dead': [3]} and saved.restores == 1


def test_a_restore_waits_for_what_is_being_written(tmp_path):
  saved = checkpoint.Checkpoints(tmp_path)
  saved.save('a', tree())
  chex.assert_trees_all_equal(saved.restore('a', abstract(tree())), tree())


def directory(folder, name):
  """Where the arrays of a checkpoint are."""
  (found,) = (path for path in folder.glob(f'{name}.*') if path.is_dir())
  return found


def test_what_is_remembered_needs_no_storage(tmp_path):
  saved = checkpoint.Checkpoints(tmp_path)
  saved.save('a', tree(), remember=True)
  chex.assert_trees_all_equal(saved.restore('a', abstract(tree())), tree())
  assert saved.restores == 0


def test_memory_for_what_is_remembered_is_bounded(tmp_path):
  saved = checkpoint.Checkpoints(tmp_path, recent_bytes=400)
  for i in range(5):
    saved.save(f'a{i}', tree(i), remember=True)
  for i in range(5):
    chex.assert_trees_all_equal(
      saved.restore(f'a{i}', abstract(tree(i))), tree(i)
    )
  assert saved.restores == 3


def test_arrays_come_back_on_their_devices(tmp_path):
  mesh = mesh_lib.make({'member': 4})
  sharding = jax.NamedSharding(mesh, mesh_lib.MEMBER)
  value = jax.device_put(tree(), sharding)
  saved = checkpoint.Checkpoints(tmp_path)
  saved.save('a', value)
  template = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), value
  )
  out = saved.restore('a', template)
  chex.assert_trees_all_equal(out, value)
  assert {x.sharding for x in jax.tree.leaves(out)} == {sharding}


def test_a_second_save_of_a_name_replaces_the_first(tmp_path):
  saved = checkpoint.Checkpoints(tmp_path)
  saved.save('a', tree(0))
  saved.save('a', tree(1))
  chex.assert_trees_all_equal(saved.restore('a', abstract(tree())), tree(1))


def test_who_still_saves_after_a_takeover_spoils_nothing(tmp_path):
  late, now = (checkpoint.Checkpoints(tmp_path, hosts=h) for h in _two())
  with pytest.raises(RuntimeError, match='taken over'):
    late.save('a', tree(0))
    late.wait()
  now.save('a', tree(1))
  now.wait()
  late = checkpoint.Checkpoints(tmp_path, hosts=_two(asked=1)[0])
  with pytest.raises(RuntimeError, match='taken over'):
    late.save('a', tree(2))  # All of it but the seal.
    late.wait()
  assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 2
  chex.assert_trees_all_equal(now.restore('a', abstract(tree())), tree(1))
  now.sweep(lambda name: True)
  assert {path.name for path in tmp_path.iterdir()} == {
    'a.json',
    directory(tmp_path, 'a').name,
  }


def _two(asked=0):
  """Hosts of a run that was taken over, found so late, and of its heir."""
  late, left = hosts_lib.Hosts(), [asked]

  def fence():
    left[0] -= 1
    if left[0] < 0:
      raise RuntimeError('taken over')

  late.fence = fence
  return late, hosts_lib.Hosts()


def test_after_a_write_that_failed_nothing_more_is_written(
  tmp_path, monkeypatch
):
  saved = checkpoint.Checkpoints(tmp_path)
  full = OSError(28, 'No space left on device')

  def fails(folder, tree):
    raise full

  with monkeypatch.context() as patch:
    patch.setattr(checkpoint, 'require_room', fails)
    saved.save('a', tree())
    with pytest.raises(OSError, match='No space'):
      saved.wait()
  # There is room again, but what needs the first one would be of no use.
  saved.save('b', tree())
  with pytest.raises(OSError, match='No space'):
    saved.wait()
  assert not list(tmp_path.glob('*.json'))


def test_what_is_swept_away_leaves_nothing(tmp_path):
  saved = checkpoint.Checkpoints(tmp_path)
  saved.save('a', tree())
  saved.save('b', tree())
  saved.sweep(lambda name: name == 'b')
  assert saved.names() == ['b']
  assert not [path for path in tmp_path.iterdir() if path.stem == 'a']


def test_a_checkpoint_without_its_digest_is_not_there(tmp_path):
  saved = checkpoint.Checkpoints(tmp_path)
  saved.save('a', tree())
  saved.wait()
  (tmp_path / 'a.json').unlink()
  assert saved.names() == []
  with pytest.raises(failure.Damaged, match='checkpoint a is missing'):
    saved.restore('a', abstract(tree()))


def test_another_array_than_was_saved_is_damage(tmp_path):
  saved = checkpoint.Checkpoints(tmp_path)
  saved.save('a', tree())
  saved.wait()
  seal = json.loads((tmp_path / 'a.json').read_text())
  (tmp_path / 'a.json').write_text(json.dumps(seal | {'digest': '0' * 64}))
  with pytest.raises(failure.Damaged, match='checkpoint a is damaged'):
    saved.restore('a', abstract(tree()))


def test_missing_array_files_are_damage(tmp_path):
  saved = checkpoint.Checkpoints(tmp_path)
  saved.save('a', tree())
  saved.wait()
  for path in directory(tmp_path, 'a').rglob('d/*'):
    path.unlink()
  with pytest.raises(failure.Damaged, match='checkpoint a is damaged'):
    saved.restore('a', abstract(tree()))


def test_no_flipped_bit_comes_back(tmp_path):
  saved = checkpoint.Checkpoints(tmp_path)
  saved.save('a', tree())
  saved.wait()
  rng = np.random.default_rng(0)
  files = [
    path for path in directory(tmp_path, 'a').rglob('*') if path.is_file()
  ]
  for path in files:
    content = bytearray(path.read_bytes())
    if not content:
      continue
    content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    intact = path.read_bytes()
    path.write_bytes(content)
    with pytest.raises(failure.Damaged, match='checkpoint a is damaged'):
      saved.restore('a', abstract(tree()))
    path.write_bytes(intact)
  chex.assert_trees_all_equal(saved.restore('a', abstract(tree())), tree())


@pytest.mark.parametrize('change', ['byte', 'name', 'border', 'new', 'gone'])
def test_the_digest_sees_every_change(change, tmp_path):
  folder = epath.Path(tmp_path)
  (folder / 'deep').mkdir()
  (folder / 'a').write_bytes(b'one')
  (folder / 'deep' / 'b').write_bytes(b'two')
  before = checkpoint.digest(folder)
  match change:
    case 'byte':
      (folder / 'deep' / 'b').write_bytes(b'twp')
    case 'name':
      (folder / 'a').rename(folder / 'c')
    case 'border':
      (folder / 'a').write_bytes(b'on')
      (folder / 'deep' / 'b').write_bytes(b'etwo')
    case 'new':
      (folder / 'c').write_bytes(b'')
    case 'gone':
      (folder / 'a').unlink()
  assert checkpoint.digest(folder) != before


def test_two_can_be_written_at_once(tmp_path):
  # Orbax mixes up saves that overlap: without care most such pairs hang.
  pair = [checkpoint.Checkpoints(tmp_path / name) for name in 'ab']
  for i in range(150):
    for saved in pair:
      saved.save(f'state-{i}', {'w': np.full(3, i)})
  assert all(len(saved.names()) == 150 for saved in pair)
