"""The engine process: jobs, scheduler, slots, state cache, the loop over the runtime, the wire.

Knows token ids and states only; text, stop strings and HTTP are the workers'. Imports no Flask.
"""
