"""The structural choices of a transformer: frozen, the key of one program."""

import dataclasses

ACTIVATIONS = ('relu2', 'gelu', 'silu')
NORMS = ('rms', 'layer')
POSITIONS = ('rope', 'learned')


@dataclasses.dataclass(frozen=True)
class Structure:
  """Everything about a member that changes the program it runs.

  The defaults are a modern small transformer. nanoGPT is `activation='gelu',
  norm='layer', position='learned', qk_norm=False, tied=True, mlp_ratio=4` with
  `heads * head_dim == width`, and `bias` as wanted.

  Attributes:
    vocabulary: number of tokens known to the embedding and the head.
    depth: number of blocks.
    width: of the residual stream.
    heads: of attention.
    head_dim: channels per head. Attention is `heads * head_dim` wide whatever
      the width.
    mlp_ratio: width of the MLP's hidden layer in residual widths.
    context: tokens that a window is long.
    batch: windows in one training step.
    dropout: rate on the embedding, the attention's probabilities and what
      blocks add to the residual stream, in [0, 1).
    activation: of the MLP: squared ReLU, exact GELU or SiLU.
    norm: RMSNorm or LayerNorm, both learn a scale.
    position: rotary, or learned and added to the embedding.
    qk_norm: whether queries and keys are scaled to a mean square of 1.
    tied: whether the head is the transpose of the embedding.
    bias: whether linear layers and LayerNorms have one. RMSNorm never has.
  """

  vocabulary: int
  depth: int = 4
  width: int = 128
  heads: int = 4
  head_dim: int = 32
  mlp_ratio: float = 4
  context: int = 64
  batch: int = 12
  dropout: float = 0.0
  activation: str = 'relu2'
  norm: str = 'rms'
  position: str = 'rope'
  qk_norm: bool = True
  tied: bool = False
  bias: bool = False

  def __post_init__(self):
    for name in (
      *('vocabulary', 'depth', 'width', 'heads'),
      *('head_dim', 'context', 'batch'),
    ):
      value = getattr(self, name)
      if type(value) is not int or value < 1:
        raise ValueError(f'{name} {value!r}; expected a whole number from 1')
    for name, choices in (
      ('activation', ACTIVATIONS),
      ('norm', NORMS),
      ('position', POSITIONS),
      ('qk_norm', (True, False)),
      ('tied', (True, False)),
      ('bias', (True, False)),
    ):
      value = getattr(self, name)
      if value not in choices or type(value) is not type(choices[0]):
        one_of = ', '.join(str(choice) for choice in choices)
        raise ValueError(f'{name} {value!r}; expected one of {one_of}')
    if not _number(self.dropout) or not 0 <= self.dropout < 1:
      raise ValueError(f'dropout {self.dropout!r}; expected a rate in [0, 1)')
    if not _number(self.mlp_ratio) or not 1 <= self.hidden < 2**31:
      raise ValueError(
        f'mlp_ratio {self.mlp_ratio!r}; expected a number that leaves the MLP '
        f'a hidden channel at width {self.width}'
      )
    if self.position == 'rope' and self.head_dim % 2:
      raise ValueError(
        f'head_dim {self.head_dim} with rope; expected an even number'
      )

  @property
  def hidden(self) -> int:
    """Channels of the MLP's hidden layer."""
    return round(self.mlp_ratio * self.width)


def _number(value: object) -> bool:
  return type(value) in (int, float) and abs(value) < float('inf')
