"""The engine process: jobs, scheduler, slots, state cache, the loop that owns the runtime, the wire.

Knows token ids and states only; text, stop strings and HTTP belong to the workers. Imports no Flask.
"""
