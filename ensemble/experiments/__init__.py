"""Two ways of tagging against each other: who got which, what came of it, and what that proves."""
