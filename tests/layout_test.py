"""Tests of the layout: layers, top level, and the BUILD file."""

import ast
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGES = ('evo', 'models', 'launch')
SOURCES = sorted(p for name in PACKAGES for p in (ROOT / name).rglob('*.py'))
TESTS = sorted((ROOT / 'tests').rglob('*.py'))
TOP = {'setup.py', 'README.md', 'BUILD', *PACKAGES, 'tests'}
ALSO = {'LICENSE', 'pyproject.toml', 'MODULE.bazel'}


def imports(path):
  """Modules of the project that a file imports, as paths."""
  found = set()
  for node in ast.walk(ast.parse(path.read_text())):
    names = []
    if isinstance(node, ast.Import):
      names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module:
      names = [node.module] + [f'{node.module}.{a.name}' for a in node.names]
    for name in names:
      if name.split('.')[0] in PACKAGES:
        stem = ROOT / name.replace('.', '/')
        for candidate in (stem.with_suffix('.py'), stem / '__init__.py'):
          if candidate.exists():
            found.add(str(candidate.relative_to(ROOT)))
  return found


@pytest.mark.parametrize(
  'package,forbidden',
  [('evo', ('models', 'launch')), ('models', ('evo', 'launch'))],
)
def test_layers_point_one_way(package, forbidden):
  for path in (ROOT / package).rglob('*.py'):
    for name in imports(path):
      assert not name.startswith(forbidden), (path, name)


def test_the_top_level_holds_what_the_design_names():
  tracked = subprocess.run(
    ['git', 'ls-files'], cwd=ROOT, capture_output=True, text=True, check=True
  ).stdout.splitlines()
  top = {name.split('/')[0] for name in tracked}
  assert TOP <= top
  assert {
    name for name in top - TOP - ALSO if not name.startswith('.')
  } == set()


def test_nothing_is_pickled():
  for path in SOURCES:
    text = path.read_text()
    assert not re.search(r'\b(pickle|dill|shelve|marshal)\b', text), path
    assert 'allow_pickle=True' not in text


def targets():
  text = (ROOT / 'BUILD').read_text()
  found = {}
  for kind, body in re.findall(r'^(py_\w+)\(\n(.*?)^\)', text, re.S | re.M):
    name = re.search(r'name = "(.+?)"', body)[1]
    (source,) = re.search(r'srcs = \["(.+?)"\]', body).groups()
    deps = re.search(r'deps = \[(.*?)\]', body, re.S)
    found[source] = (
      kind,
      name,
      set(re.findall(r'":(.+?)"', deps[1])) if deps else set(),
    )
  return found


def test_every_file_has_a_build_target_with_its_imports():
  built = targets()
  files = {str(p.relative_to(ROOT)) for p in SOURCES + TESTS}
  assert set(built) == files
  for source, (kind, _, deps) in built.items():
    wanted = {built[name][1] for name in imports(ROOT / source)}
    assert deps >= wanted - {built[source][1]}, source
    is_test = source.endswith('_test.py')
    assert is_test == (kind == 'py_test'), source
    if kind == 'py_binary':
      assert "__name__ == '__main__'" in (ROOT / source).read_text()
