"""The published artifact: a directory with network, tokenizer, weights, manifest and checksums.

Reading: ``load``. Making: ``write``, then ``publish``. Parts: ``manifest`` (bundle.json),
``checksums`` (SHA256SUMS), ``versions`` (numbered directories and CURRENT), ``self_check`` (the
recorded answer), ``durable_files`` (what survives a crash). For operators: ``__main__``.
"""
