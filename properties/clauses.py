"""Which properties check each clause of the contract, and which planted bugs each of them detects."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from properties.families import PROPERTIES
from properties.power import planted_bugs

CLAUSES = (*(f"C{number}" for number in range(1, 19)), *(f"H{number}" for number in range(1, 9)))


def print_clauses(console: Console) -> None:
    """Print the table; the planted bugs are there where the current directory is a clone of the project."""
    planted = planted_bugs()
    table = Table("clause", "property", "planted bugs that it is known to detect", box=None, pad_edge=False)
    for clause in CLAUSES:
        checking = [prop for prop in PROPERTIES if clause in prop.clauses]
        for row, prop in enumerate(checking):
            detected = [bug.name for bug in planted if bug.detected_by == prop.name]
            table.add_row(clause if row == 0 else "", prop.name, Text(", ".join(detected)))
    console.print(table)
    if planted:
        counts = f"{len(CLAUSES)} clauses, {len(PROPERTIES)} properties, {len(planted)} planted bugs"
    else:
        counts = f"{len(CLAUSES)} clauses, {len(PROPERTIES)} properties; the planted bugs are in a clone of the project"
    console.print(Text(counts))
