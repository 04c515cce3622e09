"""The OpenAPI document: which operations there are, and how they are described."""
