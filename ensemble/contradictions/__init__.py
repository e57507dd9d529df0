"""The exact decoder: tags that obey the rules, and why each change was made."""
