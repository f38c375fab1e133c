"""Which lines a reader wants: the query language, conditions on fields, regular expressions that cannot run away."""
