"""The Keras side of a model: cells, the language model, and its export for the runtimes."""
