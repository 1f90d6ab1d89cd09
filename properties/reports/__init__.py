"""A report as people and programs read it: as text, as JSON; the tables of clauses and of detection; progress."""
