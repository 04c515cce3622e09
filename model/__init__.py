"""What a model is: its configuration, state, tokenizers, sampling, runtimes and bundle.

Importing this package loads nothing heavy. It imports neither ``service`` nor ``training``;
Keras is touched only inside ``model.network``, LiteRT only inside ``model.runtime``.
"""
