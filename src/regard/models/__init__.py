"""Networks built from specs: the forms, the families, and the catalogue of both."""
