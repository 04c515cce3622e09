"""How fast it is: measured on the machine at hand. Nothing here is needed to train or to serve."""
