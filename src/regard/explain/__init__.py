"""What a run did and what its attention looks at, as a page that a browser shows without a network."""
