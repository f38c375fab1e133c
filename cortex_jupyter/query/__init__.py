"""Selection of lines: the query language, conditions on fields, and regular expressions with a time limit."""
