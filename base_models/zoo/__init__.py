"""The embedded demonstration: drawn pictures with labels, and three small taggers of them."""
