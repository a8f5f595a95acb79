"""What a model learns from an example: how a task reads its corpora, cuts them into rows and makes batches of these."""
