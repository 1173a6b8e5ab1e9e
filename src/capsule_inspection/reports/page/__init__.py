"""The page of one run: what it answers, in which words, with which pictures."""
