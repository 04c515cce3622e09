"""Books and other texts from the web into a folder: one connection, pauses, no byte twice."""
