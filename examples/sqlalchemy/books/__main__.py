"""The program, `python3 -m books --help`. What it has to report is JSON."""

import argparse
import json
import random
import sys

from books import audit
from books.branch import Branch, fill_in, open_books
from books.database import Reading
from books.turns import typed_turns


def main():
    options = parse()
    try:
        print(json.dumps(options.command(options)))
    except audit.Fault as fault:
        sys.exit(f"books: {fault}")


def parse():
    parser = argparse.ArgumentParser(prog="books", description=__doc__)
    commands = parser.add_subparsers(required=True)
    commands.add_parser("open", help="make the rows that all branches share").set_defaults(command=open_command)
    of_a_branch = argparse.ArgumentParser(add_help=False)
    of_a_branch.add_argument("--branch", type=int, required=True)
    work = commands.add_parser("work", parents=[of_a_branch], help="do what a branch does all day")
    work.add_argument("--seed", type=int, default=1, help="what to do follows from it and the branch")
    rounds_help = "how many things to do; else `ready`, a line, and until the end of input"
    work.add_argument("--rounds", type=int, help=rounds_help)
    work.set_defaults(command=work_command)
    commands.add_parser("watch", help="look for halves, while others work").set_defaults(command=watch_command)
    audit_help = "check everything; say what a branch has booked"
    commands.add_parser("audit", parents=[of_a_branch], help=audit_help).set_defaults(command=audit_command)
    fill_in_help = "give references to entries of before the second release"
    commands.add_parser("fill-in", parents=[of_a_branch], help=fill_in_help).set_defaults(command=fill_in_command)
    return parser.parse_args()


def open_command(_options):
    open_books()


def work_command(options):
    rng = random.Random(f"{options.seed} {options.branch}")
    turns = typed_turns() if options.rounds is None else range(options.rounds)
    Branch(options.branch, rng).work(turns)
    with Reading.begin() as session:
        return audit.report(session, options.branch)


def watch_command(_options):
    looks = 0
    for _ in typed_turns(pause=0.2):
        with Reading.begin() as session:
            audit.look(session)
        looks += 1
    return {"looks": looks}


def audit_command(options):
    with Reading.begin() as session:
        audit.audit(session)
        return audit.report(session, options.branch)


def fill_in_command(options):
    fill_in(options.branch)


if __name__ == "__main__":
    main()
