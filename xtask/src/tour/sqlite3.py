#!/usr/bin/env python3
"""As much of the sqlite3 shell as the README's tour needs, for machines that have Python and not the shell.

    sqlite3 FILE [".timeout MS" | SQL] ...

Rows are printed as the shell does by default: values divided by `|`, NULL as nothing.
"""

import sqlite3
import sys


def text(value):
    if value is None:
        return ""
    if isinstance(value, float):
        return repr(value) if abs(value) == float("inf") else f"{value:.15g}" + ("" if value % 1 else ".0")
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def statements(sql):
    """The shell's own way: up to each semicolon that completes a statement."""
    begun = ""
    for piece in sql.split(";"):
        begun += piece + ";"
        if sqlite3.complete_statement(begun):
            yield begun
            begun = ""


def run(connection, argument):
    if argument.startswith(".timeout "):
        connection.execute(f"PRAGMA busy_timeout = {int(argument.split()[1])}")
        return
    if argument.startswith("."):
        raise SystemExit(f"not known here: {argument}")
    for statement in statements(argument):
        for row in connection.execute(statement):
            print("|".join(map(text, row)))


def main(path, *arguments):
    connection = sqlite3.connect(path, timeout=0, isolation_level=None)
    try:
        for argument in arguments:
            run(connection, argument)
    except sqlite3.Error as error:
        raise SystemExit(f"Error: {error}") from None
    finally:
        connection.close()


main(*sys.argv[1:])
