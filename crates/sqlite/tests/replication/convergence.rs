//! G2: whatever is written where, and in whatever order it arrives, all nodes end equal.
