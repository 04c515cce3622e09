"""Words whatever the tokenizer: what a word is, finding and ranking them. No HTTP, no network."""
