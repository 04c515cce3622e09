"""Recurrent layers for training: ``simple_rnn``, ``gru``, ``lstm``, one file each.

All three work alike. Going forwards, each step is one product of the stacked weights with the
stacked inputs and hidden state (two for a GRU), and the gates. Going backwards, one hand-written
walk from the last step to the first collects the gradient of every pre-activation, and the
gradients of weights and inputs are single products over time x batch.
"""
