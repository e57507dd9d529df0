"""Scorers: a number for each picture from its pixels, by formulas, BRISQUE or a network."""
