//! R9: a database that is an older copy of itself, and its next life.
