"""nanoGPT by PyTorch, in a process of its own; see `peer`.

  python -m launch.benchmarks.nanogpt DIR BATCHES

DIR has nanoGPT's own model.py, BATCHES (.npy) what is trained on. Loss,
optimiser and clipping as in its train.py for a CPU, with --compile=False.
"""

import pathlib
import sys
import time

import numpy as np
import torch

from launch.benchmarks import peer

_SIZE = 2048  # rows of the matrices whose product is the machine's peak


class Training:
  """The model and its optimiser."""

  def __init__(self, folder: pathlib.Path, batches: np.ndarray):
    """Imports model.py from a folder."""
    sys.path.insert(0, str(folder))
    import model

    config = model.GPTConfig(
      block_size=64,
      vocab_size=65,
      n_layer=4,
      n_head=4,
      n_embd=128,
      dropout=0.0,
      bias=False,
    )
    sys.stdout, keep = sys.stderr, sys.stdout  # The model prints its size.
    self._model = model.GPT(config)
    self._optimiser = self._model.configure_optimizers(
      0.1, 1e-3, (0.9, 0.99), 'cpu'
    )
    sys.stdout = keep
    self._batches = torch.from_numpy(batches.astype(np.int64))

  def train(self, steps: int) -> float:
    """Seconds of so many steps."""
    begin = time.monotonic()
    for step in range(steps):
      drawn = self._batches[step % len(self._batches)]
      _, loss = self._model(
        drawn[:, :-1].contiguous(), drawn[:, 1:].contiguous()
      )
      loss.backward()
      torch.nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
      self._optimiser.step()
      self._optimiser.zero_grad(set_to_none=True)
    return time.monotonic() - begin

  @torch.no_grad()
  def evaluate(self, tokens: int) -> float:
    """Loss over so many tokens, a batch at a time."""
    losses = []
    for number in range(tokens // self._batches[0, :, 1:].numel()):
      drawn = self._batches[number % len(self._batches)]
      _, loss = self._model(
        drawn[:, :-1].contiguous(), drawn[:, 1:].contiguous()
      )
      losses.append(loss.item())
    return sum(losses) / len(losses)

  def set(
    self, learning_rate: float, weight_decay: float, beta2: float
  ) -> None:
    """Changes the optimiser's numbers."""
    for group in self._optimiser.param_groups:
      group['lr'], group['betas'] = learning_rate, (0.9, beta2)
      if group['weight_decay']:
        group['weight_decay'] = weight_decay

  def state(self) -> dict:
    """Weights and moments."""
    return {
      'model': self._model.state_dict(),
      'optimiser': self._optimiser.state_dict(),
    }

  def restore(self, state: dict) -> None:
    """Takes weights and moments over."""
    self._model.load_state_dict(state['model'])
    self._optimiser.load_state_dict(state['optimiser'])


def product() -> float:
  """FLOPs a second of a product of float32 matrices."""
  a = torch.rand(_SIZE, _SIZE)
  begin = time.monotonic()
  torch.mm(a, a)
  return 2 * _SIZE**3 / (time.monotonic() - begin)


def main() -> None:
  """Answers `train` with seconds and `product` with FLOPs a second."""
  folder, batches = sys.argv[1:]
  training = Training(pathlib.Path(folder), np.load(batches))
  training.train(5)
  peer.serve(lambda steps=0: training.train(steps) if steps else product())


if __name__ == '__main__':
  main()
