"""The network's parts, as the paper has them (Vaswani et al. 2017), in `keras.ops`.

One legend of axes for all of Regard; einsum strings and arrow comments use these capitals:

    B batch          T query length     S key length       N heads           K key-value heads
    H head width     D width            F ffn width        V vocabulary      L layers
    W beams          P patches          M mels             A frames          C channels

Masks are boolean, True = may attend; a call's argument for one is named `allowed`, since Keras fills arguments that
are called `mask` by itself.
"""

from regard.nn.backend import require_tensorflow

require_tensorflow()
