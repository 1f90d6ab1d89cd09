"""The contract as a person reads it: each clause with its sentence, the properties that check it, and their mutants."""

from rich.console import Console
from rich.text import Text

from properties.contract import CLAUSES, LEVELS
from properties.laws import LAWS
from properties.reports.power import mutants


def print_clauses(console: Console) -> None:
    """Print the clauses; the mutants are there where the current directory is a clone of the project."""
    known = mutants()
    for level in LEVELS:
        console.print(Text(f"level {level}", style="bold"))
        for clause in CLAUSES.values():
            if clause.level != level:
                continue
            console.print(Text(f"{clause.id}  {clause.sentence}"))
            for prop in LAWS:
                if clause.id in prop.clauses:
                    killed = ", ".join(mutant.name for mutant in known if mutant.detected_by == prop.name)
                    console.print(Text(f"    {prop.name}{f': {killed}' if killed else ''}"))
    where = f"{len(known)} mutants" if known else "the mutants are in a clone of the project"
    console.print(Text(f"{len(CLAUSES)} clauses, {len(LAWS)} properties; {where}"))
