//! The pure part of the program: the frames between parent and child, and the child's life.
