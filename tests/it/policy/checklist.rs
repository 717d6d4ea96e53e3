//! Every row of the check-list for missing pushes (reference, part 15) has an answer of ours.
