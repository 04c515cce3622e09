"""Ways to run an exported network, all behind one contract (``model.runtime.contract``)."""
