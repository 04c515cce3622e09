"""Does a model know which language is spoken where? ``python -m benchmarks.cloze``.

``sentences.jsonl`` holds sentences with a blank, written by hand, none of them in a training text.
"""
