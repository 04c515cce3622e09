"""Recurrent layers for training: ``simple_rnn``, ``gru``, ``lstm``, one file each.

All three work alike. Going forwards, the input products of all time steps are one matrix product
before the loop; only the recurrent product and the gates are left inside. Going backwards, one
hand-written walk from the last step to the first collects the gradient of every pre-activation,
and the gradients of weights and inputs are single products over time x batch.
"""
