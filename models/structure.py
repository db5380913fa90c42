"""The structural choices of a transformer: frozen, the key of one program."""

import dataclasses

ACTIVATIONS = ('relu2', 'gelu', 'silu', 'swiglu', 'leaky2')
NORMS = ('rms', 'layer', 'dyt')
PLACEMENTS = ('pre', 'post', 'sandwich')
POSITIONS = ('rope', 'learned')
VALUE_EMBEDDINGS = ('none', 'alternate', 'all')
OPTIMISERS = ('adamw', 'lion', 'muon', 'schedule_free')
FLAGS = (
  *('qk_norm', 'windows', 'capped', 'tied', 'scalars', 'parallel', 'bias'),
  *('dropout', 'ema'),
)


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
    kv_sharing: query heads that share one key/value head; divides the heads.
    mlp_ratio: width of the MLP's hidden layer in residual widths.
    context: tokens that a window is long.
    batch: windows in one training step.
    activation: of the MLP: squared ReLU, exact GELU, SiLU, SwiGLU (a second
      first layer gates the hidden one by its SiLU) or squared leaky ReLU.
    norm: RMSNorm, LayerNorm or dynamic tanh (arXiv:2503.10622); all learn a
      scale.
    placement: of norms: before attention and MLP, after them, or both.
    position: rotary, or learned and added to the embedding.
    qk_norm: whether queries and keys are scaled to a mean square of 1.
    windows: whether some blocks see a short stretch of the past only.
    capped: whether logits are soft-capped.
    tied: whether the head is the transpose of the embedding.
    value_embeddings: blocks that add a gated embedding of the token to their
      values: none, every other one (1, 3, ... from 0) or all.
    scalars: whether blocks learn a factor on the stream and one on the
      embedding, which is added to it.
    parallel: whether attention and MLP of a block read the same stream.
    bias: whether linear layers, LayerNorms and dynamic tanhs have one.
    dropout: whether there is any, at the traced rate: of the embedding, the
      attention's probabilities and what blocks add to the residual stream.
    ema: whether a running average of the weights is what is evaluated.
    optimiser: AdamW, Lion, Muon for matrices with AdamW for the rest, or
      schedule-free AdamW.
  """

  vocabulary: int
  depth: int = 4
  width: int = 128
  heads: int = 4
  head_dim: int = 32
  kv_sharing: int = 1
  mlp_ratio: float = 4
  context: int = 64
  batch: int = 12
  activation: str = 'relu2'
  norm: str = 'rms'
  placement: str = 'pre'
  position: str = 'rope'
  qk_norm: bool = True
  windows: bool = False
  capped: bool = False
  tied: bool = False
  value_embeddings: str = 'none'
  scalars: bool = False
  parallel: bool = False
  bias: bool = False
  dropout: bool = False
  ema: bool = False
  optimiser: str = 'adamw'

  def __post_init__(self):
    for name in (
      *('vocabulary', 'depth', 'width', 'heads'),
      *('head_dim', 'kv_sharing', 'context', 'batch'),
    ):
      value = getattr(self, name)
      if type(value) is not int or value < 1:
        raise ValueError(f'{name} {value!r}; expected a whole number from 1')
    for name, choices in (
      ('activation', ACTIVATIONS),
      ('norm', NORMS),
      ('placement', PLACEMENTS),
      ('position', POSITIONS),
      ('value_embeddings', VALUE_EMBEDDINGS),
      ('optimiser', OPTIMISERS),
      *((flag, (True, False)) for flag in FLAGS),
    ):
      value = getattr(self, name)
      if value not in choices or type(value) is not type(choices[0]):
        one_of = ', '.join(str(choice) for choice in choices)
        raise ValueError(f'{name} {value!r}; expected one of {one_of}')
    if self.heads % self.kv_sharing:
      raise ValueError(
        f'kv_sharing {self.kv_sharing} with {self.heads} heads; expected a'
        ' divisor'
      )
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
  def kv_heads(self) -> int:
    """Heads of keys and values."""
    return self.heads // self.kv_sharing

  @property
  def hidden(self) -> int:
    """Channels of the MLP's hidden layer."""
    return round(self.mlp_ratio * self.width)


def _number(value: object) -> bool:
  return type(value) in (int, float) and abs(value) < float('inf')
