"""Tests of the layout: layers, top level, and the BUILD file."""

import ast
import pathlib
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGES = ('evo', 'models', 'launch')
SOURCES = sorted(p for name in PACKAGES for p in (ROOT / name).rglob('*.py'))
TESTS = sorted((ROOT / 'tests').rglob('*.py'))
TOP = {'setup.py', 'README.md', 'BUILD', *PACKAGES, 'tests'}
ALSO = {'LICENSE', 'pyproject.toml', 'MODULE.bazel', 'WORKSPACE'}

# Bazel runs tests elsewhere.
checkout = pytest.mark.skipif(
  not (ROOT / '.git').exists(), reason='no checkout'
)


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


@checkout
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
  """Sources of all targets by kind and name: BUILD, read as the Python it is."""
  found = {'py_library': {}, 'py_binary': {}, 'py_test': {}}

  def glob(include, exclude=()):
    def paths(patterns):
      return {p for pattern in patterns for p in ROOT.glob(pattern)}

    files = paths(include) - paths(exclude)
    return sorted(str(p.relative_to(ROOT)) for p in files if p.is_file())

  def rule(kind):
    return lambda name, **values: found[kind].update({name: values})

  rules = {kind: rule(kind) for kind in found} | {'glob': glob}
  nothing = dict.fromkeys(
    ('load', 'package', 'licenses'), lambda *_, **__: None
  )
  exec((ROOT / 'BUILD').read_text(), rules | nothing)
  return found


def test_every_module_is_in_the_library_of_its_folder():
  libraries = targets()['py_library']
  for package in PACKAGES:
    files = {str(p.relative_to(ROOT)) for p in (ROOT / package).rglob('*.py')}
    assert set(libraries[package]['srcs']) == files
  data = {ROOT / path for path in libraries['launch']['data']}
  assert data > set((ROOT / 'launch').rglob('*.flags'))
  assert data > set((ROOT / 'launch').rglob('*.json'))


def test_every_command_has_a_binary_and_a_console_script():
  # Deeper ones are what the benchmarks start as processes.
  commands = [p for p in SOURCES if p.parent.name == 'launch']
  modules = [p for p in commands if "__name__ == '__main__'" in p.read_text()]
  names = {p.stem for p in modules}
  binaries = targets()['py_binary']
  assert set(binaries) == names
  for name, values in binaries.items():
    assert values['srcs'] == [values['main']] == [f'launch/{name}.py']
  setup = (ROOT / 'setup.py').read_text()
  assert {f'launch.{name}:run' for name in names} == set(
    re.findall(r"'evo-\w+ = (.+?)'", setup)
  )


def test_every_file_of_tests_has_a_target_that_runs_it():
  tests = targets()['py_test']
  found = {f'{name}.py': values['args'] for name, values in tests.items()}
  files = {str(p.relative_to(ROOT)) for p in TESTS}
  run = {path for path in files if path.endswith('_test.py')}
  assert found == {path: [path] for path in run}
  others = set(targets()['py_library']['testing']['srcs'])
  main = tests['tests/layout_test']['main']
  assert others | {main} == files - run


@checkout
@pytest.mark.skipif(not shutil.which('buildifier'), reason='no buildifier')
def test_bazels_files_are_formatted():
  subprocess.run(['buildifier', '-mode=check', '-r', '.'], cwd=ROOT, check=True)


@checkout
@pytest.mark.slow
@pytest.mark.skipif(not shutil.which('bazel'), reason='no bazel')
def test_bazel_builds_everything_and_runs_a_test(tmp_path):
  bazel = ['bazel', f'--output_user_root={tmp_path}', '--batch']
  for command in (['build', '//...'], ['test', '//:tests/evo/parameter_test']):
    ended = subprocess.run(
      [*bazel, *command], cwd=ROOT, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
  assert re.search(r'parameter_test +PASSED', ended.stdout), ended.stdout
