"""Search for sequences: one loop, fed by `step(ids, parents, state) -> (logits, state)`, that knows no model.

Shapes: B batch, W beams searched, N sequences returned, T new tokens, P prompt length, L history length (P + T),
V vocabulary, K candidates.
"""
