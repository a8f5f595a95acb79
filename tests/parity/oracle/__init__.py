"""The other side of the parity cases: tiny random checkpoints, and what Transformers computes with them."""
