"""A cascade: which tagger is needed for which picture, learnt on left-out images."""
