"""The offline pipeline, one file per stage: prepare, train, evaluate, export, publish.

``python -m training --help`` is its door. Importing this package loads nothing heavy.
"""
