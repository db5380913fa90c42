"""What a search came to, but for what may differ between two runs of it."""

import json
import pathlib
import re

import jax

# Times, and what depends on what the cache held.
_VARIES = re.compile(r'seconds|compilations')


def read(path):
  return json.loads(pathlib.Path(path).read_text())


def result_of(workdir):
  result = read(workdir / 'result.json')
  return {k: v for k, v in result.items() if not _VARIES.match(k)}


def weights(folder):
  """Arrays of an exported champion, by path."""
  import orbax.checkpoint as ocp

  with ocp.StandardCheckpointer() as checkpointer:
    tree = checkpointer.restore(folder.resolve())
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}


def outcome(workdir):
  """Ledgers, result, improvements, stacks and the champion, comparable."""
  files = [*workdir.glob('**/ledger/*.json'), *workdir.glob('without/*')]
  files += [workdir / 'improvements.json', *workdir.glob('stack.json')]
  champion = weights(workdir / 'champion/weights')
  return {
    'result': result_of(workdir),
    'files': {str(p.relative_to(workdir)): p.read_bytes() for p in files},
    'champion': {k: v.tobytes() for k, v in champion.items()},
  }
